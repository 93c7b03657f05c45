"""runner.sh, when the Docker Engine is away or hangs: nothing waits for ever, and what can be given again is."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.integration.conftest import Run, Server
from towline.engines.steps import Step
from towline.sandbox.wait import wait_until

TREE = {"compose.yaml": "services: {}\n"}

# Notes what it is asked. While {away} is there it fails; what {hanging} holds it does not answer.
ENGINE = """#!/bin/sh
printf '%s\\n' "$*" >>{asked}
case " $* " in *" $(cat {hanging} 2>/dev/null || printf nothing) "*) exec sleep 600 ;; esac
[ ! -e {away} ] || {{ echo "Cannot connect to the Docker daemon" >&2; exit 1; }}
"""


class Engine:
    """A `docker` that finds its engine, or does not."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.asked_file, self.away_file, self.hanging_file = (folder / name for name in ("asked", "away", "hanging"))
        docker = Path(server.shell.path.split(":")[0]) / "docker"
        docker.write_text(ENGINE.format(asked=self.asked_file, away=self.away_file, hanging=self.hanging_file))

    def goes(self) -> None:
        self.away_file.touch()

    def comes_back(self) -> None:
        self.away_file.unlink()

    def hangs_on(self, word: str) -> None:
        self.hanging_file.write_text(word)

    def asked(self, words: str) -> int:
        return self.asked_file.read_text().splitlines().count(words) if self.asked_file.exists() else 0


@pytest.fixture
def engine(server: Server, tmp_path: Path) -> Engine:
    return Engine(server, tmp_path)


UP = Step("up", ("docker", "compose", "up"))


def states(run: Run) -> list[object]:
    return [event["state"] for event in run.events("engine")]


def test_step_under_which_the_engine_went_is_given_again(server: Server, engine: Engine) -> None:
    plan = server.send(TREE)
    engine.goes()
    run = server.start(plan.release, [UP])
    assert wait_until(lambda: states(run) == ["away"], 10)
    engine.comes_back()
    assert wait_until(lambda: run.result == "deployed", 10)
    assert (states(run), engine.asked("compose up")) == (["away", "back"], 2)


def test_what_puts_things_back_waits_for_the_engine_too(server: Server, engine: Engine) -> None:
    plan = server.send(TREE)
    server.apply(plan.release)
    goes = Step("up", ("sh", "-c", f"touch {engine.away_file}; exit 1"))
    run = server.start(plan.release, [Step("apply", ("apply", plan.release)), goes], [UP])
    assert wait_until(lambda: states(run) == ["away"], 10)
    engine.comes_back()
    assert wait_until(lambda: run.result == "restored", 10)


def test_step_that_fails_with_the_engine_there_is_not_given_again(server: Server, engine: Engine) -> None:
    plan = server.send(TREE)
    run = server.run(plan.release, [Step("up", ("eval", "docker compose up; false"))])
    assert (run.result, states(run), engine.asked("compose up")) == ("kept", [], 1)


def test_engine_that_stays_away_ends_the_run(server: Server, engine: Engine) -> None:
    plan = server.send(TREE)
    engine.goes()
    run = server.run(plan.release, [Step("wait", ("eval", "engine_wait=2; wait_for_engine"))])
    assert (run.result, states(run)) == ("kept", ["away", "gone"])


def test_docker_that_hangs_is_not_asked_for_long(server: Server, engine: Engine) -> None:
    plan = server.send(TREE)
    engine.hangs_on("ps")
    run = server.run(plan.release, [Step("look", ("eval", "answer_within=1; inspect_project x"))])
    assert run.result == "kept"
    assert "docker ps: no answer within 1 s" in run.output()


def test_step_that_hangs_and_takes_no_notice_of_its_end_is_killed(server: Server, engine: Engine) -> None:
    plan = server.send(TREE)
    began = time.monotonic()
    stubborn = Step("up", ("sh", "-c", "trap '' TERM; while :; do sleep 1; done"), seconds=1)
    run = server.run(plan.release, [stubborn])
    assert run.result == "kept"
    assert run.at("up", "overdue")
    assert time.monotonic() - began < 30


def test_lock_is_free_as_soon_as_the_runner_has_ended(server: Server, engine: Engine) -> None:
    plan = server.send(TREE)
    for _ in range(3):
        assert server.run(plan.release, [Step("say", ("true",))]).result == "deployed"
