"""What could go wrong with a deploy, found before anything happens. Pure: facts in, risks out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import combinations
from types import MappingProxyType
from typing import Any

from towline.deploy.planning.mount_risks import mounts
from towline.deploy.planning.situation import Risk
from towline.facts.compose_model import Model, replicas_of
from towline.facts.container import Container
from towline.facts.inventory import Inventory
from towline.facts.port import WILDCARDS, Port, clashes, overlap
from towline.facts.registry import Unpullable
from towline.project.catalog import BUILTIN_NETWORKS
from towline.project.variables import ALWAYS_SET

NONE: frozenset[str] = frozenset()
NO_IMAGES: Mapping[str, Unpullable] = MappingProxyType({})


def find_risks(  # noqa: PLR0913, PLR0917 - each is another fact; all but the first few are sets of names
    stack_name: str,
    project: str,
    strategy: str,
    old: Model | None,
    new: Model,
    manifest_paths: frozenset[str],
    removed_paths: frozenset[str],
    around: Inventory,
    env_names: frozenset[str],
    networks_made: frozenset[str],
    *,
    variables: frozenset[str] = NONE,
    unpullable: Mapping[str, Unpullable] = NO_IMAGES,
    absent: frozenset[str] = NONE,
) -> tuple[Risk, ...]:
    """Every risk, those that stop the deploy first.

    variables: used_variables() of the compose files. unpullable: of the images that would be pulled. absent: paths of bind
    mounts, configs and secrets that are not on the server. Paths are relative to the stack's folder, or absolute.
    """
    found = [
        *_project_renamed(old, project, around),
        *_ports_taken(new, project, around),
        *_ports_wanted_twice(new),
        *_names_taken(new, project, around),
        *_images_missing(new, around, unpullable),
        *_networks_missing(new, around, networks_made),
        *mounts(old, new, manifest_paths, removed_paths, absent),
        *_volumes_missing(new, around),
        *_volumes_orphaned(old, new, around),
        *(_anonymous_volumes(stack_name, project, around) if strategy == "recreate" else ()),
        *_variables_undefined(stack_name, variables - env_names - ALWAYS_SET),
    ]
    return tuple(sorted(dict.fromkeys(found), key=lambda risk: not risk.stops))


# --- ports ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Want:
    """What one `ports:` item publishes: any one port of the range at all of the addresses, once for each replica."""

    service: str
    shown: str
    addresses: tuple[str, ...]
    ports: range
    proto: str
    replicas: int

    def clashes(self, other: _Want) -> bool:
        same = self.proto == other.proto and len(self.ports) == len(other.ports) == 1 and self.ports == other.ports
        return same and any(overlap(a, b) for a in self.addresses for b in other.addresses)


def _wants(model: Model) -> Iterator[_Want]:
    for name, service in model.services.items():
        replicas = replicas_of(service)
        if service.get("network_mode") == "host" or replicas == 0:
            continue
        for item in service.get("ports") or ():
            first, _, last = str(item.get("published") or "").partition("-")
            if not first.isdigit() or first == "0":  # any free one
                continue
            address = str(item.get("host_ip") or "").strip("[]")
            proto = str(item.get("protocol") or "tcp")
            shown = f"{address + ':' if address else ''}{item['published']}/{proto}"
            ports = range(int(first), int(last if last.isdigit() else first) + 1)
            yield _Want(name, shown, (_plain_address(address),) if address else WILDCARDS, ports, proto, replicas)


def _plain_address(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:  # Compose will say so
        return text


def _ports_taken(new: Model, project: str, around: Inventory) -> Iterator[Risk]:
    """A container's listener on the host's own network cannot be told from another program's: then it is asked."""
    ours = [one for one in around.containers if one.project == project and one.active]
    maybe_ours = any(one.host_network for one in ours)
    others = [one for one in around.containers if one.project != project]
    for want in _wants(new):
        holders = [_holder(want, port, others, around) for port in want.ports]
        if not holders or not all(holders):
            continue
        holder = holders[0]
        by = _who(holder) if isinstance(holder, Container) else "another program (on the server: `ss -ltnp` as root)"
        unsure = maybe_ours and not any(isinstance(one, Container) for one in holders)
        sentence = f"{want.service}: port {want.shown} is taken by {by}"
        if unsure:
            yield Risk("port-taken", f"{sentence}, or by this stack's own container on the host's network", stops=False)
        else:
            yield Risk("port-taken", f"{sentence}; stop that, or publish another port", stops=True)


def _who(one: Container) -> str:
    return f"container {one.name} " + (f"of project {one.project}" if one.project else "that compose did not make")


def _holder(want: _Want, port: int, others: list[Container], around: Inventory) -> Container | Port | None:
    wanted = [Port(address, port, want.proto) for address in want.addresses]
    for one in others:
        if any(clashes(held, each) for held in one.host_ports for each in wanted):
            return one
    for held in around.listeners:
        if any(clashes(held, each, program=True) for each in wanted):
            return held
    return None


def _ports_wanted_twice(new: Model) -> Iterator[Risk]:
    wants = list(_wants(new))
    for want in wants:
        if want.replicas > len(want.ports):
            sentence = f"{want.service}: {want.replicas} replicas want port {want.shown}, which one can have"
            yield Risk("port-taken", f"{sentence}; publish a range, or none behind a proxy", stops=True)
    for one, other in combinations(wants, 2):
        if one.clashes(other):
            both = f"{one.service} and {other.service}" if one.service != other.service else f"{one.service}: two items"
            sentence = f"{both} want the same port, {one.shown} and {other.shown}; change one of them"
            yield Risk("port-taken", sentence, stops=True)


# --- names, images, networks, volumes, variables --------------------------------------------------------------------------


