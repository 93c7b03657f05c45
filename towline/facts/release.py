"""What a release on the server holds."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from towline.bundle.manifest import Manifest, parse_manifest
from towline.commands.shell import Command, script
from towline.errors import TowlineError
from towline.facts.compose_model import Model, parse_model
from towline.remote import script as remote_script
from towline.remote.paths import StackPaths
from towline.ssh.connection import ANSWER_WITHIN, Connection
from towline.ssh.session import Result

T = TypeVar("T")


@dataclass(frozen=True)
class ReleaseFiles:
    """model: as compose rendered it when the release was deployed. Each None where the server has none, or a broken one."""

    manifest: Manifest | None = None
    model: Model | None = None
    broken_model: bool = False


# $1 the stack's state folder, $2 a release, '' for the live one, $3 a file of it: its content, compressed; nothing without it
_FILE = 'file=$1/releases/${2:-$(current_release "$1")}/$3; [ ! -s "$file" ] || gzip -c "$file"'


def commands(paths: StackPaths, release: str = "") -> tuple[Command, Command]:
    """Its manifest and its model, compressed; without a name those of the live release."""
    text = remote_script("current") + _FILE
    return script(text, paths.home, release, "manifest"), script(text, paths.home, release, "model")


def parse(results: list[Result]) -> ReleaseFiles:
    """The fact from the results of `commands()`, in their order."""
    manifest, model = results
    parsed = _parsed(model, parse_model)
    return ReleaseFiles(_parsed(manifest, parse_manifest), parsed, broken_model=bool(model.stdout) and parsed is None)


def _parsed(result: Result, parser: Callable[[str], T]) -> T | None:
    """None for an empty file and for one that holds something else: a full disk or a power cut leaves such."""
    try:
        return parser(_unpacked(result)) if result.stdout else None
    except (TowlineError, ValueError, OSError, EOFError, zlib.error, RecursionError):
        return None


def read_release(connection: Connection, paths: StackPaths, release: str) -> ReleaseFiles:
    """One session."""
    return parse(connection.batch(commands(paths, release), parallel=True, timeout=ANSWER_WITHIN, name="release"))


def _unpacked(result: Result) -> str:
    return gzip.decompress(result.stdout).decode(errors="replace") if result.stdout else ""
