"""What a deploy does about what runs without a release: it is kept, its data comes along, what does not change stays. Pure."""

from __future__ import annotations

from dataclasses import replace

from towline.bundle.manifest import Changes, Manifest, diff
from towline.commands.shell import Command
from towline.deploy.planning.comparison import ServicePlan
from towline.deploy.planning.situation import CurrentState
from towline.engines.steps import RELEASE_ZERO


def shown_changes(current: CurrentState, new: Manifest) -> Changes:
    """Of the files of what runs without a release none is removed: it is somebody's."""
    changes = diff(current.stack.manifest, new)
    return changes if current.stack.current else replace(changes, removed=())


def capture_words(current: CurrentState) -> Command | None:
    """What keep_release_zero takes; () when it has been kept, None where a release or nothing runs."""
    if current.previous != RELEASE_ZERO:
        return None
    if current.zero_interrupted or current.running is None:
        return ()
    origin = current.running.origin
    return origin.folder, origin.env_files, *origin.files


def data_words(current: CurrentState, how: str) -> Command:
    """What bring_data takes: how, then each source and its path in the live folder."""
    data = current.running.data if current.running and how else ()
    return (how, *(word for pair in data for word in pair)) if data else ()


def data_notes(data: Command) -> tuple[str, ...]:
    how, *words = data or ("",)
    does = "moved from" if how == "move" else "copied from"
    return tuple(f"./{path} is {does} {source}" for source, path in zip(words[::2], words[1::2], strict=True))


def left_as_made(current: CurrentState, services: tuple[ServicePlan, ...]) -> frozenset[str]:
    """The services that somebody else started and that do not change: a label would have compose replace their containers."""
    return frozenset(service.name for service in services if current.running and service.action == "unchanged")
