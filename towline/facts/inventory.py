"""What a host has beside the stack: all containers of its engine, listening programs, networks, volumes, the images asked about."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from towline.commands import docker
from towline.commands.docker import PROJECT
from towline.commands.shell import Command, script
from towline.errors import RemoteFailed
from towline.facts.container import Container, parse_inspected
from towline.facts.port import WILDCARDS, Port, parse_listening
from towline.ssh.session import Result


@dataclass(frozen=True)
class Inventory:
    """listeners: TCP ports held by programs that are not Docker's. volumes: name → compose project or ''.

    images: each name that was asked about → the id it has there, '' when it is not there.
    """

    containers: tuple[Container, ...] = ()
    listeners: tuple[Port, ...] = ()
    networks: frozenset[str] = frozenset()
    volumes: Mapping[str, str] = field(default_factory=dict)
    images: Mapping[str, str] = field(default_factory=dict)

    def inputs_by_service(self, project: str) -> dict[str, frozenset[str]]:
        """The label that tells of mounted files, of each service's containers; '' for one without."""
        inputs: dict[str, set[str]] = {}
        for container in self.containers:
            if container.project == project and not container.oneoff:
                inputs.setdefault(container.service, set()).add(container.inputs)
        return {service: frozenset(values) for service, values in inputs.items()}


# A container that goes between the two makes inspect exit 1; it still tells of all the others.
_CONTAINERS = """
ids=$(docker ps --all --quiet --no-trunc) || exit 1
[ -z "$ids" ] || docker inspect --type container --format "$1" $ids || :
"""
_NETWORK = "{{json .Name}}"
_VOLUME = f'{{"name":{{{{json .Name}}}},"project":{{{{json (.Label "{PROJECT}")}}}}}}'
_LISTENING = """cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk '$4 == "0A" { print $2 }'"""


def commands(images: Sequence[str] = ()) -> tuple[Command, ...]:
    """Four commands, and one for each of `images`."""
    return (
        script(_CONTAINERS, docker.INSPECTED),
        script(_LISTENING),
        ("docker", "network", "ls", "--format", _NETWORK),
        ("docker", "volume", "ls", "--format", _VOLUME),
        *(("docker", "image", "inspect", "--format", "{{json .Id}}", image) for image in images),
    )


def parse(results: Sequence[Result], images: Sequence[str] = ()) -> Inventory:
    """The fact from the results of `commands(images)`, in their order.

    Raises RemoteFailed when docker did not answer: what is missing would look like what is not there.
    """
    inspected, listening, networks, volumes, *found = results
    for result in (inspected, networks, volumes):
        if not result.ok:
            raise RemoteFailed(_last_line(result), "see `inv test-connectivity`")
    containers = tuple(sorted(map(parse_inspected, _rows(inspected)), key=lambda container: container.name))
    return Inventory(
        containers=containers,
        listeners=_without_docker(parse_listening(listening.out), containers),
        networks=frozenset(map(str, _rows(networks))),
        volumes={row["name"]: row["project"] for row in _rows(volumes)},
        images={name: json.loads(it.out) if it.ok else "" for name, it in zip(images, found, strict=True)},
    )


def _last_line(result: Result) -> str:
    return (result.err.strip().splitlines() or [f"docker: exit code {result.code}"])[-1]


def _rows(result: Result) -> Iterator[Any]:
    return (json.loads(line) for line in result.out.splitlines() if line.strip())


def _without_docker(listeners: Sequence[Port], containers: Sequence[Container]) -> tuple[Port, ...]:
    """Without the ports that Docker's proxy holds for containers; rootless Docker holds both families as one `::`."""
    held = {port for container in containers for port in container.host_ports}
    wide = {port.port for port in held if port.address in WILDCARDS and port.proto == "tcp"}
    return tuple(
        port for port in listeners if port not in held and not (port.address in WILDCARDS and port.port in wide)
    )
