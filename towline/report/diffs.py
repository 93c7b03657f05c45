"""What changed in the files of a plan: a line per file, and the text itself. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence

from towline.bundle.manifest import Changes
from towline.text.amounts import limit

MOST_FILES = 30
Diffs = Mapping[str, Sequence[str]]


def unified_diffs(before: Mapping[str, str], after: Mapping[str, str]) -> Diffs:
    """Path → the lines of the unified diff, of every file whose text is known on both sides. Both map path → text."""
    return {path: list(_diff(path, before[path], after[path])) for path in before if path in after}


def _diff(path: str, before: str, after: str) -> Iterator[str]:
    names = (f"there/{path}", f"here/{path}")
    return difflib.unified_diff(before.splitlines(), after.splitlines(), *names, lineterm="")


def file_lines(changes: Changes, diffs: Diffs) -> list[str]:
    """`+ path`, `~ path +2 -1` and `- path`, at most 30."""
    lines = [
        *(f"+ {entry.path}" for entry in changes.added),
        *(f"~ {entry.path}{_counts(diffs.get(entry.path, ()))}" for entry in changes.changed),
        *(f"- {entry.path}" for entry in changes.removed),
    ]
    shown, more = limit(lines, MOST_FILES)
    return [*shown, f"… {more} files"] if more else shown


def _counts(diff: Sequence[str]) -> str:
    plus = sum(line.startswith("+") for line in diff[2:])
    minus = sum(line.startswith("-") for line in diff[2:])
    return f" +{plus} -{minus}" if diff else ""


def text_lines(changes: Changes, diffs: Diffs) -> Iterator[str]:
    """The unified diff of every changed text file."""
    for entry in changes.changed:
        yield from diffs.get(entry.path, ())
