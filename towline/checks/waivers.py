"""Known failures: shown as such until the day that the waiver names, and failures again after it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date
from fnmatch import fnmatchcase

from towline.checks.finding import Finding
from towline.project.waivers import Waiver


def waive(findings: Iterable[Finding], waivers: Sequence[Waiver], today: date) -> tuple[Finding, ...]:
    """The findings, with those that failed or warned and are waived marked so; an expired waiver is told in the hint."""
    return tuple(
        _waived(finding, [w for w in waivers if fnmatchcase(finding.id, w.check)], today) for finding in findings
    )


def _waived(finding: Finding, waivers: Sequence[Waiver], today: date) -> Finding:
    if finding.result not in ("fail", "warn") or not waivers:
        return finding
    last = max(waivers, key=lambda waiver: waiver.until)
    if last.until < today:
        hint = f"its waiver ended on {last.until}: {last.reason}"
        return replace(finding, hint=f"{finding.hint}; {hint}" if finding.hint else hint)
    return replace(finding, result="waived", hint=f"waived until {last.until}: {last.reason}")
