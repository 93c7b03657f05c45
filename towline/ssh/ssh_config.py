"""~/.ssh/config as Paramiko reads it, where there is no OpenSSH client; what is wrong in it is one line with file and number."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path

from paramiko.config import SSHConfig

from towline.errors import SettingsError

FILES = ("~/.ssh/config", "/etc/ssh/ssh_config")
_NUMBERS = ("port", "connecttimeout", "canonicalizemaxdots")


def load_ssh_config() -> SSHConfig:
    """The user's and the system's settings, in this order. Raises SettingsError."""
    config = SSHConfig()
    for name in FILES:
        text = _read(name)
        try:
            config.parse(io.StringIO(text))
        except Exception as error:  # paramiko raises what its parts raise
            raise _problem(name, text, error) from None
    return config


def _read(name: str) -> str:
    file = Path(os.path.expanduser(name))  # noqa: PTH111  # Path's raises without a home
    try:
        return file.read_bytes().decode("utf-8-sig", errors="surrogateescape") if file.is_file() else ""
    except OSError as error:
        raise SettingsError(f"{name}: cannot be read: {error.strerror}") from None


def find_problem(error: Exception, otherwise: str = "") -> SettingsError:
    """The error for one that was raised when the settings were used: the line that it comes from, else the text `otherwise`."""
    for name in FILES:
        text = _read(name)
        for number, line in enumerate(text.splitlines(), 1):
            wrong = _wrong(line)
            if wrong:
                return SettingsError(f"{name}:{number}: {line.strip()!r}: {wrong}")
    return SettingsError(otherwise or f"~/.ssh/config: cannot be used: {_reason(error)}")


def _wrong(line: str) -> str:
    """Why the value of a line cannot be used; '' when it can, or when another reason may be found."""
    found = re.match(r"\s*(\w+)(?:\s*=\s*|\s+)(.*?)\s*$", line)
    if not found:
        return ""
    key, value = found[1].lower(), found[2].strip('"')
    if key in _NUMBERS and not value.isdecimal() and value.lower() != "none":
        return "expected a number"
    return "a quote is not closed" if found[2].count('"') % 2 else ""


def _problem(name: str, text: str, error: Exception) -> SettingsError:
    for number, line in enumerate(text.splitlines(), 1):
        try:
            SSHConfig.from_text(line)
        except Exception as wrong:
            return SettingsError(f"{name}:{number}: {line.strip()!r} cannot be read ({_reason(wrong)})")
    return SettingsError(f"{name}: cannot be read ({_reason(error)})")


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
