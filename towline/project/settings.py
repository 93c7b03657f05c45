"""towline.yaml and .env as frozen settings.

Every error in them is a SettingsError of one line: file, key, what was found, what was expected.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import msgspec

from towline.errors import SettingsError, closest
from towline.project.env_file import load_env
from towline.project.ssh_address import parse_port, parse_ssh, parse_user
from towline.project.yaml_file import Place, load_yaml, mapping_at, parse_keys

SETTINGS_FILE = "towline.yaml"
STACK_FOLDERS = ("infrastructure", "stacks")
SANDBOX = "sandbox"  # the host that towline itself provides; it needs no configuration

Strategy = Literal["recreate", "update", "rolling"]
Engine = Literal["compose", "swarm"]


@dataclass(frozen=True)
class Host:
    """One server of the settings. user, port, identity None: as `ssh` has them. identity: a public key is one of the agent's.

    docker: what is run as `docker` there. docker_host: of its engine, as DOCKER_HOST; '' for the one that the login's own settings
    lead to.
    """

    name: str
    address: str
    user: str | None = None
    port: int | None = None
    identity: Path | None = None
    known_hosts: tuple[Path, ...] = ()
    root: str = "stacks"
    max_sessions: int = 1
    engine: str = "compose"
    docker: tuple[str, ...] = ("docker",)
    docker_host: str = ""


@dataclass(frozen=True)
class Defaults:
    """Defaults for every stack. timeout: in seconds."""

    strategy: Strategy = "recreate"
    timeout: int = 120
    keep_releases: int = 5


@dataclass(frozen=True)
class Settings:
    """The project's top folder, its hosts and its defaults. file None: there is no towline.yaml."""

    top: Path
    file: Path | None = None
    hosts: Mapping[str, Host] = field(default_factory=dict)
    default_host: str | None = None
    defaults: Defaults = field(default_factory=Defaults)

    def host(self, name: str | None = None) -> Host:
        """The host called `name`, or the default one. Raises SettingsError when there is no such host."""
        wanted = name or self.default_host
        if wanted and wanted in self.hosts:
            return self.hosts[wanted]
        if wanted:
            raise SettingsError(f"no host {wanted!r}; {closest(wanted, {*self.hosts, SANDBOX})}")
        if not self.hosts:
            raise SettingsError(f"no host is configured; add one under hosts: in {SETTINGS_FILE}")
        known = ", ".join(sorted(self.hosts))
        raise SettingsError(
            f"several hosts and no default_host; choose one with --host: {known}", "in pytest it is --towline-host"
        )


class _HostKeys(msgspec.Struct):
    ssh: str
    identity: str | None = None
    known_hosts: str | list[str] | None = None
    root: str = "stacks"
    max_sessions: Annotated[int, msgspec.Meta(ge=1, le=100)] = 1
    engine: Engine = "compose"
    docker: str | list[str] = "docker"
    docker_host: str = ""


class _DefaultsKeys(msgspec.Struct):
    strategy: Strategy = "recreate"
    timeout: Annotated[int, msgspec.Meta(ge=1, le=86400)] = 120
    keep_releases: Annotated[int, msgspec.Meta(ge=1)] = 5


class _TopKeys(msgspec.Struct):
    hosts: Any = None
    default_host: str | None = None
    defaults: Any = None


# --------------------------------------------------------------------------------------------------- settings


def load_settings(
    start: Path | None = None, config: str | None = None, environ: Mapping[str, str] = os.environ
) -> Settings:
    """The settings of the project that contains the folder `start`, by default the working folder.

    `config`, or TOWLINE_CONFIG in `environ`, names another settings file.
    Raises SettingsError for every error in them, and when there is no project.
    """
    folder = _resolve(start)
    name = config or environ.get("TOWLINE_CONFIG") or None
    enclosing = find_top(folder)
    file = _named_file(folder, name) if name else None
    top = _top_for(file, enclosing) if file else enclosing
    if top is None and environ.get("SSH_HOST"):
        top = folder
    if top is None:
        raise SettingsError(
            f"no project in {folder} or above it: expected {SETTINGS_FILE}, a folder stacks/ or "
            "infrastructure/, or a .env with SSH_HOST"
        )
    if file is None and os.path.lexists(top / SETTINGS_FILE):
        file = top / SETTINGS_FILE
    return _parse_settings(top, file, environ)


