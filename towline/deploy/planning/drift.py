"""What was changed on the server behind towline's back. Pure: facts in, drift out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from towline.facts.container import Container
from towline.facts.drift import DriftFact
from towline.facts.inventory import Inventory

MOST_FILES = 10


@dataclass(frozen=True)
class Drift:
    """service: '' when it is the stack's."""

    service: str
    sentence: str


def find_drift(
    project: str,
    model_services: Iterable[str],
    live: DriftFact,
    around: Inventory,
    kept_images: Mapping[str, str],
) -> tuple[Drift, ...]:
    """Everything that is not as the live release's deploy left it: the stack's files first, then service by service.

    model_services: of the live release's model. kept_images: service → id of the image that the release runs with
    (`live.kept`). An image whose name was not asked about in `around` is not held against its name.
    """
    own = [one for one in around.containers if one.project == project and not one.oneoff]
    found = [Drift("", sentence) for sentence in _files(live)]
    for service in sorted(model_services):
        containers = [one for one in own if one.service == service]
        found += (Drift(service, sentence) for sentence in _service(service, containers, live))
        found += (Drift(service, sentence) for sentence in _images(containers, around, kept_images.get(service, "")))
        found += (
            Drift(service, f"its container {one.container} still sees the {one.path} of before")
            for one in live.stale
            if one.service == service
        )
    return tuple(found)


def _files(live: DriftFact) -> Iterator[str]:
    yield from _listed(live.edited, "was edited on the server")
    yield from _listed(live.missing, "was removed on the server")


def _listed(paths: Sequence[str], what: str) -> Iterator[str]:
    yield from (f"{path} {what}" for path in paths[:MOST_FILES])
    more = len(paths) - MOST_FILES
    if more > 0:
        yield f"and {more} more: each {what}"


def _service(service: str, containers: Sequence[Container], live: DriftFact) -> Iterator[str]:
    """Containers that do not run, and those that were made in another way than compose would make them now."""
    if not containers:
        yield "it has no container"
    wanted = live.hashes.get(service, "")
    for one in containers:
        if one.state != "running" and not (one.state == "exited" and service in live.once):
            yield f"its container {one.name} is {one.state}"
        if wanted and one.config_hash != wanted:
            yield f"its container {one.name} was made from other settings than the live folder has"


def _images(containers: Sequence[Container], around: Inventory, kept: str) -> Iterator[str]:
    for one in containers:
        if kept and one.image_id != kept:
            yield f"its container {one.name} runs another image than the release was deployed with"
        now = around.images.get(one.image)
        if now == "":
            yield f"{one.image}, which its container {one.name} runs, is no longer there by that name"
        elif now is not None and now != one.image_id:
            yield f"{one.image} is another image now than its container {one.name} runs"
