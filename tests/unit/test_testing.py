"""What a test of a server gets of a stack, from recorded answers of docker; without a server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import pytest

from towline.commands import docker
from towline.commands.shell import Command
from towline.errors import RemoteFailed, StackError, UsageError
from towline.project.compose_file import Service
from towline.project.settings import Host
from towline.project.stack import Stack
from towline.ssh.connection import Connection
from towline.ssh.session import Result
from towline.testing import HostUnderTest, ServiceUnderTest, StackUnderTest


class Answers:
    """A connection that gives the answers it was made with, in order, to the one command it is told about."""

    host = Host("prod", "192.0.2.1")

    def __init__(self, command: Command, *answers: Result) -> None:
        self._command, self._answers = command, [*answers]

    def run(self, command: Command, **_: object) -> Result:
        assert command == self._command
        return self._answers.pop(0)


def row(name: str, status: str, state: str = "running", service: str = "web") -> str:
    facts = {"project": "shop", "service": service, "name": name, "image": "nginx", "ports": ""}
    return json.dumps(facts | {"state": state, "status": status})


def stack(*answers: Result) -> StackUnderTest:
    host = HostUnderTest(cast(Connection, Answers(docker.containers("shop"), *answers)))
    top = Path("/project")
    services = (Service("web"), Service("db"))
    return StackUnderTest(host, Stack("shop", "shop", "stack", top / "stacks/shop", top, ("compose.yaml",), services))


def web(*rows: str) -> ServiceUnderTest:
    return stack(Result(0, "\n".join(rows).encode())).service("web")


UP, HEALTHY, STARTING = (
    row("web-1", "Up 2 hours"),
    row("web-2", "Up 1 hour (healthy)"),
    row("web-3", "Up 1 second (health: starting)"),
)
EXITED = row("web-4", "Exited (1) 3 minutes ago", "exited")
OTHER = row("db-1", "Up 2 hours (healthy)", service="db")


@pytest.mark.parametrize(
    ("rows", "running"),
    [((UP,), True), ((UP, HEALTHY), True), ((STARTING,), True), ((UP, EXITED), False), ((), False), ((OTHER,), False)],
)
def test_a_service_runs_when_all_its_containers_run(rows: tuple[str, ...], running: bool) -> None:
    assert web(*rows).running is running


@pytest.mark.parametrize(
    ("rows", "healthy"),
    [((HEALTHY,), True), ((HEALTHY, UP), False), ((STARTING,), False), ((EXITED,), False), ((OTHER,), False)],
)
def test_a_service_is_healthy_when_all_its_health_checks_pass(rows: tuple[str, ...], healthy: bool) -> None:
    assert web(*rows).healthy is healthy


def test_a_service_shows_the_containers_of_the_last_query() -> None:
    service = web(OTHER, UP, HEALTHY, EXITED)
    assert repr(service) == "<service web of shop on prod>"
    service.containers()
    shown = "web-1 Up 2 hours, no health check, web-2 Up 1 hour (healthy), web-4 Exited (1) 3 minutes ago"
    assert repr(service) == f"<service web of shop on prod: {shown}>"


def test_each_query_is_a_new_one() -> None:
    service = stack(Result(0, UP.encode()), Result(0, EXITED.encode())).service("web")
    assert (service.running, service.running) == (True, False)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (Result(1, b"", b"permission denied\n"), "prod: permission denied"),
        (Result(124), "prod: no answer within the time limit"),
    ],
)
def test_docker_that_does_not_answer_is_no_stopped_container(answer: Result, says: str) -> None:
    with pytest.raises(RemoteFailed, match=f"^{says}"):
        _ = stack(answer).service("web").running


def test_an_unknown_service_offers_the_nearest() -> None:
    with pytest.raises(StackError, match=r"stacks/shop: no service 'wep'; did you mean web\?"):
        stack().service("wep")


def test_a_command_without_words_is_refused() -> None:
    with pytest.raises(UsageError, match="empty list"):
        stack().host.run([])


def test_containers_of_one_project_are_listed_by_its_label() -> None:
    assert "label=com.docker.compose.project=shop" in docker.containers("shop")
    assert "label=com.docker.compose.project" in docker.containers()


def test_words_run_in_a_container_stay_words() -> None:
    labels = ("label=com.docker.compose.project=shop", "label=com.docker.compose.service=web")
    command = docker.execute("shop", "web", ("echo", "a  b"))
    assert command[:2] == ("sh", "-c")
    assert command[3:] == ("towline", *labels, "label=com.docker.compose.oneoff=False", "echo", "a  b")