def find_top(start: Path) -> Path | None:
    """The first folder from `start` upwards that looks like a project's top, or None."""
    return next((folder for folder in (start, *start.parents) if _is_top(folder)), None)


def _is_top(folder: Path) -> bool:
    return os.path.lexists(folder / SETTINGS_FILE) or _has_stacks(folder) or "SSH_HOST" in load_env(folder / ".env")


def _has_stacks(folder: Path) -> bool:
    return any((folder / name).is_dir() for name in STACK_FOLDERS)


def _resolve(start: Path | None) -> Path:
    try:
        return (start or Path.cwd()).resolve()
    except (OSError, RuntimeError) as e:
        raise SettingsError(f"the working folder cannot be read: {e}") from None


def _named_file(folder: Path, name: str) -> Path:
    file = folder / _expand(name, Place(name))
    try:
        exists = file.is_file()
    except (OSError, ValueError):  # name too long, or a NUL in it
        exists = False
    if not exists:
        raise SettingsError(
            f"{' '.join(name.split())}: no such settings file (--config, --towline-config or TOWLINE_CONFIG)"
        )
    return file.resolve()


def _top_for(file: Path, enclosing: Path | None) -> Path:
    """The top for a named settings file: its folder, unless only the project around the working folder has stacks."""
    own = file.parent
    return enclosing if enclosing and not _has_stacks(own) and _has_stacks(enclosing) else own


def _parse_settings(top: Path, file: Path | None, environ: Mapping[str, str]) -> Settings:
    place = Place(display_path(file, top) if file else SETTINGS_FILE)
    keys = parse_keys(load_yaml(file, name=place.file) if file else None, _TopKeys, place)
    hosts = dict(_parse_hosts(keys.hosts, place.at("hosts"), file.parent if file else top, top))
    if not hosts:
        hosts = _hosts_of_env(top, environ)
    defaults = parse_keys(keys.defaults, _DefaultsKeys, place.at("defaults"))
    return Settings(
        top=top,
        file=file,
        hosts=hosts,
        default_host=_default_host(keys.default_host, hosts, place.at("default_host")),
        defaults=Defaults(defaults.strategy, defaults.timeout, defaults.keep_releases),
    )


def _default_host(name: str | None, hosts: Mapping[str, Host], place: Place) -> str | None:
    if name is not None and name not in {*hosts, SANDBOX}:
        raise place.wrong(f"no host {name!r} under hosts; {closest(name, {*hosts, SANDBOX})}")
    return name or (next(iter(hosts)) if len(hosts) == 1 else None)


def _parse_hosts(raw: object, place: Place, folder: Path, top: Path) -> Iterator[tuple[str, Host]]:
    for name, value in mapping_at(raw, place).items():
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
            raise place.wrong(f"host name {name!r}: expected letters, digits and ._- only")
        entry = place.at(name)
        yield name, _parse_host(name, parse_keys(value, _HostKeys, entry), entry, folder, top)


def _parse_host(name: str, keys: _HostKeys, place: Place, folder: Path, top: Path) -> Host:
    user, address, port = parse_ssh(keys.ssh, place.at("ssh"))
    known_hosts = [keys.known_hosts] if isinstance(keys.known_hosts, str) else keys.known_hosts or []
    return Host(
        name=name,
        address=address,
        user=user,
        port=port,
        identity=_parse_identity(keys.identity, folder, place.at("identity")),
        known_hosts=tuple(_parse_file(file, top, place.at("known_hosts")) for file in known_hosts),
        root=_parse_root(keys.root, place.at("root")),
        max_sessions=keys.max_sessions,
        engine=keys.engine,
        docker=_parse_docker(keys.docker, place.at("docker")),
        docker_host=_parse_docker_host(keys.docker_host, place.at("docker_host")),
    )


# ------------------------------------------------------------------------------------------------------- .env


_ENV_NAMES = ("SSH_HOST", "SSH_USER", "SSH_PORT", "SSH_KEY", "SSH_ROOT")


