"""What lives on the server: its paths, and the POSIX sh scripts that run there (dash and busybox both)."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def script(name: str) -> str:
    """The text of the script `name`, as it is sent.

    >>> script("follow").splitlines()[0]
    '#!/bin/sh'
    """
    return files(__name__).joinpath("scripts", f"{name}.sh").read_text()
