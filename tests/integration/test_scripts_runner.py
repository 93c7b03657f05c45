"""runner.sh: the live folder holds the release's files and whatever else was there; steps, undo and the lock."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from tests.integration.conftest import Run, Server, Shell, make_shell, read_tree, write_tree
from towline.bundle.manifest import Entry, Manifest
from towline.engines.steps import Step
from towline.sandbox.wait import wait_until

TREE = {"compose.yaml": "services: {}\n", "conf/a.txt": "a", "conf/b.txt": "b", "run.sh": ("#!/bin/sh\n", 0o755)}


def asides(run: Run) -> dict[object, object]:
    return {event["path"]: event["kept"] for event in run.events("aside")}


def live_is(server: Server, release: str, **foreign: object) -> None:
    """The live folder holds the release's files, these (path with __ for /) beside them, and nothing else."""
    expected = read_tree(server.files(release)) if release else {}
    assert read_tree(server.live) == expected | {name.replace("__", "/"): what for name, what in foreign.items()}


# --- apply --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("staged", [True, False], ids=["staged", "not staged"])
def test_first_release_becomes_the_live_folder(server: Server, staged: bool) -> None:
    plan = server.send(TREE | {"link": Path("conf/a.txt"), "empty": None, "deep/empty": None, ".env": ("X=1", 0o600)})
    run = server.apply(plan.release, staged=staged)
    live_is(server, plan.release)
    assert asides(run) == {}
    assert not (run.folder / "scratch").exists()


def test_live_files_are_copies(server: Server) -> None:
    plan = server.send(TREE)
    server.apply(plan.release)
    with (server.live / "conf/a.txt").open("a") as file:
        file.write("written through")
    assert (server.files(plan.release) / "conf/a.txt").read_text() == "a"


AFTER = {
    "changed": TREE | {"conf/b.txt": "new"},
    "added": TREE | {"more/deep/er.txt": "x"},
    "removed": {"compose.yaml": "services: {}\n"},
    "everything else": {"other.yaml": "x"},
    "mode only": TREE | {"run.sh": "#!/bin/sh\n"},
    "mode only, private": TREE | {"conf/a.txt": ("a", 0o600)},
    "mode and content": TREE | {"conf/a.txt": ("A", 0o755)},
    "renamed": {
        "compose.yaml": "services: {}\n",
        "conf/c.txt": "a",
        "conf/b.txt": "b",
        "go.sh": ("#!/bin/sh\n", 0o755),
    },
    "two swapped": TREE | {"conf/a.txt": "b", "conf/b.txt": "a"},
    "file to folder": {k: v for k, v in TREE.items() if k != "run.sh"} | {"run.sh/x/y": "x"},
    "file to empty folder": {k: v for k, v in TREE.items() if k != "run.sh"} | {"run.sh": None},
    "file to symlink": TREE | {"conf/b.txt": Path("a.txt")},
    "empty folder": TREE | {"empty": None},
    "symlink": TREE | {"link": Path("conf")},
    "dangling symlink": TREE | {"link": Path("nowhere")},
}


@pytest.mark.parametrize("after", AFTER)
def test_next_release_and_back_again(server: Server, after: str) -> None:
    first = server.send(TREE)
    server.apply(first.release)
    second = server.send(AFTER[after])
    assert asides(server.apply(second.release)) == {}
    live_is(server, second.release)
    assert asides(server.apply(first.release)) == {}
    live_is(server, first.release)


