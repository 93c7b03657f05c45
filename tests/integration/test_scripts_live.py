"""live.sh and placing.sh where it is hard: taken names, planted symlinks, linked files, a full disk, broken state files."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.integration.conftest import Run, Server, Shell, read_tree, write_tree
from towline.engines.steps import Step

TREE = {"compose.yaml": "services: {}\n", "conf/a.txt": "a", "conf/b.txt": "b"}


def asides(run: Run) -> dict[object, object]:
    return {event["kept"]: event["path"] for event in run.events("aside")}


def undone(server: Server, new: str, old: str, between: str) -> Run:
    """A run that applies `new`, does what the shell text `between` says in the live folder, fails, and goes back to `old`."""
    forth, back = ((Step("stage", ("stage", name)), Step("apply", ("apply", name))) for name in (new, old))
    change = Step("change", ("sh", "-c", f'cd "$0" && {between}', str(server.live)))
    return server.run(new, (*forth, change, Step("up", ("false",))), back if old else (Step("apply", ("apply", "")),))


# --- nothing of a user is overwritten -----------------------------------------------------------------------------------


def test_what_is_set_aside_twice_in_one_run_has_two_names_and_the_first_comes_back(server: Server) -> None:
    old = server.send(TREE)
    server.apply(old.release)
    (server.live / "wanted").write_text("the user's")
    new = server.send(TREE | {"wanted": "from the release"}, live=False)
    run = undone(server, new.release, old.release, "echo of the new container >wanted")
    assert run.result == "restored", run.output()
    kept = f"wanted.before-{run.folder.name}"
    assert asides(run) == {kept: "wanted", f"{kept}-2": "wanted"}
    assert (server.live / "wanted").read_text() == "the user's"
    assert (server.live / f"{kept}-2").read_text() == "of the new container\n"
    assert not (server.live / kept).exists()
    assert [(event["path"], event["kept"]) for event in run.events("returned")] == [("wanted", kept)]


def test_what_a_first_deploy_set_aside_comes_back_when_it_fails(server: Server) -> None:
    before = {"compose.yaml": "by hand", "conf/a.txt": "mine", "conf/b.txt/deep": "a folder of mine", "data/x": "x"}
    write_tree(server.live, before)
    was = read_tree(server.live)
    plan = server.send(TREE, live=False)
    run = undone(server, plan.release, "", "true")
    assert run.result == "restored", run.output()
    assert len(asides(run)) == 3
    assert read_tree(server.live) == was


def test_aside_with_the_content_that_comes_back_goes_again(server: Server) -> None:
    old = server.send(TREE)
    server.apply(old.release)
    new = server.send(TREE | {"conf/b.txt": "new"}, live=False)
    between = "mv conf/b.txt x && echo late >conf/b.txt && mv x y"
    (server.live / "conf/b.txt").write_text("by hand")
    third = server.send(TREE | {"conf/b.txt": "by hand"}, live=False)
    run = undone(server, new.release, third.release, between)
    assert run.result == "restored", run.output()
    assert (server.live / "conf/b.txt").read_text() == "by hand"
    assert sorted(path.name for path in (server.live / "conf").iterdir()) == [
        "a.txt",
        "b.txt",
        f"b.txt.before-{run.folder.name}-2",
    ]


def test_name_that_is_taken_is_no_aside_name(server: Server) -> None:
    server.apply(server.send(TREE).release)
    plan = server.send(TREE | {"conf/b.txt": "new"})
    run_name = f"20260101-0000{server._runs + 1:02}"
    (server.live / "conf/b.txt").write_text("by hand")
    (server.live / f"conf/b.txt.before-{run_name}").symlink_to("nowhere")
    run = server.apply(plan.release)
    assert list(asides(run)) == [f"conf/b.txt.before-{run_name}-2"]
    assert (server.live / f"conf/b.txt.before-{run_name}").is_symlink()


@pytest.mark.parametrize("name", ["n" * 245, "n" * 255, "ü" * 127, "日" * 85])
def test_long_name_is_set_aside(server: Server, name: str) -> None:
    server.apply(server.send(TREE | {f"conf/{name}": "old"}).release)
    (server.live / "conf" / name).write_text("by hand")
    run = server.apply(server.send(TREE | {f"conf/{name}": "new"}).release)
    (kept,) = asides(run)
    assert (server.live / str(kept)).read_text() == "by hand"
    assert str(kept).endswith(f".before-{run.folder.name}")
    assert (server.live / "conf" / name).read_text() == "new"


def test_file_that_cannot_be_told_to_be_ours_is_kept_aside(server: Server) -> None:
    server.apply(server.send(TREE).release)
    (server.live / "conf/b.txt").unlink()
    os.mkfifo(server.live / "conf/b.txt")
    run = server.apply(server.send(TREE | {"conf/b.txt": "new"}).release)
    (kept,) = asides(run)
    assert (server.live / str(kept)).is_fifo()


# --- symlinks that no release made --------------------------------------------------------------------------------------

HOST = {"a.txt": "of the host", "b.txt": "b", "deep/c.txt": "of the host"}


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Path]:
    """A folder of the host that is not the stack's; nothing in it may change."""
    folder = tmp_path / "host"
    write_tree(folder, HOST)
    (folder / "empty").mkdir()
    before = read_tree(folder)
    yield folder
    assert read_tree(folder) == before


