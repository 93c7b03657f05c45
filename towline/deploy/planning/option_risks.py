"""Risks of networks and volumes that get other options: Docker changes neither, it only makes new ones. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from towline.deploy.planning.port_risks import holder_text
from towline.deploy.planning.situation import Risk, Situation
from towline.text.amounts import comma_list

_VOLUME = ("driver", "driver_opts")
_NETWORK = ("driver", "driver_opts", "ipam", "internal", "attachable", "enable_ipv4", "enable_ipv6", "labels")


def option_risks(situation: Situation) -> Iterator[Risk]:
    """Volumes that would keep their old options, and networks that Compose would have to make anew while others use them."""
    if situation.live_model is None:
        return
    old, new = situation.live_model, situation.model
    for name, changed in _changed(old.volumes, new.volumes, _VOLUME):
        if name in situation.inventory.volumes:
            yield _volume(situation, name, changed)
    for name, changed in _changed(old.networks, new.networks, _NETWORK):
        users = [c for c in situation.inventory.containers if name in c.networks and c.project != situation.project]
        if users:
            others = comma_list(sorted(holder_text(user) for user in users))
            sentence = f"the network {name} gets other options ({comma_list(changed)}): Compose has to make it anew"
            hint = f"keep the options, or take these down first and deploy them again after it: {others}"
            yield Risk("network-options", f"{sentence}, and others are on it; {hint}", stops=True)


def _volume(situation: Situation, name: str, changed: list[str]) -> Risk:
    sentence = f"the volume {name} keeps its old options ({comma_list(changed)} changed): Docker changes no volume"
    stack = situation.desired.stack.name
    hint = f"for the new ones, with {stack} down: docker volume rm {name}, then deploy; see first that its data is elsewhere"
    return Risk("volume-options", f"{sentence}; {hint}", stops=False)


def _changed(
    old: Mapping[str, Mapping[str, Any]], new: Mapping[str, Mapping[str, Any]], keys: tuple[str, ...]
) -> Iterator[tuple[str, list[str]]]:
    """Docker's name of each that is there before and after and not external, and which of the keys differ."""
    for key in sorted(old.keys() & new.keys()):
        before, after = old[key] or {}, new[key] or {}
        name = str(after.get("name") or key)
        if after.get("external") or before.get("external") or name != str(before.get("name") or key):
            continue
        changed = [each for each in keys if (before.get(each) or {}) != (after.get(each) or {})]
        if changed:
            yield name, changed
