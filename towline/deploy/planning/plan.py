"""Decides what a deploy will do. Pure: facts in, a Plan out; what it holds is what the runner is sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from towline.bundle.manifest import Changes, Entry, Manifest, diff, folders_of, renames
from towline.deploy.planning.additions import Additions
from towline.deploy.planning.drift import Drift
from towline.deploy.planning.inputs import inputs_of, override
from towline.deploy.planning.services import Labels, ServicePlan, plan_services
from towline.deploy.planning.situation import Risk
from towline.deploy.planning.strategy import restarts, rolling_back, rolling_notes, rolling_services, signals
from towline.engines import compose
from towline.engines.compose import Sequence
from towline.engines.steps import Step
from towline.errors import TowlineError
from towline.facts.compose_model import Model
from towline.facts.disk import DiskFact
from towline.facts.release import ReleaseFiles
from towline.facts.stack import StackFact
from towline.project.catalog import Stack
from towline.text import size_text


@dataclass(frozen=True)
class Options:
    """What the caller may choose for one deploy."""

    timeout: int = 120
    keep_releases: int = 5
    cache: bool = False
    lock_wait: int = 0
    strategy: str = "recreate"
    max_downtime: float | None = None


@dataclass(frozen=True)
class Plan:
    """One run on the server. `previous` is the release to go back to, '' when there is none.

    services, additions, risks, drift, notes, last_seconds (what the live release took): for who decides and who reads. lists: files
    of the release beside its own, by name.
    """

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
    services: tuple[ServicePlan, ...] = ()
    additions: Additions = field(default_factory=Additions)
    risks: tuple[Risk, ...] = ()
    drift: tuple[Drift, ...] = ()
    notes: tuple[str, ...] = ()
    last_seconds: float = 0.0
    lists: Mapping[str, str] = field(default_factory=dict)
    steps: tuple[Step, ...] = ()
    undo: tuple[Step, ...] = ()

    @property
    def new_release(self) -> bool:
        """Whether a release has to be sent; a stack whose files are as the live release has them needs none."""
        return self.release != self.previous

    @property
    def empty(self) -> bool:
        """Nothing to change: what is wanted is what is there."""
        return not (
            self.changes or self.new_release or self.drift or any(one.action != "unchanged" for one in self.services)
        )


@dataclass(frozen=True)
class DesiredState:
    """What is to stand on the host: the stack's files and what compose makes of them.

    networks: external ones that no stack creates. labels: `inputs.LABEL` of the containers that are there now, by service.
    """

    stack: Stack
    manifest: Manifest
    model: Model
    networks: frozenset[str] = frozenset()
    labels: Labels = field(default_factory=dict)


def plan_deploy(wanted: DesiredState, fact: StackFact, options: Options) -> Plan:
    """The plan for bringing the stack up as it is wanted."""
    stack, manifest = wanted.stack, wanted.manifest
    changes = diff(fact.manifest, manifest)
    services = plan_services(fact.model, wanted.model, fact.manifest, manifest, stack.reload, wanted.labels)
    run = run_id(fact)
    release = run if changes or not fact.current else fact.current
    strategy = stack.strategy or options.strategy
    of = Sequence(
        project=stack.project,
        release=release,
        timeout=options.timeout,
        cache=options.cache,
        networks=tuple(sorted(wanted.networks)),
        signals=signals(strategy, services),
        restarts=restarts(strategy, services),
        roll=rolling_services(services, fact.model, wanted.model) if strategy == "rolling" else {},
        max_downtime=options.max_downtime,
    )
    return Plan(
        stack=stack.name,
        project=stack.project,
        run=run,
        release=release,
        previous=fact.current,
        strategy=strategy,
        changes=changes,
        services=services,
        lists=_lists(stack, wanted.model, manifest),
        send=(*changes.added, *changes.changed),
        links=_links(fact, manifest, changes),
        drop=_paths_to_drop(fact.manifest, changes),
        steps=compose.recreate(of) if strategy == "recreate" else compose.update(of),
        undo=_undo(of, fact, strategy),
        notes=rolling_notes(services, fact.model, wanted.model) if strategy == "rolling" else (),
        last_seconds=next((release.seconds for release in fact.releases if release.id == fact.current), 0.0),
    )


def _lists(stack: Stack, model: Model, manifest: Manifest) -> dict[str, str]:
    """The files that stand beside a release's own: which files compose reads, and the labels that tell of mounted ones."""
    return {
        "compose_files": ":".join(stack.compose_files) + "\n",
        "override.json": override(model, manifest, stack.reload),
        "in_place": "".join(f"{path}\n" for path in _in_place(stack, model, manifest)),
    }


