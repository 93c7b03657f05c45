"""A real Docker Engine with compose v2: the running one, else an installed one is started, else one is installed."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from towline.errors import TowlineError

from .packages import (
    INSTALL,
    SYSTEM_FOLDERS,
    UPDATE,
    Recipe,
    Source,
    System,
    find_program,
    read_sources,
    read_system,
)
from .wait import wait_until

SOCKET = Path("/var/run/docker.sock")
PID_FILE = Path("/var/run/docker.pid")
SYSTEMD = Path("/run/systemd/system")  # exists while systemd is the init system, see sd_booted(3)
START_SECONDS = 30
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
APT_FOLDER = Path("/var/cache/towline-apt")
# Debian 12 has engine 20.10 without compose v2. The packages of this suite (28.5, compose 2.40) need only libc6 >= 2.34.
NEWER_SUITE = "forky"
FROM_NEWER = ("docker.io", "docker-cli", "containerd", "docker-compose", "docker-buildx", "tini-static")

# By distribution: the packages of the engine, and those of compose v2.
ENGINE = {
    "debian": ("docker.io", "docker-cli", "iptables", "ca-certificates"),
    "ubuntu": ("docker.io", "iptables", "ca-certificates"),
}
COMPOSE = {
    "debian": ("docker-compose", "docker-buildx"),
    "ubuntu": ("docker-compose-v2", "docker-buildx"),
}
WITHOUT_COMPOSE = ("bullseye", "buster")  # no compose v2 there, and libc6 is too old for the newer suite
BY_HAND = {
    "fedora": ("sudo dnf install -y moby-engine docker-compose docker-buildx",),
    "arch": ("sudo pacman -S --needed docker docker-compose docker-buildx",),
    "alpine": ("sudo apk add docker docker-cli-compose docker-cli-buildx",),
    "suse": ("sudo zypper install -y docker docker-compose docker-buildx",),
}
ANYWHERE = "install Docker Engine 23 or newer with its compose plugin: https://docs.docker.com/engine/install/"


def is_running() -> bool:
    """Whether an engine answers on this machine's default socket."""
    return bool(read_engine_version())


def read_engine_version() -> str:
    """The running engine's version, or ''."""
    return _docker("version", "--format", "{{.Server.Version}}")


def read_compose_version() -> str:
    """The compose v2 plugin's version, or ''."""
    return _docker("compose", "version", "--short")


def _docker(*words: str) -> str:
    docker = find_program("docker")
    if not docker:
        return ""
    done = subprocess.run((docker, *words), capture_output=True, text=True, check=False, env=plain_environment())
    return done.stdout.strip() if done.returncode == 0 else ""


def plain_environment() -> dict[str, str]:
    """This process's environment, without the variables that make docker use another engine, and with the sbin folders."""
    kept = {name: value for name, value in os.environ.items() if name not in ("DOCKER_HOST", "DOCKER_CONTEXT")}
    return {**kept, "PATH": os.pathsep.join((os.environ.get("PATH", ""), *SYSTEM_FOLDERS))}


def missing() -> Recipe | None:
    """How to install what an engine with compose v2 lacks, or None; a running engine is never replaced."""
    has_engine = is_running() or (find_program("dockerd") and find_program("docker"))
    if has_engine and read_compose_version():
        return None
    return plan_install(read_system(), read_sources(), engine=not has_engine)


def plan_install(system: System, sources: Sequence[Source], *, engine: bool = True) -> Recipe:
    """The recipe for this distribution: the engine with compose v2, or (`engine=False`) only compose v2."""
    what = "Docker Engine with compose v2" if engine else "the compose v2 plugin"
    if system.id not in ENGINE or system.codename in WITHOUT_COMPOSE:
        return Recipe(what, by_hand=system.pick(BY_HAND, (ANYWHERE,)))
    packages = (*(ENGINE[system.id] if engine else ()), *COMPOSE[system.id])
    if (system.id, system.codename) == ("debian", "bookworm"):
        return _plan_from_newer_suite(what, packages, system.codename, sources)
    return Recipe(what, commands=(UPDATE, (*INSTALL, *packages)))


def _plan_from_newer_suite(what: str, packages: tuple[str, ...], codename: str, sources: Sequence[Source]) -> Recipe:
    own = _debian_sources(sources, codename)
    main = next((source for source in own if source.suite == codename), None)
    if main is None:
        raise TowlineError(f"no Debian source for {codename} in /etc/apt", hint=ANYWHERE)
    newer = Source(main.uri, NEWER_SUITE, ("main",), main.signed_by)
    options = _apt_options(APT_FOLDER)
    return Recipe(
        what,
        commands=(
            ("apt-get", "-q", *options, "update"),
            (INSTALL[0], *options, *INSTALL[1:], *packages),
            ("rm", "-r", str(APT_FOLDER)),
        ),
        files={
            APT_FOLDER / "towline.sources": "\n".join(_to_deb822(source) for source in (*own, newer)),
            APT_FOLDER / "preferences": _pin(NEWER_SUITE, FROM_NEWER),
        },
        folders=(APT_FOLDER / "lists", APT_FOLDER / "cache"),
        note=f"from Debian {NEWER_SUITE}; nothing else was upgraded",
    )


