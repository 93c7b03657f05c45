"""The reports that go into files."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from towline.checks.finding import Report


def write(report: Report, at: datetime, *, junit: str = "", json: str = "", html: str = "") -> None:
    """Each into the file that is named for it; '' for none. at: when the look began. Raises OSError."""
    if junit:
        from towline.report import junit as as_junit

        Path(junit).write_bytes(as_junit.xml(report, at))
    if json:
        from towline.report import findings_json

        Path(json).write_text(findings_json.text(report) + "\n", encoding="utf-8")
    if html:
        from towline.report import html as as_html

        Path(html).write_text(as_html.page(report, at), encoding="utf-8")