DEEP = TREE | {"conf/deep/c.txt": "c", "conf/empty/x": "x"}
AFTER = {
    "changed": DEEP | {"conf/a.txt": "new", "conf/deep/c.txt": "new"},
    "added": DEEP | {"conf/deep/more.txt": "new"},
    "mode": DEEP | {"conf/b.txt": ("b", 0o600)} | {"conf/a.txt": "new"},
}


@pytest.mark.parametrize("planted", ["conf", "conf/deep"])
@pytest.mark.parametrize("after", ["changed", "added"])
def test_nothing_is_written_through_a_planted_symlink(server: Server, host: Path, planted: str, after: str) -> None:
    server.apply(server.send(DEEP).release)
    shutil.rmtree(server.live / planted)
    (server.live / planted).symlink_to(host)
    plan = server.send(AFTER[after], live=False)
    run = server.run(plan.release, (Step("stage", ("stage", plan.release)), Step("apply", ("apply", plan.release))))
    assert run.result == "kept", run.output()
    assert f"{planted} is a symlink that no release has made" in run.output()
    assert (server.live / planted).readlink() == host


def test_nothing_is_removed_through_a_planted_symlink(server: Server, host: Path) -> None:
    server.apply(server.send(DEEP | {"conf/empty/x": "x"}).release)
    shutil.rmtree(server.live / "conf")
    (server.live / "conf").symlink_to(host)
    server.apply(server.send({"compose.yaml": "services: {}\n"}).release)
    assert (server.live / "conf").is_symlink()


@pytest.mark.parametrize("planted", ["conf", "conf/deep", "conf/a.txt"])
def test_symlink_planted_during_the_run_is_set_aside_on_the_way_back(server: Server, host: Path, planted: str) -> None:
    old = server.send(DEEP)
    server.apply(old.release)
    new = server.send(AFTER["changed"], live=False)
    target = host / "a.txt" if planted == "conf/a.txt" else host
    run = undone(server, new.release, old.release, f'rm -r {planted} && ln -s "{target}" {planted}')
    assert run.result == "restored", run.output()
    (kept,) = asides(run)
    assert (server.live / str(kept)).readlink() == target
    (server.live / str(kept)).unlink()
    assert read_tree(server.live) == read_tree(server.files(old.release))


def test_symlink_of_a_person_to_what_the_release_has_stays(server: Server, tmp_path: Path) -> None:
    server.apply(server.send(TREE | {"data/.keep": "k"}).release)
    moved = tmp_path / "big disk"
    shutil.move(server.live / "data", moved)
    (moved / "db").write_text("much")
    (server.live / "data").symlink_to(moved)
    plan = server.send(TREE | {"data/.keep": "k", "conf/a.txt": "new"})
    assert asides(server.apply(plan.release)) == {}
    assert (server.live / "data").readlink() == moved
    assert (server.live / "conf/a.txt").read_text() == "new"


def test_file_in_the_place_of_a_folder_is_kept_aside(server: Server) -> None:
    server.apply(server.send(TREE).release)
    shutil.rmtree(server.live / "conf")
    (server.live / "conf").write_text("a file now")
    run = server.apply(server.send(TREE | {"conf/a.txt": "new"}).release)
    (kept,) = asides(run)
    assert (server.live / str(kept)).read_text() == "a file now"
    assert (server.live / "conf/a.txt").read_text() == "new"


# --- inodes of their own ------------------------------------------------------------------------------------------------


def test_live_files_of_equal_content_are_inodes_of_their_own(server: Server) -> None:
    same = {f"conf/{name}": "same" for name in ("x", "y", "deep/er/z", "-n", "a b")} | {"private": ("same", 0o600)}
    server.send({"compose.yaml": "services: {}\n", "conf/old": "same", "old": ("same", 0o600)})
    plan = server.send({"compose.yaml": "services: {}\n"} | same)
    assert len({(server.files(plan.release) / name).stat().st_ino for name in same}) < len(same), (
        "linked in the release"
    )
    server.apply(plan.release)
    assert read_tree(server.live) == read_tree(server.files(plan.release))
    assert {(server.live / name).stat().st_nlink for name in same} == {1}


