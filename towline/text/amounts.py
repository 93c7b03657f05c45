"""Values as text for people: sizes, counts, the beginning of a long list, the end of an output. Pure."""

from __future__ import annotations

from collections.abc import Sequence


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


def last_lines(text: str, most: int) -> list[str]:
    """The last `most` lines that are not blank.

    >>> last_lines("a\\n\\nb\\n  c \\n", 2)
    ['b', 'c']
    """
    return [line.strip() for line in text.splitlines() if line.strip()][-most:]


def as_text(content: bytes) -> str | None:
    """The text, None for what is not UTF-8 text.

    >>> as_text(b"caf\\xc3\\xa9"), as_text(b"caf\\xe9"), as_text(b"\\0")
    ('café', None, None)
    """
    if b"\0" in content:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None
