"""What was changed on the server since the live release was deployed. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from towline.facts.container import Container
from towline.facts.drift import DriftFact
from towline.facts.inventory import Inventory
from towline.text.amounts import limit

MOST_FILES = 10


@dataclass(frozen=True)
class Drift:
    """One difference. service: '' for one of the stack's files."""

    service: str
    sentence: str


def moved_images(project: str, live: DriftFact, inventory: Inventory) -> tuple[str, ...]:
    """A sentence for each container that runs another image than the release was deployed with, with both ids."""
    own = [container for container in inventory.containers if container.project == project and not container.oneoff]
    return tuple(
        f"{container.service}: {container.name} runs {container.image_id[7:19]}, and the release was deployed with {kept[7:19]}"
        for container in own
        if (kept := live.kept.get(container.service, "")) and container.image_id != kept
    )


def find_drift(
    project: str, services: Iterable[str], live: DriftFact, inventory: Inventory, *, images_may_move: bool = False
) -> tuple[Drift, ...]:
    """Everything that is not as the live release's deploy left it: the stack's files first, then service by service.

    services: of the live release's model. An image whose name `inventory` knows nothing of is not compared with its name.
    """
    own = [container for container in inventory.containers if container.project == project and not container.oneoff]
    drift = [Drift("", sentence) for sentence in _files(live)]
    for service in sorted(services):
        containers = [container for container in own if container.service == service]
        drift += (Drift(service, sentence) for sentence in _service(service, containers, live))
        images = () if images_may_move else _images(containers, inventory, live.kept.get(service, ""))
        drift += (Drift(service, sentence) for sentence in images)
        drift += (
            Drift(service, f"its container {mount.container} still sees the {mount.path} of before")
            for mount in live.stale
            if mount.service == service
        )
    return tuple(drift)


def _files(live: DriftFact) -> Iterator[str]:
    yield from _listed(live.edited, "was edited on the server")
    yield from _listed(live.missing, "was removed on the server")


def _listed(paths: Sequence[str], what: str) -> Iterator[str]:
    shown, more = limit(paths, MOST_FILES)
    yield from (f"{path} {what}" for path in shown)
    if more:
        yield f"{more}: each {what}"


def _service(service: str, containers: Sequence[Container], live: DriftFact) -> Iterator[str]:
    """Containers that do not run, and those whose configuration is not that of the live folder."""
    if not containers:
        yield "it has no container"
    config_hash = live.hashes.get(service, "")
    for container in containers:
        if container.state != "running" and not (container.state == "exited" and service in live.once):
            yield f"its container {container.name} is {container.state}"
        if config_hash and container.config_hash != config_hash:
            yield f"its container {container.name} was made from other settings than the live folder has"


def _images(containers: Sequence[Container], inventory: Inventory, kept: str) -> Iterator[str]:
    """kept: the id of the image that the release runs with, '' when it is not known."""
    for container in containers:
        name = container.image
        if kept and container.image_id != kept:
            yield f"its container {container.name} runs another image than the release was deployed with"
        current = inventory.images.get(name)
        if current == "":
            yield f"{name}, which its container {container.name} runs, is no longer there by that name"
        elif current is not None and current != container.image_id:
            yield f"{name} is another image now than its container {container.name} runs"