def test_live_files_that_were_linked_to_each_other_are_parted(server: Server) -> None:
    tree = {"compose.yaml": "services: {}\n", "conf/x": "same", "conf/y": "same"}
    server.apply(server.send(tree).release)
    (server.live / "conf/y").unlink()
    os.link(server.live / "conf/x", server.live / "conf/y")
    run = server.apply(server.send(tree | {"more": "m"}).release)
    assert asides(run) == {}
    assert {(server.live / name).stat().st_nlink for name in tree} == {1}


# --- many files ---------------------------------------------------------------------------------------------------------


def counting_shell(server: Server, folder: Path) -> Shell:
    """The server's shell; each start of a tool is a line of the file `starts` in `folder`."""
    tools = folder / "tools"
    tools.mkdir(parents=True)
    for name in ("mv", "rm", "cat", "mkdir", "chmod", "grep", "rmdir", "sed", "awk", "tr", "cp"):
        tool = shutil.which(name, path=server.shell.path)
        (tools / name).write_text(f'#!/bin/sh\necho {name} >>{folder}/starts\nexec {tool} "$@"\n')
        (tools / name).chmod(0o755)
    return replace(server.shell, path=f"{tools}:{server.shell.path}")


def test_apply_starts_no_process_for_each_file(server: Server, tmp_path: Path) -> None:
    if server.shell.name == "busybox":
        return  # it takes its own tools whatever PATH says
    many = {f"conf/{n}": f"old {n}" for n in range(300)}
    server.apply(server.send(TREE | many).release)
    changed = {f"conf/{n}": (f"new {n}", 0o644) if n < 100 else (f"old {n}", 0o600) for n in range(200)}
    plan = server.send(TREE | changed | {f"more/{n}": "m" for n in range(100)})
    shell = counting_shell(server, tmp_path / "counting")
    run = server.run(plan.release, (Step("apply", ("apply", plan.release)),), shell=shell)
    assert run.result == "deployed", run.output()
    assert read_tree(server.live) == read_tree(server.files(plan.release))
    assert len((tmp_path / "counting/starts").read_text().split()) < 200


# --- a full disk --------------------------------------------------------------------------------------------------------


@pytest.fixture
def small(server: Server) -> Iterator[Server]:
    """The server's root on a file system of 16 megabytes."""
    assert os.geteuid() == 0, "mounting a tiny tmpfs needs root"
    subprocess.run(("mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", server.root), check=True)
    try:
        yield server
    finally:
        server.clean_up()
        subprocess.run(("umount", "--lazy", server.root), check=True)


FILLING = 'cat /dev/zero >"$0" 2>/dev/null; size=$(wc -c <"$0"); truncate -s $((size - $1)) "$0"'


def filling(server: Server, spare: int) -> Step:
    """Takes all room of the file system, but for `spare` bytes."""
    return Step("filling", ("sh", "-c", FILLING, str(server.root / "filler"), str(spare)))


BIG = {"compose.yaml": "services: {}\n", **{f"conf/{n}": os.urandom(50_000) for n in range(20)}}
BIGGER = {"compose.yaml": "services: {}\n", **{f"conf/{n}": os.urandom(50_000) for n in range(20)}}


@pytest.mark.parametrize("spare", [1 << 16, 1 << 20, 5 << 20])
def test_full_disk_is_noticed_before_anything_stops(small: Server, spare: int) -> None:
    old = small.send(BIG)
    small.apply(old.release)
    new = small.send(BIGGER, live=False)
    down = Step("down", ("sh", "-c", f': >"{small.live}/down"'))
    steps = (filling(small, spare), Step("stage", ("stage", new.release)), down, Step("apply", ("apply", new.release)))
    run = small.run(new.release, steps, (Step("apply", ("apply", old.release)),))
    assert run.result == "kept", run.output()
    assert not (small.live / "down").exists()
    assert read_tree(small.live) == read_tree(small.files(old.release))
    (small.root / "filler").unlink()
    assert small.fact().broken == ()


def test_disk_that_is_filled_after_stage_hinders_neither_the_release_nor_the_way_back(small: Server) -> None:
    old = small.send(BIG)
    small.apply(old.release)
    new = small.send(BIGGER, live=False)
    full = filling(small, 1 << 14)
    forth, back = (
        (Step("stage", ("stage", name)), Step("apply", ("apply", name))) for name in (new.release, old.release)
    )
    looked = Step("look", ("sh", "-c", 'cmp "$0" "$1"', f"{small.live}/conf/3", f"{small.files(new.release)}/conf/3"))
    run = small.run(new.release, (forth[0], full, forth[1], looked, full, Step("up", ("false",))), back)
    assert run.result == "restored", run.output()
    assert run.at("look", "done")
    (small.root / "filler").unlink()
    assert read_tree(small.live) == read_tree(small.files(old.release))
    assert small.fact().broken == ()


