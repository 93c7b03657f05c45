"""The gate: what fails after a deploy and did not before puts the release before back; nothing else does."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from towline.checks import run
from towline.checks.finding import Finding, Report, Subject
from towline.cli import gate
from towline.cli.gate import new_failures, pass_through
from towline.deploy.planning.plan import Plan
from towline.errors import DeployFailed, DeployRolledBack, TowlineError

ABOUT = Subject("stack.web", "prod", "web")
OLD, NEW = ABOUT.fail("old", "it was broken"), ABOUT.fail("new", "it is broken")
FINE, WARN = ABOUT.ok("new", "it works"), ABOUT.warn("new", "it may break")
PLAN = Plan("web", "web", "run", release="20270101-120000", previous="20270101-110000")


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "SETTLE", 0.2)
    monkeypatch.setattr(run, "PAUSE", 0.001)


class Looks:
    """What each look finds; the last one again and again."""

    def __init__(self, *looks: Sequence[Finding]) -> None:
        self.looks, self.rolled_back, self.said = (
            [Report(tuple(found), 0.0) for found in looks],
            list[str](),
            list[str](),
        )

    def look(self) -> Report:
        return self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]

    def run(self, plan: Plan = PLAN) -> None:
        pass_through(self.look, lambda: plan, self.rolled_back.append, self.said.append)


@pytest.mark.parametrize(
    ("before", "after"),
    [([FINE], [FINE]), ([OLD, FINE], [OLD, FINE]), ([OLD, FINE], [FINE]), ([FINE], [WARN]), ([NEW], [NEW]), ([], [])],
)
def test_without_a_new_failure_the_release_stays(before: list[Finding], after: list[Finding]) -> None:
    looks = Looks(before, after)
    looks.run()
    assert looks.rolled_back == []
    assert len(looks.said) == 1


@pytest.mark.parametrize("before", [[FINE], [WARN], [OLD], [], [ABOUT.skip("new", "see other")]])
def test_new_failure_puts_the_release_before_back(before: list[Finding]) -> None:
    looks = Looks(before, [OLD, NEW] if OLD in before else [NEW])
    with pytest.raises(DeployRolledBack, match="web: 1 new failure after the deploy") as caught:
        looks.run()
    assert caught.value.exit_code == 5
    assert looks.rolled_back == ["20270101-110000"]
    assert "it is broken" in looks.said[1]
    assert "it was broken" not in looks.said[1]


def test_failure_that_passes_by_is_none() -> None:
    looks = Looks([FINE], [NEW], [NEW], [FINE])
    looks.run()
    assert looks.rolled_back == []


@pytest.mark.parametrize(("release", "previous"), [("20270101-120000", ""), ("20270101-120000", "20270101-120000")])
def test_without_another_release_there_is_nothing_to_go_back_to(release: str, previous: str) -> None:
    looks = Looks([FINE], [NEW])
    with pytest.raises(TowlineError, match="there is no other release to go back to") as caught:
        looks.run(Plan("web", "web", "run", release=release, previous=previous))
    assert caught.value.exit_code == 1
    assert looks.rolled_back == []


def test_deploy_that_failed_is_not_looked_at_again() -> None:
    looks = Looks([FINE], [NEW])

    def deploy() -> Plan:
        raise DeployFailed("web: down")

    with pytest.raises(DeployFailed):
        pass_through(looks.look, deploy, looks.rolled_back.append, looks.said.append)
    assert (looks.rolled_back, looks.said, len(looks.looks)) == ([], [], 1)


def test_same_failure_on_another_host_is_a_new_one() -> None:
    other = Subject("stack.web", "backup", "web").fail("new", "it is broken")
    assert new_failures(Report((NEW,), 0), Report((NEW, other), 0)) == (other,)
