"""The id of a declared check without a `name`: what is written for it, without values that may be secret. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

LONGEST = 80  # characters
_VARIABLE = re.compile(r"\$\$|\$\{(\w+)[^}]*\}|\$(\w+)")
_TELLING = r"(?:pass|pwd|secret|token|api_?-?key|credential|private)"
# What may be secret in a command line or a URL, and what stays of it. A variable stays: its name is no secret.
_VALUES = (
    (r"(?<=://)[^/\s@'\"]*@", ""),  # user:password@
    (r"([?&][^=&\s#'\"]+=)(?!\$\w+(?:[&\s#'\"]|$))[^&\s#'\"]*", r"\1"),  # ?name=value
    (rf"(?i)([\w-]*{_TELLING}[\w-]*=['\"]?)(?!\$)[^\s'\"&]+", r"\1"),  # PASSWORD=value, --password=value
    (rf"(?i)(--[\w-]*{_TELLING}[\w-]*\s+['\"]?)(?![-$])[^\s'\"]+", r"\1"),  # --password value
    (r"(?i)\b((?:bearer|basic)\s+)(?!\$)[^\s'\"]+", r"\1"),  # Authorization: Bearer value
    (r"(\s(?:-u|--user)[ =]?['\"]?[^\s:'\"]+):(?!\$)[^\s'\"]+", r"\1"),  # --user name:value
)


def default_name(kind: str, keys: Mapping[str, object]) -> str:
    """The name of a check of that kind from its keys, as they are before variables are filled in.

    >>> default_name("http", {"http": "https://ann:pw@${HOST:-x}/health?key=abc&full=$FULL"})
    'http.https://$HOST/health-key=&full=$FULL'
    >>> default_name("command", {"command": "curl -u ann:${PASS} http://web/ | grep ok"})
    'command.curl--u-ann:$PASS-http://web/-|-grep-ok'
    """
    given = keys.get(kind)
    text = " ".join(map(str, given)) if isinstance(given, list) else str(given)
    if kind == "http" and keys.get("route"):
        text = f"{keys['route']}{text}"
    text = _VARIABLE.sub(lambda match: f"${match[1] or match[2] or ''}", text)
    for pattern, kept in _VALUES:
        text = re.sub(pattern, kept, text)
    return short_name(f"{kind}.{text}")


def short_name(text: str) -> str:
    """Fit for an id: without blanks, control characters and the letters of patterns, and not long."""
    short = re.sub(r"[\s\0-\x1f\x7f*?\[\]]+", "-", text)
    return short if len(short) <= LONGEST else f"{short[: LONGEST - 1]}…"


def numbered(name: str, taken: Mapping[str, object]) -> str:
    """The name, with a number behind it when it is taken."""
    candidates = (name, *(f"{name[: LONGEST - 4]}-{number}" for number in range(2, len(taken) + 3)))
    return next(candidate for candidate in candidates if candidate not in taken)
