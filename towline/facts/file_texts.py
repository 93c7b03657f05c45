"""Text files of a release on the server, to be compared with those of the working tree."""

from __future__ import annotations

from collections.abc import Iterable

from towline.bundle.manifest import Entry
from towline.remote.paths import StackPaths
from towline.ssh.connection import ANSWER_WITHIN, Connection
from towline.text.lines import as_text

LARGEST = 256 << 10  # bytes; larger files are not compared
MOST = 50  # files


def read_texts(connection: Connection, paths: StackPaths, release: str, entries: Iterable[Entry]) -> dict[str, str]:
    """Path → text, of those entries that are small and text. One session; none when there is nothing to read.

    release: '' for the live folder.
    """
    wanted = [entry.path for entry in entries if entry.kind == "f" and entry.size <= LARGEST][:MOST]
    if not wanted:
        return {}
    folder = f"{paths.release(release)}/files" if release else paths.live
    commands = [("cat", "--", f"{folder}/{path}") for path in wanted]
    results = connection.batch(commands, timeout=ANSWER_WITHIN, name="texts")
    texts = {path: as_text(result.stdout) for path, result in zip(wanted, results, strict=True) if result.ok}
    return {path: text for path, text in texts.items() if text is not None}