FOLDERS = {
    "folder to file": ({"compose.yaml": "{}", "a/x": "x", "a/y/z": "z"}, {"compose.yaml": "{}", "a": "a file now"}),
    "folder to symlink": (
        {"compose.yaml": "{}", "a/x": "x", "b": "b"},
        {"compose.yaml": "{}", "a": Path("b"), "b": "b"},
    ),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_folder_of_ours_that_becomes_something_else_is_not_anybody_s_data(server: Server, case: str) -> None:
    before, after = FOLDERS[case]
    server.apply(server.send(before).release)
    plan = server.send(after)
    assert asides(server.apply(plan.release)) == {}
    live_is(server, plan.release)


@pytest.mark.parametrize("content", ["x", "another"])
def test_symlink_to_a_folder_becomes_a_folder_and_what_it_led_to_stays(server: Server, content: str) -> None:
    linked = {"compose.yaml": "{}", "b/x": "x", "a": Path("b")}
    first = server.send(linked)
    server.apply(first.release)
    plan = server.send({"compose.yaml": "{}", "b/x": "x", "a/x": content})
    assert asides(server.apply(plan.release)) == {}
    live_is(server, plan.release)
    assert asides(server.apply(first.release)) == {}
    live_is(server, first.release)


def test_symlink_to_a_folder_is_pointed_at_another(server: Server) -> None:
    tree = {"compose.yaml": "{}", "v1/x": "1", "v2/x": "2"}
    first = server.send(tree | {"current": Path("v1")})
    server.apply(first.release)
    for after in ({"current": Path("v2")}, {"current": "a file"}, {"current": Path("v1")}):
        plan = server.send(tree | after)
        assert asides(server.apply(plan.release)) == {}
        live_is(server, plan.release)


def test_hard_to_write_names_are_applied(server: Server) -> None:
    names = [
        "a b.txt",
        " lead",
        "trail ",
        "-n",
        "-rf/x",
        "ümläut/日本.txt",
        "it's",
        '"q"',
        "$HOME",
        "*",
        "a&b;c",
        "#x",
        "%s",
    ]
    first = server.send({name: name for name in names} | {"compose.yaml": "{}", " l n k ": Path("a b.txt")})
    server.apply(first.release)
    live_is(server, first.release)
    second = server.send({name: name * (2 + i % 2) for i, name in enumerate(names)} | {"compose.yaml": "{}"})
    assert asides(server.apply(second.release)) == {}
    live_is(server, second.release)
    third = server.send({"compose.yaml": "{}"})
    assert asides(server.apply(third.release)) == {}
    live_is(server, third.release)


def test_what_a_container_wrote_survives_byte_for_byte_with_mode_and_time(server: Server) -> None:
    first = server.send(TREE)
    server.apply(first.release)
    data, acme = server.live / "data/db.bin", server.live / "conf/acme.json"
    data.parent.mkdir()
    data.write_bytes(os.urandom(100_000))
    acme.write_text('{"key": "secret"}')
    acme.chmod(0o600)
    (server.live / "data/left").symlink_to("nowhere")
    for path in (data, acme):
        os.utime(path, ns=(10**18 + 7, 10**18 + 7))
    before = {path: (path.read_bytes(), path.stat()) for path in (data, acme)}
    for tree in (TREE | {"conf/b.txt": "new"}, {"compose.yaml": "{}"}, TREE):
        plan = server.send(tree)
        assert asides(server.apply(plan.release)) == {}
        kept = ((path.read_bytes(), path.stat()) for path in (data, acme))
        for (content, now), (was_content, was) in zip(kept, before.values(), strict=True):
            fields = ("st_ino", "st_mode", "st_uid", "st_gid", "st_mtime_ns", "st_size")
            assert content == was_content
            assert [getattr(now, name) for name in fields] == [getattr(was, name) for name in fields]
        assert (server.live / "data/left").is_symlink()


@pytest.mark.parametrize("after", ["changed", "removed"])
def test_file_changed_there_by_hand_is_kept_aside_and_named(server: Server, after: str) -> None:
    server.apply(server.send(TREE).release)
    (server.live / "conf/b.txt").write_text("by hand")
    plan = server.send({"changed": TREE | {"conf/b.txt": "new"}, "removed": {"compose.yaml": "services: {}\n"}}[after])
    run = server.apply(plan.release)
    kept = f"conf/b.txt.before-{run.folder.name}"
    assert asides(run) == {"conf/b.txt": kept}
    live_is(server, plan.release, **{kept: ("f", 0o644, b"by hand")})


def test_file_changed_there_by_hand_is_put_right_by_a_release_that_leaves_it_as_it_was(server: Server) -> None:
    plan = server.send(TREE)
    server.apply(plan.release)
    (server.live / "conf/b.txt").write_text("X")
    run = server.apply(plan.release)
    assert list(asides(run)) == ["conf/b.txt"]
    assert (server.live / "conf/b.txt").read_text() == "b"


def test_change_by_hand_of_the_same_size_and_time_is_noticed(server: Server) -> None:
    plan = server.send(TREE)
    server.apply(plan.release)
    server.apply(plan.release)  # now the files' state has been noted, if they were old enough
    file = server.live / "conf/b.txt"
    was = file.stat()
    file.write_text("X")
    os.utime(file, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert list(asides(server.apply(plan.release))) == ["conf/b.txt"]


def test_mode_changed_there_by_hand_is_put_right(server: Server) -> None:
    plan = server.send(TREE)
    server.apply(plan.release)
    (server.live / "run.sh").chmod(0o600)
    assert asides(server.apply(plan.release)) == {}
    live_is(server, plan.release)


def test_file_deleted_there_by_hand_comes_back(server: Server) -> None:
    plan = server.send(TREE)
    server.apply(plan.release)
    shutil.rmtree(server.live / "conf")
    assert asides(server.apply(plan.release)) == {}
    live_is(server, plan.release)


WRITTEN: dict[str, Callable[[Path], object]] = {
    "file": lambda path: path.write_text("from a container"),
    "folder with files": lambda path: write_tree(path, {"data": "from a container"}),
    "symlink": lambda path: path.symlink_to("somewhere"),
    "fifo": os.mkfifo,
}


@pytest.mark.parametrize("what", WRITTEN)
def test_what_a_container_wrote_where_the_release_wants_a_file_is_kept_aside(server: Server, what: str) -> None:
    server.apply(server.send(TREE).release)
    WRITTEN[what](server.live / "wanted")
    plan = server.send(TREE | {"wanted": "from the release"})
    run = server.apply(plan.release)
    kept = server.live / f"wanted.before-{run.folder.name}"
    assert asides(run) == {"wanted": kept.name}
    assert (server.live / "wanted").read_text() == "from the release"
    assert (kept / "data" if kept.is_dir() else kept).is_symlink() or kept.exists()
    if what == "file":
        assert kept.read_text() == "from a container"
    if what == "folder with files":
        assert (kept / "data").read_text() == "from a container"


def test_empty_folder_that_docker_made_for_a_missing_mount_is_no_data(server: Server) -> None:
    server.apply(server.send(TREE).release)
    (server.live / "wanted").mkdir()
    plan = server.send(TREE | {"wanted": "from the release"})
    assert asides(server.apply(plan.release)) == {}
    live_is(server, plan.release)


def test_file_that_a_container_wrote_with_the_content_that_is_wanted_is_just_taken(server: Server) -> None:
    server.apply(server.send(TREE).release)
    (server.live / "wanted").write_text("same")
    plan = server.send(TREE | {"wanted": "same"})
    assert asides(server.apply(plan.release)) == {}
    live_is(server, plan.release)


def test_first_deploy_into_a_folder_that_is_there_keeps_what_is_in_it(server: Server) -> None:
    write_tree(server.live, {"compose.yaml": "by hand", "data/x": "x", "conf/a.txt": "a"})
    plan = server.send(TREE)
    run = server.apply(plan.release)
    kept = f"compose.yaml.before-{run.folder.name}"
    assert asides(run) == {"compose.yaml": kept}
    live_is(server, plan.release, **{kept: ("f", 0o644, b"by hand"), "data__x": ("f", 0o644, b"x")})


def test_folders_go_with_their_last_file_and_stay_with_a_foreign_one(server: Server) -> None:
    server.apply(server.send({"compose.yaml": "{}", "gone/deep/er/x": "x", "kept/deep/x": "x"}).release)
    (server.live / "kept/foreign").write_text("f")
    plan = server.send({"compose.yaml": "{}"})
    server.apply(plan.release)
    live_is(server, plan.release, kept__foreign=("f", 0o644, b"f"))
    assert not (server.live / "gone").exists()
    assert not (server.live / "kept/deep").exists()


def test_empty_folder_of_a_release_that_a_container_filled_stays(server: Server) -> None:
    server.apply(server.send({"compose.yaml": "{}", "data": None}).release)
    (server.live / "data/x").write_text("x")
    plan = server.send({"compose.yaml": "{}"})
    assert asides(server.apply(plan.release)) == {}
    live_is(server, plan.release, data__x=("f", 0o644, b"x"))


def test_unchanged_files_are_not_written_again(server: Server) -> None:
    server.apply(server.send(TREE).release)
    before = {name: (server.live / name).stat() for name in TREE}
    plan = server.send(TREE | {"conf/b.txt": "new"})
    server.apply(plan.release)
    after = {name: (server.live / name).stat() for name in TREE}
    same = [
        name
        for name in TREE
        if (before[name].st_ino, before[name].st_mtime_ns) == (after[name].st_ino, after[name].st_mtime_ns)
    ]
    assert sorted(same) == ["compose.yaml", "conf/a.txt", "run.sh"]


def test_changed_file_is_renamed_over_and_has_a_new_time(server: Server) -> None:
    server.apply(server.send(TREE).release)
    with (server.live / "conf/b.txt").open() as reader:  # a reader of the old one never sees half a new one
        server.apply(server.send(TREE | {"conf/b.txt": "new"}).release)
        assert reader.read() == "b"


def test_applying_nothing_takes_our_files_out_and_leaves_the_rest(server: Server) -> None:
    plan = server.send(TREE)
    server.apply(plan.release)
    (server.live / "acme.json").write_text("{}")
    run = server.run(plan.release, [Step("apply", ("apply", ""))])
    assert (run.result, asides(run)) == ("deployed", {})
    assert read_tree(server.live) == {"acme.json": ("f", 0o644, b"{}")}


def test_file_that_changes_between_stage_and_apply_is_kept_aside(server: Server) -> None:
    server.apply(server.send(TREE).release)
    plan = server.send(TREE | {"conf/b.txt": "new"})
    write = Step("write", ("sh", "-c", f'echo late >"{server.live}/conf/b.txt"; echo late >"{server.live}/conf/a.txt"'))
    run = server.run(
        plan.release, [Step("stage", ("stage", plan.release)), write, Step("apply", ("apply", plan.release))]
    )
    assert run.result == "deployed", run.output()
    assert sorted(map(str, asides(run))) == ["conf/a.txt", "conf/b.txt"]
    assert (server.live / "conf/a.txt").read_text() == "a"
    assert (server.live / "conf/b.txt").read_text() == "new"


# --- cut in the middle of apply -----------------------------------------------------------------------------------------


def leave_as_if_killed(server: Server, old: str, new: str, done: tuple[str, ...], *, stat: bool) -> None:
    """What an apply of `new` over `old` leaves when it is killed after the paths `done`."""
    manifests = [(server.home / "releases" / name / "manifest").read_text().splitlines(True) for name in (old, new)]
    (server.home / "live.manifest").write_text("".join(sorted({*manifests[0], *manifests[1]})))
    if not stat:
        (server.home / "live.stat").unlink(missing_ok=True)
    for name in done:
        source = server.files(new) / name
        (server.live / name).unlink(missing_ok=True)
        if source.exists():
            (server.live / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, server.live / name)
    (server.home / "run" / "20260101-999999").mkdir(parents=True)
    (server.home / "run" / "20260101-999999" / "pid").write_text("4000000\n")


MIXED = TREE | {"conf/b.txt": "new", "more.txt": "more"}
del MIXED["run.sh"]


@pytest.mark.parametrize("towards", ["new", "old", "third"])
@pytest.mark.parametrize("done", [("conf/b.txt",), ("run.sh", "conf/b.txt", "more.txt")], ids=len)
def test_apply_that_was_killed_is_mended_by_the_next(server: Server, towards: str, done: tuple[str, ...]) -> None:
    old = server.send(TREE)
    server.apply(old.release)
    new = server.send(MIXED, live=False)
    third = server.send(TREE | {"conf/b.txt": "third", "more.txt": "third"}, live=False)
    (server.live / "acme.json").write_text("{}")
    leave_as_if_killed(server, old.release, new.release, done, stat=False)
    goal = {"new": new, "old": old, "third": third}[towards].release
    assert asides(server.apply(goal)) == {}
    live_is(server, goal, **{"acme.json": ("f", 0o644, b"{}")})


KILLING = """#!/bin/sh
n=$(($(cat {count}) + 1))
echo $n >{count}
[ $n -ne $(cat {at}) ] || kill -9 0
exec {tool} "$@"
"""


def killing_shell(server: Server, folder: Path) -> Shell:
    """The server's shell, but at the call of mv, rm, cat or mkdir whose number is in `at` the runner is killed, all of it"""
    folder.mkdir()
    for name in ("mv", "rm", "cat", "mkdir"):
        tool = shutil.which(name, path=server.shell.path)
        assert tool
        shim = folder / name
        real = shlex.quote(str(shutil.which("cat")))
        text = KILLING.format(count=folder / "count", at=folder / "at", tool=tool).replace("$(cat ", f"$({real} ")
        shim.write_text(text)
        shim.chmod(0o755)
    return replace(server.shell, path=f"{folder}:{server.shell.path}")


def note_state(server: Server) -> None:
    """live.stat as an apply leaves it when the files are old enough: all of them are known by their state alone."""
    found = [(name, (server.live / name).stat()) for name in TREE]
    lines = (f"{s.st_mode:x}\t{s.st_size}\t{int(s.st_ctime)}\t{s.st_ino}\t{name}\n" for name, s in found)
    (server.home / "live.stat").write_text("".join(lines))


@pytest.mark.parametrize(("content", "begin"), [("0", 1), ("1", 2)], ids=["sorts before", "sorts behind"])
def test_apply_that_is_killed_at_any_of_its_commands_is_mended_by_the_next(
    server: Server, tmp_path: Path, content: str, begin: int
) -> None:
    if server.shell.name == "busybox":
        return  # it takes its own mv and rm whatever PATH says: nothing to step in with
    old = server.send(TREE)
    new = server.send(
        {"compose.yaml": "services: {}\n", "conf/a.txt": "a", "conf/b.txt": content, "more/x": "x"}, live=False
    )
    killed = 0
    killing = killing_shell(server, tmp_path / "killing")
    for at in range(begin, 100, 2):
        server.apply(old.release)
        note_state(server)
        (tmp_path / "killing" / "count").write_text("0")
        (tmp_path / "killing" / "at").write_text(str(at))
        run = server.run(new.release, [Step("apply", ("apply", new.release))], shell=killing)
        if run.result == "deployed":
            break
        killed += 1
        assert asides(server.apply(new.release)) == {}, at
        live_is(server, new.release)
        shutil.rmtree(server.home / "run")
    assert killed > 5


def test_runner_killed_for_real_in_mid_sequence_is_mended_by_the_next(server: Server, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    old = server.send(TREE)
    server.apply(old.release)
    new = server.send(MIXED)
    run = server.start(new.release, [Step("stage", ("stage", new.release)), Step("hold", ("cat", str(gate)))])
    assert wait_until(lambda: run.at("hold"), 10)
    os.killpg(run.process.pid, 9)  # type: ignore[union-attr]
    run.process.wait(10)  # type: ignore[union-attr]
    live_is(server, old.release)
    assert asides(server.apply(new.release)) == {}
    live_is(server, new.release)


def test_twenty_thousand_files_are_applied_and_a_few_changes_too(server: Server) -> None:
    names = sorted(f"d{n % 100}/e{n % 7}/file-{n}.txt" for n in range(20_000))
    first, second = server.files("r1"), server.files("r2")
    for name in names:
        (first / name).parent.mkdir(parents=True, exist_ok=True)
        (first / name).write_text(name)
    shutil.copytree(first, second, copy_function=os.link)
    changed, removed = names[::1000], names[1::1000]
    for name in [*changed, *removed]:
        (second / name).unlink()
    for name in changed:
        (second / name).write_text("changed")
    for files, held in ((first, names), (second, sorted(set(names) - set(removed)))):
        entries = (
            Entry("f", 0o644, len(text), sha256(text).hexdigest(), name)
            for name in held
            for text in [(files / name).read_bytes()]
        )
        (files.parent / "manifest").write_text(Manifest(tuple(entries)).text())
    server.apply("r1")
    assert sum(len(files) for _, _, files in os.walk(server.live)) == 20_000
    assert asides(server.apply("r2")) == {}
    assert sum(len(files) for _, _, files in os.walk(server.live)) == 20_000 - len(removed)
    assert {(server.live / name).read_text() for name in changed} == {"changed"}


# --- steps ----------------------------------------------------------------------------------------------------------------


def marks(server: Server) -> list[str]:
    file = server.root / "marks"
    return file.read_text().split() if file.exists() else []


def mark(server: Server, name: str, code: int = 0) -> Step:
    return Step(name, ("sh", "-c", f'echo {name} >>"$0"; exit {code}', str(server.root / "marks")))


def test_steps_run_in_order_and_their_ends_are_told(server: Server) -> None:
    plan = server.send(TREE)
    run = server.run(plan.release, [mark(server, "one"), mark(server, "two")], [mark(server, "undo")])
    assert (run.result, marks(server)) == ("deployed", ["one", "two"])
    steps = [(event["name"], event["state"]) for event in run.events("step")]
    assert steps == [("one", "begin"), ("one", "done"), ("two", "begin"), ("two", "done")]
    assert [event["event"] for event in run.events()][0::5] == ["start", "end"]
    assert not (server.home / "holder").exists()


def test_step_that_fails_before_anything_was_touched_keeps_the_old_release(server: Server) -> None:
    old = server.send(TREE)
    server.apply(old.release)
    new = server.send(MIXED, live=False)
    steps = [Step("stage", ("stage", new.release)), mark(server, "rehearse", 7), Step("apply", ("apply", new.release))]
    run = server.run(new.release, steps, [mark(server, "undo")])
    assert (run.result, marks(server)) == ("kept", ["rehearse"])
    assert [event["code"] for event in run.events("step") if event["state"] == "failed"] == ["7"]
    live_is(server, old.release)


def test_step_that_fails_after_apply_has_the_undo_steps_run(server: Server) -> None:
    old = server.send(TREE)
    server.apply(old.release)
    new = server.send(MIXED, live=False)
    run = server.run(
        new.release,
        [Step("apply", ("apply", new.release)), mark(server, "up", 1), mark(server, "never")],
        [Step("apply", ("apply", old.release)), mark(server, "again")],
    )
    assert (run.result, marks(server), asides(run)) == ("restored", ["up", "again"], {})
    live_is(server, old.release)
    assert (server.home / "releases" / new.release / "outcome").read_text() == "failed\n"


def test_undo_that_fails_is_down(server: Server) -> None:
    plan = server.send(TREE, live=False)
    run = server.run(
        plan.release, [Step("apply", ("apply", plan.release)), mark(server, "up", 1)], [mark(server, "undo", 1)]
    )
    assert run.result == "down"


def test_step_that_takes_too_long_is_ended_and_undone(server: Server, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    plan = server.send(TREE, live=False)
    steps = [Step("apply", ("apply", plan.release)), Step("up", ("cat", str(tmp_path / "gate")), seconds=1)]
    run = server.run(plan.release, steps, [Step("apply", ("apply", "")), mark(server, "undo")])
    assert (run.result, marks(server)) == ("restored", ["undo"])
    assert run.at("up", "overdue")
    assert read_tree(server.live) == {}


def test_cancelled_run_is_undone(server: Server, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    plan = server.send(TREE, live=False)
    steps = [Step("apply", ("apply", plan.release)), Step("up", ("cat", str(tmp_path / "gate"))), mark(server, "never")]
    run = server.start(plan.release, steps, [Step("apply", ("apply", "")), mark(server, "undo")])
    assert run.process
    assert wait_until(lambda: run.at("up"), 10)
    run.process.terminate()
    run.process.wait(20)
    assert (run.result, marks(server)) == ("restored", ["undo"])
    assert run.at("up", "cancelled")


def test_line_feeds_quotes_and_blanks_in_a_step_arrive(server: Server) -> None:
    plan = server.send(TREE)
    words = ["it's", "$HOME", "a  b", "*", '"', "&&"]
    run = server.run(plan.release, [Step("say", ("printf", "%s|", *words))])
    assert run.result == "deployed"
    assert "|".join(words) in run.output()


def test_event_holds_backslashes_and_quotes_as_they_were(server: Server) -> None:
    plan = server.send(TREE)
    line = r"""C:\new\table \\ \0101 \c "quoted" it's %s"""
    run = server.run(plan.release, [Step("log", ("event", "log", "service", "web", "line", line))])
    assert [event["line"] for event in run.events("log")] == [line]


def test_event_is_json_whatever_bytes_it_holds(server: Server) -> None:
    """Latin-1, a cut and an overlong sequence, a surrogate, C0 and C1 controls, the largest character, a very long line."""
    plan = server.send(TREE)
    text = (
        r"a\200\377 \303\251 \360\237\230\200 \300\200 \355\240\200 \364\220\200\200 \033[2J\302\205\177\007 \t\342\202"
    )
    long = "$(head -c 100000 /dev/zero | tr '\\0' y)"
    step = Step("log", ("eval", f"""event log service "" line "$(printf '{text}')" long "{long}" """))
    run = server.run(plan.release, [step])
    (event,) = run.events("log")
    bad = "\ufffd"
    assert event["line"] == f"a{bad * 2} é 😀 {bad * 2} {bad} {bad} {bad}[2J{bad * 3}  {bad}"
    assert (event["service"], event["long"]) == ("", "y" * 100_000)
    assert (run.folder / "events").read_bytes().isascii()


# --- the lock -------------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["as it is", "without flock"])
def either(request: pytest.FixtureRequest, server: Server, tmp_path: Path) -> Server:
    """The server as it is, and with a PATH that has no flock."""
    if request.param == "without flock" and server.shell.name == "dash":
        tools = tmp_path / "tools"
        tools.mkdir()
        for folder in os.environ["PATH"].split(":"):
            for tool in Path(folder).glob("*") if Path(folder).is_dir() else ():
                if tool.name not in ("flock", "docker") and not (tools / tool.name).is_symlink():
                    (tools / tool.name).symlink_to(tool)
        server.shell = replace(
            make_shell("dash", str(tools), tmp_path / "no-flock"), asked_docker=server.shell.asked_docker
        )
    return server


def hold(server: Server, gate: Path, release: str) -> Run:
    os.mkfifo(gate)
    run = server.start(release, [Step("hold", ("cat", str(gate)))])
    assert wait_until(lambda: run.at("hold"), 10)
    return run


def test_second_run_says_who_holds_the_lock(either: Server, tmp_path: Path) -> None:
    plan = either.send(TREE)
    first = hold(either, tmp_path / "gate", plan.release)
    second = either.run(plan.release, [mark(either, "second")])
    assert (second.result, marks(either)) == ("locked", [])
    assert first.folder.name in str(second.events("locked")[0]["holder"])
    (tmp_path / "gate").write_text("")
    assert first.process
    first.process.wait(10)
    assert first.result == "deployed"
    assert either.run(plan.release, [mark(either, "third")]).result == "deployed"


def test_holder_is_still_named_after_a_second_run_was_refused(either: Server, tmp_path: Path) -> None:
    plan = either.send(TREE)
    first = hold(either, tmp_path / "gate", plan.release)
    for _ in range(2):
        run = either.run(plan.release, [mark(either, "never")])
        assert first.folder.name in str(run.events("locked")[0]["holder"])
    assert either.fact().holder


def test_refused_run_leaves_the_release_s_outcome_alone(either: Server, tmp_path: Path) -> None:
    plan = either.send(TREE)
    hold(either, tmp_path / "gate", plan.release)
    assert either.run(plan.release, [mark(either, "never")]).result == "locked"
    assert [release.outcome for release in either.fact().releases] == ["good"]


def test_run_that_waits_for_the_lock_goes_on_when_it_is_free(either: Server, tmp_path: Path) -> None:
    plan = either.send(TREE)
    hold(either, tmp_path / "gate", plan.release)
    second = either.start(plan.release, [mark(either, "second")], lock_wait=30)
    assert wait_until(lambda: bool(second.events("waiting")), 10)
    (tmp_path / "gate").write_text("")
    assert wait_until(lambda: second.result == "deployed", 10)


def test_lock_is_free_after_kill_9_of_the_holder_and_its_child(either: Server, tmp_path: Path) -> None:
    plan = either.send(TREE)
    first = hold(either, tmp_path / "gate", plan.release)
    assert first.process
    os.killpg(first.process.pid, 9)
    first.process.wait(10)
    assert either.run(plan.release, [mark(either, "next")]).result == "deployed"


def test_child_that_outlives_a_killed_holder_is_waited_for(server: Server, tmp_path: Path) -> None:
    if server.shell.name == "busybox":
        return  # without flock nothing knows of the child: see the report
    plan = server.send(TREE)
    first = hold(server, tmp_path / "gate", plan.release)
    assert first.process
    first.process.kill()
    first.process.wait(10)
    second = server.start(plan.release, [mark(server, "next")])
    assert wait_until(lambda: bool(second.events("waiting")), 10)
    assert marks(server) == []
    (tmp_path / "gate").write_text("")
    assert wait_until(lambda: second.result == "deployed", 10)


def test_lock_without_flock_whose_owner_was_never_written_heals(either: Server) -> None:
    """Killed between the mkdir and the writing of its owner."""
    plan = either.send(TREE)
    (either.home / "lock.d").mkdir()
    assert either.run(plan.release, [mark(either, "next")]).result == "deployed"


def test_lock_without_flock_of_another_boot_heals(either: Server) -> None:
    plan = either.send(TREE)
    (either.home / "lock.d").mkdir()
    (either.home / "lock.d" / "owner").write_text(f"{os.getpid()} 00000000-0000-0000-0000-000000000000\n")
    assert either.run(plan.release, [mark(either, "next")]).result == "deployed"


def test_lock_is_not_left_behind_by_a_run_that_ended(either: Server) -> None:
    plan = either.send(TREE)
    assert either.run(plan.release, [mark(either, "one")]).result == "deployed"
    assert not (either.home / "lock.d").exists()
    assert either.fact().holder == ""


def test_person_s_lock_stops_a_run(either: Server) -> None:
    plan = either.send(TREE)
    (either.home / "held").write_text("by ann: holidays\n")
    run = either.run(plan.release, [mark(either, "never")])
    assert (run.result, marks(either)) == ("locked", [])
    assert "holidays" in str(run.events("locked")[0]["holder"])


# --- ids and clocks -----------------------------------------------------------------------------------------------------


def leave_run(server: Server, name: str, *, step: str = "up", result: str = "restored") -> Path:
    folder = server.home / "run" / name
    folder.mkdir(parents=True)
    (folder / "events").write_text(f'{{"t":1.0,"event":"step","name":"{step}","state":"begin"}}\n' if step else "")
    (folder / "result").write_text(f"{result}\n" if result else "")
    return folder


def test_old_runs_go_but_neither_this_one_nor_one_at_work(server: Server, tmp_path: Path) -> None:
    """The server's clock was ahead for ten runs: all of them are newer by their names."""
    plan = server.send(TREE)
    at_work = hold(server, tmp_path / "gate", plan.release)  # holds the lock: only its folder is looked at
    shutil.rmtree(server.home / "run" / "20250101-000000", ignore_errors=True)
    for name in ("20250101-000000", *(f"20990101-0000{number}" for number in range(10, 22))):
        leave_run(server, name, step="")
    (server.home / "lock").unlink(missing_ok=True)
    shutil.rmtree(server.home / "lock.d", ignore_errors=True)
    run = server.run(plan.release, [Step("keep", ("remove_old_runs",))])
    assert run.result == "deployed"
    left = sorted(path.name for path in (server.home / "run").iterdir())
    assert left == [at_work.folder.name, run.folder.name, *(f"20990101-0000{number}" for number in range(12, 22))]


def test_old_releases_go_by_their_ids_and_one_that_is_about_to_run_stays(server: Server) -> None:
    first = server.send(TREE)
    for name in ("20980101-000000", "20980101-000001-2", "20980101-000001-a", "20980101-000002-0", "20980101-000003-0"):
        (server.home / "releases" / name).mkdir()
        (server.home / "releases" / name / "outcome").write_text("good\n")
    (server.home / "releases" / "20980101-000004-0").mkdir()  # sent, and waits for the lock
    (server.home / "releases" / "20240101-000004-0").mkdir()  # sent, and nobody came
    run = server.run(first.release, [Step("keep", ("eval", "keep=2; remove_old_releases"))])
    assert run.result == "deployed", run.output()
    left = sorted(path.name for path in (server.home / "releases").iterdir())
    assert left == [first.release, "20980101-000002-0", "20980101-000003-0", "20980101-000004-0"]


@pytest.mark.parametrize("result", ["restored", ""], ids=["failed", "was killed"])
def test_run_is_stale_when_one_with_a_higher_id_was_at_work(server: Server, result: str) -> None:
    """Its id would tell it as the one before."""
    plan = server.send(TREE)
    leave_run(server, "20990101-000000", result=result)
    run = server.run(plan.release, [mark(server, "never")])
    assert (run.result, marks(server)) == ("stale", [])


def test_run_is_not_stale_for_one_that_was_refused(server: Server) -> None:
    plan = server.send(TREE)
    leave_run(server, "20990101-000000", step="", result="locked")
    assert server.run(plan.release, [mark(server, "mine")]).result == "deployed"
    last = server.fact().last_run
    assert last
    assert last.outcome == "deployed"


# --- going back ---------------------------------------------------------------------------------------------------------

# Answers for two containers of a service: one that ran before, one that was started since.
TWO_CONTAINERS = """#!/bin/sh
case $1 in
    ps) echo before; echo since ;;
    inspect) case $4 in before) echo 2026-01-01T00:00:00.123456789Z ;; *) echo 2999-01-01T00:00:00.123456789Z ;; esac ;;
    kill) echo "$*" >>{killed} ;;
esac
"""


def test_only_what_ran_before_is_signalled_when_files_are_taken_back(server: Server, tmp_path: Path) -> None:
    plan, killed = server.send(TREE), tmp_path / "killed"
    docker = server.shell.asked_docker.parent / "docker"
    docker.write_text(TWO_CONTAINERS.format(killed=killed))
    run = server.run(plan.release, [Step("reload", ("signal_back", "web", "HUP"))])
    assert run.result == "deployed", run.output()
    assert killed.read_text() == "kill --signal HUP before\n"


# Answers for the containers of web (w1 came up before o2, w2 after it) and of other, and notes which are restarted.
TIED = """#!/bin/sh
case $* in
    ps*service=web*) echo w1; echo w2 ;;
    ps*) echo o1; echo o2 ;;
    inspect*w1) echo 2026-01-01T00:00:01.5Z w1 ;;
    inspect*w2) echo 2026-01-01T00:00:01.52Z w2 ;;
    inspect*o1) echo 2026-01-01T00:00:01Z o1 ;;
    inspect*o2) echo 2026-01-01T00:00:01.51Z o2 ;;
    restart*) echo "$2" >>{restarted}; exit {code} ;;
esac
"""


@pytest.mark.parametrize(("code", "result"), [(0, "deployed"), (1, "kept")])
def test_only_what_was_started_before_the_other_is_restarted(
    server: Server, tmp_path: Path, code: int, result: str
) -> None:
    plan, restarted = server.send(TREE), tmp_path / "restarted"
    docker = server.shell.asked_docker.parent / "docker"
    docker.write_text(TIED.format(restarted=restarted, code=code))
    run = server.run(plan.release, [Step("restart", ("restart_after", "web", "other"))])
    assert restarted.read_text() == "w1\n"
    assert run.result == result, run.output()


# --- what a full disk or a power cut left ------------------------------------------------------------------------------

FAILS = Step("fails", ("false",))
WHOLE = {
    "compose.yaml": "services: {}\n",
    "run.sh": ("#!/bin/sh\n", 0o755),
    ".env": ("A=b\n", 0o600),
    "a b/-x": "1",
    "link": Path("a b/-x"),
    "empty": None,
}


@pytest.mark.parametrize("broken", [b"", b"\x7fELF\0\xff\n", b"f\t0644\t1", b"\0" * 5000])
def test_broken_manifest_of_the_live_release_is_made_anew_from_its_files(server: Server, broken: bytes) -> None:
    first = server.send(WHOLE)
    assert server.run(first.release, [Step("apply", ("apply", first.release))]).result == "deployed"
    manifest = server.home / "releases" / first.release / "manifest"
    was = manifest.read_bytes()
    manifest.write_bytes(broken)
    second = server.send(WHOLE | {"more": "x"}, live=False)
    undo = [Step("apply", ("apply", first.release))]
    run = server.run(
        second.release, [*(Step(name, (name, second.release)) for name in ("stage", "apply")), FAILS], undo
    )
    assert run.result == "restored", run.output()
    assert manifest.read_bytes() == was
    assert read_tree(server.live) == read_tree(server.files(first.release))


def test_whole_manifest_is_left_as_it_is(server: Server) -> None:
    first = server.send(WHOLE)
    manifest = server.home / "releases" / first.release / "manifest"
    before = manifest.stat()
    server.run(first.release, [Step("apply", ("apply", first.release))])
    assert manifest.stat().st_ino == before.st_ino
