"""The paths on the server, and the POSIX sh scripts that run there (under dash and BusyBox)."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

# what drift and survey are sent behind
COMPARISON = ("containers", "live_files", "comparison")
# what runner sources; it lies beside them
SOURCED = ("containers", "live_files", "runs", "live", "engine", "roll", "releases")


@cache
def script(*names: str) -> str:
    """The text of scripts, one behind the other: those that only hold functions first, then the one that runs.

    Each is `scripts/NAME.sh`; its header says which ones it is sent behind, what it reads, and the format of what it prints.

    >>> script("follow").splitlines()[0]
    '#!/bin/sh'
    """
    return "".join(files(__name__).joinpath("scripts", f"{name}.sh").read_text() for name in names)