def _hosts_of_env(top: Path, environ: Mapping[str, str]) -> dict[str, Host]:
    """The host that SSH_HOST in the environment or the .env of `top` names, called `default`; none without SSH_HOST."""
    own = {name: environ[name] for name in _ENV_NAMES if environ.get(name)}
    env = own if "SSH_HOST" in own else {**load_env(top / ".env"), **own}
    if "SSH_HOST" not in env:
        return {}
    place = Place(".env")
    user, address, port = parse_ssh(env["SSH_HOST"], place.at("SSH_HOST"))
    host = Host(
        name="default",
        address=address,
        user=parse_user(env["SSH_USER"], place.at("SSH_USER")) if env.get("SSH_USER") else user,
        port=parse_port(env["SSH_PORT"], place.at("SSH_PORT")) if env.get("SSH_PORT") else port,
        identity=_parse_identity(env.get("SSH_KEY") or None, top, place.at("SSH_KEY")),
        root=_parse_root(env.get("SSH_ROOT") or "stacks", place.at("SSH_ROOT")),
    )
    return {"default": host}


# ---------------------------------------------------------------------------------------------- single values


def _expand(text: str, place: Place) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:  # ~nobody/x: no such user
        raise place.wrong(f"{text!r}: no such home folder") from None


def _parse_file(text: str, folder: Path, place: Place) -> Path:
    """The absolute path of an existing, readable file; `text` is relative to `folder`."""
    if not text or "\0" in text:
        raise place.wrong(f"{text!r}: expected the path of a file")
    path = Path(os.path.normpath(folder / _expand(text, place)))
    if not path.exists():
        raise place.wrong(f"{text!r}: no such file ({path})")
    if not path.is_file():
        raise place.wrong(f"{text!r} is not a file ({path})")
    if not os.access(path, os.R_OK):
        raise place.wrong(f"{text!r} is not readable by this user ({path})")
    return path


def _parse_identity(text: str | None, folder: Path, place: Place) -> Path | None:
    return None if text is None else _parse_file(text, folder, place)


def _parse_docker(value: str | list[str], place: Place) -> tuple[str, ...]:
    words = tuple(value.split() if isinstance(value, str) else value)
    if not words or any(not word or not word.isprintable() for word in words):
        raise place.wrong(f"{value!r}: expected words that run docker, such as [sudo, -n, docker]")
    if PurePosixPath(words[0]).name == "sudo" and "-n" not in words:
        raise place.wrong(f"{value!r}: nobody is there to type a password; expected [sudo, -n, docker]")
    return words


def _parse_docker_host(text: str, place: Place) -> str:
    if text and not re.fullmatch(r"(unix:///|tcp://)[!-~]+", text):
        raise place.wrong(
            f"{text!r}: expected a socket on the host, such as unix:///run/user/1000/docker.sock, or tcp://"
        )
    return text


def _parse_root(text: str, place: Place) -> str:
    """The root on the server: absolute, or relative to the login's home (`~/x` and `./x` mean `x`)."""
    path = str(PurePosixPath(text[2:] or "." if text[:2] == "~/" else text))
    problems: dict[str, Callable[[], bool]] = {
        "is empty": lambda: not text.strip(),
        "has control characters": lambda: bool(re.search(r"[\x00-\x1f\x7f-\x9f]", text)),
        "is the root of the file system": lambda: not path.strip("/"),
        "has '..' in it": lambda: ".." in path.split("/"),
        "names a home folder": lambda: path.startswith("~"),
        "has a variable in it": lambda: "$" in text,
        "has a ':' in it, which separates compose files": lambda: ":" in text,
        "starts with '-'": lambda: path.startswith("-"),
    }
    problem = next((problem for problem, applies in problems.items() if applies()), None)
    if problem:
        raise place.wrong(f"{text!r} {problem}; expected a folder in the login's home, or an absolute one")
    return path


def display_path(path: Path, top: Path) -> str:
    """`path` as messages show it: relative to the project's top where it is below it."""
    return path.relative_to(top).as_posix() if path.is_relative_to(top) else str(path)
