"""The stacks of a project: what each one needs, and the order to deploy them in.

Every error in a stack is a StackError of one line.
"""

from __future__ import annotations

import heapq
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, Literal

import msgspec

from towline.errors import StackError, closest
from towline.project.compose_file import (
    COMPOSE_FILES,
    Service,
    compose_files,
    interpolate_values,
    load_compose,
    parse_networks,
    parse_services,
)
from towline.project.compose_paths import NamedFiles
from towline.project.compose_switches import Switches, check_files, read_switches
from towline.project.declared_checks import Check, parse_checks
from towline.project.env_file import interpolate_from
from towline.project.file_modes import parse_modes
from towline.project.ignore_file import IGNORE_FILE, Ignore, parse_patterns, read_ignore_file
from towline.project.settings import SANDBOX, STACK_FOLDERS, Settings, Strategy, display_path
from towline.project.waits import ReleaseCommand, Waits, parse_release_commands, parse_waits
from towline.project.waivers import Waiver, parse_waivers
from towline.project.yaml_file import Place, parse_keys, text_at

Kind = Literal["infrastructure", "stack"]
KINDS: Mapping[str, Kind] = {"infrastructure": "infrastructure", "stacks": "stack"}
# The engine always has these.
BUILTIN_NETWORKS = frozenset({"host", "bridge", "none"})


@dataclass(frozen=True)
class Stack:
    """One folder with a compose file.

    creates, declares, external: networks, by their names on the engine. declares: creates and those that no service uses
    (Compose skips them). root_env: the repository's .env, for a stack without its own.
    env_files, secret_files: the files that hold secrets; text_files: other files that Compose and builds read, such as
    Dockerfiles. All relative to the folder; a variable in a path is one that only the server knows. profiles: of x-towline and the
    .env together; () when x-towline has none: Compose reads the .env itself. skip: left out of what is done to all stacks.
    mounts: path → whether a service may write there; contexts: (folder, Dockerfile) of builds. modes: pattern → mode of the files
    that match it, the last one counts. seed: patterns of container data that is sent where the host has none.
    """

    name: str
    project: str
    kind: Kind
    folder: Path
    top: Path
    compose_files: tuple[str, ...]
    services: tuple[Service, ...]
    creates: frozenset[str] = frozenset()
    declares: frozenset[str] = frozenset()
    external: frozenset[str] = frozenset()
    needs: tuple[str, ...] = ()
    host: str | None = None
    strategy: Strategy | None = None
    root_env: Path | None = None
    checks: tuple[Check, ...] = field(default=(), hash=False)
    waive: tuple[Waiver, ...] = field(default=(), hash=False)
    reload: Mapping[str, str] = field(default_factory=dict, hash=False)
    waits: Waits = field(default=Waits(), hash=False)
    before: tuple[ReleaseCommand, ...] = ()
    env_files: tuple[str, ...] = ()
    secret_files: tuple[str, ...] = ()
    text_files: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    skip: bool = False
    mounts: Mapping[str, bool] = field(default_factory=dict, hash=False)
    contexts: tuple[tuple[str, str], ...] = ()
    modes: Mapping[str, int] = field(default_factory=dict, hash=False)
    seed: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The folder, relative to the project's top: `stacks/whoami`."""
        return display_path(self.folder, self.top)

    @property
    def dotenv(self) -> Path:
        """The .env that Compose interpolates with, which may not exist: the repository's, else the stack's own."""
        return self.root_env or self.folder / ".env"


