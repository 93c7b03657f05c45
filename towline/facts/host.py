"""The machine itself, from host.sh, and its file systems, from survey.sh."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from towline.commands.shell import Command, script
from towline.remote import script as remote_script
from towline.ssh.session import Result


@dataclass(frozen=True)
class HostFact:
    """now: seconds since 1970 there. memory, memory_free in bytes. load: of 1, 5 and 15 minutes. reboot: no, yes (a package asks
    for it) or kernel (the running one's modules are gone). max_sessions 0 and max_startups '': sshd's settings cannot be read.
    """

    now: float
    user: str
    os: str
    kernel: str
    uptime: float
    cpus: int
    load: tuple[float, float, float]
    memory: int
    memory_free: int
    reboot: str = "no"
    max_sessions: int = 0
    max_startups: str = ""


@dataclass(frozen=True)
class FileSystem:
    """Bytes and inodes; inodes 0: it has no fixed number of them. path: the shortest of the given paths that is on it."""

    path: str
    size: int
    free: int
    inodes: int
    inodes_free: int


def command() -> Command:
    return script(remote_script("host"))


def parse(result: Result) -> HostFact:
    """The fact from the result of `command()`; what is unknown is 0 or ''. Raises ValueError for what is no JSON."""
    told: dict[str, Any] = json.loads(result.out)
    load = [*told.get("load", ()), 0.0, 0.0, 0.0][:3]
    return HostFact(
        now=float(told.get("now") or 0),
        user=told.get("user", ""),
        os=told.get("os", ""),
        kernel=told.get("kernel", ""),
        uptime=float(told.get("uptime", 0)),
        cpus=int(told.get("cpus", 0)) or 1,
        load=(load[0], load[1], load[2]),
        memory=int(told.get("memory", 0)),
        memory_free=int(told.get("memory_free", 0)),
        reboot=told.get("reboot", "no"),
        max_sessions=int(told.get("max_sessions", 0)),
        max_startups=told.get("max_startups", ""),
    )


def file_systems(rows: list[list[str]]) -> tuple[FileSystem, ...]:
    """One for each file system out of survey.sh's `disk` lines, by its shortest path.

    >>> file_systems([["/srv", "4096", "100", "50", "0", "0", "a1"], ["/", "4096", "100", "50", "0", "0", "a1"]])
    (FileSystem(path='/', size=409600, free=204800, inodes=0, inodes_free=0),)
    """
    found: dict[tuple[str, ...], FileSystem] = {}
    for path, block, size, free, inodes, inodes_free, name in sorted(rows, key=lambda row: (len(row[0]), row[0])):
        of = FileSystem(path, int(block) * int(size), int(block) * int(free), int(inodes), int(inodes_free))
        found.setdefault((name, size, inodes), of)
    return tuple(one for one in found.values() if one.size)
