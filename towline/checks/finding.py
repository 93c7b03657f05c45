"""A finding: what one check says of the server. Results are values; nothing here does I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from towline.text.amounts import limit

Result = Literal["pass", "fail", "warn", "skip", "waived"]
RESULTS: tuple[Result, ...] = ("fail", "warn", "waived", "skip", "pass")  # worst first


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    id: stable, dotted, unique on its host: `stack.traefik.service.proxy.healthy`. stack, service: '' when it is of neither.
    sentence: what holds or does not, in a line; '' for a finding that another one explains. evidence: what was seen, may have
    several lines. hint: what to do, '' for a pass. because: the id of the finding that explains why this one is skipped.
    """

    id: str
    host: str
    stack: str
    service: str
    result: Result
    sentence: str
    evidence: str = ""
    hint: str = ""
    because: str = ""


@dataclass(frozen=True)
class Report:
    """The findings of one run of the checks; seconds: from the first command to the last answer, without logging in."""

    findings: tuple[Finding, ...]
    seconds: float

    def count(self, result: Result) -> int:
        return counts(self.findings)[result]


def counts(findings: Iterable[Finding]) -> dict[Result, int]:
    """How many findings there are of each result; all five results are keys.

    >>> counts([])
    {'fail': 0, 'warn': 0, 'waived': 0, 'skip': 0, 'pass': 0}
    """
    count = Counter(finding.result for finding in findings)
    return {result: count[result] for result in RESULTS}


def of_result(findings: Sequence[Finding], *results: Result) -> tuple[Finding, ...]:
    return tuple(finding for finding in findings if finding.result in results)


@dataclass(frozen=True)
class Subject:
    """What a group of checks is about; makes its findings: each id begins with `prefix`."""

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

    def explained(self, name: str, cause: str) -> Finding:
        """A skipped finding. cause: the id of the finding that explains it."""
        return Finding(f"{self.prefix}.{name}", self.host, self.stack, self.service, "skip", "", because=cause)

    def _finding(self, name: str, result: Result, sentence: str, evidence: str, hint: str = "") -> Finding:
        return Finding(f"{self.prefix}.{name}", self.host, self.stack, self.service, result, sentence, evidence, hint)


def listed(texts: Sequence[str], most: int = 10) -> str:
    """One a line, so many at most."""
    shown, more = limit(texts, most)
    return "\n".join([*shown, more] if more else shown)
