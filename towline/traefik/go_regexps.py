"""Whether a Go regular expression matches a text, where that can be determined: Python's syntax differs, and can hang.

Only what both read alike is tried: letters, escaped characters, \\d \\w \\s, sets, groups, ^ $ | ? and at most one * or +, so
that no text takes long. For anything else the answer is undetermined.
"""

from __future__ import annotations

import re

LONGEST = 300  # characters of pattern, and of text
MOST_CHOICES = 8  # | and ?, of which each may double the time

_ALIKE = re.compile(
    r"(?:\(\?i\))?"
    r"(?:[\w/%@~:,;=&!#'<>\" -]|\\[./dws\-+*?$^|(){}\[\]\\]|[.^$|)]|\((?!\?)|\(\?:|\[\^?[^\[\]\\&~|]+\]|[?*+](?![?*+]))*",
    re.ASCII,
)
_LITERAL = re.compile(r"(?:\(\?i\))?\^((?:[\w/-]|\\[./-])+)\$", re.ASCII)


def matches(pattern: str, text: str) -> bool | None:
    """Whether Go's regexp.MatchString(pattern, text) is true; None: undetermined.

    >>> matches(r"^/(api|v1)/", "/api/x"), matches(r"^/api", "/"), matches(r"\\p{Greek}", "x")
    (True, False, None)
    """
    if len(pattern) > LONGEST or len(text) > LONGEST or "\n" in text or not _alike(pattern):
        return None
    try:
        return bool(re.search(pattern, text, re.ASCII))
    except (re.error, RecursionError, OverflowError):
        return None


def _alike(pattern: str) -> bool:
    repeated = len(re.findall(r"[*+]", pattern))
    choices = len(re.findall(r"[|?]", pattern))
    few = repeated <= 1 and choices <= MOST_CHOICES and not re.search(r"\)[*+]", pattern)
    return few and bool(_ALIKE.fullmatch(pattern))


def is_open(pattern: str) -> bool:
    """Whether a bracket of the pattern is never closed or never opened, so that Go refuses it as Python does."""
    if not _ALIKE.fullmatch(pattern):
        return False
    depth = 0
    for character in re.sub(r"\\.|\[[^\]]*\]", "", pattern):
        depth += (character == "(") - (character == ")")
        if depth < 0:
            return True
    return depth > 0


def literal(pattern: str) -> str | None:
    """The only text that a pattern such as `^example\\.com$` matches; None: there are several, or it is undetermined."""
    match = _LITERAL.fullmatch(pattern)
    return match[1].replace("\\", "") if match else None
