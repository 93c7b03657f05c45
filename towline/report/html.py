"""The findings as one page that needs nothing else: no network, no other file, and without scripts all of it can be read."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from towline.checks.finding import RESULTS, Finding, Report, Result, counts
from towline.report.groups import WORDS, Group, groups, severity, total, worst

if TYPE_CHECKING:
    from jinja2 import Template

FOLDER = Path(__file__).parent / "page"


@dataclass(frozen=True)
class Section:
    """A stack's part of the page, or a host's own: its tile above, its findings below, worst first."""

    group: Group
    counts: dict[Result, int]
    findings: tuple[Finding, ...]

    @property
    def name(self) -> str:
        return self.group.stack or self.group.host


def page(report: Report, at: datetime) -> str:
    """A whole document, to be written as UTF-8. at: when the look began."""
    style, script = ((FOLDER / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    hashes = {"style_hash": _hash(style), "script_hash": _hash(script)}
    return _template().render(_values(report, at), style=style, script=script, **hashes) + "\n"


def _template() -> Template:
    """Every text that it is given is escaped; only style and script are not, and they are ours."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(FOLDER)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("page.html")


def _values(report: Report, at: datetime) -> dict[str, object]:
    sections = [_section(group) for group in groups(report.findings)]
    return {
        "counts": counts(report.findings),
        "words": WORDS,
        "results": RESULTS,
        "worst": worst(report.findings),
        "verdict": verdict(report),
        "total": total(report),
        "number": len(report.findings),
        "at": at.astimezone(UTC),
        "hosts": _by_host(sections),
        "sections": sections,
    }


def _section(group: Group) -> Section:
    return Section(group, counts(group.findings), tuple(sorted(group.findings, key=severity)))


def _by_host(sections: Iterable[Section]) -> dict[str, list[Section]]:
    found: dict[str, list[Section]] = {}
    for section in sections:
        found.setdefault(section.group.host, []).append(section)
    return found


def verdict(report: Report) -> str:
    """The page's headline.

    >>> verdict(Report((), 0.0))
    'Nothing was checked'
    """
    failed, warned = report.count("fail"), report.count("warn")
    if not report.findings:
        return "Nothing was checked"
    if failed:
        return f"{failed} check{'' if failed == 1 else 's'} failed"
    return f"No failures, {warned} warning{'' if warned == 1 else 's'}" if warned else "All is as it should be"


def _hash(text: str) -> str:
    """A source of the page's security policy: only this very text may run. Source: CSP Level 3, hash-source."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
