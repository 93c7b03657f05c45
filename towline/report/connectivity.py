"""What test-connectivity found: a line per finding, a hint where something is wrong."""

from __future__ import annotations

from dataclasses import dataclass

from towline.facts.connectivity import MOST_SESSIONS, ConnectivityFact
from towline.facts.engine import unusable
from towline.project.settings import Host
from towline.text.printable import one_line


@dataclass(frozen=True)
class Row:
    """result: pass or fail; value: what was found; hint: what to do about it, '' when nothing."""

    name: str
    value: str
    result: str = "pass"
    hint: str = ""


def lines(fact: ConnectivityFact, host: Host) -> tuple[Row, ...]:
    """The findings, in the order a person asks for them."""
    many = f"{fact.sessions}{' or more' if fact.sessions >= MOST_SESSIONS else ''} at once"
    return (
        Row("address", fact.address),
        Row("user", f"{fact.user} (on the server: {fact.engine.user})"),
        Row("auth", fact.auth),
        Row("host key", f"{fact.host_key}, pinned"),
        Row("server", fact.server),
        Row("cipher", fact.cipher),
        Row("round trip", f"{fact.round_trip * 1000:.1f} ms"),
        _sessions(many, fact.sessions, host),
        *_docker(fact, host),
    )


def _sessions(many: str, found: int, host: Host) -> Row:
    if found >= host.max_sessions:
        return Row("sessions", f"{many}; towline uses {host.max_sessions}")
    hint = f"set max_sessions: {max(found, 1)} for this host in towline.yaml"
    return Row("sessions", f"{many}; towline would use {host.max_sessions}", "fail", hint)


def _docker(fact: ConnectivityFact, host: Host) -> tuple[Row, ...]:
    wrong = unusable(fact.engine, host.name)
    versions = f"engine {fact.engine.version or 'none'}, compose {fact.engine.compose or 'none'}"
    if wrong:
        return (Row("docker", f"{versions}: {wrong.message.partition(': ')[2]}", "fail", wrong.hint),)
    return (Row("docker", versions), Row("may use it", f"yes, as {fact.engine.user}"))


def text(found: tuple[Row, ...]) -> str:
    """The findings for people, hints below what is wrong."""
    rows = []
    for line in found:
        rows.append(f"{'ok  ' if line.result == 'pass' else 'FAIL'}  {line.name:<11} {one_line(line.value)}")
        if line.hint:
            rows.append(f"      hint: {line.hint}")
    return "\n".join(rows)
