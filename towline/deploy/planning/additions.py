"""What a deploy adds to a host beside files and containers. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from towline.facts.compose_model import Model, Section
from towline.facts.inventory import Inventory
from towline.facts.registry import to_be_pulled


@dataclass(frozen=True)
class Additions:
    """Names, as Docker knows them. images: to pull, with `pull_policy: always` also when there. networks, volumes: to create."""

    images: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()


def find_additions(model: Model, inventory: Inventory, missing_networks: Iterable[str] = ()) -> Additions:
    """What is not there yet. missing_networks: external ones that towline makes, since no stack does."""
    services = model.services.values()
    networks = {name for keys in services for name in keys.get("networks") or ()}
    mounts = [mount for keys in services for mount in keys.get("volumes") or ()]
    volumes = {str(mount.get("source")) for mount in mounts if mount.get("type") == "volume"}
    return Additions(
        images=tuple(sorted(to_be_pulled(model, inventory.images))),
        networks=tuple(sorted({*_own(model.networks, networks), *missing_networks} - inventory.networks)),
        volumes=tuple(sorted({*_own(model.volumes, volumes)} - inventory.volumes.keys())),
    )


def _own(section: Section, used: set[str]) -> Iterator[str]:
    """The names of those that compose creates."""
    for key in sorted(used & section.keys()):
        keys: Mapping[str, Any] = section[key] or {}
        if not keys.get("external"):
            yield str(keys.get("name") or key)
