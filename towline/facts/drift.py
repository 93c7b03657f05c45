"""How the live folder and the containers differ now from what the last deploy left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from towline.commands.shell import Command, script
from towline.errors import RemoteFailed
from towline.remote import DRIFT
from towline.remote import script as remote_script
from towline.ssh.session import Result


@dataclass(frozen=True)
class StaleMount:
    """A running container that still sees what `path` (in the live folder; `.`: the folder itself) was when it started."""

    service: str
    container: str
    path: str


@dataclass(frozen=True)
class DriftFact:
    """edited, missing: files of the current release, by path. All empty for a stack without a current release.

    hashes: service → the config hash that compose would give its container now. Without a service whose hash says nothing
    (`network_mode: service:x`, volumes_from), and empty when compose refuses the files as they are there.
    data: container data that is no longer what was sent: its services may change it.
    once: services that did their work and ended by themselves. kept: service → id of the image that the release runs with.
    """

    edited: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    hashes: Mapping[str, str] = field(default_factory=dict)
    stale: tuple[StaleMount, ...] = ()
    once: frozenset[str] = frozenset()
    kept: Mapping[str, str] = field(default_factory=dict)
    data: tuple[str, ...] = ()


def command(root: str, stack: str, project: str) -> Command:
    """Reads a stack's files, hashes and mounts; changes nothing."""
    return script(remote_script(*DRIFT), root, stack, project)


def parse(result: Result) -> DriftFact:
    """The fact from the result of `command()`.

    Raises RemoteFailed when docker did not answer: what is missing would look like what is as it should be.
    """
    if not result.ok:
        raise RemoteFailed(result.last_line, "see `inv test-connectivity`")
    return from_rows([line.split("\t") for line in result.out.split("\n")])


def from_rows(rows: Sequence[Sequence[str]]) -> DriftFact:
    """The fact from drift.sh's lines, each as its words; other lines are passed over."""

    def of(key: str, count: int = 1) -> list[list[str]]:
        return [words for found, *words in rows if found == key and len(words) == count]

    borrowing = {service for (service,) in of("borrows")}
    return DriftFact(
        edited=tuple(path for (path,) in of("edited")),
        missing=tuple(path for (path,) in of("missing")),
        hashes={service: value for service, value in of("hash", 2) if service not in borrowing},
        stale=tuple(StaleMount(service, container, path) for service, container, path in of("stale", 3)),
        once=frozenset(service for (service,) in of("once")),
        kept=dict(of("kept", 2)),
        data=tuple(path for (path,) in of("data")),
    )
