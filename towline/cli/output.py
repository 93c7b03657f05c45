"""What a task prints: data to stdout, everything else to stderr; all of it through towline/terminal.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from towline.errors import TowlineError
from towline.report.tables import as_table
from towline.terminal import say, show, show_json

__all__ = ["hide", "say", "say_error", "show", "show_json", "show_rows"]

_hidden: list[Callable[[str], str]] = []


def hide(redact: Callable[[str], str]) -> Callable[[str], str]:
    """From now on no error shows what `redact` blots out: docker's own words, which it may quote, can hold a secret."""
    _hidden.append(redact)
    return redact


def say_error(error: TowlineError) -> None:
    """The line of an error, and its hint."""
    text = f"error: {error}"
    for redact in _hidden:
        text = redact(text)
    say(text)


def show_rows(rows: Sequence[dict[str, object]], columns: Sequence[str], format: str) -> None:
    """Print the rows as JSON, or the columns as a table; the JSON has all keys. format: json or table."""
    if format == "json":
        show_json(rows)
    else:
        show(as_table(rows, columns))
