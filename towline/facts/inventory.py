"""What else is on a host: all containers of its engine, who listens, networks, volumes, and which images are there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from towline.commands.docker import ONEOFF, PROJECT, SERVICE
from towline.commands.shell import Command, script
from towline.errors import RemoteFailed
from towline.ssh.session import Result

CONFIG_HASH = "com.docker.compose.config-hash"
INPUTS = "towline.inputs"
WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - compared with, never bound


@dataclass(frozen=True, order=True)
class Port:
    """A port held on the host. address: 0.0.0.0 and :: mean every one of their family."""

    address: str
    port: int
    proto: str = "tcp"


@dataclass(frozen=True)
class Mount:
    """type: volume, bind, tmpfs, …; name: the volume's, else ''; source: the path on the host."""

    type: str
    name: str
    source: str
    destination: str

    @property
    def anonymous(self) -> bool:
        """Whether Docker made up the volume's name: 64 hex digits."""
        return self.type == "volume" and bool(re.fullmatch(r"[0-9a-f]{64}", self.name))


@dataclass(frozen=True)
class Neighbour:
    """One container of the engine, compose's or not: project, service, config_hash and inputs are '' without the label.

    ports: what it holds now, none when it is stopped. created and started as Docker writes times; started is '' for never.
    """

    name: str
    project: str
    service: str
    state: str
    ports: tuple[Port, ...] = ()
    config_hash: str = ""
    inputs: str = ""
    image_id: str = ""
    image: str = ""
    created: str = ""
    started: str = ""
    restarts: int = 0
    mounts: tuple[Mount, ...] = ()
    oneoff: bool = False
    host_network: bool = False

    @property
    def running(self) -> bool:
        return self.state in ("running", "restarting", "paused")


@dataclass(frozen=True)
class Inventory:
    """listeners: TCP ports held by programs that are not Docker's. volumes: name → compose project or ''.

    images: each name that was asked about → the id it has there, '' when it is not there.
    """

    containers: tuple[Neighbour, ...] = ()
    listeners: tuple[Port, ...] = ()
    networks: frozenset[str] = frozenset()
    volumes: Mapping[str, str] = field(default_factory=dict)
    images: Mapping[str, str] = field(default_factory=dict)

    def inputs_by_service(self, project: str) -> dict[str, frozenset[str]]:
        """The label that tells of mounted files, of each service's containers; '' for one without."""
        own = [one for one in self.containers if one.project == project and not one.oneoff]
        return {name: frozenset(it.inputs for it in own if it.service == name) for name in {one.service for one in own}}


def _label(name: str) -> str:
    return f'{{{{json (index .Config.Labels "{name}")}}}}'


_INSPECTED = {
    "name": "{{json .Name}}",
    "project": _label(PROJECT),
    "service": _label(SERVICE),
    "oneoff": _label(ONEOFF),
    "config_hash": _label(CONFIG_HASH),
    "inputs": _label(INPUTS),
    "state": "{{json .State.Status}}",
    "network_mode": "{{json .HostConfig.NetworkMode}}",
    "ports": "{{json .NetworkSettings.Ports}}",
    "bindings": "{{json .HostConfig.PortBindings}}",
    "image_id": "{{json .Image}}",
    "image": "{{json .Config.Image}}",
    "created": "{{json .Created}}",
    "started": "{{json .State.StartedAt}}",
    "restarts": "{{json .RestartCount}}",
    "mounts": "{{json .Mounts}}",
}
_CONTAINER = "{" + ",".join(f'"{key}":{value}' for key, value in _INSPECTED.items()) + "}"
# $1 the format. A container that is removed after it was listed makes inspect exit with 1; it still prints all the others.
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
        script(_CONTAINERS, _CONTAINER),
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
    containers = tuple(sorted(map(_neighbour, _rows(inspected)), key=lambda one: one.name))
    return Inventory(
        containers=containers,
        listeners=_not_docker_s(parse_listening(listening.out), containers),
        networks=frozenset(map(str, _rows(networks))),
        volumes={row["name"]: row["project"] for row in _rows(volumes)},
        images={name: json.loads(it.out) if it.ok else "" for name, it in zip(images, found, strict=True)},
    )


def _last_line(result: Result) -> str:
    return (result.err.strip().splitlines() or [f"docker: exit code {result.code}"])[-1]


def _rows(result: Result) -> Iterator[Any]:
    return (json.loads(line) for line in result.out.splitlines() if line.strip())


def _neighbour(row: dict[str, Any]) -> Neighbour:
    # Between two starts a container holds nothing, but will again: what it was told to publish counts.
    ports = row["bindings"] if row["state"] == "restarting" and not row["ports"] else row["ports"]
    plain = ("project", "service", "state", "config_hash", "inputs", "image_id", "image", "created", "restarts")
    return Neighbour(
        name=row["name"].removeprefix("/"),
        ports=tuple(sorted(_ports(ports or {}))),
        started="" if row["started"].startswith("0001-") else row["started"],
        mounts=tuple(
            Mount(it["Type"], it.get("Name", ""), it.get("Source", ""), it["Destination"]) for it in row["mounts"] or ()
        ),
        oneoff=row["oneoff"] == "True",
        host_network=row["network_mode"] == "host",
        **{key: row[key] for key in plain},
    )


def _ports(bindings: Mapping[str, list[dict[str, str]] | None]) -> Iterator[Port]:
    """The ports out of Docker's `{"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}`."""
    for inside, outside in bindings.items():
        for one in outside or ():
            if one["HostPort"].isdigit():  # a range, or "" for any, is not known before the start
                for address in (one["HostIp"],) if one["HostIp"] else WILDCARDS:
                    yield Port(address, int(one["HostPort"]), inside.partition("/")[2] or "tcp")


def parse_listening(text: str) -> tuple[Port, ...]:
    """The local addresses of /proc/net/tcp and tcp6, a line each.

    >>> parse_listening("0100007F:0050\\n")
    (Port(address='127.0.0.1', port=80, proto='tcp'),)
    """
    words = (line.partition(":") for line in text.split())
    return tuple(sorted({Port(_address(address), int(port, 16)) for address, _, port in words}))


def _address(text: str) -> str:
    """An address of /proc/net: 32-bit words in the machine's order, little-endian wherever Docker is but on s390x."""
    given = b"".join(bytes.fromhex(text[i : i + 8])[::-1] for i in range(0, len(text), 8))
    if len(given) == 4:
        return str(IPv4Address(given))
    long = IPv6Address(given)
    return str(long.ipv4_mapped or long)


def _not_docker_s(listeners: Sequence[Port], containers: Sequence[Neighbour]) -> tuple[Port, ...]:
    """Without the ports that Docker's proxy holds for containers; rootless Docker holds both families as one `::`."""
    held = {port for one in containers for port in one.ports}
    wide = {port.port for port in held if port.address in WILDCARDS and port.proto == "tcp"}
    return tuple(one for one in listeners if one not in held and not (one.address in WILDCARDS and one.port in wide))
