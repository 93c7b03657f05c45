"""Decides what a deploy will do: the desired and the current state in, a Plan out, which is what the runner is sent. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from towline.bundle.manifest import Changes, Entry, Manifest, diff, folders_of, renames
from towline.deploy.planning.additions import Additions
from towline.deploy.planning.comparison import ServicePlan
from towline.deploy.planning.drift import Drift
from towline.deploy.planning.inputs import inputs_of, override
from towline.deploy.planning.services import plan_services
from towline.deploy.planning.situation import CurrentState, DesiredState, Release, Risk
from towline.deploy.planning.strategy import restarts, rolling_back, rolling_notes, rolling_services, signals
from towline.engines import compose
from towline.engines.compose import Sequence
from towline.engines.steps import Step
from towline.errors import TowlineError
from towline.facts.stack import StackFact
from towline.project.catalog import Stack
from towline.text.amounts import size_text


@dataclass(frozen=True)
class Options:
    """What the caller may choose for one deploy. timeout, lock_wait, max_downtime: seconds; max_downtime None: no limit."""

    timeout: int = 120
    keep_releases: int = 5
    cache: bool = False
    lock_wait: int = 0
    strategy: str = "recreate"
    max_downtime: float | None = None


@dataclass(frozen=True)
class Plan:
    """One run on the server. previous: the release that is restored when it fails, '' when there is none. base: the one whose
    files the new release takes over, '' for none.

    uploads: entries whose content is sent or linked; links: path → file on the server to hard-link; drop: paths that the new
    release does not take over from the previous one. lists: further files of the release, name → text. services, additions,
    risks, drift, notes and last_seconds (what the live release took) are for people.
    """

    stack: str
    project: str
    run: str
    release: str
    previous: str
    base: str = ""
    strategy: str = ""
    changes: Changes = field(default_factory=Changes)
    uploads: tuple[Entry, ...] = ()
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
        """Whether a release has to be uploaded; not when the stack's files are those of the live release."""
        return self.release != self.previous

    @property
    def empty(self) -> bool:
        """Nothing to change: the current state is the desired one."""
        return not (
            self.changes
            or self.new_release
            or self.drift
            or any(service.action != "unchanged" for service in self.services)
        )


def plan_deploy(desired: DesiredState, current: CurrentState, options: Options) -> Plan:
    """The plan for bringing the stack from its current to its desired state."""
    stack, new, live, fact = desired.stack, desired.release, current.release, current.stack
    changes = diff(fact.manifest, new.manifest)
    labels = current.inventory.inputs_by_service(stack.project)
    services = plan_services(live, new, stack.reload, labels)
    run = run_id(fact)
    release = run if changes or not fact.current else fact.current
    strategy = stack.strategy or options.strategy
    rolling, live_model = strategy == "rolling", live.model if live else None
    sequence = Sequence(
        project=stack.project,
        release=release,
        timeout=options.timeout,
        cache=options.cache,
        networks=tuple(sorted(desired.networks)),
        signals=signals(strategy, services),
        restarts=restarts(strategy, services),
        roll=rolling_services(services, live_model, new.model) if rolling else {},
        max_downtime=options.max_downtime,
    )
    return Plan(
        stack=stack.name,
        project=stack.project,
        run=run,
        release=release,
        previous=fact.current,
        base=fact.current if fact.manifest else "",
        strategy=strategy,
        changes=changes,
        services=services,
        lists=_lists(stack, new),
        uploads=(*changes.added, *changes.changed),
        links=_links(fact, new.manifest, changes),
        drop=_paths_to_drop(fact.manifest, changes),
        steps=compose.recreate(sequence) if strategy == "recreate" else compose.update(sequence),
        undo=_undo(sequence, fact, strategy),
        notes=rolling_notes(services, live_model, new.model) if rolling else (),
        last_seconds=next((release.seconds for release in fact.releases if release.id == fact.current), 0.0),
    )


def _lists(stack: Stack, release: Release) -> dict[str, str]:
    """The files beside a release's own: the names of its compose files, the override with the labels, and the files in place."""
    return {
        "compose_files": ":".join(stack.compose_files) + "\n",
        "override.json": override(release, stack.reload),
        "in_place": "".join(f"{path}\n" for path in _in_place(stack, release)),
    }


def _in_place(stack: Stack, release: Release) -> list[str]:
    """Single files that services mount and read again on a signal: were one replaced, they would still see the old file."""
    services = [release.model.services[name] for name in stack.reload if name in release.model.services]
    mounts = {path for service in services for path in inputs_of(service, release.model).mounts}
    return sorted(mounts & set(release.manifest.by_path))


