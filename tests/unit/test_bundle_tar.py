"""Manifest → tar and gzip: the same bytes each time, read by GNU tar and by busybox, in little memory."""

from __future__ import annotations

import gzip
import io
import os
import random
import shutil
import subprocess
import tarfile
import tracemalloc
from pathlib import Path

import pytest

from towline.bundle.manifest import Entry
from towline.bundle.tarball import BLOCK, tar_header, tar_stream
from towline.bundle.working_tree import load_working_tree
from towline.errors import StackError
from towline.project.stack import Stack

TARS = [["tar", "-xPf", "-"], ["busybox", "tar", "-xf", "-"]]


def stack(folder: Path) -> Stack:
    return Stack("web", "web", "stack", folder, folder.parent, ("compose.yaml",), ())


def tar(members: tuple[Entry, ...], links: dict[str, str] | None = None) -> bytes:
    return gzip.decompress(b"".join(tar_stream(members, links)))


def unpack(command: list[str], data: bytes, into: Path) -> None:
    into.mkdir()
    subprocess.run(command, input=data, cwd=into, check=True, capture_output=True)


def fill(folder: Path) -> Path:
    """A folder with everything that a tar may trip over."""
    names = ["a", "dir/b c", "ü/ñ😀", "-x", "b" * 99, "c" * 100, "d" * 101, "e" * 255]
    names += ["/".join(["f" * 90] * 4) + "/g", "ä" * 60 + "/" + "ö" * 120]
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name * 20)
    (folder / "big").write_bytes(random.Random(1).randbytes(3 * BLOCK + 7))
    (folder / "run").write_text("#!/bin/sh\n")
    (folder / "run").chmod(0o755)
    (folder / ".env").write_text("A=1")
    (folder / "none").touch()
    (folder / "empty").mkdir()
    (folder / "link").symlink_to("dir/b c")
    (folder / ("h" * 120)).symlink_to("k" * 150)
    return folder


@pytest.mark.parametrize("command", TARS, ids=["gnu", "busybox"])
def test_what_is_unpacked_is_what_was_packed(tmp_path: Path, command: list[str]) -> None:
    packed = load_working_tree(stack(fill(tmp_path / "web"))).manifest
    unpack(command, tar(packed.entries), tmp_path / "out")
    assert load_working_tree(stack(tmp_path / "out")).manifest.text() == packed.text()


@pytest.mark.parametrize("command", [["tar", "-xPzf", "-"], ["busybox", "tar", "-xzf", "-"]], ids=["gnu", "busybox"])
def test_gzip_is_read_by_both(tmp_path: Path, command: list[str]) -> None:
    packed = load_working_tree(stack(fill(tmp_path / "web"))).manifest
    unpack(command, b"".join(tar_stream(packed.entries)), tmp_path / "out")
    assert load_working_tree(stack(tmp_path / "out")).manifest.digest == packed.digest


@pytest.mark.parametrize("command", TARS, ids=["gnu", "busybox"])
@pytest.mark.parametrize("old", ["old", "o" * 130], ids=["short", "long"])
def test_linked_member_takes_the_content_that_is_there(tmp_path: Path, command: list[str], old: str) -> None:
    packed = load_working_tree(stack(fill(tmp_path / "web"))).manifest
    (tmp_path / old).write_text("from before")
    long = "d" * 101
    links = {"dir/b c": str(tmp_path / old), long: f"../{old}", "link": "ignored"}
    data = tar(packed.entries, links)
    unpack(command, data, tmp_path / "out")
    assert (tmp_path / "out/dir/b c").samefile(tmp_path / old)
    assert (tmp_path / "out" / long).samefile(tmp_path / old)
    assert (tmp_path / "out/link").is_symlink()


