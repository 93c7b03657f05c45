"""Entries → a deterministic gzipped tar in chunks: no times, no owners, memory stays flat."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from types import MappingProxyType

from towline.bundle.manifest import Entry, path_order
from towline.errors import StackError

BLOCK = 256 * 1024  # read at a time; also the most that tar_stream yields at once
SMALLEST_CHUNK = 64 * 1024
TAR_RECORD = 10240


NOTHING: Mapping[str, bytes] = MappingProxyType({})


def tar_stream(
    members: Iterable[Entry],
    links: Mapping[str, str] | None = None,
    contents: Mapping[str, bytes] = NOTHING,
    level: int = 1,
) -> Iterator[bytes]:
    """`members` as a gzipped GNU tar (not pax: busybox reads it), sorted by path, in chunks of 64 to 256 KiB.

    `links` maps a member's path to a file that is on the server: it becomes a hard-link member without
    content, of one inode with the old file. GNU tar follows an absolute one, or one with `..`, only with -P
    (seen on 1.34; busybox always does). `contents`: path → content, of members that are not read from their source.
    `level`: 0 to 3. No threads, and no more than a chunk in memory. The gzip header has no time and no name. Raises
    StackError when a file is not what its entry says, so that the stream is aborted.
    """
    from isal import isal_zlib

    packer = isal_zlib.compressobj(level, isal_zlib.DEFLATED, 16 + 15)  # 16: with a gzip header
    ready = bytearray()
    for block in _tar_blocks(members, links or {}, contents):
        ready += packer.compress(block)
        yield from _drained(ready, SMALLEST_CHUNK)
    ready += packer.flush()
    yield from _drained(ready, 1)


def _drained(ready: bytearray, least: int) -> Iterator[bytes]:
    """Take chunks out of `ready` for as long as it holds `least` bytes."""
    while len(ready) >= least:
        yield bytes(ready[:BLOCK])
        del ready[:BLOCK]


def _tar_blocks(members: Iterable[Entry], links: Mapping[str, str], contents: Mapping[str, bytes]) -> Iterator[bytes]:
    written = 0
    for entry in sorted(members, key=path_order):
        link = links.get(entry.path) if entry.kind == "f" else None
        for block in chain((tar_header(entry, link),), () if link else _content(entry, contents.get(entry.path))):
            written += len(block)
            yield block
    # Two empty blocks end a tar, and tars come in whole records.
    yield bytes(1024 + -(written + 1024) % TAR_RECORD)


def tar_header(entry: Entry, link: str | None = None) -> bytes:
    """The header blocks of one member; long names and sizes over 8 GiB in GNU's way."""
    import tarfile

    kinds = {"f": tarfile.REGTYPE, "l": tarfile.SYMTYPE, "d": tarfile.DIRTYPE}
    info = tarfile.TarInfo(entry.path)
    info.type = tarfile.LNKTYPE if link else kinds[entry.kind]
    info.mode = entry.mode
    info.size = 0 if link else entry.size
    info.linkname = link or entry.target
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "strict")


def _content(entry: Entry, content: bytes | None) -> Iterator[bytes]:
    """A file's bytes and the zeros that fill its last tar block; nothing for links and directories."""
    if entry.kind == "f":
        yield from _read(entry) if content is None else (content,)
        yield bytes(-entry.size % 512)


def _read(entry: Entry) -> Iterator[bytes]:
    left = entry.size
    try:
        with entry.source.open("rb", buffering=0) as file:
            while block := file.read(BLOCK):
                left -= len(block)
                if left < 0:
                    break
                yield block
    except OSError as e:
        raise StackError(f"{entry.source}: cannot be read: {e.strerror}") from None
    if left:
        changed = "grew" if left < 0 else "shrank"
        raise StackError(f"{entry.source}: {changed} while it was being sent; try again")