@dataclass(frozen=True)
class RollbackTarget:
    """The release that a rollback runs again. release: what it holds, None when the host did not keep that."""

    id: str
    release: Release | None = None


def find_rollback_release(stack: Stack, fact: StackFact, to: str) -> str:
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


def plan_rollback(stack: Stack, current: CurrentState, target: RollbackTarget, options: Options) -> Plan:
    """The plan for running a release again that is on the server."""
    strategy, live, new, fact = stack.strategy or options.strategy, current.release, target.release, current.stack
    services: tuple[ServicePlan, ...] = ()
    if live and new:
        labels = current.inventory.inputs_by_service(stack.project)
        services = plan_services(live, new, stack.reload, labels)
        services = tuple(
            replace(service, action=_WITHOUT_BUILD.get(service.action, service.action)) for service in services
        )
    live_model = live.model if live else None
    rolling = new.model if new and strategy == "rolling" else None
    sequence = Sequence(
        project=stack.project,
        release=target.id,
        timeout=options.timeout,
        # which files changed is only known of an upload: a signal too many does no harm
        signals=tuple(sorted(stack.reload.items())),
        roll=rolling_services(services, live_model, rolling) if rolling else {},
        max_downtime=options.max_downtime,
    )
    return Plan(
        stack=stack.name,
        project=stack.project,
        run=run_id(fact),
        release=target.id,
        previous=fact.current,
        strategy="rollback",
        services=services,
        notes=rolling_notes(services, live_model, rolling) if rolling else (),
        steps=compose.rollback(sequence, down=strategy == "recreate"),
        undo=_undo(sequence, fact, strategy),
    )


_WITHOUT_BUILD = {"rebuild": "recreate"}  # the release has its images


def _undo(sequence: Sequence, fact: StackFact, strategy: str) -> tuple[Step, ...]:
    if not fact.current:
        return compose.remove(sequence.project)
    restored = replace(sequence, release=fact.current, roll=rolling_back(sequence.roll, fact.model))
    return compose.restore(restored, down=strategy == "recreate")


def _release_before(fact: StackFact, name: str) -> str:
    good = [release.id for release in fact.releases if release.outcome == "good" and release.id != fact.current]
    if fact.before in good:
        return fact.before
    if not good:
        raise TowlineError(f"{name}: there is no good release before the live one to go back to")
    return max(good)


def run_id(fact: StackFact) -> str:
    """A new id: the server's time, followed by a number when there is a run of that second already."""
    taken = {release.id for release in fact.releases} | ({fact.last_run.id} if fact.last_run else set())
    candidates = [fact.now, *(f"{fact.now}-{number}" for number in range(2, 100))]
    return next(name for name in candidates if name not in taken)


def disk_problem(plan: Plan, current: CurrentState, host: str) -> str:
    """What is missing of the free space on the host; '' when there is enough, or nothing is known.

    Needed are the files twice (release and live copy) and images as large as those of the last build.
    """
    disk, fact = current.disk, current.stack
    if disk is None:
        return ""
    files = 2 * sum(entry.size for entry in plan.uploads if entry.path not in plan.links)
    images = next((release.built for release in fact.releases if release.id == fact.current), 0)
    needs = [("stacks and images", files + images, min(disk.root, disk.engine))] if disk.shared else []
    needs = needs or [("stacks", files, disk.root), ("images", images, disk.engine)]
    for what, need, free in needs:
        if need > free:
            return (
                f"{host}: {plan.stack} needs {size_text(need)} for {what} "
                f"(files {size_text(files)}, images {size_text(images)}), and {size_text(free)} are free"
            )
    return ""


def _links(fact: StackFact, new: Manifest, changes: Changes) -> dict[str, str]:
    """Content that the live release has at some path: path → that file on the server, to be hard-linked and not sent.

    Only where the mode is the same, too: a hard link shares it.
    """
    if fact.manifest is None:
        return {}
    old = fact.manifest.by_path
    same = {
        path: source
        for path, source in renames(fact.manifest, changes).items()
        if new.by_path[path].mode == old[source].mode
    }
    return {path: f"{fact.current}/files/{source}" for path, source in same.items()}


def _paths_to_drop(old: Manifest | None, changes: Changes) -> tuple[str, ...]:
    """What the hard-linked copy of the previous release must lose: changed and removed files, and folders left empty."""
    if old is None:
        return ()
    removed = {entry.path for entry in changes.removed}
    kept = {folder for entry in old.entries if entry.path not in removed for folder in folders_of(entry.path)}
    empty = {folder for path in removed for folder in folders_of(path)} - kept
    return tuple(sorted({*removed, *empty, *(entry.path for entry in changes.changed)}))
