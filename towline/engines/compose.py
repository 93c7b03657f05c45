"""The sequences of steps for one machine with Docker Compose. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from towline.commands import compose
from towline.commands.shell import Command
from towline.engines.steps import RELEASE_ZERO, Step


@dataclass(frozen=True)
class Sequence:
    """What the steps of one run are made from.

    roll: services whose new containers start beside the old, in their order, and how many. signals: service and signal, for
    those that read changed files again by themselves. restarts: service and the one that it has to be started after.
    max_downtime: seconds, None for no limit. cache: the rehearsal may use the build cache. zero: where what runs without a release
    was started, as keep_release_zero takes it; () when it was kept by an earlier run, None when a release runs, or nothing.
    """

    project: str
    release: str
    timeout: int = 120
    cache: bool = False
    networks: tuple[str, ...] = ()
    roll: Mapping[str, int] = field(default_factory=dict)
    signals: tuple[tuple[str, str], ...] = ()
    restarts: tuple[tuple[str, str], ...] = ()
    max_downtime: float | None = None
    zero: Command | None = None


def recreate(sequence: Sequence) -> tuple[Step, ...]:
    """down → build → up, with everything that can fail or take long rehearsed before the down.

    The rehearsal builds in the release's own folder, from scratch unless `cache`; the build between down and up then comes
    from the cache that it filled. `stage` makes the copies that `apply` only has to rename.
    """
    return (
        *_keep_zero(sequence),
        *_networks(sequence),
        Step("rehearse", ("in_release", *compose.build(sequence.project, cache=sequence.cache))),
        Step("pull", ("pull",)),
        Step("stage", ("stage", sequence.release)),
        _down(sequence),
        Step("apply", ("apply", sequence.release)),
        Step("build", ("in_live", *compose.build(sequence.project))),
        Step("up", ("in_live", *compose.up(sequence.project)), seconds=sequence.timeout),
        *_verify_and_keep(sequence),
    )


def update(sequence: Sequence) -> tuple[Step, ...]:
    """build → up: compose recreates the services whose image, configuration or mounted files changed, and no other."""
    return (
        *_keep_zero(sequence),
        *_networks(sequence),
        Step("build", ("in_release", *compose.build(sequence.project))),
        Step("pull", ("pull",)),
        Step("stage", ("stage", sequence.release)),
        Step("apply", ("apply", sequence.release)),
        *_rolls(sequence),
        Step("up", ("in_live", *compose.up(sequence.project)), seconds=sequence.timeout),
        *_restarts(sequence),
        *(Step(f"reload {name}", ("signal", name, signal)) for name, signal in sequence.signals),
        *_verify_and_keep(sequence),
    )


def _keep_zero(sequence: Sequence) -> tuple[Step, ...]:
    return (Step("capture", ("keep_release_zero", *sequence.zero)),) if sequence.zero else ()


def _down(sequence: Sequence) -> Step:
    down = ("down_zero",) if sequence.zero is not None else ("in_live_if_any", *compose.down(sequence.project))
    return Step("down", down)


def _networks(sequence: Sequence) -> tuple[Step, ...]:
    return tuple(Step("network", ("need_network", name)) for name in sorted(sequence.networks))


def _rolls(sequence: Sequence) -> tuple[Step, ...]:
    """A step for each service that is rolled; a service that needs no new containers is left alone by it."""
    return tuple(Step(f"roll {name}", ("roll", name, str(count))) for name, count in sequence.roll.items())


def _restarts(sequence: Sequence) -> tuple[Step, ...]:
    """A step for each service that has to be restarted; it does nothing where compose has done so itself."""
    return tuple(Step(f"restart {name}", ("restart_after", name, other)) for name, other in sequence.restarts)


def _verify_and_keep(sequence: Sequence) -> tuple[Step, ...]:
    limit = "" if sequence.max_downtime is None else f"{sequence.max_downtime:g}"
    return (
        Step("health", ("health",)),
        Step("mounts", ("mounts",)),
        Step("downtime", ("downtime", limit)),
        Step("keep", ("keep_release",)),
    )


def restore(sequence: Sequence, *, down: bool = True) -> tuple[Step, ...]:
    """The steps that make `release`, one that ran before, run again with the images it had.

    down=False leaves containers alone that are as that release has them; those of `signals` read its files again.
    """
    return (
        Step("stage", ("stage", sequence.release)),
        *([_down(sequence)] if down else []),
        Step("apply", ("apply", sequence.release)),
        Step("images", ("restore_images", sequence.release)),
        *_rolls(sequence),
        Step("up", _up_again(sequence), seconds=sequence.timeout),
        *_restarts(sequence),
        *(Step(f"reload {name}", ("signal_back", name, signal)) for name, signal in sequence.signals),
        Step("health", ("health",)),
    )


def _up_again(sequence: Sequence) -> Command:
    if sequence.release == RELEASE_ZERO:
        return ("up_zero",)
    return ("in_live", *compose.up(sequence.project))


def rollback(sequence: Sequence, *, down: bool = True) -> tuple[Step, ...]:
    """`restore` as a run of its own: measured, and kept as the live release."""
    return (*_keep_zero(sequence), *restore(sequence, down=down), *_verify_and_keep(sequence)[1:])


def remove(project: str) -> tuple[Step, ...]:
    """The steps that undo a first deploy that failed: only its volumes and what containers wrote are left."""
    return (
        Step("down", ("in_live_if_any", *compose.down(project))),
        Step("apply", ("apply", "")),
    )
