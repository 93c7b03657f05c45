"""Text from elsewhere made fit to print: on a terminal, in XML and in a page it can do nothing but be read. Pure."""

from __future__ import annotations

import json
import re

# ECMA-48: control sequences, then strings that a terminal takes for its title, its clipboard or a link, then the short ones.
# A string without an end takes nothing with it but its first two characters.
_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[ -/]*[0-~]"
)
# What XML 1.0 forbids, and the control characters that it only advises against. Source: XML 1.0, 2.2 Characters
_CONTROLS = r"\0-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff"
# What shows as nothing or turns the text around: Unicode's Default_Ignorable_Code_Point and Bidi_Control without the variation
# selectors, which emoji have, and the separators of lines and paragraphs.
_UNSEEN = (
    r"\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0"
    r"\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_FORBIDDEN = re.compile(f"[{_CONTROLS}{_UNSEEN}]")
_CARRIED = re.compile(f"[{_CONTROLS}{_UNSEEN}\ufffd]")
REPLACEMENT = "\ufffd"


def printable(text: str) -> str:
    r"""Colours and other escape sequences are taken out, line ends made \n; a character that may not be shown becomes �.

    >>> printable("\x1b[31mred\x1b[0m\r\nbell \x07, turned \u202eround")
    'red\nbell �, turned �round'
    """
    if text.isascii() and text.isprintable():
        return text
    lines = _ESCAPES.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    return _FORBIDDEN.sub(REPLACEMENT, lines)


def one_line(text: str) -> str:
    r"""The same without line ends and tabs: a blank for each.

    >>> one_line("a\n\tb")
    'a  b'
    """
    return printable(text).replace("\n", " ").replace("\t", " ")


def unseen_left_out(text: str) -> tuple[str, list[int]]:
    r"""What of a text is to be seen in one line, line ends left out too, and where each character of it stands in the text.

    >>> unseen_left_out("a\x08b\nc")
    ('abc', [0, 2, 4])
    """
    skipped = {at for match in _ESCAPES.finditer(text) for at in range(*match.span())}
    kept = [at for at, letter in enumerate(text) if at not in skipped and not _left_out(letter)]
    return "".join(text[at] for at in kept), kept


def _left_out(letter: str) -> bool:
    return letter == "\n" or bool(_CARRIED.match(letter))


def json_text(value: object, *, ascii_only: bool = False) -> str:
    r"""A value as JSON: whatever bytes its texts held, what may not be shown is escaped, so nothing of it is lost.

    >>> json_text(["\u202e", "\ud800", "é"]).split()
    ['[', '"\\u202e",', '"\\ud800",', '"é"', ']']
    """
    return _FORBIDDEN.sub(_escaped, json.dumps(value, indent=2, ensure_ascii=ascii_only))


def _escaped(match: re.Match[str]) -> str:
    return json.dumps(match[0])[1:-1] if match[0] != "\x7f" else "\\u007f"
