"""The containers on a host that Compose made, as `docker ps` lists them."""

from __future__ import annotations

import json
from collections.abc import Callable

from towline.commands import docker
from towline.errors import RemoteFailed
from towline.facts import interrupted
from towline.facts.container import Container, parse_listed
from towline.project.catalog import Catalog
from towline.ssh.connection import Connection
from towline.ssh.session import Result

SECONDS = 60  # that docker may take to answer
COLUMNS = ("service", "name", "image", "state", "health", "status", "ports")


def read_containers(connection: Connection, catalog: Catalog, note: Callable[[str], None]) -> list[dict[str, object]]:
    """The rows of get-containers: those of the catalogue's stacks, from one session. `note` is told of interrupted deploys.

    Raises RemoteFailed when docker does not answer.
    """
    commands = [docker.containers(), interrupted.command(connection.host.root)]
    listed, runs = connection.batch(commands, parallel=True, timeout=SECONDS, name="containers")
    containers = parse_answer(listed, connection.host.name)
    interrupted.tell(runs, note)
    stacks = {stack.project: stack.name for stack in catalog.stacks}
    return [
        {
            "host": connection.host.name,
            "stack": stacks[container.project],
            **{name: getattr(container, name) for name in COLUMNS},
        }
        for container in containers
        if container.project in stacks
    ]


def read_project(connection: Connection, project: str) -> tuple[Container, ...]:
    """The containers of one compose project, from one session. Raises RemoteFailed when docker does not answer."""
    result = connection.run(docker.containers(project), timeout=SECONDS, name="containers")
    return parse_answer(result, connection.host.name)


def parse_answer(result: Result, host: str) -> tuple[Container, ...]:
    """The containers out of `docker ps`, by project, service and name. Raises RemoteFailed when docker did not answer."""
    if not result.ok:
        raise RemoteFailed(f"{host}: {result.last_line}", "see `inv test-connectivity`")
    rows = [json.loads(line) for line in result.out.splitlines() if line.strip()]
    return tuple(sorted(map(parse_listed, rows), key=lambda each: (each.project, each.service, each.name)))
