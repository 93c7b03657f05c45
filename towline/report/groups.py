"""What all reports of findings share: their order, the words for results, the line that sums up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from towline.checks.finding import RESULTS, Finding, Report, Result, counts
from towline.text.printable import one_line, printable

WORDS: dict[Result, str] = {
    "pass": "passed",
    "fail": "failed",
    "warn": "warned",
    "waived": "waived",
    "skip": "skipped",
}


@dataclass(frozen=True)
class Group:
    """The findings of one stack on one host, those of one service together; stack: '' for the host and its engine."""

    host: str
    stack: str
    findings: tuple[Finding, ...]

    @property
    def key(self) -> str:
        return f"{self.host}/{self.stack}" if self.stack else self.host

    @property
    def worst(self) -> Result:
        return worst(self.findings)


def worst(findings: Iterable[Finding]) -> Result:
    """The worst result of all; pass where there is none."""
    return min((finding.result for finding in findings), key=RESULTS.index, default="pass")


def severity(finding: Finding) -> int:
    return RESULTS.index(finding.result)


def groups(findings: Iterable[Finding]) -> tuple[Group, ...]:
    """Worst first: hosts, in a host its groups, in a group its services, in a service its findings.

    What is equally bad stays in the order of the report. All text is printable.
    """
    found: dict[tuple[str, str], list[Finding]] = {}
    for finding in _worst_first([_printable(finding) for finding in findings]):
        found.setdefault((finding.host, finding.stack), []).append(finding)
    return tuple(Group(host, stack, tuple(mine)) for (host, stack), mine in found.items())


def _worst_first(findings: list[Finding]) -> list[Finding]:
    # of every host, stack and service: how bad it is, and where it first stands
    ranks: dict[tuple[str, ...], tuple[int, int]] = {}
    for at, finding in enumerate(findings):
        for place in _places(finding):
            bad, first = ranks.get(place, (len(RESULTS), at))
            ranks[place] = (min(bad, severity(finding)), first)
    return sorted(findings, key=lambda finding: (*(ranks[place] for place in _places(finding)), severity(finding)))


def _places(finding: Finding) -> tuple[tuple[str, ...], ...]:
    host, stack, service = finding.host, finding.stack, finding.service
    return (host,), (host, stack), (host, stack, service)


def _printable(finding: Finding) -> Finding:
    return replace(
        finding,
        id=one_line(finding.id),
        host=one_line(finding.host),
        stack=one_line(finding.stack),
        service=one_line(finding.service),
        sentence=one_line(sentence(finding)),
        evidence=printable(finding.evidence).strip("\n"),
        hint=printable(finding.hint).strip(),
        because=one_line(finding.because),
    )


def sentence(finding: Finding) -> str:
    """What a finding says; one that another finding explains names that one.

    >>> sentence(Finding("a", "h", "", "", "skip", "", because="b"))
    'see b'
    """
    return finding.sentence or f"see {finding.because}"


def reason(finding: Finding) -> str:
    """Why it was skipped (the evidence, else the sentence) or waived (the hint, else the sentence), in a line."""
    shown = finding.hint if finding.result == "waived" else finding.evidence
    return (shown or finding.sentence).partition("\n")[0]


def reasons(findings: Iterable[Finding]) -> list[tuple[str, int]]:
    """Every reason and how often it stands there, the most frequent first."""
    return Counter(map(reason, findings)).most_common()


def total(report: Report) -> str:
    """
    >>> total(Report((), 0.04))
    '0 checks: 0 passed in 0.0 s'
    """
    found, number = counts(report.findings), len(report.findings)
    order: tuple[Result, ...] = ("pass", "fail", "warn", "waived", "skip")
    shown = ", ".join(f"{found[result]} {WORDS[result]}" for result in order if found[result] or result == "pass")
    return f"{number} check{'' if number == 1 else 's'}: {shown} in {report.seconds:.1f} s"
