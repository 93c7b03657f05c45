"""One container, as the checks see it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from towline.commands.docker import ONEOFF, PROJECT, SERVICE
from towline.facts.inventory import CONFIG_HASH, WILDCARDS, Mount, Port

COMPOSE_VERSION = "com.docker.compose.version"


@dataclass(frozen=True)
class Binding:
    """A port of a container (`inside`: 80/tcp) and what it has on the host; port 0: any free one."""

    inside: str
    outside: Port


@dataclass(frozen=True)
class Container:
    """One container of the engine. Times as Docker writes them, '' for never. health: '' without a check; said: its last output.

    wanted: the ports it was told to publish; held: those it has now. networks: name → its address there. log_limited: its log
    is rotated, or kept elsewhere; log_bytes: 0 where only root may look. oom: it was killed for its memory within the last day.
    """

    id: str
    name: str
    project: str
    service: str
    state: str
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

    @property
    def running(self) -> bool:
        return self.state == "running"

    @property
    def address(self) -> str:
        """Where the host itself reaches it: 127.0.0.1 on the host's network, '' without any."""
        return "127.0.0.1" if self.host_network else next((ip for ip in self.networks.values() if ip), "")


def parse_container(row: Mapping[str, Any], killed: set[str], logs: Mapping[str, int]) -> Container:
    """From survey.sh's JSON. killed: the ids of those that were killed for their memory; logs: path → bytes."""
    labels, state, told = row["labels"] or {}, row["state"], row["host"]
    health = state.get("Health") or {}
    return Container(
        id=row["id"],
        name=row["name"].removeprefix("/"),
        project=labels.get(PROJECT, ""),
        service=labels.get(SERVICE, ""),
        state=state["Status"],
        image=row["image"],
        image_id=row["image_id"],
        oneoff=labels.get(ONEOFF) == "True",
        health="" if health.get("Status") in (None, "none") else health["Status"],
        said=_said(health),
        code=state["ExitCode"],
        error=state.get("Error", ""),
        pid=state.get("Pid", 0),
        restarts=row["restarts"],
        started=_time(state["StartedAt"]),
        finished=_time(state["FinishedAt"]),
        config_hash=labels.get(CONFIG_HASH, ""),
        compose=labels.get(COMPOSE_VERSION, ""),
        command=tuple(row["command"] or ()),
        labels=labels,
        wanted=tuple(_bindings(told["ports"])),
        held=tuple(_bindings(row["ports"])),
        networks={name: it.get("IPAddress", "") for name, it in (row["networks"] or {}).items() if name != "host"},
        host_network=told["network"] == "host",
        mounts=tuple(_mount(it) for it in row["mounts"] or ()),
        log_limited=_log_limited(told["log"]),
        log_bytes=logs.get(row["log_path"], 0),
        oom=bool(state.get("OOMKilled")) or row["id"] in killed,
    )


def _said(health: Mapping[str, Any]) -> str:
    log = health.get("Log") or ()
    return str(log[-1].get("Output", "")).strip() if log else ""


def _time(text: str) -> str:
    return "" if text.startswith("0001-") else text


def _mount(told: Mapping[str, Any]) -> Mount:
    return Mount(told["Type"], told.get("Name", ""), told.get("Source", ""), told["Destination"])


def _log_limited(log: Mapping[str, Any]) -> bool:
    """json-file grows for ever unless it is told not to; local rotates by itself, the others are kept elsewhere."""
    return log.get("Type") != "json-file" or "max-size" in (log.get("Config") or {})


def _bindings(ports: Mapping[str, list[dict[str, str]] | None] | None) -> Iterator[Binding]:
    """Out of Docker's `{"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}`."""
    for inside, outside in sorted((ports or {}).items()):
        for one in outside or ():
            number = int(one["HostPort"]) if one["HostPort"].isdigit() else 0
            yield Binding(inside, Port(one["HostIp"] or WILDCARDS[0], number, inside.partition("/")[2] or "tcp"))
