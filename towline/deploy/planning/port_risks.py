"""Ports that a stack publishes and cannot have: something else holds them, or two of its services want the same. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import combinations

from towline.deploy.planning.situation import Risk, Situation
from towline.facts.compose_model import Model, replicas_of
from towline.facts.container import Container
from towline.facts.inventory import Inventory
from towline.facts.port import WILDCARDS, Port, clashes, overlap


def port_risks(situation: Situation) -> Iterator[Risk]:
    yield from _taken_ports(situation)
    yield from _ports_wanted_twice(situation.model)


@dataclass(frozen=True)
class _Publication:
    """What one `ports:` item publishes: any one port of the range at all of the addresses, once for each replica."""

    service: str
    shown: str
    addresses: tuple[str, ...]
    ports: range
    proto: str
    replicas: int

    def clashes(self, other: _Publication) -> bool:
        same = self.proto == other.proto and len(self.ports) == len(other.ports) == 1 and self.ports == other.ports
        return same and any(overlap(a, b) for a in self.addresses for b in other.addresses)


def _publications(model: Model) -> Iterator[_Publication]:
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
            addresses = (_normalized(address),) if address else WILDCARDS
            yield _Publication(name, shown, addresses, ports, proto, replicas)


def _normalized(address: str) -> str:
    try:
        return str(ip_address(address))
    except ValueError:  # Compose will say so
        return address


def _taken_ports(situation: Situation) -> Iterator[Risk]:
    """Of ports that containers or other programs hold.

    A listener of a container on the host's network looks like another program's: where it may be one, the risk does not stop.
    """
    containers = situation.inventory.containers
    own = [container for container in containers if container.project == situation.project and container.active]
    may_be_own = any(container.host_network for container in own)
    others = [container for container in containers if container.project != situation.project]
    for publication in _publications(situation.model):
        holders = [_holder(publication, port, others, situation.inventory) for port in publication.ports]
        if not holders or not all(holders):
            continue
        holder = holders[0]
        by = (
            holder_text(holder)
            if isinstance(holder, Container)
            else "another program (on the server: `ss -ltnp` as root)"
        )
        unsure = may_be_own and not any(isinstance(holder, Container) for holder in holders)
        sentence = f"{publication.service}: port {publication.shown} is taken by {by}"
        if unsure:
            yield Risk("port-taken", f"{sentence}, or by this stack's own container on the host's network", stops=False)
        else:
            yield Risk("port-taken", f"{sentence}; stop that, or publish another port", stops=True)


def holder_text(container: Container) -> str:
    """Another project's container, with its project."""
    project = f"of project {container.project}" if container.project else "that compose did not make"
    return f"container {container.name} {project}"


def _holder(
    publication: _Publication, port: int, others: list[Container], inventory: Inventory
) -> Container | Port | None:
    wanted = [Port(address, port, publication.proto) for address in publication.addresses]
    for container in others:
        if any(clashes(held, each) for held in container.host_ports for each in wanted):
            return container
    listening = (held for held in inventory.listeners if any(clashes(held, each, program=True) for each in wanted))
    return next(listening, None)


def _ports_wanted_twice(model: Model) -> Iterator[Risk]:
    publications = list(_publications(model))
    for each in publications:
        if each.replicas > len(each.ports):
            sentence = f"{each.service}: {each.replicas} replicas want port {each.shown}, which one can have"
            yield Risk("port-taken", f"{sentence}; publish a range, or none behind a proxy", stops=True)
    for first, other in combinations(publications, 2):
        if first.clashes(other):
            both = f"{first.service} and {other.service}"
            both = both if first.service != other.service else f"{first.service}: two items"
            sentence = f"{both} want the same port, {first.shown} and {other.shown}; change one of them"
            yield Risk("port-taken", sentence, stops=True)
