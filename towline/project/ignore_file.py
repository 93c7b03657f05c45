"""A stack's .towlineignore: which of its paths are not sent. And patterns as they are in there, wherever they stand."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from towline.errors import StackError
from towline.project.yaml_file import Place

IGNORE_FILE = ".towlineignore"
Ignore = Callable[[str], bool]


def read_ignore_file(folder: Path, label: str) -> Ignore:
    """Whether a path (of a folder: with `/` at its end) is matched by the folder's .towlineignore, written as a .gitignore.

    Raises StackError for a file that cannot be read, and for what is no pattern.
    """
    file = folder / IGNORE_FILE
    if not file.is_file():
        return lambda _: False
    import pathspec

    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except OSError as e:
        raise StackError(f"{label}/{IGNORE_FILE}: cannot be read: {e.strerror}") from None
    except UnicodeDecodeError:
        raise StackError(f"{label}/{IGNORE_FILE}: is not UTF-8 text") from None
    for number, line in enumerate(lines, 1):
        try:
            pathspec.GitIgnoreSpec.from_lines([line])
        except ValueError:
            raise StackError(f"{label}/{IGNORE_FILE}:{number}: {line!r} is not a gitignore pattern") from None
    return pathspec.GitIgnoreSpec.from_lines(lines).match_file


def parse_patterns(patterns: Iterable[str], place: Place) -> tuple[str, ...]:
    """Patterns as in a .gitignore. Raises the place's error for what is none."""
    for index, pattern in enumerate(patterns):
        try:
            matched_by([pattern])
        except ValueError:
            raise place.at(index).wrong(f"{pattern!r} is not a gitignore pattern") from None
    return tuple(patterns)


def matched_by(patterns: Iterable[str]) -> Ignore:
    """Whether a path is matched by one of the patterns, or the last one does not take it back. Raises ValueError."""
    lines = tuple(patterns)
    if not lines:
        return lambda _: False
    import pathspec

    return pathspec.GitIgnoreSpec.from_lines(lines).match_file
