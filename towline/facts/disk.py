"""Free space where releases and images go."""

from __future__ import annotations

from dataclasses import dataclass

from towline.commands.shell import Command, script
from towline.ssh.session import Result

_FREE = """
d=$1; while [ ! -d "$d" ]; do case $d in */*) d=${d%/*} ;; *) d=. ;; esac; [ -n "$d" ] || d=/; done
df -Pk "$d" | tail -n 1
e=$(docker info --format '{{.DockerRootDir}}'); [ -d "$e" ] || e=/
df -Pk "$e" | tail -n 1
"""


@dataclass(frozen=True)
class DiskFact:
    """Bytes free for the releases and for the engine's images; shared: both are on one file system."""

    root: int
    engine: int
    shared: bool


def command(root: str) -> Command:
    return script(_FREE, root)


def parse(result: Result) -> DiskFact | None:
    """The fact from `command()`; None when df did not tell (then nothing is held against it)."""
    rows = [line.split() for line in result.out.strip().splitlines()]
    if len(rows) != 2 or any(len(row) < 6 for row in rows):
        return None
    root, engine = rows
    return DiskFact(int(root[3]) * 1024, int(engine[3]) * 1024, root[0] == engine[0])
