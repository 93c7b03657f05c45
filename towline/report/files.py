"""The reports that go into files."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from pathlib import Path

from towline.checks.finding import Report


def write(report: Report, at: datetime, **files: str) -> list[str]:
    """Each report into the file that is named for it, '' for none: junit, json, html. at: when the look began.

    A file that cannot be written keeps no other from being written: the answer has a sentence for each.
    """
    found = (write_file(f"--{kind}", name, partial(_AS[kind], report, at)) for kind, name in files.items() if name)
    return [problem for problem in found if problem]


def write_file(option: str, name: str, content: Callable[[], bytes]) -> str:
    """Why the file that an option names could not be written; '' when it was."""
    try:
        with os.fdopen(_opened(Path(name)), "wb") as file:
            file.write(content())
    except (OSError, ValueError) as error:
        return f"{option}={name}: cannot be written: {getattr(error, 'strerror', None) or error}"
    return ""


def _opened(path: Path) -> int:
    """A pipe without a reader is an error, not a wait."""
    pipe = path.exists() and stat.S_ISFIFO(path.stat().st_mode)
    number = os.open(path, os.O_WRONLY | (os.O_NONBLOCK if pipe else os.O_CREAT | os.O_TRUNC), 0o666)
    os.set_blocking(number, True)
    return number


def _junit(report: Report, at: datetime) -> bytes:
    from towline.report import junit

    return junit.xml(report, at)


def _json(report: Report, _at: datetime) -> bytes:
    from towline.report import findings_json

    return f"{findings_json.text(report)}\n".encode()


def _html(report: Report, at: datetime) -> bytes:
    from towline.report import html

    return html.page(report, at).encode()


_AS: Mapping[str, Callable[[Report, datetime], bytes]] = {"junit": _junit, "json": _json, "html": _html}
