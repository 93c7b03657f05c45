"""The Docker Engine of a host, and whether this login may use it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from towline.commands import docker
from towline.commands.shell import Command, script
from towline.errors import TowlineError
from towline.ssh.connection import ANSWER_WITHIN
from towline.ssh.session import TIMED_OUT, Result


@dataclass(frozen=True)
class Engine:
    """socket: none (docker is not installed), absent, denied (to this login) or open. problem: why the engine does not answer.

    user: the login, as the server calls it. version: of the engine. compose: the plugin's version, or its path where it was not
    started. Each '' where there is none, or where it was not read. images: name → id. unnamed: id → bytes of those without a name.
    hangs: docker gave no answer within the time limit.
    """

    problem: str = ""
    socket: str = "open"
    user: str = ""
    version: str = ""
    compose: str = ""
    driver: str = ""
    images: Mapping[str, str] = field(default_factory=dict)
    unnamed: Mapping[str, int] = field(default_factory=dict)
    networks: frozenset[str] = frozenset()
    volumes: frozenset[str] = frozenset()
    hangs: bool = False


_SOCKET = """
socket=${DOCKER_HOST:-/var/run/docker.sock}
socket=${socket#unix://}
if [ ! -S "$socket" ]; then echo absent; elif [ -w "$socket" ]; then echo open; else echo denied; fi
"""


# Where the CLI looks for its plugins; to start the plugin for its version takes more than all other questions together.
_COMPOSE = """
for folder in "${HOME:-}/.docker" /usr/local/lib/docker /usr/local/libexec/docker /usr/lib/docker \\
    /usr/libexec/docker; do
    [ ! -x "$folder/cli-plugins/docker-compose" ] || { printf '%s\\n' "$folder"; exit; }
done
exec "$@"
"""


def commands(*, versions: bool = False) -> tuple[Command, ...]:
    """versions: that of Compose is asked for, too; else where it is will do."""
    compose = docker.compose_version()
    return (
        ("id", "-un"),
        script("command -v docker"),
        docker.engine_version(),
        compose if versions else script(_COMPOSE, *compose),
        script(_SOCKET),
    )


def parse(results: list[Result]) -> Engine:
    """The engine from the results of `commands()`, in their order."""
    user, docker_path, version, compose, socket = results
    return Engine(
        problem="" if version.ok else version.last_line,
        hangs=TIMED_OUT in (version.code, compose.code),
        socket=socket.out.strip() if docker_path.ok else "none",
        user=user.out.strip(),
        version=version.out.strip() if version.ok else "",
        compose=compose.out.strip().removeprefix("v") if compose.ok else "",
    )


def untried(engine: Engine) -> str:
    """A sentence about an engine that is none of Docker's; '' for Docker's own."""
    if not engine.version.endswith("(Podman)"):
        return ""
    return f"the engine there is Podman ({engine.version.split()[0]}), with which towline has not been tried"


def unusable(engine: Engine, host: str) -> TowlineError | None:
    """What keeps this login from deploying with the engine, with a hint how to change it; None when nothing does."""
    if engine.socket == "none":
        return TowlineError(f"{host}: docker is not installed there", "install Docker Engine and its compose plugin")
    if engine.hangs:
        return TowlineError(
            f"{host}: docker does not answer there within {ANSWER_WITHIN} s; it hangs",
            "on the server: is the disk full, the machine out of memory? systemctl restart docker",
        )
    if engine.problem.startswith("sudo: "):
        hint = f"on the server, in /etc/sudoers.d: {engine.user} ALL=(root) NOPASSWD:SETENV: /usr/bin/docker, /usr/bin/kill"
        return TowlineError(f"{host}: {engine.problem}", hint)
    if not engine.version and engine.socket == "denied":
        return TowlineError(
            f"{host}: {engine.user} may not use Docker",
            f"on the server, as root: usermod -aG docker {engine.user} (it counts from the next login)",
        )
    if not engine.version:
        return TowlineError(f"{host}: the Docker Engine does not answer", "on the server: systemctl start docker")
    if not engine.compose:
        return TowlineError(
            f"{host}: docker compose v2 is missing", "install the package docker-compose-plugin (or docker-compose-v2)"
        )
    return None
