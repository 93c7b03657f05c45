"""What a release on the server holds."""

from __future__ import annotations

import gzip
from dataclasses import dataclass

from towline.bundle.manifest import Manifest, parse_manifest
from towline.commands.shell import Command, script
from towline.facts.compose_model import Model, parse_model
from towline.remote.paths import StackPaths
from towline.ssh.connection import ANSWER_WITHIN, Connection
from towline.ssh.session import Result


@dataclass(frozen=True)
class ReleaseFiles:
    """model: as compose rendered it when the release was deployed. Each None where the server has none."""

    manifest: Manifest | None = None
    model: Model | None = None


# $1 the stack's state folder, $2 a release, '' for the live one, $3 a file of it: its content, compressed; nothing without it
_FILE = 'file=$1/releases/${2:-$(cat "$1/current")}/$3; [ ! -s "$file" ] || gzip -c "$file"'


def commands(paths: StackPaths, release: str = "") -> tuple[Command, Command]:
    """Its manifest and its model, compressed; without a name those of the live release."""
    return script(_FILE, paths.home, release, "manifest"), script(_FILE, paths.home, release, "model")


def parse(results: list[Result]) -> ReleaseFiles:
    """The fact from the results of `commands()`, in their order. Raises TowlineError for a model that is none."""
    manifest, model = results
    return ReleaseFiles(
        parse_manifest(_unpacked(manifest)) if manifest.stdout else None,
        parse_model(_unpacked(model)) if model.stdout else None,
    )


def read_release(connection: Connection, paths: StackPaths, release: str) -> ReleaseFiles:
    """One session."""
    return parse(connection.batch(commands(paths, release), parallel=True, timeout=ANSWER_WITHIN, name="release"))


def _unpacked(result: Result) -> str:
    return gzip.decompress(result.stdout).decode()
