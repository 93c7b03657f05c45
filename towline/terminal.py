"""The one way to stdout and stderr: whatever is written there is made printable first, whoever it comes from.

No other module writes to them; report/console.py, for what has colours, goes through the same streams.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import sys
from typing import Any

from towline.text.printable import json_text, printable

# What towline itself writes, for a terminal whose encoding has no such character.
_PLAIN = {
    "✓": "+",
    "✗": "x",
    "■": "#",
    "≠": "!=",
    "≈": "~",
    "·": "-",
    "–": "-",
    "…": "...",
    "│": "|",
    "→": "->",
    "↩": "<-",
}


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_PLAIN.get(letter, "?") for letter in error.object[error.start : error.end]), error.end


codecs.register_error("towline.plain", _plain)


class Stream:
    """sys.stdout or sys.stderr, whatever stands there when it is written to.

    It may be closed, its reader may be gone, its disk may be full, its encoding may lack characters: none of that ends the program.
    lost: why something could not be written, '' when all was, or when its reader did not want it.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self.lost = ""

    @property
    def _file(self) -> Any:
        file = getattr(sys, self._name)
        # While a live line is shown Rich puts a proxy there, which prints to the console, which writes here
        return getattr(file, "rich_proxied_file", file)

    @property
    def encoding(self) -> str:
        return getattr(self._file, "encoding", None) or "utf-8"

    @property
    def is_unicode(self) -> bool:
        return codecs.lookup(self.encoding).name.startswith("utf")

    def isatty(self) -> bool:
        try:
            return bool(self._file.isatty())
        except (AttributeError, ValueError, OSError):
            return False

    def fileno(self) -> int:
        number: int = self._file.fileno()
        return number

    def write(self, text: str) -> int:
        if not self.is_unicode:
            text = text.encode(self.encoding, "towline.plain").decode(self.encoding)
        self._try("write", text)
        return len(text)

    def flush(self) -> None:
        self._try("flush")

    def _try(self, method: str, *words: str) -> None:
        if self._file is None:
            return
        try:
            getattr(self._file, method)(*words)
        except (OSError, ValueError) as error:
            self.lose(error)

    def lose(self, error: OSError | ValueError) -> None:
        """From now on nothing is written; the interpreter's last flush finds nothing to complain about either."""
        if not isinstance(error, BrokenPipeError):
            self.lost = getattr(error, "strerror", None) or str(error)
        with contextlib.suppress(OSError, ValueError, AttributeError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.fileno())
            os.close(null)


STDOUT, STDERR = Stream("stdout"), Stream("stderr")


def say(text: str) -> None:
    """A line to stderr, for people."""
    _print(text, STDERR)


def show(text: str) -> None:
    """A line to stdout: what was asked for."""
    _print(text, STDOUT)


def show_json(value: object) -> None:
    """A value to stdout as JSON, valid in whatever encoding stdout has."""
    STDOUT.write(json_text(value, ascii_only=not STDOUT.is_unicode) + "\n")
    STDOUT.flush()


def tell_lost() -> bool:
    """Whether something for stdout was lost, which is told once."""
    lost, STDOUT.lost = STDOUT.lost, ""
    if lost:
        say(f"error: the output could not be written: {lost}")
    return bool(lost)


def can_ask() -> bool:
    """Whether there is a person to ask: both stdin and stderr are a terminal."""
    return sys.stdin is not None and sys.stdin.isatty() and STDERR.isatty()


def _print(text: str, stream: Stream) -> None:
    stream.write(printable(text) + "\n")
    stream.flush()
