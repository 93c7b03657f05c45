"""Manifest: the files of a working tree or a release, as a value, as text, and compared with another one."""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from towline.errors import TowlineError


@dataclass(frozen=True, slots=True)
class Entry:
    """One path. kind: "f" a file, "l" a symlink, "d" an empty directory. mode: permission bits. size: bytes.

    sha256: of a file, else `-`. target: of a symlink. source: the file on this machine; not part of the entry's value.
    """

    kind: str
    mode: int
    size: int
    sha256: str
    path: str
    target: str = ""
    source: Path = field(default=Path(), compare=False, repr=False)


@dataclass(frozen=True)
class Manifest:
    """All entries, sorted by the bytes of their paths."""

    entries: tuple[Entry, ...] = ()

    def text(self) -> str:
        """One line per entry: kind, mode (octal), size, sha256, path, target, with tabs between."""
        return self._text

    @cached_property
    def _text(self) -> str:
        return "".join(f"{e.kind}\t{e.mode:04o}\t{e.size}\t{e.sha256}\t{e.path}\t{e.target}\n" for e in self.entries)

    @cached_property
    def digest(self) -> str:
        """The sha256 of the text: manifests with the same digest are the same."""
        return hashlib.sha256(self._text.encode()).hexdigest()

    def without(self, paths: Collection[str]) -> Manifest:
        return Manifest(tuple(entry for entry in self.entries if entry.path not in paths)) if paths else self

    @cached_property
    def by_path(self) -> Mapping[str, Entry]:
        return {entry.path: entry for entry in self.entries}

    @cached_property
    def size(self) -> int:
        """The bytes of all files together."""
        return sum(entry.size for entry in self.entries)

    def trail(self, path: str) -> Iterator[str]:
        """The symlinks that lead from `path` on, and last the path that it comes to."""
        for _ in range(40):  # as many as the kernel follows
            parts = path.split("/")
            heads = ("/".join(parts[:count]) for count in range(1, len(parts) + 1))
            link = next((head for head in heads if (e := self.by_path.get(head)) and e.kind == "l"), None)
            if link is None:
                break
            yield link
            target = self.by_path[link].target
            path = posixpath.normpath(posixpath.join(posixpath.dirname(link), target) + path[len(link) :])
        yield path

    def resolve(self, path: str) -> str:
        """The path that `path` comes to, symlinks followed."""
        *_, end = self.trail(path)
        return end

    def file(self, path: str) -> Entry | None:
        """The file that `path` comes to, symlinks followed; None when there is none."""
        entry = self.by_path.get(self.resolve(path))
        return entry if entry and entry.kind == "f" else None


@dataclass(frozen=True)
class Changes:
    """The entries that a new manifest adds to an old one, changes, and removes."""

    added: tuple[Entry, ...] = ()
    changed: tuple[Entry, ...] = ()
    removed: tuple[Entry, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)


def folders_of(path: str) -> Iterator[str]:
    """The folders that a path lies in, the innermost first.

    >>> list(folders_of("a/b/c"))
    ['a/b', 'a']
    """
    while path := posixpath.dirname(path):
        yield path


def path_order(entry: Entry) -> bytes:
    """The key to sort entries by: the bytes of the path, which no locale changes."""
    return entry.path.encode()


# -------------------------------------------------------------------------------------------- text → manifest


def parse_manifest(text: str) -> Manifest:
    """The manifest that `text` was written from (its entries without a source).

    Raises TowlineError for a line that is no entry, or names a path outside the folder: it comes from a
    server, and what it names is what gets removed there.
    """
    lines = text.split("\n")
    if lines.pop():
        raise TowlineError("the manifest ends within a line")
    return Manifest(tuple(_parse_line(line, number) for number, line in enumerate(lines, 1)))


_LINE = re.compile(r"([fld])\t([0-7]{4})\t([0-9]+)\t([0-9a-f]{64}|-)\t([^\t]+)\t([^\t]*)")


def _parse_line(line: str, number: int) -> Entry:
    match = _LINE.fullmatch(line)
    if not match or not _is_inside(match[5]):
        raise TowlineError(f"the manifest's line {number} is not an entry: {line[:80]!r}")
    kind, mode, size, digest, path, target = match.groups()
    return Entry(kind, int(mode, 8), int(size), digest, path, target)


def _is_inside(path: str) -> bool:
    return not {"", ".", ".."}.intersection(path.split("/"))


# -------------------------------------------------------------------------------------------------- comparing


def diff(old: Manifest | None, new: Manifest) -> Changes:
    """The changes from `old` (None: everything is added) to `new`. A change of mode is a change."""
    before = old.by_path if old else {}
    return Changes(
        added=tuple(e for e in new.entries if e.path not in before),
        changed=tuple(e for e in new.entries if e.path in before and before[e.path] != e),
        removed=tuple(e for e in before.values() if e.path not in new.by_path),
    )


def renames(old: Manifest | None, changes: Changes) -> Mapping[str, str]:
    """New path → old path, for added and changed files whose content the old release has at some path.

    The modes may differ, and hard links share one.
    """
    if old is None:
        return {}
    paths: dict[str, str] = {}
    for entry in old.entries:
        if entry.kind == "f":
            paths.setdefault(entry.sha256, entry.path)
    known = (e for e in (*changes.added, *changes.changed) if e.kind == "f" and e.sha256 in paths)
    return {e.path: e.path if _same_content(old, e) else paths[e.sha256] for e in known}


def _same_content(old: Manifest, entry: Entry) -> bool:
    before = old.by_path.get(entry.path)
    return before is not None and before.kind == "f" and before.sha256 == entry.sha256
