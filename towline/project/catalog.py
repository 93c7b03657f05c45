"""The stacks of a project: what each one needs, and the order to deploy them in.

Every error in a stack is a StackError of one line.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from towline.errors import StackError, closest
from towline.project.compose_file import COMPOSE_FILES
from towline.project.load_stack import load_stack
from towline.project.settings import STACK_FOLDERS, Settings, display_path
from towline.project.stack import Stack
from towline.project.yaml_file import Place

# The engine always has these.
BUILTIN_NETWORKS = frozenset({"host", "bridge", "none"})


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
        wanted = name.strip().removeprefix("./").rstrip("/") or "."
        for stack in self.stacks:
            if wanted in (stack.name, stack.address):
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

    def makers(self, stack: Stack) -> dict[str, str]:
        """The external networks of `stack` that other stacks make → the stack that makes it."""
        others = [other for other in self.stacks if other is not stack]
        return {name: other.name for other in others for name in sorted(stack.external & other.creates)}

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


def load_catalog(settings: Settings) -> Catalog:
    """Every stack of the project, read and checked. Raises StackError for the first error."""
    stacks: list[Stack] = []
    not_stacks: dict[str, str] = {}
    for folder in _stack_folders(settings.top):
        if found := load_stack(folder, settings):
            stacks.append(found)
        elif folder != settings.top:
            label = display_path(folder, settings.top)
            not_stacks[label] = f"{label} has no compose file ({', '.join(COMPOSE_FILES)})"
    _refuse_duplicates(stacks)
    _refuse_unknown_needs(stacks)
    return Catalog(tuple(stacks), not_stacks)


def _stack_folders(top: Path) -> Iterator[Path]:
    yield top
    for parent in (top / name for name in STACK_FOLDERS):
        try:
            names = sorted(path.name for path in parent.iterdir()) if parent.is_dir() else []
        except OSError as e:
            raise StackError(f"{parent.name}: cannot be read: {e.strerror}") from None
        yield from (parent / name for name in names if name[0] not in "._" and (parent / name).is_dir())


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
