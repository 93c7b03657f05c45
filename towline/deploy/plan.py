"""Decides what a deploy will do. Pure: facts in, a Plan out; what it holds is what the runner is sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from towline.catalog import Stack
from towline.engines import compose
from towline.engines.steps import Step
from towline.errors import TowlineError
from towline.facts.disk import DiskFact
from towline.facts.stack import StackFact
from towline.manifest import Changes, Entry, Manifest, diff, renames
from towline.ssh.ledger import size_text


@dataclass(frozen=True)
class Options:
    """What the caller may choose for one deploy."""

    timeout: int = 120
    keep_releases: int = 5
    cache: bool = False
    lock_wait: int = 0


@dataclass(frozen=True)
class Plan:
    """One run on the server. `previous` is the release to go back to, '' when there is none."""

    stack: str
    project: str
    run: str
    release: str
    previous: str
    strategy: str = ""
    changes: Changes = field(default_factory=Changes)
    send: tuple[Entry, ...] = ()
    links: Mapping[str, str] = field(default_factory=dict)
    drop: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
    undo: tuple[Step, ...] = ()

    @property
    def new_release(self) -> bool:
        """Whether a release has to be sent; a stack whose files are as the live release has them needs none."""
        return self.release != self.previous


def plan_deploy(stack: Stack, manifest: Manifest, fact: StackFact, options: Options, networks: frozenset[str]) -> Plan:
    """The plan for bringing `manifest` up. networks: external ones that no stack creates."""
    changes = diff(fact.manifest, manifest)
    run = run_id(fact)
    release = run if changes or not fact.current else fact.current
    send = (*changes.added, *changes.changed)
    return Plan(
        stack=stack.name,
        project=stack.project,
        run=run,
        release=release,
        previous=fact.current,
        strategy="recreate",
        changes=changes,
        send=send,
        links=_links(fact, manifest, changes),
        drop=_paths_to_drop(fact.manifest, changes),
        steps=compose.recreate(stack.project, release, networks=networks, timeout=options.timeout, cache=options.cache),
        undo=_undo(stack.project, fact.current, options),
    )


def plan_rollback(stack: Stack, fact: StackFact, to: str, options: Options) -> Plan:
    """The plan for running a release again that is on the server; '' names the one before the live one.

    Raises TowlineError when there is no such release or it never was a good one.
    """
    release = to or _release_before(fact, stack.name)
    known = {release.id: release for release in fact.releases}
    if release not in known:
        listed = ", ".join(sorted(known)) or "none"
        raise TowlineError(f"{stack.name}: no release {release} on the server", f"there are: {listed}")
    if known[release].outcome != "good":
        raise TowlineError(f"{stack.name}: release {release} never ran healthy, so there is nothing to go back to")
    steps = compose.go_back(stack.project, release, timeout=options.timeout)
    return Plan(
        stack=stack.name,
        project=stack.project,
        run=run_id(fact),
        release=release,
        previous=fact.current,
        strategy="rollback",
        steps=(*steps, Step("keep", ("keep_release",))),
        undo=_undo(stack.project, fact.current, options),
    )


def _release_before(fact: StackFact, name: str) -> str:
    good = [release.id for release in fact.releases if release.outcome == "good" and release.id != fact.current]
    if fact.before in good:
        return fact.before
    if not good:
        raise TowlineError(f"{name}: there is no good release before the live one to go back to")
    return max(good)


def _undo(project: str, previous: str, options: Options) -> tuple[Step, ...]:
    if previous:
        return compose.go_back(project, previous, timeout=options.timeout)
    return compose.clear_away(project)


def run_id(fact: StackFact) -> str:
    """A new id: the server's time, and a number behind it when that second has one already."""
    taken = {release.id for release in fact.releases} | ({fact.last_run.id} if fact.last_run else set())
    candidates = [fact.now, *(f"{fact.now}-{number}" for number in range(2, 100))]
    return next(name for name in candidates if name not in taken)


def disk_problem(plan: Plan, fact: StackFact, free: DiskFact | None, host: str) -> str:
    """Too little room on the host: the files twice (release and live copy) and images as large as the last build's.

    '' when there is enough, or nothing is known.
    """
    if free is None:
        return ""
    files = 2 * sum(entry.size for entry in plan.send if entry.path not in plan.links)
    images = next((release.built for release in fact.releases if release.id == fact.current), 0)
    wants = [("stacks and images", files + images, min(free.root, free.engine))] if free.shared else []
    wants = wants or [("stacks", files, free.root), ("images", images, free.engine)]
    for what, need, there in wants:
        if need > there:
            return (
                f"{host}: {plan.stack} needs {size_text(need)} for {what} "
                f"(files {size_text(files)}, images {size_text(images)}), and {size_text(there)} are free"
            )
    return ""


def _links(fact: StackFact, new: Manifest, changes: Changes) -> dict[str, str]:
    """Content that the live release has under another name: path → the file there, to be hard-linked and not sent.

    Only where the mode is the same too: a hard link shares it.
    """
    if fact.manifest is None:
        return {}
    old = fact.manifest.by_path
    same = {
        path: was for path, was in renames(fact.manifest, changes).items() if new.by_path[path].mode == old[was].mode
    }
    return {path: f"{fact.current}/files/{was}" for path, was in same.items()}


def _paths_to_drop(old: Manifest | None, changes: Changes) -> tuple[str, ...]:
    """What the hard-linked copy of the release before must lose: files that change or go, and folders that go with them."""
    if old is None:
        return ()
    gone = {entry.path for entry in changes.removed}
    left = {folder for entry in old.entries if entry.path not in gone for folder in _folders(entry.path)}
    empty = {folder for path in gone for folder in _folders(path)} - left
    return tuple(sorted({*gone, *empty, *(entry.path for entry in changes.changed)}))


def _folders(path: str) -> list[str]:
    parts = path.split("/")[:-1]
    return ["/".join(parts[: i + 1]) for i in range(len(parts))]