@dataclass(frozen=True)
class Catalog:
    """Every stack of a project. not_stacks: folder → why it is not a stack."""

    stacks: tuple[Stack, ...] = ()
    not_stacks: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def by_name(self) -> Mapping[str, Stack]:
        return {stack.name: stack for stack in self.stacks}

    def stack(self, name: str) -> Stack:
        """The stack called `name`, or whose folder is `name` (`stacks/whoami/`). Raises StackError."""
        wanted = name.strip().removeprefix("./").rstrip("/")
        for stack in self.stacks:
            if wanted in (stack.name, stack.label):
                return stack
        for folder, reason in self.not_stacks.items():
            if wanted in (folder, folder.rpartition("/")[2]):
                raise StackError(reason)
        raise StackError(f"no stack {name!r}; {closest(wanted.rpartition('/')[2], self.by_name)}")

    def needs_of(self, stack: Stack) -> frozenset[str]:
        """The names of the stacks that must be up before `stack`: those in its `needs`, and those whose networks it uses."""
        creators = {s.name for s in self.stacks if s is not stack and s.declares & stack.external}
        return frozenset(creators) | frozenset(stack.needs)

    def missing_networks(self, stack: Stack) -> frozenset[str]:
        """The external networks of `stack` that no stack creates."""
        created = frozenset[str]().union(*(s.creates for s in self.stacks))
        return stack.external - created - BUILTIN_NETWORKS

    def order(self, names: Iterable[str] | None = None) -> tuple[Stack, ...]:
        """The stacks, or those in `names`, in the order to deploy them in.

        A stack comes after those that it needs, also where infrastructure needs an application; otherwise infrastructure
        comes first, then alphabetical order decides. Raises StackError that names the cycle if there is one.
        """
        wanted = {self.stack(name).name for name in names} if names is not None else set(self.by_name)
        return tuple(self.by_name[name] for name in self._sorted() if name in wanted)

    def deployed_together(self) -> tuple[Stack, ...]:
        """The stacks that deploy-all deploys, in its order: those without `skip`. Raises StackError as `order` does."""
        return tuple(stack for stack in self.order() if not stack.skip)

    def _sorted(self) -> Iterator[str]:
        needs = {stack.name: self.needs_of(stack) for stack in self.stacks}
        sorter = TopologicalSorter({name: sorted(needs[name]) for name in sorted(needs)})
        try:
            sorter.prepare()
        except CycleError as e:
            raise StackError(f"dependency cycle between stacks: {_cycle_text(e.args[1])}") from None
        rank = self._ranks(needs)
        ready: list[tuple[int, str]] = []
        while sorter.is_active():
            for name in sorter.get_ready():
                heapq.heappush(ready, (rank[name], name))
            _, name = heapq.heappop(ready)
            sorter.done(name)
            yield name

    def _ranks(self, needs: Mapping[str, frozenset[str]]) -> dict[str, int]:
        """0: infrastructure, 1: applications that infrastructure needs, directly or not, 2: the others."""
        infrastructure = {stack.name for stack in self.stacks if stack.kind == "infrastructure"}
        early = set(infrastructure)
        while more := frozenset[str]().union(*(needs[name] for name in early)) - early:
            early |= more
        return {name: 0 if name in infrastructure else 1 if name in early else 2 for name in self.by_name}


def _cycle_text(names: list[str]) -> str:
    """graphlib's cycle (each name before the one that needs it) as `a → b → a`: a needs b, which needs a."""
    cycle = names[:0:-1]
    start = cycle.index(min(cycle))
    return " → ".join([*cycle[start:], *cycle[:start], cycle[start]])


# ---------------------------------------------------------------------------------------------------- loading


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


def load_catalog(settings: Settings) -> Catalog:
    """Every stack of the project, read and checked. Raises StackError for the first error."""
    stacks: list[Stack] = []
    not_stacks: dict[str, str] = {}
    for folder in _stack_folders(settings.top):
        if found := _load_stack(folder, settings):
            stacks.append(found)
        else:
            label = display_path(folder, settings.top)
            not_stacks[label] = f"{label} has no compose file ({', '.join(COMPOSE_FILES)})"
    _refuse_duplicates(stacks)
    _refuse_unknown_needs(stacks)
    return Catalog(tuple(stacks), not_stacks)


def _stack_folders(top: Path) -> Iterator[Path]:
    for parent in (top / name for name in STACK_FOLDERS):
        try:
            names = sorted(path.name for path in parent.iterdir()) if parent.is_dir() else []
        except OSError as e:
            raise StackError(f"{parent.name}: cannot be read: {e.strerror}") from None
        yield from (parent / name for name in names if name[0] not in "._" and (parent / name).is_dir())


