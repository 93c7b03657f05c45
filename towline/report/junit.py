"""The findings as JUnit XML: a test suite per stack, a test case per finding, for what shows test results."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from towline.checks.finding import Finding, Report
from towline.report.groups import Group, groups, reason

if TYPE_CHECKING:
    from junitparser import TestCase, TestSuite


def xml(report: Report, at: datetime) -> bytes:
    """A whole file, UTF-8. at: when the look began.

    Everything was read at once, so no finding has a time of its own: each gets the same share of the report's seconds.
    """
    from junitparser import JUnitXml

    whole = JUnitXml("towline")
    share = report.seconds / max(1, len(report.findings))
    for group in groups(report.findings):
        whole.add_testsuite(_suite(group, share, at))
    whole.update_statistics()
    file = io.BytesIO()
    whole.write(file, pretty=True)
    return file.getvalue()


def _suite(group: Group, share: float, at: datetime) -> TestSuite:
    from junitparser import TestSuite

    suite = TestSuite(group.key)
    suite.hostname = group.host
    suite.timestamp = at.astimezone(UTC).isoformat(timespec="seconds")
    suite.add_testcases([_case(finding, share) for finding in group.findings])
    return suite


def _case(finding: Finding, share: float) -> TestCase:
    from junitparser import Failure, Skipped, TestCase

    case = TestCase(finding.id, _class(finding), round(share, 6))
    match finding.result:
        case "fail":
            failure = Failure(finding.sentence, "failed")
            failure.text = _text(finding)
            case.result = failure
        case "skip" | "waived":
            skipped = Skipped(reason(finding), finding.result)
            skipped.text = _text(finding)
            case.result = skipped
        case "warn":
            case.system_out = f"warned: {_text(finding)}"
    return case


def _class(finding: Finding) -> str:
    """What viewers group by: host, stack and service; host and the id's first word where there is no stack."""
    return ".".join(filter(None, (finding.host, finding.stack or finding.id.partition(".")[0], finding.service)))


def _text(finding: Finding) -> str:
    hint = f"hint: {finding.hint}" if finding.hint else ""
    return "\n".join(filter(None, (finding.sentence, finding.evidence, hint)))
