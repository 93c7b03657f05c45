"""state.sh: what stands on a server, read into facts; under dash and busybox."""

from __future__ import annotations

import fcntl
import os
import subprocess
from pathlib import Path

from tests.integration.conftest import Server
from towline.engines.steps import Step
from towline.facts.stack import RunFact
from towline.sandbox.wait import wait_until

TREE = {"compose.yaml": "services: {}\n"}


def test_empty_root_has_nothing(server: Server) -> None:
    fact = server.fact()
    assert (fact.live, fact.current, fact.before, fact.holder, fact.held) == (False, "", "", "", "")
    assert (fact.last_run, fact.releases, fact.manifest, fact.newest) == (None, (), None, "")
    assert len(fact.now) == len("20261123-120000")


def test_looking_changes_nothing(server: Server) -> None:
    server.fact()
    assert list(server.root.iterdir()) == []


def test_releases_are_listed_with_outcome_and_what_their_sender_said(server: Server) -> None:
    first = server.send(TREE)
    second = server.send(TREE | {"more": "x"}, live=False)
    fact = server.fact()
    assert {release.id: release.outcome for release in fact.releases} == {first.release: "good", second.release: "-"}
    assert all(release.meta["id"] == release.id for release in fact.releases)
    assert fact.current == first.release
    assert fact.manifest is not None
    assert [entry.path for entry in fact.manifest.entries] == ["compose.yaml"]


def test_release_under_way_is_none_yet(server: Server) -> None:
    (server.home / "releases" / "20200101-000000.part").mkdir(parents=True)
    assert server.fact().releases == ()


def test_meta_that_is_broken_does_not_hide_the_release(server: Server) -> None:
    plan = server.send(TREE)
    (server.home / "releases" / plan.release / "meta.json").write_text('{"id": "x",\n\tbroken')
    (release,) = server.fact().releases
    assert (release.id, release.meta) == (plan.release, {})


def test_person_s_lock_is_told_with_its_message(server: Server) -> None:
    server.home.mkdir(parents=True)
    (server.home / "held").write_text("by ann: holidays\n")
    assert server.fact().held == "by ann: holidays"


def test_live_lock_is_told_with_its_holder(server: Server, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    plan = server.send(TREE)
    run = server.start(plan.release, [Step("hold", ("cat", str(tmp_path / "gate")))])
    assert wait_until(lambda: run.at("hold"), 10)
    fact = server.fact()
    assert run.folder.name in fact.holder
    assert fact.last_run == RunFact(run.folder.name, "running", "hold", plan.release)
    (tmp_path / "gate").write_text("")
    assert run.process
    run.process.wait(10)
    fact = server.fact()
    assert (fact.holder, fact.last_run) == ("", RunFact(run.folder.name, "deployed", "hold", plan.release))


def test_lock_file_that_nobody_holds_is_free(server: Server) -> None:
    server.home.mkdir(parents=True)
    (server.home / "lock").touch()
    (server.home / "holder").write_text("run 20200101-000000\npid 4000000\n")
    assert server.fact().holder == ""


def test_flock_of_any_process_counts(server: Server) -> None:
    if server.shell.name == "busybox":
        return  # Debian's has no flock: the runner takes lock.d there
    server.home.mkdir(parents=True)
    with (server.home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (server.home / "holder").write_text("run 20200101-000000\nby ann\npid 1\n")
        assert "20200101-000000" in server.fact().holder


def test_run_that_was_killed_is_told_with_its_step(server: Server, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    plan = server.send(TREE)
    run = server.start(plan.release, [Step("first", ("true",)), Step("down", ("cat", str(tmp_path / "gate")))])
    assert wait_until(lambda: run.at("down"), 10)
    assert run.process
    run.process.kill()
    run.process.wait(10)
    assert server.fact().last_run == RunFact(run.folder.name, "cut", "down", plan.release)


def test_newest_id_is_that_of_any_release_or_run(server: Server) -> None:
    for name in ("run/20260101-000001-ffffff", "run/zzz", "releases/20260101-000002-aaaaaa.part"):
        (server.home / name).mkdir(parents=True)
    assert server.fact().newest == "20260101-000002-aaaaaa.part"
    (server.home / "run" / "20260101-000003-000000").mkdir()
    assert server.fact().newest == "20260101-000003-000000"


def test_run_that_is_just_being_started_is_not_the_last_yet(server: Server) -> None:
    for name in ("20260101-000001", "20260101-000002"):
        (server.home / "run" / name).mkdir(parents=True)
    (server.home / "run" / "20260101-000001" / "result").write_text("deployed\n")
    last = server.fact().last_run
    assert last
    assert last.id == "20260101-000001"


def test_last_run_of_one_second_is_the_one_with_the_higher_number(server: Server) -> None:
    for name in ("20260101-000001", "20260101-000001-2"):
        (server.home / "run" / name).mkdir(parents=True)
        (server.home / "run" / name / "result").write_text("deployed\n")
    last = server.fact().last_run
    assert last
    assert last.id == "20260101-000001-2"


def test_pid_of_a_killed_run_that_is_another_s_now_is_not_taken_for_it(server: Server) -> None:
    folder = server.home / "run" / "20260101-000001"
    folder.mkdir(parents=True)
    (folder / "events").write_text('{"t":1.0,"event":"step","name":"up","state":"begin"}\n')
    (folder / "release").write_text("r1\n")
    other = subprocess.Popen(("cat",), stdin=subprocess.PIPE)
    try:
        (folder / "pid").write_text(f"{other.pid}\n")
        assert server.fact().last_run == RunFact("20260101-000001", "cut", "up", "r1")
    finally:
        other.communicate()


def test_root_and_stack_with_a_blank_are_read(server: Server) -> None:
    assert " " in str(server.root)
    server.live.mkdir()
    assert server.fact().live


BROKEN = {
    "outcome": b"",
    "seconds": b"",
    "built": b"\0\0\0\0",
    "downtime": b"\xff\xfe=\n=\n",
    "meta.json": b'{"id": "r',
}


def test_files_that_a_power_cut_left_are_told_and_done_without(server: Server) -> None:
    plan = server.send(TREE)
    folder = server.home / "releases" / plan.release
    for name, content in BROKEN.items():
        (folder / name).write_bytes(content)
    (folder / "manifest").write_bytes(b"\x7fELF\0\xff")
    (folder / "model").write_bytes(b"")
    fact = server.fact()
    assert [(release.id, release.outcome, release.seconds) for release in fact.releases] == [(plan.release, "-", 0.0)]
    assert (fact.current, fact.manifest, fact.model) == (plan.release, None, None)
    manifest, files = fact.broken
    assert "manifest" in manifest
    assert all(name in files for name in BROKEN)


def test_release_that_follows_a_broken_one_is_sent_whole(server: Server) -> None:
    plan = server.send(TREE | {"gone": "x"})
    (server.home / "releases" / plan.release / "manifest").write_bytes(b"")
    second = server.send(TREE)
    assert sorted(path.name for path in (server.home / "releases" / second.release / "files").iterdir()) == [
        "compose.yaml"
    ]
