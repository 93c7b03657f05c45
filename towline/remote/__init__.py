"""The server's side: its paths, and the POSIX sh scripts that run there, under dash and busybox."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

# what drift and survey are sent behind
COMPARISON = ("current", "containers", "live_files", "comparison")
# what runner sources; it lies beside them
SOURCED = (
    "saving",
    "containers",
    "live_files",
    "runs",
    "current",
    "manifests",
    "placing",
    "live",
    "engine",
    "health",
    "downtime",
    "roll",
    "releases",
    "release_zero",
    "bring_data",
)


@cache
def script(*names: str) -> str:
    """The text of the scripts, concatenated in the given order: those that only define functions come first.

    >>> script("follow").splitlines()[0]
    '#!/bin/sh'
    """
    return "".join(files(__name__).joinpath("scripts", f"{name}.sh").read_text() for name in names)