def _in_place(stack: Stack, model: Model, manifest: Manifest) -> list[str]:
    """Files that services mount by themselves and read again on a signal: replacing one would leave them the old file."""
    services = [model.services[name] for name in stack.reload if name in model.services]
    mounts = {path for service in services for path in inputs_of(service, model).mounts}
    return sorted(mounts & set(manifest.by_path))


@dataclass(frozen=True)
class RollbackTarget:
    """Where a rollback leads, and what that release holds. labels: as in Wanted."""

    release: str
    files: ReleaseFiles = field(default_factory=ReleaseFiles)
    labels: Labels = field(default_factory=dict)


def release_to_go_back_to(stack: Stack, fact: StackFact, to: str) -> str:
    """The release of that id, '' for the good one before the live one.

    Raises TowlineError when there is no such release or it never was a good one.
    """
    release = to or _release_before(fact, stack.name)
    known = {release.id: release for release in fact.releases}
    if release not in known:
        listed = ", ".join(sorted(known)) or "none"
        raise TowlineError(f"{stack.name}: no release {release} on the server", f"there are: {listed}")
    if known[release].outcome != "good":
        raise TowlineError(f"{stack.name}: release {release} never ran healthy, so there is nothing to go back to")
    return release


def plan_rollback(stack: Stack, fact: StackFact, back: RollbackTarget, options: Options) -> Plan:
    """The plan for running a release again that is on the server."""
    strategy, manifest, model = stack.strategy or options.strategy, back.files.manifest, back.files.model
    services: tuple[ServicePlan, ...] = ()
    if fact.model and model and manifest:
        services = plan_services(fact.model, model, fact.manifest, manifest, stack.reload, back.labels)
        services = tuple(replace(one, action="recreate") if one.action == "rebuild" else one for one in services)
    rolling = model if strategy == "rolling" else None
    of = Sequence(
        project=stack.project,
        release=back.release,
        timeout=options.timeout,
        # which of them read their files again was known when the release was sent: one signal too many does no harm
        signals=tuple(sorted(stack.reload.items())),
        roll=rolling_services(services, fact.model, rolling) if rolling else {},
        max_downtime=options.max_downtime,
    )
    return Plan(
        stack=stack.name,
        project=stack.project,
        run=run_id(fact),
        release=back.release,
        previous=fact.current,
        strategy="rollback",
        services=services,
        notes=rolling_notes(services, fact.model, rolling) if rolling else (),
        steps=compose.rollback(of, down=strategy == "recreate"),
        undo=_undo(of, fact, strategy),
    )


def _undo(of: Sequence, fact: StackFact, strategy: str) -> tuple[Step, ...]:
    if not fact.current:
        return compose.clear_away(of.project)
    back = replace(of, release=fact.current, roll=rolling_back(of.roll, fact.model))
    return compose.go_back(back, down=strategy == "recreate")


def _release_before(fact: StackFact, name: str) -> str:
    good = [release.id for release in fact.releases if release.outcome == "good" and release.id != fact.current]
    if fact.before in good:
        return fact.before
    if not good:
        raise TowlineError(f"{name}: there is no good release before the live one to go back to")
    return max(good)


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
    left = {folder for entry in old.entries if entry.path not in gone for folder in folders_of(entry.path)}
    empty = {folder for path in gone for folder in folders_of(path)} - left
    return tuple(sorted({*gone, *empty, *(entry.path for entry in changes.changed)}))