def _load_stack(folder: Path, settings: Settings) -> Stack | None:
    """The stack in the folder; None when there is no compose file."""
    label, root_env = display_path(folder, settings.top), _root_env(folder, settings.top)
    ignored = read_ignore_file(folder, label)
    switches = Switches() if root_env else read_switches(folder / ".env", label)
    files = switches.files or compose_files(folder, ignored)
    if not files:
        return None
    try:
        return _parse_stack(_Source(folder, label, files, switches, ignored), settings)
    except RecursionError:
        raise StackError(f"{label}/{files[0]}: nested too deeply, or an alias that contains itself") from None


@dataclass(frozen=True)
class _Source:
    """What a stack is read from. files: its compose files, as Compose itself would take them; chosen: as x-towline names them."""

    folder: Path
    label: str
    files: tuple[str, ...]
    switches: Switches
    ignored: Ignore
    chosen: bool = False

    @property
    def place(self) -> Place:
        return Place(f"{self.label}/{self.files[0]}", "", StackError)


def _parse_stack(source: _Source, settings: Settings) -> Stack:
    folder, place, own_place = source.folder, source.place, source.place.at("x-towline")
    root_env = _root_env(folder, settings.top)
    env_file = root_env or folder / ".env"
    named = NamedFiles()
    keys = load_compose(folder, source.files, source.label, named, env_file=env_file)
    own = _parse_towline(keys.get("x-towline"), settings, own_place)
    if own.files and not source.chosen:
        return _parse_stack(_with_files(source, own.files), settings)
    _refuse_ignored(source)
    services = parse_services(keys.get("services"), place.at("services"))
    project = _project_name(source, keys.get("name"), env_file)
    networks = parse_networks(keys, project, env_file, place)
    return Stack(
        name=folder.name,
        project=project,
        kind=KINDS[folder.parent.name],
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
        modes=parse_modes(own.modes, own_place.at("modes")),
        seed=parse_patterns(own.seed, own_place.at("seed")),
    )


def _with_files(source: _Source, files: list[str]) -> _Source:
    """The source with the files that x-towline names in place of those that Compose would take."""
    place = source.place.at("x-towline").at("files")
    if source.switches.files:
        raise place.wrong("the .env has COMPOSE_FILE, too; keep one of them")
    return replace(source, files=check_files(files, place), chosen=True)


def _refuse_ignored(source: _Source) -> None:
    for file in source.files:
        if source.ignored(file):
            raise StackError(f"{source.label}/{IGNORE_FILE}: leaves out {file}, which is one of the compose files")


def _root_env(folder: Path, top: Path) -> Path | None:
    """The repository's .env, for a stack that has none of its own."""
    own, root = folder / ".env", top / ".env"
    return root if root.is_file() and not os.path.lexists(own) else None


def _project_name(source: _Source, named: object, env_file: Path) -> str:
    """The Compose project: COMPOSE_PROJECT_NAME of the .env, else `name:` of the compose file, else the folder's name."""
    place, folder = source.place, source.folder.name
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", folder):
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


def _refuse_duplicates(stacks: Iterable[Stack]) -> None:
    names: dict[str, Stack] = {}
    projects: dict[str, Stack] = {}
    for stack in stacks:
        other = names.setdefault(stack.name, stack)
        if other is not stack:
            raise StackError(f"{other.label} and {stack.label} have the same name; rename one folder")
        other = projects.setdefault(stack.project, stack)
        if other is not stack:
            both = f"{other.label} and {stack.label} are both the compose project {stack.project!r}"
            raise StackError(f"{both}; set another name: in one of them")


def _refuse_unknown_needs(stacks: Iterable[Stack]) -> None:
    known = {stack.name for stack in stacks}
    for stack in stacks:
        place = Place(f"{stack.label}/{stack.compose_files[0]}", "x-towline.needs", StackError)
        for need in stack.needs:
            if need not in known:
                raise place.wrong(f"no stack {need!r}; {closest(need, known)}")