def _project_renamed(old: Model | None, project: str, around: Inventory) -> Iterator[Risk]:
    """No step takes down what compose knows by another name: it would go on, half of a proxy's requests with it."""
    was = old.project if old else ""
    left = sorted({one.service for one in around.containers if one.project == was and not one.oneoff})
    if was not in ("", project) and left:
        sentence = f"the project was {was} and is now {project}: the containers of {was} ({', '.join(left)}) would go on beside it"
        mend = f"keep the name, or take them down first, there: docker compose --project-name {was} down"
        yield Risk("project-renamed", f"{sentence}; {mend}", stops=True)


def _names_taken(new: Model, project: str, around: Inventory) -> Iterator[Risk]:
    others = {one.name: one for one in around.containers if one.project != project}
    for service, keys in new.services.items():
        holder = others.get(str(keys.get("container_name") or ""))
        if holder:
            sentence = f"{service}: container_name {holder.name} is taken by {_who(holder)}"
            yield Risk("name-taken", f"{sentence}; choose another, or remove that container", stops=True)


def _images_missing(new: Model, around: Inventory, unpullable: Mapping[str, Unpullable]) -> Iterator[Risk]:
    built = {str(keys.get("image")) for keys in new.services.values() if keys.get("build")}
    for service, keys in new.services.items():
        image, policy = str(keys.get("image") or ""), keys.get("pull_policy")
        if not image or keys.get("build") or image in built or (around.images.get(image) and policy != "always"):
            continue
        if image in unpullable and policy != "never":
            yield _image_missing(service, image, str(policy), unpullable[image])
        elif policy == "never" and image in around.images:
            sentence = f"{service}: image {image} is not on the server, and pull_policy: never forbids to pull it"
            yield Risk("image-missing", f"{sentence}; load it there: docker load", stops=True)


def _image_missing(service: str, image: str, policy: str, why: Unpullable) -> Risk:
    start = f"{service}: image {image} "
    start += "is pulled each time (pull_policy: always), and " if policy == "always" else "is not on the server, and "
    if why.why == "missing":
        return Risk("image-missing", f"{start}its registry has no such image; check its name and tag", stops=True)
    if why.why == "denied":
        mend = "check its name, or log in there: docker login"
        return Risk("image-missing", f"{start}its registry does not give it to this login; {mend}", stops=True)
    sentence = f"{start}its registry cannot be reached from there ({why.said})"
    mend = "see that it can, or load the image there: docker load"
    if not why.certain:
        mend = "the engine may get it by its own proxy, mirror or plain HTTP; if not, the deploy ends at the pull"
    return Risk("image-missing", f"{sentence}; {mend}", stops=why.certain)


def _networks_missing(new: Model, around: Inventory, made: frozenset[str]) -> Iterator[Risk]:
    used = {name for keys in new.services.values() for name in keys.get("networks") or ()}
    for key in sorted(used & new.networks.keys()):
        network = new.networks[key] or {}
        name = str(network.get("name") or key)
        if network.get("external") and name not in around.networks | made | BUILTIN_NETWORKS:
            sentence = f"the external network {name} does not exist on the server and no stack makes it"
            yield Risk("network-missing", f"{sentence}; make it there: docker network create {name}", stops=True)


def _volumes_missing(new: Model, around: Inventory) -> Iterator[Risk]:
    mounts = [mount for keys in new.services.values() for mount in keys.get("volumes") or ()]
    used = {mount.get("source") for mount in mounts if mount.get("type") == "volume"}
    for key in sorted(used & new.volumes.keys()):
        name = _volume_name(key, new.volumes[key])
        if (new.volumes[key] or {}).get("external") and name not in around.volumes:
            sentence = f"the external volume {name} does not exist on the server, and Compose makes none"
            yield Risk("volume-missing", f"{sentence}; make it there: docker volume create {name}", stops=True)


def _volumes_orphaned(old: Model | None, new: Model, around: Inventory) -> Iterator[Risk]:
    if old is None:
        return
    kept = {_volume_name(key, volume) for key, volume in new.volumes.items()}
    for key, volume in old.volumes.items():
        name = _volume_name(key, volume)
        if (volume or {}).get("external") or name in kept or name not in around.volumes:
            continue
        if key in new.volumes:
            now = _volume_name(key, new.volumes[key])
            why = f"volume {key} is now {now}, so the content of {name} stays behind"
            mend = f"keep it with `name: {name}` under volumes.{key}"
        else:
            why = f"no service uses volume {name} any more; its content stays on the server"
            mend = f"when it is not wanted: docker volume rm {name}"
        yield Risk("volume-orphaned", f"{why}; {mend}", stops=False)


def _volume_name(key: str, volume: Mapping[str, Any] | None) -> str:
    return str((volume or {}).get("name") or key)


def _anonymous_volumes(stack_name: str, project: str, around: Inventory) -> Iterator[Risk]:
    for one in around.containers:
        if one.project != project or one.oneoff or not one.active:
            continue
        for mount in one.mounts:
            if mount.anonymous:
                sentence = f"{one.service}: the new container will not see what is in {mount.destination} now"
                why = f"its volume {mount.name[:12]} has no name"
                mend = f"give it one under volumes:, or deploy {stack_name} with strategy: update"
                yield Risk("anonymous-volume", f"{sentence}, since {why}; {mend}", stops=False)


def _variables_undefined(stack_name: str, names: frozenset[str]) -> Iterator[Risk]:
    for name in sorted(names):
        sentence = f"${{{name}}} is set nowhere, so Compose makes it empty"
        mend = f"set it in the .env of {stack_name}, or write ${{{name}:-}}"
        yield Risk("variable-undefined", f"{sentence}; {mend}", stops=False)
