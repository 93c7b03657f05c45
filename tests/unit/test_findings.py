"""The findings on the terminal, and two looks beside each other."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from tests.example_report import healthy, hostile, one, report, two_hosts
from towline.checks.finding import RESULTS, Finding, Report, Result
from towline.report import findings
from towline.report.groups import groups, reason, reasons, total


def of(*found: Finding, seconds: float = 0.94) -> Report:
    return Report(found, seconds)


def many(**counts: int) -> Report:
    order = ("pass", "fail", "warn", "waived", "skip")
    return of(*(one(result, f"{result}.{i}") for result in order for i in range(counts.get(result, 0))))


@pytest.mark.parametrize(
    ("counts", "line"),
    [
        ({"pass": 53, "fail": 1, "warn": 2}, "56 checks: 53 passed, 1 failed, 2 warned in 0.9 s"),
        ({"pass": 56}, "56 checks: 56 passed in 0.9 s"),
        ({"fail": 1}, "1 check: 0 passed, 1 failed in 0.9 s"),
        (dict.fromkeys(RESULTS, 1), "5 checks: 1 passed, 1 failed, 1 warned, 1 waived, 1 skipped in 0.9 s"),
        ({}, "0 checks: 0 passed in 0.9 s"),
    ],
)
def test_last_line_leaves_out_what_is_zero(counts: dict[str, int], line: str) -> None:
    found = many(**counts)
    assert total(found) == line
    assert findings.text(found).splitlines()[-1] == line
    assert findings.text(found, verbose=True).splitlines()[-1] == line


def test_passes_are_only_counted() -> None:
    assert findings.text(healthy()) == "72 checks: 72 passed in 0.9 s"


def test_what_is_wrong_has_its_evidence_and_its_hint() -> None:
    failed = one("fail", "stack.web.service.app.healthy", sentence="app is unhealthy", evidence="exit 1\n  twice")
    warned = one("warn", "host.reboot", stack="", service="", sentence="a reboot is pending", hint="reboot it")
    assert findings.text(of(warned, one(), failed)).splitlines() == [
        "web",
        "  ✗ stack.web.service.app.healthy  app is unhealthy",
        "      │ exit 1",
        "      │   twice",
        "",
        "host prod",
        "  ! host.reboot  a reboot is pending",
        "      → reboot it",
        "",
        "3 checks: 1 passed, 1 failed, 1 warned in 0.9 s",
    ]


@pytest.mark.parametrize(("count", "last"), [(5, "4"), (6, "… 1 more line"), (9, "… 4 more lines")])
def test_evidence_is_cut_after_five_lines(count: int, last: str) -> None:
    lines = findings.text(of(one("fail", evidence="\n".join(map(str, range(count)))))).splitlines()
    shown = [line for line in lines if "│" in line]
    assert shown[:5] == [f"      │ {i}" for i in range(5)]
    assert shown[-1] == f"      │ {last}"
    assert len(shown) == min(count, 6)


def test_very_long_line_of_evidence_is_cut() -> None:
    assert f"│ {'x' * 200}…\n" in findings.text(of(one("fail", evidence="x" * 5000)))


def test_worst_comes_first_and_stacks_and_services_stay_together() -> None:
    found = [
        one("warn", "a.1", stack="a", service="x"),
        one("warn", "b.1", stack="b", service="y"),
        one("fail", "b.2", stack="b", service="z"),
        one("waived", "b.3", stack="b", service="z"),
        one("fail", "b.4", stack="b", service="z"),
        one("fail", "a.2", stack="a", service="w"),
        one("pass", "c.1", stack="c"),
        one("skip", "d.1", stack="d"),
    ]
    assert [(group.key, [f.id for f in group.findings]) for group in groups(found)] == [
        ("prod/a", ["a.2", "a.1"]),
        ("prod/b", ["b.2", "b.4", "b.3", "b.1"]),
        ("prod/d", ["d.1"]),
        ("prod/c", ["c.1"]),
    ]


def test_hosts_stay_together_the_worst_first() -> None:
    found = [
        one("warn", host="a"),
        one("pass", host="b", stack=""),
        one("fail", host="b"),
        one("pass", host="a", stack=""),
    ]
    assert [group.key for group in groups(found)] == ["b/web", "b", "a/web", "a"]


def test_with_several_hosts_each_stack_names_its_own() -> None:
    lines = findings.text(two_hosts()).splitlines()
    assert "prod · guestbook" in lines
    assert "host prod" in lines
    assert "guestbook" in findings.text(report()).splitlines()


def test_skipped_are_counted_by_reason() -> None:
    skipped = [one("skip", f"s.{i}", evidence=why) for i, why in enumerate(("no TLS", "not swarm", "no TLS"))]
    assert findings.text(of(*skipped)).splitlines()[0] == "skipped 3: 2 no TLS; not swarm"


@pytest.mark.parametrize(
    ("result", "texts", "why"),
    [
        ("skip", {"evidence": "no TLS here\nport 80", "hint": "use TLS"}, "no TLS here"),
        ("skip", {"sentence": "not looked at"}, "not looked at"),
        ("waived", {"evidence": "seen", "hint": "waived until 2026-06-30: moving"}, "waived until 2026-06-30: moving"),
        ("waived", {"sentence": "disk is full", "evidence": "99 %"}, "disk is full"),
    ],
)
def test_reason_of_what_was_skipped_or_waived(result: Result, texts: dict[str, str], why: str) -> None:
    assert reason(one(result, **texts)) == why
    assert reasons([one(result, **texts)]) == [(why, 1)]


def test_verbose_lists_all_of_them_in_a_table() -> None:
    lines = findings.text(report(), verbose=True).splitlines()
    head, *rows = lines[: lines.index("")]
    assert head.split() == ["RESULT", "ID", "SENTENCE"]
    assert {tuple(row.split()[:2]) for row in rows} == {(f.result, f.id) for f in report().findings}
    assert rows[0].startswith("fail ")
    assert lines[-1] == findings.text(report()).splitlines()[-1]


def test_verbose_table_of_several_hosts_has_their_names() -> None:
    assert findings.text(two_hosts(), verbose=True).splitlines()[0].split() == ["HOST", "RESULT", "ID", "SENTENCE"]


def shown(*, terminal: bool) -> str:
    out = io.StringIO()
    findings.show(report(), console=Console(file=out, force_terminal=terminal, highlight=False, width=80, _environ={}))
    return out.getvalue()


def test_colours_are_only_for_a_terminal() -> None:
    assert "\x1b[31m✗" in shown(terminal=True)
    assert shown(terminal=False) == findings.text(report()) + "\n"


@pytest.mark.parametrize("verbose", [True, False])
def test_text_from_the_server_cannot_steer_the_terminal(verbose: bool) -> None:
    text = findings.text(hostile(), verbose=verbose)
    assert {c for c in text if not c.isprintable()} == {"\n"}
    assert "│ red nul � bell � csi  � half � end" in text


def test_side_by_side_shows_what_differs_and_what_fails() -> None:
    before = of(
        one("pass", "a"), one("fail", "b"), one("fail", "c"), one("pass", "d"), one("fail", "gone"), one("warn", "w")
    )
    after = of(
        one("pass", "d"), one("fail", "c"), one("pass", "b"), one("fail", "a"), one("warn", "new"), one("warn", "w")
    )
    assert findings.side_by_side(before, after).splitlines() == [
        "ID    BEFORE  AFTER",
        "a     pass    fail",
        "c     fail    fail",
        "b     fail    pass",
        "new   -       warn",
        "gone  fail    -",
        "1 new failure, 1 mended, 1 failed before as well",
    ]


@pytest.mark.parametrize("now", ["skip", None])
def test_what_is_not_asked_any_more_is_not_mended(now: Result | None) -> None:
    after = of(one(now)) if now else of()
    assert findings.side_by_side(of(one("fail")), after).splitlines()[-1] == "no new failures"


def test_side_by_side_of_equal_looks_is_one_line() -> None:
    assert findings.side_by_side(healthy(), healthy()) == "no new failures"


def test_side_by_side_tells_hosts_apart() -> None:
    before = of(one("pass", "x", host="a"), one("pass", "x", host="b"))
    after = of(one("pass", "x", host="a"), one("fail", "x", host="b"))
    assert findings.side_by_side(before, after).splitlines() == [
        "HOST  ID  BEFORE  AFTER",
        "b     x   pass    fail",
        "1 new failure",
    ]