def _debian_sources(sources: Sequence[Source], codename: str) -> list[Source]:
    """Debian's own sources for the release: third-party repositories use its codename too."""
    return [
        source
        for source in sources
        if source.suite.split("-")[0] == codename
        and "main" in source.components
        and (not source.signed_by or "debian-archive" in source.signed_by)
    ]


def _apt_options(folder: Path) -> tuple[str, ...]:
    """apt options for separate sources, lists and pins: the machine's /etc/apt is not changed."""
    settings = {
        "Dir::Etc::sourcelist": f"{folder}/towline.sources",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::preferences": f"{folder}/preferences",
        "Dir::Etc::preferencesparts": "/dev/null",
        "Dir::State::lists": f"{folder}/lists",
        "Dir::Cache": f"{folder}/cache",
        "Acquire::Languages": "none",
    }
    return tuple(word for name, value in settings.items() for word in ("-o", f"{name}={value}"))


def _pin(suite: str, packages: Sequence[str]) -> str:
    """apt preferences that allow only `packages` from `suite`.

    `-t suite` would also take libc6 and 27 other packages from it (seen with forky on Debian 12).
    """
    return (
        f"Package: {' '.join(packages)}\nPin: release n={suite}\nPin-Priority: 990\n\n"
        f"Package: *\nPin: release n={suite}\nPin-Priority: -1\n"
    )


def _to_deb822(source: Source) -> str:
    return (
        f"Types: deb\nURIs: {source.uri}\nSuites: {source.suite}\nComponents: {' '.join(source.components)}\n"
        f"Signed-By: {source.signed_by or KEYRING}\n"
    )


def ensure(folder: Path, say: Callable[[str], None]) -> None:
    """Make sure that an engine with compose v2 answers: an installed one that does not run is started, with its log in `folder`.

    Raises TowlineError when this user may not start it, when it does not answer within 30 s, or without compose v2.
    """
    if not is_running():
        _start(folder, say)
    if not read_compose_version():
        raise TowlineError(f"Docker Engine {read_engine_version()} has no compose v2 plugin", hint=ANYWHERE)


def _start(folder: Path, say: Callable[[str], None]) -> None:
    _check_permission()
    if SYSTEMD.is_dir():
        _start_by_systemd()
    else:
        _start_by_hand(folder / "dockerd.log")
    say(f"started Docker Engine {read_engine_version()}")


def _check_permission() -> None:
    """Raise TowlineError when this user may not use Docker, or not start it."""
    if SOCKET.exists() and not os.access(SOCKET, os.R_OK | os.W_OK):
        line = 'sudo usermod -aG docker "$(id -un)" && newgrp docker'
        raise TowlineError(f"this user may not use Docker ({SOCKET})", hint=f"run, then log in again:\n{line}")
    if os.geteuid() != 0:
        why = "Docker is installed but not running (only root can start it)"
        raise TowlineError(why, hint=f"run:\n{_start_line()}")


def _start_line() -> str:
    if sys.platform == "darwin":
        return "open -a Docker"
    if SYSTEMD.is_dir():
        return "sudo systemctl start docker"
    return "sudo sh -c 'setsid dockerd >/var/log/dockerd.log 2>&1 </dev/null &'"


def _start_by_systemd() -> None:
    command = ("systemctl", "start", "docker")
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode or not wait_until(is_running, START_SECONDS):
        hint = "see:\njournalctl -u docker -n 50"
        raise TowlineError(f"`{shlex.join(command)}` failed: {ended.stderr.strip()}", hint=hint)


def _start_by_hand(log: Path) -> None:
    """Without an init system (a container, CI): dockerd in its own process session, so that Ctrl-C in inv does not reach it."""
    _drop_stale_pid_file()
    with log.open("ab") as output:
        dockerd = subprocess.Popen(
            (find_program("dockerd") or "dockerd",), stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=True, cwd="/", env=plain_environment(),
        )  # fmt: skip
    if not wait_until(lambda: is_running() or dockerd.poll() is not None, START_SECONDS) or dockerd.poll() is not None:
        tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-10:])
        raise TowlineError(f"dockerd did not start:\n{tail}", hint=f"see {log}")


def _drop_stale_pid_file() -> None:
    # dockerd refuses to start while any process has the pid in its pid file (28.5: "process with PID 3832 is still
    # running"), and pids repeat in a container that was restarted.
    if not PID_FILE.exists():
        return
    name = Path("/proc", PID_FILE.read_text(encoding="ascii").strip(), "comm")
    if not name.exists() or name.read_text(encoding="utf-8").strip() != "dockerd":
        PID_FILE.unlink()
