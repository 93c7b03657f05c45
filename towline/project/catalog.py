"""The folders of a project → Stack, what each needs, and the order to deploy in.

Everything wrong is a StackError of one line.
"""

from __future__ import annotations

import heapq
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
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
    filled,
    load_compose,
    parse_networks,
    parse_services,
)
from towline.project.compose_paths import NamedFiles
from towline.project.declared_checks import Check, Waiver, parse_checks, parse_waivers
from towline.project.settings import SANDBOX, STACK_FOLDERS, Settings, Strategy, shown_path
from towline.project.yaml_file import Place, parse_keys, text_at

Kind = Literal["infrastructure", "stack"]
KINDS: Mapping[str, Kind] = {"infrastructure": "infrastructure", "stacks": "stack"}
# The engine has these from the start: nobody creates them.
BUILTIN_NETWORKS = frozenset({"host", "bridge", "none"})


@dataclass(frozen=True)
class Stack:
    """One folder with a compose file. Network names are the real ones, as the engine knows them.

    env_files, secret_files: what holds secrets; text_files: other files that Compose and builds read from, such as
    Dockerfiles. All relative to the folder; names may have variables.
    """

    name: str
    project: str
    kind: Kind
    folder: Path
    top: Path
    compose_files: tuple[str, ...]
    services: tuple[Service, ...]
    creates: frozenset[str] = frozenset()
    # like creates, with those that no service uses (Compose skips them)
    declares: frozenset[str] = frozenset()
    external: frozenset[str] = frozenset()
    needs: tuple[str, ...] = ()
    host: str | None = None
    strategy: Strategy | None = None
    root_env: Path | None = None
    checks: tuple[Check, ...] = field(default=(), hash=False)
    waive: tuple[Waiver, ...] = field(default=(), hash=False)
    reload: Mapping[str, str] = field(default_factory=dict, hash=False)
    env_files: tuple[str, ...] = ()
    secret_files: tuple[str, ...] = ()
    text_files: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The folder as people write it: `stacks/whoami`."""
        return shown_path(self.folder, self.top)


@dataclass(frozen=True)
class Catalog:
    """Every stack of a project, and the folders beside them that are none (folder → why)."""

    stacks: tuple[Stack, ...] = ()
    not_stacks: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def by_name(self) -> Mapping[str, Stack]:
        return {stack.name: stack for stack in self.stacks}

    def stack(self, name: str) -> Stack:
        """The stack called `name` or found in the folder `name` (`stacks/whoami/`). Raises StackError."""
        wanted = name.strip().removeprefix("./").rstrip("/")
        for stack in self.stacks:
            if wanted in (stack.name, stack.label):
                return stack
        for folder, why in self.not_stacks.items():
            if wanted in (folder, folder.rpartition("/")[2]):
                raise StackError(why)
        raise StackError(f"no stack {name!r}; {closest(wanted.rpartition('/')[2], self.by_name)}")

    def needs_of(self, stack: Stack) -> frozenset[str]:
        """The stacks that must be up before `stack`: those it names, and those whose network it uses."""
        creators = {s.name for s in self.stacks if s is not stack and s.declares & stack.external}
        return frozenset(creators) | frozenset(stack.needs)

    def missing_networks(self, stack: Stack) -> frozenset[str]:
        """The external networks of `stack` that no stack creates."""
        created = frozenset[str]().union(*(s.creates for s in self.stacks))
        return stack.external - created - BUILTIN_NETWORKS

    def order(self, names: Iterable[str] | None = None) -> tuple[Stack, ...]:
        """The stacks (or those in `names`) in the order to deploy them in.

        Infrastructure first, alphabetical among the free ones; what a stack needs always goes before it,
        also when infrastructure needs an application. Raises StackError for a cycle, naming it.
        """
        wanted = {self.stack(name).name for name in names} if names is not None else set(self.by_name)
        return tuple(self.by_name[name] for name in self._sorted() if name in wanted)

    def _sorted(self) -> Iterator[str]:
        needs = {stack.name: self.needs_of(stack) for stack in self.stacks}
        sorter = TopologicalSorter({name: sorted(needs[name]) for name in sorted(needs)})
        try:
            sorter.prepare()
        except CycleError as e:
            raise StackError(f"stacks need each other in a circle: {_circle(e.args[1])}") from None
        rank = self._ranks(needs)
        free: list[tuple[int, str]] = []
        while sorter.is_active():
            for name in sorter.get_ready():
                heapq.heappush(free, (rank[name], name))
            _, name = heapq.heappop(free)
            sorter.done(name)
            yield name

    def _ranks(self, needs: Mapping[str, frozenset[str]]) -> dict[str, int]:
        """0 infrastructure, 1 applications that infrastructure (in the end) needs, 2 the others."""
        base = {stack.name for stack in self.stacks if stack.kind == "infrastructure"}
        early = set(base)
        while more := frozenset[str]().union(*(needs[name] for name in early)) - early:
            early |= more
        return {name: 0 if name in base else 1 if name in early else 2 for name in self.by_name}


def _circle(names: list[str]) -> str:
    """graphlib's cycle (each before the one that needs it) as `a → b → a`: a needs b needs a."""
    ring = names[:0:-1]
    start = ring.index(min(ring))
    return " → ".join([*ring[start:], *ring[:start], ring[start]])


