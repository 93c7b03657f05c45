"""Sizes, counts and long lists as text for people. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def size_text(size: float) -> str:
    """Bytes, in powers of 1024.

    >>> size_text(0), size_text(62_000), size_text(3_500_000)
    ('0 B', '61 KB', '3.3 MB')
    """
    if size < 1024:
        return f"{int(size)} B"
    for unit in ("KB", "MB", "GB"):
        size /= 1024
        if size < 1024:
            return f"{size:.0f} {unit}" if size >= 10 else f"{size:.1f} {unit}"
    return f"{size / 1024:.1f} TB"


def count_text(number: int, noun: str) -> str:
    """
    >>> count_text(1, "login"), count_text(2, "login")
    ('1 login', '2 logins')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def limit(items: Sequence[str], most: int) -> tuple[list[str], str]:
    """The first `most` items, and how many are left out; '' when none is.

    >>> limit(["a", "b", "c"], 2), limit(["a", "b"], 2)
    ((['a', 'b'], 'and 1 more'), (['a', 'b'], ''))
    """
    more = len(items) - most
    return list(items[:most]), f"and {more} more" if more > 0 else ""


def comma_list(items: Iterable[str], most: int = 5) -> str:
    """
    >>> comma_list(["a", "b"]), comma_list(["a", "b", "c"], 1)
    ('a, b', 'a and 2 more')
    """
    shown, more = limit(list(items), most)
    return f"{', '.join(shown)} {more}" if more else ", ".join(shown)
