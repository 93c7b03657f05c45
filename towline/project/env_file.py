"""The variables of a .env file, as Compose reads it."""

from __future__ import annotations

import re
from pathlib import Path

from towline.errors import SettingsError
from towline.project.variables import interpolate, variables_in


def load_env(file: Path) -> dict[str, str]:
    """The variables of a .env file that mentions SSH_HOST; of any other none, which saves the import of dotenv.

    Raises SettingsError for a file that cannot be read or is not UTF-8.
    """
    if not file.is_file():
        return {}
    try:
        text = file.read_bytes()
        return read_env(text) if b"SSH_HOST" in text else {}
    except OSError as e:
        raise SettingsError(f"{file}: cannot be read: {e.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{file}: is not UTF-8 text") from None


def read_env(text: bytes) -> dict[str, str]:
    """The variables in the bytes of a .env file, not interpolated. Raises UnicodeDecodeError."""
    import io
    import logging

    from dotenv import dotenv_values

    # Compose accepts lines that dotenv warns about; what is really wrong, Compose reports.
    logging.getLogger("dotenv").setLevel(logging.ERROR)
    values = dotenv_values(stream=io.StringIO(_with_equals(text.decode("utf-8-sig"))), interpolate=False)
    return {key: value or "" for key, value in values.items()}


_COLON = re.compile(r"\s*(?:export[^\S\n]+)?[A-Za-z_][\w.]*[^\S\n]*:")


def _with_equals(text: str) -> str:
    """The text of a .env file with `NAME: value` written as `NAME=value`: Compose reads both alike, dotenv only the latter.

    >>> _with_equals("A: 1\\nB='\\nC: 2'\\nURL:http://x?a=b\\n")
    "A= 1\\nB='\\nC: 2'\\nURL=http://x?a=b\\n"
    """
    import io

    from dotenv.parser import parse_stream

    done = 0
    while any(_COLON.match(line) for line in text[done:].splitlines()):
        for binding in parse_stream(io.StringIO(text[done:])):
            if colon := _COLON.match(binding.original.string):
                place = done + colon.end()
                text = f"{text[: place - 1]}={text[place:]}"
                break
            done += len(binding.original.string)
        else:
            break
    return text


def read_filled(file: Path) -> dict[str, str]:
    """The variables of a .env file, each filled in from those before it, as Compose reads them; none of one that is broken."""
    values: dict[str, str] = {}
    try:
        given = read_env(file.read_bytes()) if file.is_file() else {}
    except (OSError, UnicodeDecodeError):
        return values
    for name, value in given.items():
        values[name] = interpolate(value, values)
    return values


def interpolate_from(text: str, env_file: Path) -> str:
    """`text` with the variables of a .env file filled in as Compose does; unknown ones stay as they are."""
    return interpolate(text, read_filled(env_file)) if "$" in text else text


def undefined_in_values(text: str) -> list[tuple[int, str, str]]:
    """(line, variable, variable in its value that no line before it sets) of a .env: mostly a password with a dollar sign.

    >>> undefined_in_values("A=1\\nURL=$A/x\\nPASS=abc$def\\nQUOTED='abc$def'\\n")
    [(3, 'PASS', 'def')]
    """
    import io

    from dotenv.parser import parse_stream

    known: set[str] = set()
    found: list[tuple[int, str, str]] = []
    for binding in parse_stream(io.StringIO(_with_equals(text))):
        if not binding.key:
            continue
        if not binding.original.string.partition("=")[2].lstrip().startswith("'"):
            inside = sorted(variables_in(binding.value or "") - known)
            found += [(binding.original.line, binding.key, name) for name in inside]
        known.add(binding.key)
    return found
