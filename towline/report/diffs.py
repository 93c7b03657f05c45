"""What changed in the files of a plan: a line per file, and the text itself."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping

from towline.bundle.manifest import Changes, Entry
from towline.facts.file_texts import LARGEST, as_text
from towline.text import limit

MOST = 30  # files named


def file_lines(changes: Changes, before: Mapping[str, str]) -> list[str]:
    """`+ path`, `~ path +2 -1` and `- path`, at most 30. before: path → text on the server, as far as it was read."""
    lines = [
        *(f"+ {entry.path}" for entry in changes.added),
        *(f"~ {entry.path}{_counts(entry, before)}" for entry in changes.changed),
        *(f"- {entry.path}" for entry in changes.removed),
    ]
    shown, more = limit(lines, MOST)
    return [*shown, f"… {more} files"] if more else shown


def _counts(entry: Entry, before: Mapping[str, str]) -> str:
    lines = list(_diff(entry, before))
    plus = sum(line.startswith("+") for line in lines[2:])
    minus = sum(line.startswith("-") for line in lines[2:])
    return f" +{plus} -{minus}" if lines else ""


def text_lines(changes: Changes, before: Mapping[str, str]) -> Iterator[str]:
    """The unified diff of every changed text file."""
    for entry in changes.changed:
        yield from _diff(entry, before)


def _diff(entry: Entry, before: Mapping[str, str]) -> Iterator[str]:
    if entry.path not in before or entry.kind != "f" or entry.size > LARGEST:
        return
    now = as_text(entry.source.read_bytes())
    if now is not None:
        old, new = before[entry.path].splitlines(), now.splitlines()
        yield from difflib.unified_diff(old, new, f"there/{entry.path}", f"here/{entry.path}", lineterm="")
