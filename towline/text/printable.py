"""Text from the server made fit to print: on a terminal, in XML and in a page it can do nothing but be read."""

from __future__ import annotations

import re

# ECMA-48: control sequences, then strings that a terminal takes for its title or a link, then the short ones
_ESCAPES = re.compile(r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]")
# All that XML 1.0 forbids, and the control characters that it only advises against. Source: XML 1.0, 2.2 Characters
_FORBIDDEN = re.compile(r"[^\t\n\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def printable(text: str) -> str:
    r"""Colours and other escape sequences are taken out, line ends made \n; a character that may not be shown becomes �.

    >>> printable("\x1b[31mred\x1b[0m\r\nbell \x07")
    'red\nbell �'
    """
    lines = _ESCAPES.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    return _FORBIDDEN.sub("\ufffd", lines)
