"""The gate: new failures after a deploy restore the previous release; nothing else does."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from towline.checks import run
from towline.checks.finding import Finding, Report, Subject
from towline.cli import gate
from towline.cli.gate import deploy_with_gate, new_failures
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


class Checks:
    """What each check finds; the last one again and again."""

    def __init__(self, *checks: Sequence[Finding]) -> None:
        self.reports = [Report(tuple(findings), 0.0) for findings in checks]
        self.rolled_back: list[str] = []
        self.said: list[str] = []

    def check(self) -> Report:
        return self.reports.pop(0) if len(self.reports) > 1 else self.reports[0]

    def run(self, plan: Plan = PLAN) -> None:
        deploy_with_gate(self.check, lambda: plan, self.rolled_back.append, self.said.append)


@pytest.mark.parametrize(
    ("before", "after"),
    [([FINE], [FINE]), ([OLD, FINE], [OLD, FINE]), ([OLD, FINE], [FINE]), ([FINE], [WARN]), ([NEW], [NEW]), ([], [])],
)
def test_without_a_new_failure_the_release_stays(before: list[Finding], after: list[Finding]) -> None:
    checks = Checks(before, after)
    checks.run()
    assert checks.rolled_back == []
    assert len(checks.said) == 1


@pytest.mark.parametrize("before", [[FINE], [WARN], [OLD], [], [ABOUT.skip("new", "see other")]])
def test_new_failure_restores_the_previous_release(before: list[Finding]) -> None:
    checks = Checks(before, [OLD, NEW] if OLD in before else [NEW])
    with pytest.raises(DeployRolledBack, match="web: 1 new failure after the deploy") as caught:
        checks.run()
    assert caught.value.exit_code == 5
    assert checks.rolled_back == ["20270101-110000"]
    assert "it is broken" in checks.said[1]
    assert "it was broken" not in checks.said[1]


def test_failure_that_disappears_by_itself_is_none() -> None:
    checks = Checks([FINE], [NEW], [NEW], [FINE])
    checks.run()
    assert checks.rolled_back == []


@pytest.mark.parametrize(("release", "previous"), [("20270101-120000", ""), ("20270101-120000", "20270101-120000")])
def test_without_another_release_there_is_nothing_to_go_back_to(release: str, previous: str) -> None:
    checks = Checks([FINE], [NEW])
    with pytest.raises(TowlineError, match="there is no other release to go back to") as caught:
        checks.run(Plan("web", "web", "run", release=release, previous=previous))
    assert caught.value.exit_code == 1
    assert checks.rolled_back == []


def test_deploy_that_failed_is_not_checked_again() -> None:
    checks = Checks([FINE], [NEW])

    def deploy() -> Plan:
        raise DeployFailed("web: down")

    with pytest.raises(DeployFailed):
        deploy_with_gate(checks.check, deploy, checks.rolled_back.append, checks.said.append)
    assert (checks.rolled_back, checks.said, len(checks.reports)) == ([], [], 1)


def test_same_failure_on_another_host_is_a_new_one() -> None:
    other = Subject("stack.web", "backup", "web").fail("new", "it is broken")
    assert new_failures(Report((NEW,), 0), Report((NEW, other), 0)) == (other,)
