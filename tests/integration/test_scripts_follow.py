"""start.sh and follow.sh: a runner is started once and followed from wherever the reader stands."""

from __future__ import annotations

import gzip
import os
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, cast

import pytest

from tests.integration.conftest import Run, Server
from towline.commands.shell import Command
from towline.deploy.events import Event, FollowPosition, follow, frames
from towline.engines.steps import Step
from towline.errors import RemoteFailed
from towline.remote import script
from towline.sandbox.wait import wait_until
from towline.ssh.session import Session

TREE = {"compose.yaml": "services: {}\n"}


class Local:
    """A session's reading side, over a process on this machine."""

    def __init__(self, server: Server, command: Command, stdin: bytes = b"") -> None:
        self.process = subprocess.Popen(
            (*server.shell.sh, *command[1:]),
            env=server.shell.env(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        server.started.append(self.process)
        feed = cast("IO[bytes]", self.process.stdin)
        feed.write(stdin)
        feed.close()

    def chunks(self, until: float | None = None) -> Iterator[bytes]:
        out = cast("IO[bytes]", self.process.stdout)
        while chunk := os.read(out.fileno(), 1 << 16):
            yield chunk
            assert until is None or time.monotonic() < until

    def code(self) -> int:
        return self.process.wait(10)

    @property
    def stderr(self) -> bytes:
        return cast("IO[bytes]", self.process.stderr).read()


def start(server: Server, steps: Iterable[Step]) -> tuple[Run, Local]:
    plan = server.send(TREE)
    name, archive = server.make_run(plan.release, steps)
    command = ("sh", "-c", script("start"), "towline", str(server.root), "web", name)
    return Run(server.home / "run" / name), Local(server, command, archive)


def again(server: Server, run: Run, followed: FollowPosition) -> Local:
    words = (str(run.folder), str(followed.events), str(followed.output))
    return Local(server, ("sh", "-c", script("follow"), "towline", *words))


def read(local: Local, followed: FollowPosition) -> tuple[list[Event], bytes]:
    events, output = [], b""
    for news in follow(cast("Session", local), followed):
        if isinstance(news, Event):
            events.append(news)
        else:
            output += news
    return events, output


def names(events: list[Event]) -> list[str]:
    return [event.values.get("name", event.name) + ":" + event.values.get("state", "") for event in events]


SAY = Step("say", ("sh", "-c", "echo out; printf '\\000\\377 no newline' >&2"))
ALL = ["start:", "say:begin", "say:done", "end:"]


def kill_runner(server: Server, run: Run) -> None:
    pid = int((run.folder / "pid").read_text())
    os.killpg(pid, 9)


def test_run_is_started_and_followed_to_its_end(server: Server) -> None:
    run, local = start(server, [SAY])
    followed = FollowPosition()
    events, output = read(local, followed)
    assert names(events) == ALL
    assert (output, run.result) == (b"out\n\0\377 no newline", "deployed")
    assert followed.ended
    assert (followed.events, followed.output) == (
        (run.folder / "events").stat().st_size,
        (run.folder / "output").stat().st_size,
    )
    assert local.code() == 0


def test_run_that_has_ended_is_told_whole_to_whoever_comes_later(server: Server) -> None:
    run, local = start(server, [SAY])
    first = read(local, FollowPosition())
    assert read(again(server, run, FollowPosition()), FollowPosition()) == first


def test_following_goes_on_from_any_offset(server: Server) -> None:
    run, local = start(server, [SAY])
    everything = read(local, FollowPosition())
    whole = (run.folder / "events").read_bytes()
    for cut_at in (1, len(whole) // 2, len(whole) - 1, len(whole)):
        tail = whole[:cut_at].rpartition(b"\n")[2]
        followed = FollowPosition(events=cut_at, output=4, _event_tail=tail)
        events, output = read(again(server, run, followed), followed)
        assert events == everything[0][len(everything[0]) - len(events) :]
        assert len(events) == whole[cut_at - len(tail) :].count(b"\n")
        assert output == everything[1][4:]


def test_news_comes_while_the_run_is_under_way(server: Server, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    _, local = start(server, [Step("hold", ("cat", str(tmp_path / "gate")))])
    news = follow(cast("Session", local), FollowPosition())
    while not (isinstance(event := next(news), Event) and event.values.get("name") == "hold"):
        pass
    (tmp_path / "gate").write_text("let go\n")
    rest = list(news)
    assert b"let go\n" in rest
    assert [event.name for event in rest if isinstance(event, Event)] == ["step", "end"]


def test_quiet_run_is_told_to_live(server: Server, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    run, local = start(server, [Step("hold", ("cat", str(tmp_path / "gate")))])
    assert wait_until(lambda: run.at("hold"), 10)
    seen = b""
    for chunk in local.chunks():
        seen += chunk
        if b"\nk\n" in seen:
            break
    (tmp_path / "gate").write_text("")
    assert wait_until(lambda: run.result == "deployed", 10)


def test_runner_that_is_only_being_started_is_not_told_as_dead(server: Server) -> None:
    name, archive = server.make_run(server.send(TREE).release, [SAY])
    runner = " ".join((*server.shell.sh, "./runner.sh"))
    late = (*server.shell.sh, "-c", "sleep 1; exec $RUNNER")
    run = server.launch(name, archive, late, server.shell.env() | {"RUNNER": runner})
    followed = FollowPosition()
    events, _ = read(again(server, run, followed), followed)
    assert names(events) == ALL


def test_runner_that_was_killed_is_told_as_dead(server: Server, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    run, local = start(server, [Step("hold", ("cat", str(tmp_path / "gate")))])
    assert wait_until(lambda: run.at("hold"), 10)
    kill_runner(server, run)
    assert list(frames(cast("Session", local)))[-1] == ("x", b"")
    followed = FollowPosition()
    events, _ = read(again(server, run, followed), followed)
    assert (followed.ended, names(events)) == (True, ["start:", "hold:begin"])


def test_run_outlives_its_follower_and_whole_session(server: Server, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    run, local = start(server, [Step("hold", ("cat", str(tmp_path / "gate"))), SAY])
    assert wait_until(lambda: run.at("hold"), 10)
    os.killpg(local.process.pid, 9)
    local.process.wait(10)
    (tmp_path / "gate").write_text("")
    assert wait_until(lambda: run.result == "deployed", 10)
    events, output = read(again(server, run, FollowPosition()), FollowPosition())
    assert names(events)[-4:] == ["hold:done", "say:begin", "say:done", "end:"]
    assert output.startswith(b"out\n")


def test_same_run_is_not_started_twice(server: Server) -> None:
    run, local = start(server, [SAY])
    read(local, FollowPosition())
    before = (run.folder / "events").read_bytes()
    name, archive = run.folder.name, b""
    second = Local(server, ("sh", "-c", script("start"), "towline", str(server.root), "web", name), archive)
    with pytest.raises(RemoteFailed):
        read(second, FollowPosition())
    assert (run.folder / "events").read_bytes() == before


@pytest.mark.parametrize("share", [0.0, 0.3, 0.8])
def test_run_that_did_not_arrive_whole_is_not_started(server: Server, share: float) -> None:
    plan = server.send(TREE)
    name, archive = server.make_run(plan.release, [SAY])
    command = ("sh", "-c", script("start"), "towline", str(server.root), "web", name)
    with pytest.raises(RemoteFailed):
        read(Local(server, command, archive[: int(len(archive) * share)]), FollowPosition())
    assert not (server.home / "run" / name / "events").exists()


def test_run_cut_between_two_of_its_files_is_not_started(server: Server) -> None:
    """GNU tar takes a tar that ends there for whole."""
    plan = server.send(TREE)
    name, archive = server.make_run(plan.release, [SAY], [SAY])
    tar = gzip.decompress(archive)
    ends = [at for at in range(512, len(tar), 512) if b"ustar" in tar[at + 257 : at + 262]]
    for number, end in enumerate(ends):
        command = ("sh", "-c", script("start"), "towline", str(server.root), "web", f"{name}-{number}")
        packed = gzip.compress(tar[:end])[:-4]  # the line broke: the trailer is missing too
        with pytest.raises(RemoteFailed):
            read(Local(server, command, packed), FollowPosition())
        assert not (server.home / "run" / f"{name}-{number}" / "events").exists()


def test_run_that_is_not_there_cannot_be_followed(server: Server) -> None:
    with pytest.raises(RemoteFailed, match="could not be followed"):
        read(again(server, Run(server.home / "run" / "none"), FollowPosition()), FollowPosition())
