"""towline.yaml and .env → frozen settings.

Everything wrong in them is a SettingsError of one line: file, key, what was found, what would be right.
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
SANDBOX = "sandbox"  # the host that towline itself provides: always there, never configured

Strategy = Literal["recreate", "update", "rolling"]
Engine = Literal["compose", "swarm"]


@dataclass(frozen=True)
class Host:
    """One server, as the settings name it. `user`, `port`, `identity` None: ~/.ssh/config decides."""

    name: str
    address: str
    user: str | None = None
    port: int | None = None
    identity: Path | None = None
    known_hosts: tuple[Path, ...] = ()
    root: str = "stacks"
    max_sessions: int = 1
    engine: str = "compose"


@dataclass(frozen=True)
class Defaults:
    """What holds for every stack that does not say otherwise; `timeout` in seconds."""

    strategy: Strategy = "recreate"
    timeout: int = 120
    keep_releases: int = 5


@dataclass(frozen=True)
class Settings:
    """The project's top folder, its hosts and its defaults; `file` None: there is no towline.yaml."""

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
    """The settings of the project that `start` (the working folder) is in.

    `config`, or TOWLINE_CONFIG in `environ`, names another settings file.
    Raises SettingsError for everything that is wrong, also when there is no project here.
    """
    here = _start(start)
    named = config or environ.get("TOWLINE_CONFIG") or None
    found = find_top(here)
    file = _named_file(here, named) if named else None
    top = _top_of(file, found) if file else found
    if top is None:
        raise SettingsError(
            f"no project in {here} or above it: expected {SETTINGS_FILE}, a folder stacks/ or "
            "infrastructure/, or a .env with SSH_HOST"
        )
    if file is None and os.path.lexists(top / SETTINGS_FILE):
        file = top / SETTINGS_FILE
    return _settings(top, file)


def find_top(start: Path) -> Path | None:
    """The first folder from `start` upwards that looks like a project's top, or None."""
    return next((f for f in (start, *start.parents) if _is_top(f)), None)


def _is_top(folder: Path) -> bool:
    return os.path.lexists(folder / SETTINGS_FILE) or _has_stacks(folder) or "SSH_HOST" in load_env(folder / ".env")


def _has_stacks(folder: Path) -> bool:
    return any((folder / name).is_dir() for name in STACK_FOLDERS)


def _start(start: Path | None) -> Path:
    try:
        return (start or Path.cwd()).resolve()
    except (OSError, RuntimeError) as e:
        raise SettingsError(f"the working folder cannot be read: {e}") from None


def _named_file(here: Path, named: str) -> Path:
    file = here / _expand(named, Place(named))
    try:
        found = file.is_file()
    except (OSError, ValueError):  # name too long, or a NUL in it
        found = False
    if not found:
        raise SettingsError(
            f"{' '.join(named.split())}: no such settings file (--config, --towline-config or TOWLINE_CONFIG)"
        )
    return file.resolve()


def _top_of(file: Path, found: Path | None) -> Path:
    """The folder of a settings file that was named, unless only the folder we are in has stacks."""
    own = file.parent
    return found if found and not _has_stacks(own) and _has_stacks(found) else own


def _settings(top: Path, file: Path | None) -> Settings:
    place = Place(shown_path(file, top) if file else SETTINGS_FILE)
    keys = parse_keys(load_yaml(file, shown=place.file) if file else None, _TopKeys, place)
    hosts = dict(_hosts(keys.hosts, place.at("hosts"), file.parent if file else top, top))
    if not hosts:
        hosts = _env_hosts(top)
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


def _hosts(raw: object, place: Place, folder: Path, top: Path) -> Iterator[tuple[str, Host]]:
    for name, value in mapping_at(raw, place).items():
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
            raise place.wrong(f"host name {name!r}: expected letters, digits and ._- only")
        here = place.at(name)
        yield name, _host(name, parse_keys(value, _HostKeys, here), here, folder, top)


