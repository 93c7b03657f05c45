"""What a host has where services keep their data: of the paths that a release would bring there, and of their folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from towline.commands.shell import Command, script
from towline.errors import RemoteFailed
from towline.remote import script as remote_script
from towline.ssh.connection import ANSWER_WITHIN, Connection
from towline.ssh.session import Result


@dataclass(frozen=True)
class Question:
    """paths: what would be sent. folders: those that it lies in, as far as services write there. known: what a release brought."""

    paths: Sequence[str]
    folders: Sequence[str]
    known: Sequence[str]

    @property
    def rows(self) -> str:
        kinds = {"path": self.paths, "folder": self.folders, "known": self.known}
        return "".join(f"{kind}\t{path}\n" for kind, paths in kinds.items() for path in paths)


@dataclass(frozen=True)
class DataFact:
    """there: paths that exist. folders: folder that exists → whether it has something that no release brought."""

    there: frozenset[str] = frozenset()
    folders: Mapping[str, bool] = field(default_factory=dict)


def command(live: str) -> Command:
    """Looks in the `live` folder; the question's rows come on stdin."""
    return script(remote_script("container_data"), live)


def parse(result: Result) -> DataFact:
    if not result.ok:
        raise RemoteFailed(f"the data of the stack's services could not be looked at: {result.last_line}")
    rows = [line.partition("\t") for line in result.out.splitlines()]
    there = frozenset(path for kind, _, path in rows if kind == "there")
    folders = {path: False for kind, _, path in rows if kind == "folder"}
    return DataFact(there, folders | {path: True for kind, _, path in rows if kind == "used"})


def read_container_data(connection: Connection, live: str, question: Question) -> DataFact:
    """One session; nothing is changed. Raises RemoteFailed."""
    stream = iter([question.rows.encode()])
    return parse(connection.upload(stream, command(live), "container data", ANSWER_WITHIN))
