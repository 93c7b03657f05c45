"""What an outcome means for who asked: the error's class and its exit code, never 0 for a deploy that failed."""

from __future__ import annotations

import pytest

from towline.deploy.events import Event
from towline.deploy.outcome import error_of
from towline.deploy.planning.plan import Plan
from towline.deploy.runner import Outcome
from towline.errors import DeployFailed, DeployRolledBack, LockHeld

SECOND = Plan("web", "web", run="r2", release="r2", previous="r1")
FIRST = Plan("web", "web", run="r1", release="r1", previous="")


def ended(result: str, *events: Event) -> Outcome:
    outcome = Outcome()
    for event in events:
        outcome.add(event)
    if result != "died":
        outcome.add(Event("end", 9.0, {"outcome": result}))
    return outcome


def step(name: str, state: str) -> Event:
    return Event("step", 1.0, {"name": name, "state": state})


FAILED = (step("build", "begin"), step("build", "failed"))


def test_deploy_that_succeeded_is_no_error() -> None:
    assert error_of(ended("deployed", step("up", "begin"), step("up", "done")), SECOND) is None


@pytest.mark.parametrize(
    ("result", "plan", "kind", "code", "words"),
    [
        ("kept", SECOND, DeployRolledBack, 5, ["failed at 'build'", "r1", "never touched"]),
        ("restored", SECOND, DeployRolledBack, 5, ["failed at 'build'", "r1", "was restored"]),
        ("down", SECOND, DeployFailed, 6, ["failed at 'build'", "r1", "down"]),
        ("died", SECOND, DeployFailed, 6, ["killed", "'build'"]),
        ("kept", FIRST, DeployFailed, 6, ["failed at 'build'", "none runs now"]),
        ("restored", FIRST, DeployFailed, 6, ["failed at 'build'", "none runs now"]),
        ("down", FIRST, DeployFailed, 6, ["failed at 'build'", "none"]),
        ("died", FIRST, DeployFailed, 6, ["killed", "'build'"]),
    ],
)
def test_each_end_has_its_error_and_code(result: str, plan: Plan, kind: type, code: int, words: list[str]) -> None:
    error = error_of(ended(result, *FAILED), plan)
    assert type(error) is kind
    assert error.exit_code == code
    assert "\n" not in error.message
    assert error.message.startswith("web: ")
    assert [word for word in words if word not in error.message] == []


def test_what_runs_is_told_where_it_could_not_be_put_back() -> None:
    running = Event("running", 8.0, {"services": "db, web (unhealthy)"})
    error = error_of(ended("partly", *FAILED, running), SECOND)
    assert type(error) is DeployRolledBack
    assert error.exit_code == 5
    assert "what runs now: db, web (unhealthy)" in error.message


@pytest.mark.parametrize(("services", "says"), [("db, web", "what runs now: db, web"), ("", "what runs now: nothing")])
def test_what_runs_is_told_where_the_runner_was_killed(services: str, says: str) -> None:
    error = error_of(ended("died", *FAILED, Event("running", 8.0, {"services": services})), SECOND)
    assert type(error) is DeployFailed
    assert says in error.message


@pytest.mark.parametrize("result", ["restored", "down", "kept"])
def test_one_shot_that_was_cut_is_named(result: str) -> None:
    cut = Event("cut", 8.0, {"service": "migrate", "seconds": "15"})
    error = error_of(ended(result, step("up", "overdue"), cut), SECOND)
    assert error
    assert "migrate was cut half-way, after 15 s" in error.message
    assert "not put back" in error.message


def test_lock_that_is_held_is_told_with_its_holder() -> None:
    error = error_of(ended("locked", Event("locked", 1.0, {"holder": "run r9 by ann@lap since today"})), SECOND)
    assert type(error) is LockHeld
    assert error.exit_code == 4
    assert "run r9 by ann@lap since today" in error.message
    assert "--lock-wait" in error.hint


@pytest.mark.parametrize("result", ["kept", "restored", "down"])
def test_cancelled_deploy_is_told_as_cancelled(result: str) -> None:
    error = error_of(ended(result, step("up", "begin"), step("up", "cancelled")), SECOND)
    assert error
    assert "cancelled" in error.message
    assert "failed at" not in error.message


def test_outcome_names_the_step_that_failed_first() -> None:
    outcome = ended("down", step("up", "begin"), step("up", "overdue"), step("up", "begin"), step("up", "failed"))
    assert (outcome.failed_step, outcome.cancelled) == ("up", False)


def test_outcome_without_an_end_has_died() -> None:
    assert Outcome().result == "died"
    assert error_of(Outcome(), SECOND)
