"""Golden test of the checks: on every broken example host, the same ids, results and sentences as were recorded.

After a change that is meant: `python -m tests.unit.test_checks_golden` writes the record anew; read its diff.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.example_host import GOOD, Example
from tests.unit.test_checks import FAILS, FINE, WARNS
from towline.project.declared_checks import Command, Dns, Http, Tcp
from towline.report import findings_json
from towline.ssh.session import Result

RECORD = Path(__file__).parent / "recorded" / "findings.txt"
DECLARED = GOOD.checked(
    Tcp("port", host="db", port=6379), Http("page"), Http("other", route="shpo"), Dns("name", host="a.example"),
    Command("cron", words=("true",)), name=Result(2), cron=Result(1),
)  # fmt: skip
EXAMPLES: dict[str, Example] = {
    **{name: change(GOOD) for name, change in FINE.items()},
    **{name: change(GOOD) for name, (change, _) in (FAILS | WARNS).items()},
    "forwarding is forbidden": replace(GOOD, forbidden="sshd forbids TCP forwarding"),
    "declared checks": DECLARED,
    "declared checks of an unhealthy service": DECLARED.container("shop-db-1", health="unhealthy"),
    "declared checks behind a Traefik that is gone": DECLARED.without("traefik-traefik-1"),
    "declared checks where forwarding is forbidden": replace(DECLARED, forbidden="sshd forbids TCP forwarding"),
}


def lines(example: Example) -> Iterator[str]:
    """A line per finding, in the order of the report."""
    rows = findings_json.row(example.report(from_here=True))["findings"]
    for row in json.loads(json.dumps(rows)):
        yield f"{row['id']}\t{row['result']}\t{row['sentence']}"


def recorded() -> dict[str, list[str]]:
    """Name → what differs from the good host's findings; of the good host all of them."""
    found: dict[str, list[str]] = {}
    for line in RECORD.read_text().splitlines():
        if line.startswith("# "):
            found[line[2:]] = []
        elif line:
            found[[*found][-1]].append(line)
    return found


def differing(example: Example) -> list[str]:
    """`+` what only this host has, `-` what only the good one has."""
    good, own = list(lines(GOOD)), list(lines(example))
    return [*(f"+ {line}" for line in own if line not in good), *(f"- {line}" for line in good if line not in own)]


def test_findings_of_the_good_host_are_as_recorded() -> None:
    assert list(lines(GOOD)) == recorded()["the good host"]


@pytest.mark.parametrize("name", EXAMPLES)
def test_findings_are_as_recorded(name: str) -> None:
    assert differing(EXAMPLES[name]) == recorded()[name]


if __name__ == "__main__":
    parts = {"the good host": list(lines(GOOD)), **{name: differing(one) for name, one in EXAMPLES.items()}}
    RECORD.write_text("\n".join("\n".join((f"# {name}", *found, "")) for name, found in parts.items()))
