"""The findings as a person reads them on the terminal: what is wrong with its evidence, what passed as a number."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Literal

from rich.console import Console
from rich.console import Group as Stacked
from rich.live import Live
from rich.text import Text

from towline.checks.finding import Finding, Report, Result, of_result
from towline.report.console import console as make_console
from towline.report.groups import WORDS, Group, groups, reasons, total
from towline.report.tables import as_table

MOST = 5  # lines of evidence shown
WIDEST = 200  # characters of such a line
MARKS: dict[Result, str] = {"fail": "✗", "warn": "!", "waived": "≈", "skip": "–", "pass": "✓"}
Change = Literal["new", "before", "mended", "other"]
CHANGES: tuple[Change, ...] = ("new", "before", "mended", "other")  # the order they are shown in
STYLES: dict[Result, str] = {"fail": "red", "warn": "yellow", "waived": "cyan", "skip": "dim", "pass": ""}


def show(report: Report, *, verbose: bool = False, console: Console | None = None) -> None:
    """Prints the lines to stdout, with colours if that is a terminal."""
    out = console or make_console()
    for line in lines(report, verbose=verbose):
        out.print(line, soft_wrap=True)


def watch(look: Callable[[], Report], seconds: int, *, verbose: bool = False) -> None:
    """Shows the lines anew every so many seconds, in place on a terminal, one after the other elsewhere, until Ctrl-C."""
    out = make_console()
    with Live(console=out, auto_refresh=False, transient=False) as live, suppress(KeyboardInterrupt):
        while True:
            report = look()
            stamp = Text(time.strftime("%H:%M:%S"), "dim")
            if out.is_terminal:
                live.update(Stacked(stamp, *lines(report, verbose=verbose)), refresh=True)
            else:
                out.print(stamp)
                show(report, verbose=verbose, console=out)
            time.sleep(seconds)


def text(report: Report, *, verbose: bool = False) -> str:
    """The same without colours."""
    return "\n".join(line.plain for line in lines(report, verbose=verbose))


def lines(report: Report, *, verbose: bool = False) -> list[Text]:
    """What failed, warned or is waived, worst first; the skipped ones' reasons; the total. verbose: before that, all as a table."""
    hosts = {finding.host for finding in report.findings}
    wrong = groups(of_result(report.findings, "fail", "warn", "waived"))
    shown = [line for group in wrong for line in _group_lines(group, several=len(hosts) > 1)]
    table = [*_table(report), Text()] if verbose and report.findings else []
    return [*table, *shown, *_skipped(report), _total(report)]


def _group_lines(group: Group, *, several: bool) -> Iterator[Text]:
    stack = f"{group.host} · {group.stack}" if several else group.stack
    yield Text(stack if group.stack else f"host {group.host}", "bold")
    for finding in group.findings:
        yield from _finding_lines(finding)
    yield Text()


def _finding_lines(finding: Finding) -> Iterator[Text]:
    mark = (MARKS[finding.result], STYLES[finding.result])
    yield Text.assemble("  ", mark, " ", (finding.id, "bold"), "  ", finding.sentence)
    for line in _cut(finding.evidence):
        yield Text.assemble(("      │ ", "dim"), (line, "dim"))
    for line in finding.hint.splitlines():
        yield Text.assemble("      → ", line)


def _cut(evidence: str) -> list[str]:
    """At most 5 lines, and what is left out said."""
    found = evidence.expandtabs().splitlines()
    shown = [line if len(line) <= WIDEST else f"{line[:WIDEST]}…" for line in found[:MOST]]
    more = len(found) - MOST
    return [*shown, *([f"… {more} more line{'' if more == 1 else 's'}"] if more > 0 else [])]


def _table(report: Report) -> list[Text]:
    found = _ordered(report)
    several = len({finding.host for finding in found}) > 1
    rows = [{"host": f.host, "result": f.result, "id": f.id, "sentence": f.sentence} for f in found]
    head, *body = as_table(rows, [*(["host"] if several else []), "result", "id", "sentence"]).split("\n")
    styled = (Text(line, STYLES[finding.result]) for finding, line in zip(found, body, strict=True))
    return [Text(head, "bold"), *styled]


def _skipped(report: Report) -> list[Text]:
    skipped = [finding for group in groups(of_result(report.findings, "skip")) for finding in group.findings]
    shown = "; ".join(f"{count} {reason}" if count > 1 else reason for reason, count in reasons(skipped))
    return [Text(f"skipped {len(skipped)}: {shown}", "dim")] if skipped else []


def _total(report: Report) -> Text:
    """The total, its numbers in the colours of their results."""
    line = Text(total(report))
    for result in ("fail", "warn", "waived"):
        line.highlight_regex(rf"\d+ {WORDS[result]}", STYLES[result])
    return line


def side_by_side(before: Report, after: Report) -> str:
    """A table of what differs or fails in two looks at the same hosts, new failures first, and a line that counts them.

    What passes and was not there before is left out: a first deploy brings all of a stack's findings.
    """
    rows = _pairs(before, after)
    changes = [_change(*pair) for pair in rows.values()]
    found = [
        {"host": host, "id": name, "before": old, "after": new, "change": change}
        for ((host, name), (old, new)), change in zip(rows.items(), changes, strict=True)
        if change != "other" or (old != new and (old or new not in ("pass", "skip")))
    ]
    found.sort(key=lambda row: CHANGES.index(row["change"]))
    several = len({host for host, _ in rows}) > 1
    table = as_table(found, [*(["host"] if several else []), "id", "before", "after"])
    return f"{table}\n{_verdict(changes)}" if found else _verdict(changes)


def _pairs(before: Report, after: Report) -> dict[tuple[str, str], tuple[Result | None, Result | None]]:
    """host and id → the result before and after, None where there was none; all of `after` first."""
    old, new = ({(f.host, f.id): f.result for f in _ordered(report)} for report in (before, after))
    return {key: (old.get(key), new.get(key)) for key in (*new, *(key for key in old if key not in new))}


def _ordered(report: Report) -> list[Finding]:
    return [finding for group in groups(report.findings) for finding in group.findings]


def _change(old: Result | None, new: Result | None) -> Change:
    """What was skipped or not asked any more is not mended."""
    if new == "fail":
        return "before" if old == "fail" else "new"
    return "mended" if old == "fail" and new in ("pass", "warn", "waived") else "other"


def _verdict(changes: list[Change]) -> str:
    """
    >>> _verdict(["new", "before", "before", "mended"])
    '1 new failure, 1 mended, 2 failed before as well'
    """
    count = Counter(changes)
    new = f"{count['new'] or 'no'} new failure{'' if count['new'] == 1 else 's'}"
    mended = [f"{count['mended']} mended"] if count["mended"] else []
    standing = [f"{count['before']} failed before as well"] if count["before"] else []
    return ", ".join((new, *mended, *standing))
