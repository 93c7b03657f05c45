"""What a task prints: data to stdout, everything else to stderr."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def show(text: str) -> None:
    print(text, flush=True)


def show_rows(rows: Sequence[dict[str, object]], columns: Sequence[str], format: str) -> None:
    """Print the rows as JSON, or the columns as a table; the JSON has all keys. format: json or table."""
    from towline.report.tables import as_json, as_table

    show(as_json(rows) if format == "json" else as_table(rows, columns))
