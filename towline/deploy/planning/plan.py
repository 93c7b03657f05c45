"""Decides what a deploy will do: the desired and the current state in, a Plan out, which is what the runner is sent. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from posixpath import dirname

from towline.bundle.manifest import Changes, Entry, Manifest, diff, folders_of, renames
from towline.commands.shell import quote
from towline.deploy.planning.additions import Additions
from towline.deploy.planning.chosen_services import left_notes, only_chosen
from towline.deploy.planning.comparison import ServicePlan
from towline.deploy.planning.drift import Drift
from towline.deploy.planning.inputs import inputs_of, override
from towline.deploy.planning.services import plan_services, replace_containers
from towline.deploy.planning.situation import CurrentState, DesiredState, Release, Risk
from towline.deploy.planning.strategy import (
    first_services,
    pulled_anew,
    rest_of,
    restarts,
    rolling_back,
    rolling_notes,
    rolling_services,
    signals,
)
from towline.deploy.planning.takeover import capture_words, data_notes, data_words, left_as_made, shown_changes
from towline.deploy.planning.volume_notes import volume_notes
from towline.deploy.planning.waits import service_rows
from towline.engines import compose
from towline.engines.compose import Sequence
from towline.engines.steps import RELEASE_ZERO, Step
from towline.facts.compose_model import images_of
from towline.facts.running_project import RunningProject
from towline.facts.stack import StackFact
from towline.project.file_modes import chooser
from towline.project.stack import Stack
from towline.project.waits import ReleaseCommand
from towline.text.amounts import comma_list


@dataclass(frozen=True)
class Options:
    """What the caller may choose for one deploy. timeout, lock_wait, max_downtime: seconds; max_downtime None: no limit.

    pull: newer images under the same tags are taken. services: nothing happens to others; () for all.
    timeout_given: a person typed it, so it counts more than the stack's own.
    """

    timeout: int = 120
    timeout_given: bool = False
    keep_releases: int = 5
    cache: bool = False
    lock_wait: int = 0
    strategy: str = "recreate"
    max_downtime: float | None = None
    adopt: str = ""
    pull: bool = False
    services: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """One run on the server. previous: the release that is restored when it fails, '' when there is none.

    base: the release whose unchanged files are linked, '' when all are sent.
    uploads: entries whose content is sent or linked; links: path → file on the server to hard-link; drop: paths that the new
    release does not take over from the previous one. manifest: of the release. lists: further files of the release, name → text.
    services, additions, risks, drift, notes, last_seconds (what the live release took) and running (the project, when it runs
    without a release) are for people.
    timeout: seconds to become healthy; service_rows: the runner's file `services`. images: of all services. before: the release
    commands.
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
    running: RunningProject | None = None
    manifest: Manifest = field(default_factory=Manifest)
    lists: Mapping[str, str] = field(default_factory=dict)
    steps: tuple[Step, ...] = ()
    undo: tuple[Step, ...] = ()
    timeout: int = 120
    service_rows: str = ""
    images: tuple[str, ...] = ()
    before: tuple[ReleaseCommand, ...] = ()

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
    changes = shown_changes(current, new.manifest)
    sent = changes if fact.current else diff(None, new.manifest)
    labels = {} if current.running else current.inventory.inputs_by_service(stack.project)
    services = plan_services(live, new, stack.reload, labels, current.newer)
    if current.running and live is None:
        services = replace_containers(current.running.services, services)
    due, chosen = services, options.services
    if chosen:
        services = only_chosen(services, chosen)
    run = run_id(fact, current.token)
    # a release of its own, so that going back gives back the images of before
    release = run if changes or current.newer or not fact.current else fact.current
    strategy = stack.strategy or options.strategy
    strategy = "update" if chosen and strategy == "recreate" else strategy
    rolling, live_model = strategy == "rolling", live.model if live else None
    rolled = rolling_services(services, live_model, new.model) if rolling else {}
    sequence = Sequence(
        project=stack.project,
        release=release,
        cache=options.cache,
        networks=tuple(sorted(desired.networks)),
        signals=signals(strategy, services),
        restarts=restarts(strategy, services),
        roll=rolled,
        first=first_services(rolled, services, new.model),
        rest=rest_of(rolled, services, new.model),
        pull=pulled_anew(new.model, current.newer),
        pull_bases=options.pull,
        before=stack.before,
        nothing_runs=not fact.current and not current.runs(stack.project),
        max_downtime=options.max_downtime,
        zero=capture_words(current),
        data=data_words(current, options.adopt),
        gone=names_of(services, "remove") if strategy != "recreate" else (),
        chosen=tuple(name for name in chosen if name in new.model.services),
        builds=tuple(name for name in chosen if new.model.services.get(name, {}).get("build")),
    )
    return Plan(
        stack=stack.name,
        project=stack.project,
        run=run,
        release=release,
        previous=current.previous,
        base=fact.current if fact.manifest else "",
        strategy=strategy,
        changes=changes,
        services=services,
        manifest=new.manifest,
        lists=_lists(desired, left_as_made(current, services)),
        running=current.running,
        uploads=(*sent.added, *sent.changed),
        links=_links(fact, new.manifest, sent) if fact.current else {},
        drop=_paths_to_drop(fact.manifest, sent) if fact.current else (),
        steps=compose.recreate(sequence) if strategy == "recreate" else compose.update(sequence),
        undo=undo_of(sequence, current, strategy, services),
        notes=(
            *_notes(desired, sequence),
            *volume_notes(services, new, changes, current.inventory.volumes),
            *(left_notes(due, chosen) if chosen else ()),
            *(rolling_notes(services, live_model, new.model) if rolling else ()),
        ),
        timeout=timeout_of(stack, options),
        service_rows=service_rows(stack.waits, (new.model, live_model), services),
        images=images_of(new.model),
        before=stack.before,
        last_seconds=next((release.seconds for release in fact.releases if release.id == fact.current), 0.0),
    )


