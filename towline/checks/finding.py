"""A finding: what one check says of the server. Results are values; nothing here does I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from towline.text import limit

Result = Literal["pass", "fail", "warn", "skip", "waived"]
RESULTS: tuple[Result, ...] = ("fail", "warn", "waived", "skip", "pass")  # worst first


@dataclass(frozen=True)
class Finding:
    """One check's answer.

    id: stable, dotted, unique on its host: `stack.traefik.service.proxy.healthy`. stack, service: '' when it is not of one.
    sentence: what holds or does not, in a line. evidence: what was seen, may have several lines. hint: what to do, '' for a pass.
    """

    id: str
    host: str
    stack: str
    service: str
    result: Result
    sentence: str
    evidence: str = ""
    hint: str = ""


@dataclass(frozen=True)
class Report:
    """All findings of one look at the hosts; seconds: from the first question to the last answer, without logging in."""

    findings: tuple[Finding, ...]
    seconds: float

    def count(self, result: Result) -> int:
        return counts(self.findings)[result]


def counts(findings: Iterable[Finding]) -> dict[Result, int]:
    """How many there are of each result, all five always there.

    >>> counts([])
    {'fail': 0, 'warn': 0, 'waived': 0, 'skip': 0, 'pass': 0}
    """
    found = Counter(finding.result for finding in findings)
    return {result: found[result] for result in RESULTS}


def of_result(findings: Sequence[Finding], *results: Result) -> tuple[Finding, ...]:
    return tuple(finding for finding in findings if finding.result in results)


@dataclass(frozen=True)
class Subject:
    """Makes the findings of one subject: each id begins with `prefix`."""

    prefix: str
    host: str
    stack: str = ""
    service: str = ""

    def ok(self, name: str, sentence: str, evidence: str = "") -> Finding:
        return self._finding(name, "pass", sentence, evidence)

    def fail(self, name: str, sentence: str, evidence: str = "", hint: str = "") -> Finding:
        return self._finding(name, "fail", sentence, evidence, hint)

    def warn(self, name: str, sentence: str, evidence: str = "", hint: str = "") -> Finding:
        return self._finding(name, "warn", sentence, evidence, hint)

    def skip(self, name: str, reason: str) -> Finding:
        return self._finding(name, "skip", reason, "")

    def _finding(self, name: str, result: Result, sentence: str, evidence: str, hint: str = "") -> Finding:
        return Finding(f"{self.prefix}.{name}", self.host, self.stack, self.service, result, sentence, evidence, hint)


def listed(texts: Sequence[str], most: int = 10) -> str:
    """One a line, so many at most."""
    shown, more = limit(texts, most)
    return "\n".join([*shown, more] if more else shown)