def test_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    one = fill(tmp_path / "one")
    two = tmp_path / "two"
    shutil.copytree(one, two, symlinks=True, copy_function=shutil.copyfile)
    for path in two.rglob("*"):
        os.utime(path, (1, 1), follow_symlinks=False)
    (two / "run").chmod(0o775)
    first, second = load_working_tree(stack(one)).manifest, load_working_tree(stack(two)).manifest
    assert first.digest == second.digest
    assert tar(first.entries) == tar(tuple(reversed(second.entries)))
    assert b"".join(tar_stream(first.entries)) == b"".join(tar_stream(second.entries))


def test_members_have_no_owner_and_no_time(tmp_path: Path) -> None:
    data = tar(load_working_tree(stack(fill(tmp_path / "web"))).manifest.entries)
    assert len(data) % 10240 == 0
    with tarfile.open(fileobj=io.BytesIO(data)) as found:
        members = found.getmembers()
        assert found.pax_headers == {}
    assert {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in members} == {(0, 0, "", "", 0)}
    assert next(m for m in members if m.name == ".env").mode == 0o600


def test_gzip_header_has_no_time_and_no_name() -> None:
    data = b"".join(tar_stream(()))
    assert data[:8] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00"
    assert gzip.decompress(data) == tar(()) == bytes(10240)


def test_no_pax_header_is_written(tmp_path: Path) -> None:
    data = tar(load_working_tree(stack(fill(tmp_path / "web"))).manifest.entries)
    kinds = {data[at + 156 : at + 157] for at in range(0, len(data), 512) if data[at + 257 : at + 262] == b"ustar"}
    assert kinds == {b"0", b"2", b"5", b"L", b"K"}


def test_size_over_8_gib_is_written() -> None:
    size = 9 * 1024**3
    header = tar_header(Entry("f", 0o644, size, "0" * 64, "dump.sql"))
    assert len(header) == 512
    assert tarfile.TarInfo.frombuf(header, "utf-8", "strict").size == size


@pytest.mark.parametrize(("content", "says"), [("12345", "shrank"), ("1234567890+", "grew")])
@pytest.mark.parametrize("scale", [1, BLOCK])
def test_file_that_changed_since_aborts_the_stream(tmp_path: Path, content: str, says: str, scale: int) -> None:
    file = tmp_path / "web/a"
    file.parent.mkdir()
    file.write_text("1234567890" * scale)
    members = load_working_tree(stack(file.parent)).manifest.entries
    file.write_text(content * scale)
    with pytest.raises(StackError, match=f"web/a: {says} while it was being sent"):
        list(tar_stream(members))
    file.unlink()
    with pytest.raises(StackError, match="web/a: cannot be read: No such file"):
        list(tar_stream(members))


def sparse(folder: Path, size: int) -> tuple[Entry, ...]:
    folder.mkdir()
    with (folder / "big").open("wb") as file:
        file.truncate(size)
        file.write(random.Random(1).randbytes(8 * 1024 * 1024))
    return (Entry("f", 0o644, size, "0" * 64, "big", "", folder / "big"),)


def test_chunks_are_of_middling_size(tmp_path: Path) -> None:
    sizes = [len(chunk) for chunk in tar_stream(sparse(tmp_path / "web", 64 * 1024 * 1024))]
    assert max(sizes) <= 256 * 1024
    assert min(sizes[:-1]) >= 64 * 1024


def test_memory_stays_flat(tmp_path: Path) -> None:
    members = sparse(tmp_path / "web", 256 * 1024 * 1024)
    tracemalloc.start()
    try:
        for _ in tar_stream(members):
            pass
        assert tracemalloc.get_traced_memory()[1] < 4 * 1024 * 1024
    finally:
        tracemalloc.stop()


def test_content_that_is_given_is_not_read_from_disk(tmp_path: Path) -> None:
    packed = load_working_tree(stack(fill(tmp_path / "web"))).manifest.entries
    contents = {entry.path: entry.source.read_bytes() for entry in packed if entry.kind == "f"}
    expected = tar(packed)
    shutil.rmtree(tmp_path / "web")
    assert gzip.decompress(b"".join(tar_stream(packed, contents=contents))) == expected
