"""What lives on the server: its paths, and the POSIX sh scripts that run there (dash and busybox both)."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def script(*names: str) -> str:
    """The text of the scripts, as it is sent: those that only hold functions first, then the one that runs.

    >>> script("follow").splitlines()[0]
    '#!/bin/sh'
    """
    return "".join(files(__name__).joinpath("scripts", f"{name}.sh").read_text() for name in names)
