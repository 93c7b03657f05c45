"""The sequences for one machine with Docker Compose. Pure: names in, steps out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from towline.commands import compose
from towline.engines.steps import Step


@dataclass(frozen=True)
class Sequence:
    """What the steps are made from.

    roll: services whose new containers start beside the old, in their order, and how many. signals: service → signal, for those
    that read changed files again by themselves. restarts: service → the one that it has to be started after. max_downtime:
    seconds, None for no limit. cache: the rehearsal may use the build cache.
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


def recreate(of: Sequence) -> tuple[Step, ...]:
    """down → build → up, with everything that can fail or take long rehearsed before the down.

    The rehearsal builds in the release's own folder, from scratch unless `cache`; the build between down and up then comes
    from the cache that it filled. `stage` makes the copies that `apply` only has to rename.
    """
    return (
        *_networks(of),
        Step("rehearse", ("in_release", *compose.build(of.project, cache=of.cache))),
        Step("pull", ("pull",)),
        Step("stage", ("stage", of.release)),
        Step("down", ("in_live_if_any", *compose.down(of.project))),
        Step("apply", ("apply", of.release)),
        Step("build", ("in_live", *compose.build(of.project))),
        Step("up", ("in_live", *compose.up(of.project)), seconds=of.timeout),
        *_settle(of),
    )


def update(of: Sequence) -> tuple[Step, ...]:
    """build → up: compose recreates the services whose image, configuration or mounted files changed, and no other."""
    return (
        *_networks(of),
        Step("build", ("in_release", *compose.build(of.project))),
        Step("pull", ("pull",)),
        Step("stage", ("stage", of.release)),
        Step("apply", ("apply", of.release)),
        *_rolls(of),
        Step("up", ("in_live", *compose.up(of.project)), seconds=of.timeout),
        *_restarts(of),
        *(Step(f"reload {name}", ("signal", name, signal)) for name, signal in of.signals),
        *_settle(of),
    )


def _networks(of: Sequence) -> tuple[Step, ...]:
    return tuple(Step("network", ("need_network", name)) for name in sorted(of.networks))


def _rolls(of: Sequence) -> tuple[Step, ...]:
    """What needs no new containers is left as it is."""
    return tuple(Step(f"roll {name}", ("roll", name, str(count))) for name, count in of.roll.items())


def _restarts(of: Sequence) -> tuple[Step, ...]:
    """Compose restarts some of them itself; then these do nothing."""
    return tuple(Step(f"restart {name}", ("restart_after", name, other)) for name, other in of.restarts)


def _settle(of: Sequence) -> tuple[Step, ...]:
    limit = "" if of.max_downtime is None else f"{of.max_downtime:g}"
    return (
        Step("health", ("health",)),
        Step("mounts", ("mounts",)),
        Step("downtime", ("downtime", limit)),
        Step("keep", ("keep_release",)),
    )


def go_back(of: Sequence, *, down: bool = True) -> tuple[Step, ...]:
    """The steps that make `release`, one that ran before, run again with the images it had.

    down=False leaves containers alone that are as that release has them; those of `signals` read its files again.
    """
    return (
        Step("stage", ("stage", of.release)),
        *([Step("down", ("in_live_if_any", *compose.down(of.project)))] if down else []),
        Step("apply", ("apply", of.release)),
        Step("images", ("restore_images", of.release)),
        *_rolls(of),
        Step("up", ("in_live", *compose.up(of.project)), seconds=of.timeout),
        *_restarts(of),
        *(Step(f"reload {name}", ("signal_back", name, signal)) for name, signal in of.signals),
        Step("health", ("health",)),
    )


def rollback(of: Sequence, *, down: bool = True) -> tuple[Step, ...]:
    """go_back as a run of its own: measured, and kept as the live release."""
    return (*go_back(of, down=down), *_settle(of)[1:])


def clear_away(project: str) -> tuple[Step, ...]:
    """The steps after which nothing of a first deploy that failed is left but its volumes and what containers wrote."""
    return (
        Step("down", ("in_live_if_any", *compose.down(project))),
        Step("apply", ("apply", "")),
    )
