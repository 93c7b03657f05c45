"""Looking at hosts: what is told of several, of one that cannot be looked at, and looking until it is good."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.example_host import GOOD, HOST
from towline.checks import run
from towline.checks.finding import Finding, Report, Subject
from towline.checks.run import check_hosts, until_good
from towline.checks.scope import select
from towline.errors import ConnectionLost, HostUnreachable, RemoteFailed, TowlineError, UsageError
from towline.ssh.connection import Connection

ABOUT = Subject("host", "prod")
FINE, BAD = ABOUT.ok("memory", "fine"), ABOUT.fail("memory", "bad")


def places(monkeypatch: pytest.MonkeyPatch, *outcomes: Finding | TowlineError, **scope: Any) -> list[Any]:
    """A host for each outcome of looking at it."""
    of = GOOD.scope(**scope)
    hosts = [Connection(replace(HOST, name=f"host{n}"), print) for n in range(len(outcomes))]

    def looked(connection: Connection, _scope: object) -> tuple[Report, tuple[Finding, ...]]:
        outcome = outcomes[hosts.index(connection)]
        if isinstance(outcome, TowlineError):
            raise outcome
        every = (replace(outcome, host=connection.host.name),)
        return Report(select(every, of), 1.0), every

    monkeypatch.setattr(run, "run_checks", looked)
    return [(one, of) for one in hosts]


def test_several_hosts_make_one_report(monkeypatch: pytest.MonkeyPatch) -> None:
    report = check_hosts(places(monkeypatch, FINE, BAD))
    assert [(one.host, one.result) for one in report.findings] == [("host0", "pass"), ("host1", "fail")]
    assert report.seconds == 2.0


@pytest.mark.parametrize(
    "error", [HostUnreachable("no route", "is it up?"), ConnectionLost("cut"), RemoteFailed("no sh")]
)
def test_of_several_hosts_one_that_cannot_be_looked_at_is_a_finding(
    monkeypatch: pytest.MonkeyPatch, error: TowlineError
) -> None:
    report = check_hosts(places(monkeypatch, error, FINE))
    unreached, fine = report.findings
    assert (unreached.host, unreached.id, unreached.result) == ("host0", "host.reachable", "fail")
    assert (unreached.evidence, unreached.hint) == (error.message, error.hint)
    assert fine.result == "pass"
    with pytest.raises(type(error)):
        check_hosts(places(monkeypatch, error))


def test_fail_fast_looks_at_no_further_host(monkeypatch: pytest.MonkeyPatch) -> None:
    report = check_hosts(places(monkeypatch, BAD, ConnectionLost("not to be looked at"), fail_fast=True))
    assert [one.host for one in report.findings] == ["host0"]


def test_pattern_of_no_check_is_wrong_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"--only=host.memori: no check has such an id; did you mean host.memory\?"):
        check_hosts(places(monkeypatch, FINE, only="host.memori"))
    assert len(check_hosts(places(monkeypatch, FINE, only="host.m*")).findings) == 1


def test_pattern_is_of_one_host_s_checks_while_another_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    report = check_hosts(places(monkeypatch, FINE, HostUnreachable("no"), only="host.memory"))
    assert [one.result for one in report.findings] == ["pass", "fail"]


def test_waived_cause_is_told_with_what_it_explains() -> None:
    of = GOOD.scope(only="*.answers")
    down = GOOD.container("traefik-traefik-1", health="unhealthy")
    found = down.findings(only="*.answers")
    cause = "stack.traefik.service.traefik.healthy"
    waived = [replace(one, result="waived") if one.id == cause else one for one in found]
    assert {one.id: one.result for one in select(waived, of)} == {
        "stack.shop.route.shop.web.answers": "skip",
        "stack.shop.route.shop.websecure.answers": "skip",
        cause: "waived",
    }


# ------------------------------------------------------------------------------------------------------- until it is good


def report(*found: Finding) -> Report:
    return Report(found, 0.0)


def test_looking_ends_as_soon_as_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "PAUSE", 0.001)
    looks = iter([report(BAD), report(BAD), report(FINE), report(BAD)])
    assert until_good(lambda: next(looks), 60) == report(FINE)


def test_looking_ends_when_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "PAUSE", 0.001)
    assert until_good(lambda: report(BAD), 0.01) == report(BAD)


def test_without_time_there_is_one_look() -> None:
    looks = iter([report(BAD)])
    assert until_good(lambda: next(looks), 0) == report(BAD)
