"""The server's side: its paths, and the POSIX sh scripts that run there, under dash and busybox."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from towline.commands.shell import LIMIT

# what drift and survey are sent behind
COMPARISON = ("limit", "current", "containers", "live_files", "comparison")
DRIFT = ("login_env", *COMPARISON, "drift")
# what runner sources; it lies beside them
SOURCED = (
    "limit",
    "saving",
    "containers",
    "live_files",
    "runs",
    "lock",
    "current",
    "kept_images",
    "manifests",
    "placing",
    "live",
    "engine",
    "health",
    "up",
    "downtime",
    "roll",
    "releases",
    "made_again",
    "release_zero",
    "bring_data",
)


@cache
def script(*names: str) -> str:
    """The text of the scripts, concatenated in the given order: those that only define functions come first.

    `limit` is none of the files: it is what every command with a time limit is sent with.

    >>> script("follow").splitlines()[0]
    '#!/bin/sh'
    """
    folder = files(__name__).joinpath("scripts")
    return "".join(LIMIT if name == "limit" else folder.joinpath(f"{name}.sh").read_text() for name in names)
