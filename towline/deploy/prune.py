"""Free disk space on a host: releases that no rollback needs, the tags of their images, the build cache."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from towline.commands import docker
from towline.commands.shell import script
from towline.deploy.upload import sender
from towline.errors import LockHeld, RemoteFailed
from towline.project.stack import Stack
from towline.remote import script as remote_script
from towline.ssh.connection import Connection

PRUNE_WITHIN = 1800  # seconds for the releases of a stack, and for the build cache


@dataclass(frozen=True)
class Pruned:
    """releases: (stack, id) pairs; bytes: what their files took; cache: the size of the build cache, as docker writes it."""

    releases: tuple[tuple[str, str], ...]
    bytes: int
    cache: str


def prune(connection: Connection, stacks: Sequence[Stack], *, really: bool) -> Pruned:
    """What was freed, or with really=False would be. One session. Raises LockHeld while one of the stacks is being deployed."""
    answer, text = "yes" if really else "no", remote_script("runs", "lock", "current", "kept_images", "prune")
    commands = [
        docker.disk_use(),
        *(script(text, connection.host.root, stack.name, stack.project, answer, sender()) for stack in stacks),
        *([docker.prune_cache()] if really else []),
    ]
    use, *pruned = connection.batch(commands, timeout=PRUNE_WITHIN, name="prune")
    releases, size = [], 0
    for stack, result in zip(stacks, pruned, strict=False):
        if result.code == LockHeld.exit_code:
            raise LockHeld(f"{stack.name}: {result.err.strip()}", "prune again when it has ended")
        if not result.ok:
            raise RemoteFailed(f"{stack.name}: {result.last_line}")
        for release, kilobytes in _releases(result.out):
            releases.append((stack.name, release))
            size += kilobytes * 1024
    return Pruned(tuple(releases), size, _cache(use.out))


def _releases(text: str) -> list[tuple[str, int]]:
    """Id and kilobytes of each, 0 where du did not tell.

    >>> _releases("release r1 12\\nrelease a folder somebody put there 4\\nrelease r2 \\n")
    [('r1', 12), ('a folder somebody put there', 4), ('r2', 0)]
    """
    found = re.finditer(r"^release (.*) (\d*)$", text, re.MULTILINE)
    return [(match[1], int(match[2] or 0)) for match in found]


def _cache(text: str) -> str:
    """The reclaimable build cache in `docker system df --format '{{json .}}'`.

    >>> _cache('{"Type":"Images","Reclaimable":"1GB"}\\n{"Type":"Build Cache","Reclaimable":"12MB"}\\n')
    '12MB'
    """
    try:
        rows = [json.loads(line) for line in text.splitlines() if line.strip()]
        return next((str(row["Reclaimable"]) for row in rows if row["Type"] == "Build Cache"), "0B")
    except (ValueError, KeyError, TypeError):
        return "0B"
