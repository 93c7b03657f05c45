"""The sha256 of a stack's files, each read once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from towline.bundle.manifest import Entry
from towline.errors import StackError

# One thread hashes small files faster than two (the interpreter's lock); big ones leave the lock.
BIG_FILE = 1024 * 1024


def hash_files(
    entries: Sequence[Entry], label: str, may_fail: Callable[[str], bool] = lambda _: False
) -> Iterator[tuple[Entry, bytes | None]]:
    """`entries`, the files with their sha256, and the content that was hashed; b"" for files of BIG_FILE bytes or more.

    Big files are hashed on all cores while small ones go on this one. No content is kept: memory stays flat. Raises
    StackError, naming the path below `label`, for a file that cannot be read or changes meanwhile; None comes for the content of
    such a one whose path may_fail.
    """
    big = [entry for entry in entries if entry.size >= BIG_FILE]
    hashed = partial(_hash_if_possible, label=label, may_fail=may_fail)
    if not big:
        yield from map(hashed, entries)
        return
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(min(len(big), os.cpu_count() or 1)) as pool:
        later = pool.map(hashed, big)
        yield from (hashed(entry) for entry in entries if entry.size < BIG_FILE)
        yield from later


def read_unchanged(entry: Entry, label: str) -> bytes:
    """The content of a file that was hashed before. Raises StackError when it is no longer what was hashed."""
    try:
        content = _read(entry.source, entry.size)
    except OSError as error:
        raise StackError(f"{label}/{entry.path}: cannot be read: {error.strerror}") from None
    if hashlib.sha256(content).hexdigest() != entry.sha256:
        raise _changed(entry, label)
    return content


def _hash_if_possible(entry: Entry, label: str, may_fail: Callable[[str], bool]) -> tuple[Entry, bytes | None]:
    try:
        return _hash(entry, label)
    except StackError:
        if not may_fail(entry.path):
            raise
        return entry, None


def _hash(entry: Entry, label: str) -> tuple[Entry, bytes]:
    if entry.kind != "f":
        return entry, b""
    try:
        size, digest, content = _hash_file(entry.source, entry.size)
    except OSError as error:
        raise StackError(f"{label}/{entry.path}: cannot be read: {error.strerror}") from None
    if size != entry.size:
        raise _changed(entry, label)
    return Entry("f", entry.mode, size, digest, entry.path, "", entry.source), content


def _hash_file(path: Path, size: int) -> tuple[int, str, bytes]:
    """The bytes that were really read, their sha256, and the content of a small file."""
    if size >= BIG_FILE:
        with path.open("rb", buffering=0) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return file.tell(), digest, b""
    content = _read(path, size)
    return len(content), hashlib.sha256(content).hexdigest(), content


def _read(path: Path, size: int) -> bytes:
    """One byte more than `size` at most. O_NOFOLLOW: what was a file a moment ago may be a symlink now."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return os.read(fd, size + 1)
    finally:
        os.close(fd)


def _changed(entry: Entry, label: str) -> StackError:
    return StackError(f"{label}/{entry.path}: changed while it was being read; try again")
