"""A container of the engine. There is one type for it, whichever command told of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from towline.commands.docker import (
    COMPOSE_VERSION,
    CONFIG_FILES,
    CONFIG_HASH,
    INPUTS,
    ONEOFF,
    PROJECT,
    SERVICE,
    WORKING_DIR,
)
from towline.facts.port import WILDCARDS, Binding, Port, parse_bindings


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
class Container:
    """project, service, config_hash, compose: Compose's labels, '' for a container that Compose did not make.

    oneoff: made by `compose run`, or as a hook: it is none of its service's replicas.

    state: created, running, exited, … health: healthy, unhealthy, starting or '' without a check; said: its last output.
    Times as Docker writes them, '' for never. wanted: the ports it was told to publish; held: those it has now. networks: name →
    its address there. log_limited: its log is rotated, or kept elsewhere; log_bytes: 0 where only root may look. oom: it was
    killed for its memory within the last day. status, ports: as `docker ps` words them; only that command tells them.
    """

    name: str
    project: str = ""
    service: str = ""
    state: str = ""
    id: str = ""
    image: str = ""
    image_id: str = ""
    oneoff: bool = False
    health: str = ""
    said: str = ""
    code: int = 0
    error: str = ""
    pid: int = 0
    restarts: int = 0
    started: str = ""
    finished: str = ""
    config_hash: str = ""
    compose: str = ""
    command: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    wanted: tuple[Binding, ...] = ()
    held: tuple[Binding, ...] = ()
    networks: Mapping[str, str] = field(default_factory=dict)
    host_network: bool = False
    mounts: tuple[Mount, ...] = ()
    log_limited: bool = True
    log_bytes: int = 0
    oom: bool = False
    status: str = ""
    ports: str = ""

    @property
    def running(self) -> bool:
        return self.state == "running"

    @property
    def active(self) -> bool:
        """Whether it runs, is paused or is between two starts."""
        return self.state in ("running", "restarting", "paused")

    @property
    def inputs(self) -> str:
        """The label with the hash of the files that it sees, '' without one."""
        return self.labels.get(INPUTS, "")

    @property
    def working_dir(self) -> str:
        """The folder that its project was started from, '' when it does not tell."""
        return self.labels.get(WORKING_DIR, "")

    @property
    def config_files(self) -> tuple[str, ...]:
        """The compose files that it was made from."""
        return tuple(filter(None, self.labels.get(CONFIG_FILES, "").split(",")))

    @property
    def address(self) -> str:
        """Where the host itself reaches it: 127.0.0.1 on the host's network, '' without any."""
        return "127.0.0.1" if self.host_network else next((ip for ip in self.networks.values() if ip), "")

    @property
    def host_ports(self) -> tuple[Port, ...]:
        """The ports of the host that it holds. Between two starts it holds none, but will again: those that it is to publish."""
        if self.held or self.state != "restarting":
            return tuple(sorted(binding.outside for binding in self.held if binding.outside.port))
        wanted = (binding.outside for binding in self.wanted if binding.outside.port)
        return tuple(sorted({each for port in wanted for each in _both_families(port)}))


def _both_families(port: Port) -> tuple[Port, ...]:
    if port.address != WILDCARDS[0]:
        return (port,)
    return tuple(Port(address, port.port, port.proto) for address in WILDCARDS)


def parse_inspected(row: Mapping[str, Any]) -> Container:
    """From `docker inspect` in the shape of commands.docker.INSPECTED, or of survey.sh, which has more keys."""
    labels, state, host = row["labels"] or {}, row["state"], row["host"]
    health = state.get("Health") or {}
    return Container(
        name=row["name"].removeprefix("/"),
        project=labels.get(PROJECT) or "",
        service=labels.get(SERVICE) or "",
        state=state["Status"],
        id=row["id"],
        image=row["image"],
        image_id=row["image_id"],
        oneoff=bool(labels.get(PROJECT)) and labels.get(ONEOFF) != "False",
        health="" if health.get("Status") in (None, "none") else health["Status"],
        said=_last_output(health),
        code=state.get("ExitCode", 0),
        error=state.get("Error", ""),
        pid=state.get("Pid", 0),
        restarts=row["restarts"],
        started=_time(state["StartedAt"]),
        finished=_time(state.get("FinishedAt", "")),
        config_hash=labels.get(CONFIG_HASH) or "",
        compose=labels.get(COMPOSE_VERSION) or "",
        command=tuple(row.get("command") or ()),
        labels=labels,
        wanted=tuple(parse_bindings(host["ports"])),
        held=tuple(parse_bindings(row["ports"])),
        networks={name: it.get("IPAddress", "") for name, it in (row.get("networks") or {}).items() if name != "host"},
        host_network=host["network"] == "host",
        mounts=tuple(_mount(mount) for mount in row["mounts"] or ()),
        log_limited=_log_limited(host.get("log") or {}),
        oom=bool(state.get("OOMKilled")),
    )


def parse_listed(row: Mapping[str, Any]) -> Container:
    """From `docker ps` in the shape of commands.docker.containers()."""
    return Container(health=health_of(row["status"]), **row)


def health_of(status: str) -> str:
    """The health that `docker ps` puts in brackets behind the status.

    >>> health_of("Up 2 minutes (healthy)"), health_of("Up 1 second (health: starting)"), health_of("Exited (0) 1 hour ago")
    ('healthy', 'starting', '')
    """
    found = re.search(r"\((?:health: )?(healthy|unhealthy|starting)\)", status)
    return found[1] if found else ""


def _last_output(health: Mapping[str, Any]) -> str:
    log = health.get("Log") or ()
    return str(log[-1].get("Output", "")).strip() if log else ""


def _time(text: str) -> str:
    return "" if text.startswith("0001-") else text


def _mount(mount: Mapping[str, Any]) -> Mount:
    return Mount(mount["Type"], mount.get("Name", ""), mount.get("Source", ""), mount["Destination"])


def _log_limited(log: Mapping[str, Any]) -> bool:
    """json-file grows for ever unless it is told not to; local rotates by itself, the others are kept elsewhere."""
    return log.get("Type") != "json-file" or "max-size" in (log.get("Config") or {})