# ---------------------------------------------------------------------------------------------------- loading


class _Towline(msgspec.Struct):
    host: str | None = None
    strategy: Strategy | None = None
    needs: list[str] = []
    checks: list[Any] = []
    waive: list[Any] = []
    reload: dict[str, str] = {}


def load_catalog(settings: Settings) -> Catalog:
    """Every stack under the project's top, checked as a whole. Raises StackError for the first one wrong."""
    stacks: list[Stack] = []
    not_stacks: dict[str, str] = {}
    for folder in _folders(settings.top):
        files = compose_files(folder)
        if files:
            stacks.append(_load_stack(folder, files, settings))
        else:
            label = shown_path(folder, settings.top)
            not_stacks[label] = f"{label} has no compose file ({', '.join(COMPOSE_FILES)})"
    _refuse_same(stacks)
    _refuse_unknown_needs(stacks)
    return Catalog(tuple(stacks), not_stacks)


def _folders(top: Path) -> Iterator[Path]:
    for parent in (top / name for name in STACK_FOLDERS):
        try:
            names = sorted(f.name for f in parent.iterdir()) if parent.is_dir() else []
        except OSError as e:
            raise StackError(f"{parent.name}: cannot be read: {e.strerror}") from None
        yield from (parent / n for n in names if n[0] not in "._" and (parent / n).is_dir())


def _load_stack(folder: Path, files: tuple[str, ...], settings: Settings) -> Stack:
    label = shown_path(folder, settings.top)
    try:
        return _stack(folder, files, settings, label)
    except RecursionError:
        raise StackError(f"{label}/{files[0]}: nested too deeply, or an alias that contains itself") from None


def _stack(folder: Path, files: tuple[str, ...], settings: Settings, label: str) -> Stack:
    root_env = _root_env(folder, settings.top)
    place = Place(f"{label}/{files[0]}", "", StackError)
    named = NamedFiles()
    keys = load_compose(folder, files, label, named, root_env=root_env is not None)
    services = parse_services(keys.get("services"), place.at("services"))
    project = _project(folder.name, keys.get("name"), place)
    own_place = place.at("x-towline")
    own = _towline(keys.get("x-towline"), settings, own_place)
    networks = parse_networks(keys, project, root_env or folder / ".env", place)
    declared = filled(own.checks, root_env or folder / ".env")
    return Stack(
        name=folder.name,
        project=project,
        kind=KINDS[folder.parent.name],
        folder=folder,
        top=settings.top,
        compose_files=files,
        services=services,
        creates=networks.used,
        declares=networks.declared,
        external=networks.external,
        needs=tuple(own.needs),
        host=own.host,
        strategy=own.strategy,
        root_env=root_env,
        checks=parse_checks(
            declared,
            [service.name for service in services],
            own_place.at("checks"),
        ),
        waive=parse_waivers(own.waive, own_place.at("waive")),
        reload=own.reload,
        env_files=tuple(sorted(named.env_files)),
        secret_files=tuple(sorted(named.secrets)),
        text_files=tuple(sorted(named.texts)),
    )


def _root_env(folder: Path, top: Path) -> Path | None:
    """The repository's .env, for a stack that has none of its own."""
    own, root = folder / ".env", top / ".env"
    return root if root.is_file() and not os.path.lexists(own) else None


def _project(name: str, given: object, place: Place) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise StackError(f"{place.file}: folder name {name!r}: expected letters, digits and ._- only")
    text = text_at(given, place.at("name"))
    literal = text is not None and "$" not in text
    project = text if text is not None and literal else name
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", project):
        better = re.sub(r"[^a-z0-9_-]", "", project.lower()).lstrip("_-") or "a-z, 0-9, _ and -"
        where = place.at("name") if literal else place
        raise where.wrong(f"invalid project name {project!r}; write it as name: {better}")
    return project


def _towline(raw: object, settings: Settings, place: Place) -> _Towline:
    keys = parse_keys(raw, _Towline, place)
    known = {*settings.hosts, SANDBOX}
    if keys.host is not None and keys.host not in known:
        raise place.at("host").wrong(f"no host {keys.host!r}; {closest(keys.host, known)}")
    return keys


def _refuse_same(stacks: Iterable[Stack]) -> None:
    names: dict[str, Stack] = {}
    projects: dict[str, Stack] = {}
    for stack in stacks:
        other = names.setdefault(stack.name, stack)
        if other is not stack:
            raise StackError(f"{other.label} and {stack.label} have the same name; rename one folder")
        other = projects.setdefault(stack.project, stack)
        if other is not stack:
            both = f"{other.label} and {stack.label} are both the compose project {stack.project!r}"
            raise StackError(f"{both}; change one's name:")


def _refuse_unknown_needs(stacks: Iterable[Stack]) -> None:
    known = {stack.name for stack in stacks}
    for stack in stacks:
        place = Place(f"{stack.label}/{stack.compose_files[0]}", "x-towline.needs", StackError)
        for need in stack.needs:
            if need not in known:
                raise place.wrong(f"no stack {need!r}; {closest(need, known)}")