def names_of(services: tuple[ServicePlan, ...], action: str) -> tuple[str, ...]:
    return tuple(service.name for service in services if service.action == action)


def timeout_of(stack: Stack, options: Options) -> int:
    """Typed, else the stack's own, else the settings'."""
    return options.timeout if options.timeout_given or stack.waits.timeout is None else stack.waits.timeout


def _notes(desired: DesiredState, sequence: Sequence) -> Iterator[str]:
    """What comes with the plan whatever the strategy is."""
    yield from _env_notes(desired)
    yield from desired.not_sent
    yield from data_notes(sequence.data)
    yield from _before_notes(sequence)
    yield from _pull_notes(sequence, desired.release)


def _env_notes(desired: DesiredState) -> Iterator[str]:
    if desired.env_file:
        yield f"the .env in {dirname(desired.env_file)} on the server is used: there is none here"


def _before_notes(sequence: Sequence) -> tuple[str, ...]:
    when = "after `up`, since nothing runs yet" if sequence.nothing_runs else "before anything stops"
    return tuple(f"{when}, {command.service} runs `{quote(command.command)}`" for command in sequence.before)


def _pull_notes(sequence: Sequence, release: Release) -> Iterator[str]:
    built = [name for name, keys in release.model.services.items() if keys.get("build")]
    if sequence.pull_bases and built:
        yield f"{comma_list(sorted(built))}: built from the newest images that their Dockerfiles name"


def _lists(desired: DesiredState, unlabelled: frozenset[str]) -> dict[str, str]:
    """The files beside a release's own: the names of its compose files, the override with the labels, the files in place,
    the container data and the owners."""
    stack, release = desired.stack, desired.release
    owners = _owners(stack, release)
    labelled = "".join(f"{service.name}\n" for service in stack.services if service.labelled)
    return {
        "compose_files": ":".join(stack.compose_files) + "\n",
        **({"env_files": desired.env_file + "\n"} if desired.env_file else {}),
        # Compose (2.40) gives their containers another hash than it tells by `config --hash`
        **({"unhashed": labelled} if labelled else {}),
        **({"data": "".join(f"{path}\n" for path in sorted(desired.data))} if desired.data else {}),
        **({"profiles": ",".join(stack.profiles) + "\n"} if stack.profiles else {}),
        "override.json": override(release, stack.reload, unlabelled),
        "in_place": "".join(f"{path}\n" for path in _in_place(stack, release)),
        **({"owners": "".join(f"{owner}\t{path}\n" for path, owner in owners.items())} if owners else {}),
    }


def _in_place(stack: Stack, release: Release) -> list[str]:
    """Single files that services mount and read again on a signal: were one replaced, they would still see the old file."""
    services = [release.model.services[name] for name in stack.reload if name in release.model.services]
    mounts = {path for service in services for path in inputs_of(service, release.model).mounts}
    return sorted(mounts & set(release.manifest.by_path) - _owners(stack, release).keys())


def _owners(stack: Stack, release: Release) -> dict[str, str]:
    """Path → owner of the files that get one; the login itself has to read the .env."""
    owner_of = chooser(stack.owners)
    paths = [path for path in release.manifest.by_path if path != ".env"] if stack.owners else []
    return {path: owner for path in paths if (owner := owner_of(path))}


def undo_of(
    sequence: Sequence, current: CurrentState, strategy: str, services: tuple[ServicePlan, ...]
) -> tuple[Step, ...]:
    if not current.previous:
        return compose.remove(sequence.project)
    if current.previous == RELEASE_ZERO:
        zero = replace(sequence, release=RELEASE_ZERO, gone=(), roll={}, first={}, rest=(), restarts=(), signals=())
        return compose.restore(zero, down=strategy == "recreate")
    model = current.stack.model
    rolled = rolling_back(sequence.roll, model)
    restored = replace(
        sequence,
        release=current.previous,
        roll=rolled,
        first=first_services(rolled, services, model),
        rest=rest_of(rolled, services, model),
        from_zero=sequence.release == RELEASE_ZERO,
        chosen=tuple(name for name in sequence.chosen if model and name in model.services),
        gone=names_of(services, "create") if model and strategy != "recreate" else (),
    )
    return compose.restore(restored, down=strategy == "recreate")


def run_id(fact: StackFact, token: str = "") -> str:
    """A new id, higher than every other one there: the server's time, the client's `token` behind it.

    Where the clock went back, or two runs begin within one second, the highest time that is there counts on. Two clients that
    read the same state get the same time, and their tokens keep them apart.
    """
    time = int(fact.now.replace("-", ""))
    if fact.newest:
        time = max(time, int(fact.newest[: len("20261123-120000")].replace("-", "")) + 1)
    digits = f"{time:014}"
    return "-".join(part for part in (digits[:8], digits[8:], token) if part)


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
