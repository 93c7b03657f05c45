"""The sequences of steps for one machine with Docker Compose. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from towline.commands import compose
from towline.commands.shell import Command
from towline.engines.steps import RELEASE_ZERO, Step
from towline.project.waits import ReleaseCommand


@dataclass(frozen=True)
class Sequence:
    """What the steps of one run are made from.

    roll: services whose new containers start beside the old, in their order, and how many. signals: service and signal, for
    those that read changed files again by themselves. restarts: service and the one that it has to be started after.
    first: a service that is rolled → those that come before it; rest: what `up` starts in the end, () for all services. pull: the
    services whose images are pulled though they are there; pull_bases: builds do so, too. before: the release commands;
    nothing_runs: there is nothing yet that they could run before. max_downtime: seconds, None for no limit. cache: the rehearsal
    may use the build cache. zero: where what runs without a release was started, as keep_release_zero takes it; () when it was kept
    by an earlier run, None when a release runs, or nothing. data: what bring_data takes, () for none. from_zero: a rollback to what
    ran before is undone. gone: the services that no longer run, where no `down` removes them.
    chosen: nothing happens to other services, () for all; builds: those of them that are built.
    """

    project: str
    release: str
    cache: bool = False
    networks: tuple[str, ...] = ()
    roll: Mapping[str, int] = field(default_factory=dict)
    first: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    rest: tuple[str, ...] = ()
    pull: tuple[str, ...] = ()
    pull_bases: bool = False
    before: tuple[ReleaseCommand, ...] = ()
    nothing_runs: bool = False
    signals: tuple[tuple[str, str], ...] = ()
    restarts: tuple[tuple[str, str], ...] = ()
    max_downtime: float | None = None
    zero: Command | None = None
    data: Command = ()
    from_zero: bool = False
    gone: tuple[str, ...] = ()
    chosen: tuple[str, ...] = ()
    builds: tuple[str, ...] = ()


def recreate(sequence: Sequence) -> tuple[Step, ...]:
    """down → build → up, with everything that can fail or take long rehearsed before the down.

    The rehearsal builds in the release's own folder, from scratch unless `cache`; the build between down and up finds everything
    done, and builds only what somebody has removed meanwhile. `stage` makes the copies that `apply` only has to rename.
    """
    return (
        *_keep_zero(sequence),
        *_networks(sequence),
        Step(
            "rehearse", ("in_release", *compose.build(sequence.project, cache=sequence.cache, pull=sequence.pull_bases))
        ),
        Step("pull", ("pull", *sequence.pull)),
        *_before(sequence),
        Step("stage", ("stage", sequence.release)),
        _down(sequence),
        *_data(sequence),
        Step("apply", ("apply", sequence.release)),
        Step("build", ("use_built_images",)),
        *_up(sequence),
        *_verify_and_keep(sequence),
    )


def update(sequence: Sequence) -> tuple[Step, ...]:
    """build → up: compose recreates the services whose image, configuration or mounted files changed, and no other."""
    return (
        *_keep_zero(sequence),
        *_networks(sequence),
        Step("build", ("in_release", *compose.build(sequence.project, sequence.builds, pull=sequence.pull_bases))),
        Step("pull", ("pull", *sequence.pull)),
        *_before(sequence),
        Step("stage", ("stage", sequence.release)),
        *_data(sequence),
        Step("apply", ("apply", sequence.release)),
        *_rolls(sequence),
        *_removals(sequence),
        *_up(sequence),
        *_restarts(sequence),
        *(Step(f"reload {name}", ("signal", name, signal)) for name, signal in sequence.signals),
        *_verify_and_keep(sequence),
    )


def _keep_zero(sequence: Sequence) -> tuple[Step, ...]:
    return (Step("capture", ("keep_release_zero", *sequence.zero)),) if sequence.zero else ()


def _down(sequence: Sequence) -> Step:
    down = ("down_zero",) if sequence.zero is not None else ("in_live_if_any", *compose.down(sequence.project))
    return Step("down", down)


def _data(sequence: Sequence) -> tuple[Step, ...]:
    return (Step("data", ("bring_data", *sequence.data)),) if sequence.data else ()


def _networks(sequence: Sequence) -> tuple[Step, ...]:
    return tuple(Step("network", ("need_network", name)) for name in sorted(sequence.networks))


def _rolls(sequence: Sequence) -> tuple[Step, ...]:
    """A step for each service that is rolled, after those that it depends on; one that needs no new containers is left alone."""
    steps: dict[str, Step] = {}
    for name, count in sequence.roll.items():
        for other in sequence.first.get(name, ()):
            steps.setdefault(other, Step(f"first {other}", ("start_first", other)))
        steps[name] = Step(f"roll {name}", ("roll", name, str(count)))
    return tuple(steps.values())


def _up(sequence: Sequence) -> tuple[Step, ...]:
    """It keeps to limits of its own: health.sh knows what each service may take."""
    rest = sequence.chosen or sequence.rest
    up = Step("up", ("start_services", *compose.up(sequence.project, rest, orphans=bool(sequence.chosen))))
    return (up, *(_release_commands(sequence) if sequence.nothing_runs else ()))


def _before(sequence: Sequence) -> tuple[Step, ...]:
    return () if sequence.nothing_runs else _release_commands(sequence)


def _release_commands(sequence: Sequence) -> tuple[Step, ...]:
    return tuple(
        Step(f"before {each.service}", ("release_command", each.service, str(each.timeout), *each.command))
        for each in sequence.before
    )


def _removals(sequence: Sequence) -> tuple[Step, ...]:
    """Compose removes those that its files no longer have, but not those that a profile no longer turns on."""
    return tuple(Step(f"remove {name}", ("remove_service", name)) for name in sequence.gone)


def _restarts(sequence: Sequence) -> tuple[Step, ...]:
    """A step for each service that has to be restarted; it does nothing where compose has done so itself."""
    return tuple(Step(f"restart {name}", ("restart_after", name, other)) for name, other in sequence.restarts)


def _verify_and_keep(sequence: Sequence) -> tuple[Step, ...]:
    limit = "" if sequence.max_downtime is None else f"{sequence.max_downtime:g}"
    return (
        Step("mounts", ("mounts",)),
        Step("health", ("health",)),
        Step("downtime", ("downtime", limit)),
        Step("keep", ("keep_release",)),
        *([Step("sources", ("keep_moves",))] if sequence.data[:1] == ("move",) else []),
    )


def restore(sequence: Sequence, *, down: bool = True) -> tuple[Step, ...]:
    """The steps that make `release`, one that ran before, run again with the images it had.

    down=False leaves containers alone that are as that release has them; those of `signals` read its files again.
    """
    return (
        Step("stage", ("stage", sequence.release)),
        Step("images", ("restore_images", sequence.release)),
        *([_down(sequence)] if down else []),
        *_data_back(sequence),
        Step("apply", ("apply", sequence.release)),
        *_rolls(sequence),
        *_removals(sequence),
        *_up_again(sequence),
        *_restarts(sequence),
        *(Step(f"reload {name}", ("signal_back", name, signal)) for name, signal in sequence.signals),
        Step("mounts", ("mounts",)),
        Step("health", ("health",)),
    )


def _data_back(sequence: Sequence) -> tuple[Step, ...]:
    """Data that was moved is where the release that comes looks for it."""
    if sequence.release == RELEASE_ZERO and (sequence.data or not sequence.zero):  # or an earlier run has brought it
        return (Step("data", ("return_data",)),)
    return (Step("data", ("move_again",)),) if sequence.from_zero else ()


def _up_again(sequence: Sequence) -> tuple[Step, ...]:
    if sequence.release == RELEASE_ZERO:
        return (Step("up", ("up_zero",)),)
    return _up(replace(sequence, before=()))


def rollback(sequence: Sequence, *, down: bool = True) -> tuple[Step, ...]:
    """`restore` as a run of its own: measured, and kept as the live release."""
    return (*_keep_zero(sequence), *restore(sequence, down=down), *_verify_and_keep(sequence)[2:])


def remove(project: str) -> tuple[Step, ...]:
    """The steps that undo a first deploy that failed: only its volumes and what containers wrote are left."""
    return (
        Step("down", ("in_live_if_any", *compose.down(project))),
        Step("apply", ("apply", "")),
    )