def _host(name: str, keys: _HostKeys, place: Place, folder: Path, top: Path) -> Host:
    user, address, port = parse_ssh(keys.ssh, place.at("ssh"))
    pins = [keys.known_hosts] if isinstance(keys.known_hosts, str) else keys.known_hosts or []
    return Host(
        name=name,
        address=address,
        user=user,
        port=port,
        identity=_identity(keys.identity, folder, place.at("identity")),
        known_hosts=tuple(_file(pin, top, place.at("known_hosts")) for pin in pins),
        root=_root(keys.root, place.at("root")),
        max_sessions=keys.max_sessions,
        engine=keys.engine,
    )


# ------------------------------------------------------------------------------------------------------- .env


def _env_hosts(top: Path) -> dict[str, Host]:
    """The one host that SSH_HOST in the top's .env names, under the name `default`; else nothing."""
    env = load_env(top / ".env")
    if "SSH_HOST" not in env:
        return {}
    place = Place(".env")
    user, address, port = parse_ssh(env["SSH_HOST"], place.at("SSH_HOST"))
    host = Host(
        name="default",
        address=address,
        user=parse_user(env["SSH_USER"], place.at("SSH_USER")) if env.get("SSH_USER") else user,
        port=parse_port(env["SSH_PORT"], place.at("SSH_PORT")) if env.get("SSH_PORT") else port,
        identity=_identity(env.get("SSH_KEY") or None, top, place.at("SSH_KEY")),
        root=_root(env.get("SSH_ROOT") or "stacks", place.at("SSH_ROOT")),
    )
    return {"default": host}


# ---------------------------------------------------------------------------------------------- single values


def _expand(text: str, place: Place) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:  # ~nobody/x: no such user
        raise place.wrong(f"{text!r}: there is no such home folder") from None


def _file(text: str, folder: Path, place: Place) -> Path:
    """The absolute path of an existing, readable file that is named relative to `folder`."""
    if not text or "\0" in text:
        raise place.wrong(f"{text!r}: expected the path of a file")
    path = Path(os.path.normpath(folder / _expand(text, place)))
    if not path.exists():
        raise place.wrong(f"{text!r}: no such file ({path})")
    if not path.is_file():
        raise place.wrong(f"{text!r} is not a file ({path})")
    if not os.access(path, os.R_OK):
        raise place.wrong(f"{text!r} cannot be read by you ({path})")
    return path


def _identity(text: str | None, folder: Path, place: Place) -> Path | None:
    if text is None:
        return None
    if text.endswith(".pub"):
        raise place.wrong(f"{text!r} is the public key; name the private one: {text.removesuffix('.pub')!r}")
    return _file(text, folder, place)


def _root(text: str, place: Place) -> str:
    """The remote root: absolute, or relative to the login's home (`~/x` and `./x` mean `x`)."""
    path = str(PurePosixPath(text[2:] or "." if text[:2] == "~/" else text))
    problems: dict[str, Callable[[], bool]] = {
        "is empty": lambda: not text.strip(),
        "has control characters": lambda: bool(re.search(r"[\x00-\x1f\x7f-\x9f]", text)),
        "is the root of the file system": lambda: not path.strip("/"),
        "has '..' in it": lambda: ".." in path.split("/"),
        "names a home folder": lambda: path.startswith("~"),
        "has a variable in it": lambda: "$" in text,
        "starts with '-'": lambda: path.startswith("-"),
    }
    wrong = next((sentence for sentence, holds in problems.items() if holds()), None)
    if wrong:
        raise place.wrong(f"{text!r} {wrong}; expected a folder in the login's home, or an absolute one")
    return path


def shown_path(path: Path, top: Path) -> str:
    """`path` as people read it: relative to the project's top where it is inside it."""
    return path.relative_to(top).as_posix() if path.is_relative_to(top) else str(path)
