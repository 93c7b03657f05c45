"""Free space where releases and images go."""

from __future__ import annotations

from dataclasses import dataclass

from towline.commands.shell import Command, script
from towline.facts import engine_api
from towline.ssh.session import Result

# $1 the root, or the nearest parent of it that exists: the line of `df -Pk` for it, and that for the engine's own folder. $2…: asks
# the engine for that
_FREE = """
folder=$1
shift
while [ ! -d "$folder" ]; do
    case $folder in */*) folder=${folder%/*} ;; *) folder=. ;; esac
    [ -n "$folder" ] || folder=/
done
df -Pk "$folder" | tail -n 1
engine=$("$@" | sed -n 's/.*"DockerRootDir":"\\([^"\\]*\\)".*/\\1/p')
[ -d "$engine" ] || engine=/
df -Pk "$engine" | tail -n 1
"""


@dataclass(frozen=True)
class DiskFact:
    """Bytes free for the releases and for the engine's images; shared: both are on one file system."""

    root: int
    engine: int
    shared: bool


def command(root: str) -> Command:
    return script(_FREE, root, *engine_api.command("/info"))


def parse(result: Result) -> DiskFact | None:
    """The fact from `command()`; None when df did not tell (then nothing is held against it)."""
    rows = [line.split() for line in result.out.strip().splitlines()]
    if len(rows) != 2 or any(len(row) < 6 or not row[3].isdecimal() for row in rows):
        return None
    root, engine = rows
    return DiskFact(int(root[3]) * 1024, int(engine[3]) * 1024, root[0] == engine[0])
