"""A folder with a compose file → a Stack. Every error in it is a StackError of one line."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import msgspec

from towline.errors import StackError, closest
from towline.project.compose_file import (
    Surroundings,
    compose_files,
    interpolate_values,
    load_compose,
    parse_networks,
    parse_services,
)
from towline.project.compose_paths import NamedFiles
from towline.project.compose_switches import Switches, check_files, read_switches
from towline.project.declared_checks import parse_checks
from towline.project.env_file import interpolate_from
from towline.project.file_modes import parse_modes
from towline.project.ignore_file import IGNORE_FILE, Ignore, parse_patterns, read_ignore_file
from towline.project.settings import SANDBOX, Settings, Strategy, display_path
from towline.project.stack import Kind, Stack
from towline.project.waits import parse_release_commands, parse_waits
from towline.project.waivers import parse_waivers
from towline.project.yaml_file import Place, load_yaml, parse_keys, text_at

KINDS: Mapping[str, Kind] = {"infrastructure": "infrastructure", "stacks": "stack"}


class _TowlineKeys(msgspec.Struct):
    host: str | None = None
    strategy: Strategy | None = None
    needs: list[str] = []
    checks: list[Any] = []
    waive: list[Any] = []
    reload: dict[str, str] = {}
    timeout: Any = None
    watch: Any = None
    before: Any = None
    files: list[str] = []
    profiles: list[str] = []
    skip: bool = False
    modes: dict[str, Any] = {}
    seed: list[str] = []
    base: str | None = None
    images: Literal["fixed", "may-move"] = "fixed"


def load_stack(folder: Path, settings: Settings) -> Stack | None:
    """The stack in the folder; None when there is no compose file."""
    label, root_env = display_path(folder, settings.top), _root_env(folder, settings.top)
    ignored = read_ignore_file(folder, label)
    switches = Switches() if root_env else read_switches(folder / ".env", label)
    files = switches.files or compose_files(folder, ignored)
    if not files:
        return None
    try:
        source = _Source(folder, label, files, switches, ignored)
        base = _named_base(source)
        return _parse_stack(source if base is None else _with_base(source, base, settings.top), settings)
    except RecursionError:
        raise StackError(f"{label}/{files[0]}: nested too deeply, or an alias that contains itself") from None


@dataclass(frozen=True)
class _Source:
    """What a stack is read from. files: its compose files, as Compose itself would take them; chosen: as x-towline names them.

    base: the folder that is uploaded, when x-towline names one; the files are relative to it then.
    """

    folder: Path
    label: str
    files: tuple[str, ...]
    switches: Switches
    ignored: Ignore
    chosen: bool = False
    base: Path | None = None

    @property
    def place(self) -> Place:
        return Place(f"{self.label}/{self.files[0]}", "", StackError)


def _parse_stack(source: _Source, settings: Settings) -> Stack:
    folder, place, own_place = source.base or source.folder, source.place, source.place.at("x-towline")
    root_env = _root_env(source.folder, settings.top) or (source.folder / ".env" if source.base else None)
    env_file = root_env or folder / ".env"
    root_env = root_env if root_env and root_env.is_file() else None
    named = NamedFiles()
    active = frozenset({*source.switches.profiles, *_named_profiles(source)})
    keys = load_compose(folder, source.files, source.label, named, Surroundings(env_file, active))
    own = _parse_towline(keys.get("x-towline"), settings, own_place)
    if own.files and not source.chosen:
        return _parse_stack(_with_files(source, own.files), settings)
    _refuse_ignored(source)
    services = parse_services(keys.get("services"), place.at("services"))
    project = _project_name(source, keys.get("name"), env_file, settings.top)
    networks = parse_networks(keys, project, env_file, place)
    modes, owners = parse_modes(own.modes, own_place.at("modes"))
    return Stack(
        name=project if source.folder == settings.top else source.folder.name,
        project=project,
        kind="stack" if source.folder == settings.top else KINDS[source.folder.parent.name],
        folder=folder,
        top=settings.top,
        compose_files=source.files,
        services=services,
        creates=networks.used,
        declares=networks.declared,
        external=networks.external,
        needs=tuple(own.needs),
        host=own.host,
        strategy=own.strategy,
        root_env=root_env,
        checks=parse_checks(
            own.checks,
            [service.name for service in services],
            own_place.at("checks"),
            interpolate_values(own.checks, env_file),
        ),
        waive=parse_waivers(own.waive, own_place.at("waive")),
        reload=own.reload,
        waits=parse_waits({"timeout": own.timeout, "watch": own.watch}, keys.get("services"), place),
        before=parse_release_commands(own.before, [service.name for service in services], own_place.at("before")),
        env_files=tuple(sorted(named.env_files)),
        secret_files=tuple(sorted(named.secrets)),
        text_files=tuple(sorted(named.texts)),
        profiles=(*own.profiles, *source.switches.profiles) if own.profiles else (),
        skip=own.skip,
        mounts=named.mounts,
        contexts=tuple(sorted(named.contexts)),
        modes=modes,
        owners=owners,
        seed=parse_patterns(own.seed, own_place.at("seed")),
        images_may_move=own.images == "may-move",
        own_folder=source.folder if source.base else None,
        part=bool(source.base) or source.folder == settings.top,
    )


def _with_files(source: _Source, files: list[str]) -> _Source:
    """The source with the files that x-towline names in place of those that Compose would take."""
    place = source.place.at("x-towline").at("files")
    if source.switches.files:
        raise place.wrong("the .env has COMPOSE_FILE, too; keep one of them")
    start = source.folder.relative_to(source.base).as_posix() if source.base else "."
    chosen = tuple(os.path.normpath(f"{start}/{file}") for file in check_files(files, place))
    return replace(source, files=chosen, chosen=True)


def _named_base(source: _Source) -> str | None:
    """x-towline.base, to be known before the paths in the files are checked."""
    return next((text_at(value, place) for value, place in _named(source, source.folder, "base")), None)


def _named_profiles(source: _Source) -> list[str]:
    """x-towline.profiles, likewise."""
    found = _named(source, source.base or source.folder, "profiles")
    return [str(name) for value, _ in found if isinstance(value, list) for name in value]


def _named(source: _Source, folder: Path, key: str) -> Iterator[tuple[object, Place]]:
    """What x-towline has under the key, in each of the compose files that has it."""
    for name in source.files:
        file = folder / name
        if file.is_file() and re.search(rb"x-towline(?s:.*)\b%s[\"']?\s*:" % key.encode(), file.read_bytes()):
            place = Place(f"{source.label}/{name}", "", StackError)
            own = load_yaml(file, StackError, place.file)
            own = own.get("x-towline") if isinstance(own, dict) else None
            if isinstance(own, dict) and key in own:
                yield own[key], place.at("x-towline").at(key)


def _with_base(source: _Source, base: str, top: Path) -> _Source:
    """The source with the folder that x-towline names as what is uploaded."""
    place = source.place.at("x-towline").at("base")
    folder = Path(os.path.normpath(source.folder / base))
    if not source.folder.is_relative_to(folder) or not folder.is_relative_to(top):
        raise place.wrong(f"{base!r}: expected a folder that this one is in, within the project, such as ../..")
    start, label = source.folder.relative_to(folder).as_posix(), display_path(folder, top)
    files = tuple(os.path.normpath(f"{start}/{file}") for file in source.files)
    if folder == source.folder:
        raise place.wrong(f"{base!r} is this folder, which is what is uploaded without it")
    return replace(source, label=label, files=files, base=folder, ignored=read_ignore_file(folder, label))


def _refuse_ignored(source: _Source) -> None:
    for file in source.files:
        if source.ignored(file):
            raise StackError(f"{source.label}/{IGNORE_FILE}: leaves out {file}, which is one of the compose files")


def _root_env(folder: Path, top: Path) -> Path | None:
    """The repository's .env, for a stack that has none of its own."""
    own, root = folder / ".env", top / ".env"
    return root if root.is_file() and not os.path.lexists(own) else None