# --- what a power cut leaves --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", ["", "\0\0\0\0", "no number\n", "-3\n"], ids=["empty", "zeros", "text", "negative"])
@pytest.mark.parametrize("name", ["seconds", "built", "downtime", "meta.json", "outcome"])
def test_broken_file_of_a_release_is_told_and_left_out(server: Server, name: str, content: str) -> None:
    plan = server.send(TREE)
    (server.home / "releases" / plan.release / name).write_text(content)
    fact = server.fact()
    (release,) = fact.releases
    assert (release.id, release.seconds, release.built, dict(release.downtime)) == (plan.release, 0.0, 0, {})
    if (name == "outcome" and content in ("no number\n", "-3\n")) or (name, content.strip("\0")) in (
        ("downtime", ""),
        ("meta.json", ""),
    ):
        return
    assert [sentence for sentence in fact.broken if name in sentence], fact.broken


@pytest.mark.parametrize("content", ["", "\0\0", "20200101-000000\n", "../x\n"], ids=["empty", "zeros", "gone", "path"])
def test_broken_current_is_told_and_the_live_release_is_found(server: Server, content: str) -> None:
    first = server.send(TREE)
    server.apply(first.release)
    server.send(TREE | {"more": "m"})
    (server.home / "current").write_text(content)
    fact = server.fact()
    assert fact.current == first.release
    assert fact.manifest
    assert [sentence for sentence in fact.broken if "names the live release" in sentence]
    third = server.send(TREE | {"conf/a.txt": "new"}, live=False)
    assert server.apply(third.release).result == "deployed"


@pytest.mark.parametrize("content", [b"", b"\0" * 200, b"f\t06", b"\xff\xfe\n"], ids=["empty", "zeros", "cut", "bytes"])
def test_broken_manifest_is_told_and_a_new_release_replaces_it(server: Server, content: bytes) -> None:
    old = server.send(TREE)
    server.apply(old.release)
    (server.home / "releases" / old.release / "manifest").write_bytes(content)
    fact = server.fact()
    assert fact.manifest is None
    assert [sentence for sentence in fact.broken if "manifest" in sentence]
    new = server.send(TREE | {"conf/a.txt": "new"}, live=False)
    run = undone(server, new.release, old.release, "true")
    assert run.result == "restored", run.output()
    assert read_tree(server.live) == read_tree(server.files(old.release))
    assert server.fact().manifest, "it was made again from the release's files"


def test_empty_live_manifest_sets_no_file_of_the_release_aside(server: Server) -> None:
    old = server.send(TREE)
    server.apply(old.release)
    (server.home / "live.manifest").write_text("")
    (server.home / "live.stat").unlink()
    assert asides(server.apply(server.send(TREE | {"conf/a.txt": "new"}, live=False).release)) == {}


# --- synced -------------------------------------------------------------------------------------------------------------


def watching_shell(shell: Shell, folder: Path) -> Shell:
    """`shell`, noting each `sync` and `mv` with its last word, in their order, in the file `calls` of `folder`."""
    tools = folder / "watching"
    tools.mkdir(parents=True)
    for name in ("sync", "mv"):
        tool = shutil.which(name, path=shell.path)
        (tools / name).write_text(
            f'#!/bin/sh\nfor word; do :; done\nprintf "{name} %s\\n" "$word" >>{folder}/calls\nexec {tool} "$@"\n'
        )
        (tools / name).chmod(0o755)
    return replace(shell, path=f"{tools}:{shell.path}")


def test_a_release_is_synced_before_it_is_named_and_live_files_before_they_are_told(
    server: Server, tmp_path: Path
) -> None:
    if server.shell.name == "busybox":
        return  # it takes its own tools whatever PATH says
    server.shell = watching_shell(server.shell, tmp_path / "watched")
    calls = tmp_path / "watched/calls"
    plan = server.send(TREE)
    received = calls.read_text().splitlines()
    assert received.index(f"sync {plan.release}.part") < received.index(f"mv {plan.release}")
    calls.unlink()
    run = server.apply(plan.release)
    applied = calls.read_text().splitlines()
    assert applied.index(f"sync {server.live}") < applied.index(f"mv {run.folder}/applied")
    assert f"sync {run.folder}/result.new" in applied
