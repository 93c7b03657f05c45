"""The findings as data, in the shape of the design's contract."""

from __future__ import annotations

import dataclasses

from towline.checks.finding import Report, counts
from towline.report.groups import sentence
from towline.text.printable import json_text


def row(report: Report) -> dict[str, object]:
    """The one object of `inv test-infra --json=FILE`; findings in the report's order, their text as the server gave it."""
    found = counts(report.findings)
    summary = {result: found[result] for result in ("pass", "fail", "warn", "skip", "waived")}
    return {
        "summary": {**summary, "seconds": round(report.seconds, 3)},
        "findings": [dataclasses.asdict(finding) | {"sentence": sentence(finding)} for finding in report.findings],
    }


def text(report: Report) -> str:
    """The same as text that can be written as UTF-8, whatever bytes the server's answers held."""
    return json_text(row(report)) + "\n"
