"""Rows as an aligned table or as JSON, on stdout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from towline.text.printable import json_text, one_line

Row = Mapping[str, object]


def as_json(rows: Sequence[Row]) -> str:
    return json_text(rows)


def as_table(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """The columns under their names, aligned with blanks so that other programs can cut them; lists joined by commas.

    >>> print(as_table([{"name": "whoami", "needs": ["traefik"]}], ["name", "needs"]))
    NAME    NEEDS
    whoami  traefik
    """
    lines = [[name.upper() for name in columns], *([_cell(row[name]) for name in columns] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    texts = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join(text.rstrip() for text in texts)


def _cell(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return one_line(", ".join(map(str, value))) or "-"
    if isinstance(value, bool):
        return "yes" if value else "-"
    return one_line(str(value)) if value not in ("", None) else "-"
