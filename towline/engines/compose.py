"""The sequences for one machine with Docker Compose. Pure: names in, steps out."""

from __future__ import annotations

from collections.abc import Iterable

from towline.commands import compose
from towline.engines.steps import Step


def recreate(
    project: str, release: str, *, networks: Iterable[str] = (), timeout: int = 120, cache: bool = False
) -> tuple[Step, ...]:
    """down → build → up, with everything that can fail or take long rehearsed before the down.

    The rehearsal builds in the release's own folder, from scratch unless `cache`; the build between down and up then comes
    from the cache that it filled. `stage` makes the copies that `apply` only has to rename.
    """
    return (
        *(Step("network", ("need_network", name)) for name in sorted(networks)),
        Step("rehearse", ("in_release", *compose.build(project, cache=cache))),
        Step("pull", ("pull",)),
        Step("stage", ("stage", release)),
        Step("down", ("in_live_if_any", *compose.down(project))),
        Step("apply", ("apply", release)),
        Step("build", ("in_live", *compose.build(project))),
        Step("up", ("in_live", *compose.up(project)), seconds=timeout),
        Step("health", ("health",)),
        Step("keep", ("keep_release",)),
    )


def go_back(project: str, release: str, *, timeout: int = 120) -> tuple[Step, ...]:
    """The steps that make `release`, one that ran before, run again with the images it had."""
    return (
        Step("stage", ("stage", release)),
        Step("down", ("in_live_if_any", *compose.down(project))),
        Step("apply", ("apply", release)),
        Step("images", ("restore_images", release)),
        Step("up", ("in_live", *compose.up(project)), seconds=timeout),
        Step("health", ("health",)),
    )


def clear_away(project: str) -> tuple[Step, ...]:
    """The steps after which nothing of a first deploy that failed is left but its volumes and what containers wrote."""
    return (
        Step("down", ("in_live_if_any", *compose.down(project))),
        Step("apply", ("apply", "")),
    )