def _project_name(source: _Source, named: object, env_file: Path, top: Path) -> str:
    """The Compose project: COMPOSE_PROJECT_NAME of the .env, else `name:` of the compose file, else the folder's name.

    The project's top folder may be called anything: the letters that Compose takes count.
    """
    place, folder = source.place, source.folder.name
    if source.folder == top:
        folder = re.sub(r"[^a-z0-9_-]", "", folder.lower()).lstrip("_-")
    elif not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", folder):
        raise StackError(f"{place.file}: folder name {folder!r}: expected letters, digits and ._- only")
    project = source.switches.project or folder
    if source.switches.project:
        place = Place(f"{source.label}/.env", "COMPOSE_PROJECT_NAME", StackError)
    elif (text := text_at(named, place.at("name"))) is not None:
        place, project = place.at("name"), interpolate_from(text, env_file)
        if "$" in project:
            raise place.wrong(f"{text!r}: a variable in it has no value in {env_file.name}")
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", project):
        better = re.sub(r"[^a-z0-9_-]", "", project.lower()).lstrip("_-") or "a-z, 0-9, _ and -"
        wanted = "expected" if source.switches.project else "write it as name:"
        raise place.wrong(f"invalid project name {project!r}; {wanted} {better}")
    return project


def _parse_towline(raw: object, settings: Settings, place: Place) -> _TowlineKeys:
    keys = parse_keys(raw, _TowlineKeys, place)
    known = {*settings.hosts, SANDBOX}
    if keys.host is not None and keys.host not in known:
        raise place.at("host").wrong(f"no host {keys.host!r}; {closest(keys.host, known)}")
    return keys
