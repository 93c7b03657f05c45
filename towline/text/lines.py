"""Output and file contents as text. Pure."""

from __future__ import annotations


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
