"""Ports of a host: how Docker writes them, which programs hold them, and when two of them clash."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - compared with, never bound

# Docker's `{"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}`
PortMap = Mapping[str, list[dict[str, str]] | None]


@dataclass(frozen=True, order=True)
class Port:
    """A port of the host. address: 0.0.0.0 and :: mean every address of their family."""

    address: str
    port: int
    proto: str = "tcp"


@dataclass(frozen=True)
class Binding:
    """A port of a container (`inside`: 80/tcp) and the port of the host that it is published at; port 0: any free one."""

    inside: str
    outside: Port


def parse_bindings(ports: PortMap | None) -> Iterator[Binding]:
    """Docker's map of ports, sorted. A range, or no number at all, is any free port."""
    for inside, published in sorted((ports or {}).items()):
        for binding in published or ():
            number = int(binding["HostPort"]) if binding["HostPort"].isdigit() else 0
            proto = inside.partition("/")[2] or "tcp"
            yield Binding(inside, Port(binding["HostIp"] or WILDCARDS[0], number, proto))


def overlap(address: str, other: str) -> bool:
    """Whether both addresses cannot be bound at once: they are equal, or one is the wildcard of the other's family.

    >>> overlap("0.0.0.0", "127.0.0.1"), overlap("::", "127.0.0.1")
    (True, False)
    """
    same_family = (":" in address) == (":" in other)
    return same_family and (address == other or address in WILDCARDS or other in WILDCARDS)


def clashes(held: Port, wanted: Port, *, program: bool = False) -> bool:
    """Whether `wanted` cannot be bound while `held` is. A program on `::` has IPv4 too, unless it asked not to; Docker asks not to.

    >>> clashes(Port("::", 80), Port("0.0.0.0", 80)), clashes(Port("::", 80), Port("0.0.0.0", 80), program=True)
    (False, True)
    """
    same = (held.port, held.proto) == (wanted.port, wanted.proto) and wanted.port > 0
    return same and (overlap(held.address, wanted.address) or (program and held.address == WILDCARDS[1]))


def parse_listening(text: str) -> tuple[Port, ...]:
    """The local addresses of /proc/net/tcp and tcp6, a line each.

    >>> parse_listening("0100007F:0050\\n")
    (Port(address='127.0.0.1', port=80, proto='tcp'),)
    """
    words = (line.partition(":") for line in text.split())
    return tuple(sorted({Port(_address(address), int(port, 16)) for address, _, port in words}))


def _address(text: str) -> str:
    """An address of /proc/net: 32-bit words in the machine's order, little-endian wherever Docker is but on s390x."""
    given = b"".join(bytes.fromhex(text[i : i + 8])[::-1] for i in range(0, len(text), 8))
    if len(given) == 4:
        return str(IPv4Address(given))
    long = IPv6Address(given)
    return str(long.ipv4_mapped or long)
