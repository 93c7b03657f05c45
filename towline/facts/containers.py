"""The containers on a host that compose made."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

from towline.commands import docker
from towline.errors import RemoteFailed
from towline.facts import interrupted
from towline.project.catalog import Catalog
from towline.ssh.connection import Connection
from towline.ssh.session import Result

SECONDS = 60  # that docker may take to answer


@dataclass(frozen=True)
class ContainerFact:
    """One container. state: created, running, exited, …; health: healthy, unhealthy, starting or '' without a check."""

    project: str
    service: str
    name: str
    image: str
    state: str
    health: str
    status: str
    ports: str


def read_containers(connection: Connection, catalog: Catalog, note: Callable[[str], None]) -> list[dict[str, object]]:
    """The rows of get-containers: those of the catalogue's stacks, from one session. `note` is told of cut deploys.

    Raises RemoteFailed when docker does not answer.
    """
    asked = [docker.containers(), interrupted.command(connection.host.root)]
    result, found = connection.batch(asked, together=True, name="containers")
    facts = parse_answer(result, connection.host.name)
    interrupted.tell(found, note)
    stacks = {stack.project: stack.name for stack in catalog.stacks}
    return [
        {
            "host": connection.host.name,
            "stack": stacks[fact.project],
            **{
                name: getattr(fact, name) for name in ("service", "name", "image", "state", "health", "status", "ports")
            },
        }
        for fact in facts
        if fact.project in stacks
    ]


def read_project(connection: Connection, project: str) -> tuple[ContainerFact, ...]:
    """The containers of one compose project, from one session. Raises RemoteFailed when docker does not answer."""
    result = connection.run(docker.containers(project), timeout=SECONDS, name="containers")
    return parse_answer(result, connection.host.name)


def parse_answer(result: Result, host: str) -> tuple[ContainerFact, ...]:
    """The facts, as `parse` gives them. Raises RemoteFailed when docker did not answer."""
    if not result.ok:
        raise RemoteFailed(f"{host}: {result.last_line}", "see `inv test-connectivity`")
    return parse(result)


def parse(result: Result) -> tuple[ContainerFact, ...]:
    """The facts from `commands.docker.containers()`, by project, service and name."""
    rows = [json.loads(line) for line in result.out.splitlines() if line.strip()]
    facts = [ContainerFact(health=_health(row["status"]), **row) for row in rows]
    return tuple(sorted(facts, key=lambda fact: (fact.project, fact.service, fact.name)))


def _health(status: str) -> str:
    """The health that `docker ps` puts in brackets behind the status.

    >>> _health("Up 2 minutes (healthy)"), _health("Up 1 second (health: starting)"), _health("Exited (0) 1 hour ago")
    ('healthy', 'starting', '')
    """
    found = re.search(r"\((?:health: )?(healthy|unhealthy|starting)\)", status)
    return found[1] if found else ""
