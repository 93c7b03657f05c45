"""The engine of a host, and whether this login may use it."""

from __future__ import annotations

from dataclasses import dataclass

from towline.commands import docker
from towline.commands.shell import Command, script
from towline.errors import TowlineError
from towline.ssh.session import Result


@dataclass(frozen=True)
class EngineFact:
    """Versions are '' where there is none to tell."""

    user: str
    installed: bool
    version: str
    compose: str
    socket: str  # "ok", "denied" or "absent"

    @property
    def usable(self) -> bool:
        return bool(self.version and self.compose)


_SOCKET = """
socket=/var/run/docker.sock
if [ ! -S "$socket" ]; then echo absent; elif [ -w "$socket" ]; then echo ok; else echo denied; fi
"""


def commands() -> tuple[Command, ...]:
    return (
        ("id", "-un"),
        script("command -v docker"),
        docker.engine_version(),
        docker.compose_version(),
        script(_SOCKET),
    )


def parse(results: list[Result]) -> EngineFact:
    """The fact from the results of `commands()`, in their order."""
    user, found, engine, compose, socket = results
    return EngineFact(
        user=user.out.strip(),
        installed=found.ok,
        version=engine.out.strip() if engine.ok else "",
        compose=compose.out.strip().removeprefix("v") if compose.ok else "",
        socket=socket.out.strip(),
    )


def problem(fact: EngineFact, host: str) -> TowlineError | None:
    """What keeps this login from using the engine, with the mend; None when nothing does."""
    if not fact.installed:
        return TowlineError(f"{host}: docker is not installed there", "install Docker Engine and its compose plugin")
    if not fact.version and fact.socket == "denied":
        return TowlineError(
            f"{host}: {fact.user} may not use Docker",
            f"on the server, as root: usermod -aG docker {fact.user} (it counts from the next login)",
        )
    if not fact.version:
        return TowlineError(f"{host}: the Docker Engine does not answer", "on the server: systemctl start docker")
    if not fact.compose:
        return TowlineError(
            f"{host}: docker compose v2 is missing", "install the package docker-compose-plugin (or docker-compose-v2)"
        )
    return None
