"""What labels and dynamic files declare: settings → routers, services and middlewares, as Traefik reads them.

From Traefik's pkg/provider (docker, configuration.go, merge.go) and pkg/config/dynamic, v3.7. Nothing is made of them yet.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from towline.errors import closest
from towline.traefik.default_rule import TemplateData, normalize, rule_from
from towline.traefik.matchers import Protocol
from towline.traefik.settings_tree import InvalidSettings, Node, parse_labels

PROTOCOLS: tuple[Protocol, ...] = ("http", "tcp", "udp")

Options = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class LabelledContainer:
    """A container with its labels. name: without a slash; project, service: Compose's, both '' for one that is not its."""

    name: str
    project: str
    service: str
    labels: Mapping[str, str]

    @property
    def own_name(self) -> str:
        """What Traefik calls its service and router when the labels name none: `web-guestbook` for web of guestbook."""
        return normalize(f"{self.service}_{self.project}" if self.project and self.service else self.name)


@dataclass(frozen=True)
class Router:
    """A router as it is declared; two that are not equal in all of it shut each other out.

    rule: None when the default rule's template cannot be told. tls: None without any. service: '' when none can be chosen.
    """

    name: str
    protocol: Protocol
    rule: str | None = ""
    entry_points: tuple[str, ...] = ()
    middlewares: tuple[str, ...] = ()
    service: str = ""
    priority: int = 0
    tls: Options | None = None
    syntax: str = ""
    parents: tuple[str, ...] = ()
    by_default: bool = False
    rest: Options = ()


@dataclass(frozen=True)
class Component:
    """A service or middleware. kind: a middleware's, as `basicauth`."""

    name: str
    protocol: Protocol
    options: Options
    kind: str = ""


@dataclass(frozen=True)
class Declarations:
    """What one container or file declares."""

    routers: tuple[Router, ...] = ()
    services: tuple[Component, ...] = ()
    middlewares: tuple[Component, ...] = ()


# ------------------------------------------------------------------------------------------------------ containers


def is_exposed(container: LabelledContainer, by_default: bool) -> bool:
    """Whether the container is for Traefik. Raises InvalidSettings for labels for which Traefik would skip it."""
    node = parse_labels(container.labels, "traefik.docker.", "traefik.enable")
    _check(node, ("enable", "docker"), "traefik")
    _check(node.at("docker"), ("network", "lbswarm", "allowNonRunning"), "traefik.docker")
    return node.boolean("enable", by_default)


def parse_container(container: LabelledContainer, default_rule: str) -> Declarations:
    """What the container's labels declare. Raises InvalidSettings when one label makes Traefik leave all of them unread."""
    node = parse_labels(container.labels, *(f"traefik.{protocol}" for protocol in PROTOCOLS))
    _check(node, PROTOCOLS, "traefik")
    for protocol in PROTOCOLS:
        _check_known(node.at(protocol), protocol)
    named = TemplateData(container.own_name, container.name, container.labels)
    default = rule_from(default_rule, named)
    made = [_of_protocol(node, protocol, container.own_name, default) for protocol in PROTOCOLS]
    return Declarations(
        tuple(router for one in made for router in one.routers),
        tuple(service for one in made for service in one.services),
        tuple(middleware for one in made for middleware in one.middlewares),
    )


def _of_protocol(node: Node, protocol: Protocol, own_name: str, default: str | None) -> Declarations:
    part = node.at(protocol)
    if not _is_built(node, protocol):
        return Declarations(middlewares=tuple(_middlewares(part, protocol)))
    services = tuple(_services(part, protocol)) or (Component(own_name, protocol, ()),)
    given = tuple(part.at("routers").children.values())
    if not given and protocol == "http" and len(services) == 1:
        given = (Node(own_name),)
    chosen = services[0].name if len(services) == 1 else ""
    routers = tuple(_router(one, protocol, chosen, default) for one in given)
    return Declarations(routers, services, tuple(_middlewares(part, protocol)))


def _is_built(node: Node, protocol: Protocol) -> bool:
    """Whether there is anything of the protocol: a container has HTTP unless it speaks of TCP or UDP alone."""
    if protocol != "http":
        return any(node.has(protocol, part) for part in ("routers", "services"))
    other = any(_is_built(node, protocol) for protocol in ("tcp", "udp"))
    return not other or any(node.has("http", part) for part in ("routers", "services", "middlewares"))


def _router(node: Node, protocol: Protocol, service: str, default: str | None = "") -> Router:
    by_default = protocol == "http" and not node.at("rule").value
    return Router(
        name=node.name,
        protocol=protocol,
        rule=default if by_default else node.at("rule").value,
        entry_points=node.at("entryPoints").as_list,
        middlewares=node.at("middlewares").as_list,
        service=node.at("service").value or service,
        priority=node.integer("priority"),
        tls=_options(node.at("tls")) if node.at("tls").enabled else None,
        syntax=node.at("ruleSyntax").value,
        parents=node.at("parentRefs").as_list,
        by_default=by_default,
        rest=_options(node.at("observability")),
    )


def _services(node: Node, protocol: Protocol) -> Iterator[Component]:
    """The services; their servers are no part of what has to be equal, as every container adds its own."""
    for one in node.at("services").children.values():
        options = tuple(pair for pair in _options(one) if not pair[0].startswith("loadbalancer.server."))
        yield Component(one.name, protocol, options)


def _middlewares(node: Node, protocol: Protocol) -> Iterator[Component]:
    for one in node.at("middlewares").children.values():
        yield Component(one.name, protocol, _options(one), next(iter(one.children), ""))


def _options(node: Node) -> Options:
    """All values below, with their names in lower case and joined; `true` for a part that stands alone."""
    found: list[tuple[str, str]] = []
    waiting = [("", node)]
    while waiting:
        path, one = waiting.pop()
        if one.value and one is not node:
            found.append((path, one.value))
        waiting += [(f"{path}.{name}".lstrip("."), inner) for name, inner in one.children.items()]
    return tuple(sorted(found))


# ---------------------------------------------------------------------------------------------------- dynamic files


def parse_document(node: Node) -> Declarations:
    """What a dynamic file declares. Raises InvalidSettings when one name in a router makes Traefik leave the file unread."""
    for protocol in PROTOCOLS:
        _check_routers(node.at(protocol), protocol)
    routers = [
        _router(one, protocol, "") for protocol in PROTOCOLS for one in node.at(protocol, "routers").children.values()
    ]
    middlewares = [one for protocol in PROTOCOLS for one in _middlewares(node.at(protocol), protocol)]
    return Declarations(tuple(routers), (), tuple(middlewares))


# ------------------------------------------------------------------------------------------------------ known names

_PARTS: Mapping[Protocol, tuple[str, ...]] = {
    "http": ("routers", "services", "middlewares", "serversTransports", "models"),
    "tcp": ("routers", "services", "middlewares", "serversTransports", "models"),
    "udp": ("routers", "services"),
}
_OF_ROUTER: Mapping[Protocol, tuple[str, ...]] = {
    "http": (
        *("rule", "entryPoints", "middlewares", "service", "priority", "tls"),
        *("ruleSyntax", "observability", "parentRefs"),
    ),
    "tcp": ("rule", "entryPoints", "middlewares", "service", "priority", "tls", "ruleSyntax"),
    "udp": ("entryPoints", "service"),
}
_OF_TLS = {"http": ("options", "certResolver", "domains"), "tcp": ("options", "certResolver", "domains", "passthrough")}
_OF_SERVICE = ("loadBalancer", "middlewares", "weighted", "mirroring", "failover", "highestRandomWeight")
_OF_BALANCER: Mapping[Protocol, tuple[str, ...]] = {
    "http": (
        *("server", "sticky", "strategy", "healthCheck", "passiveHealthCheck", "passHostHeader"),
        *("responseForwarding", "serversTransport"),
    ),
    "tcp": ("server", "serversTransport", "proxyProtocol", "terminationDelay", "healthCheck"),
    "udp": ("server",),
}


def _check_known(node: Node, protocol: Protocol) -> None:
    """Raise InvalidSettings for a name that Traefik does not know: for one such label it leaves the whole container unread."""
    _check_routers(node, protocol)
    for service in node.at("services").children.values():
        where = f"{protocol}.services.{service.name}"
        _check(service, _OF_SERVICE, where)
        _check(service.at("loadBalancer"), _OF_BALANCER[protocol], f"{where}.loadbalancer")


def _check_routers(node: Node, protocol: Protocol) -> None:
    _check(node, _PARTS[protocol], protocol)
    for part in (node, *(node.at(name) for name in ("routers", "services", "middlewares"))):
        if part.name and not part.children:
            raise InvalidSettings(f"{protocol}: Traefik wants something under {part.name}")
    for router in node.at("routers").children.values():
        where = f"{protocol}.routers.{router.name}"
        _check(router, _OF_ROUTER[protocol], where)
        _check(router.at("tls"), _OF_TLS.get(protocol, ()), f"{where}.tls")


def _check(node: Node, known: tuple[str, ...], where: str) -> None:
    for name, one in node.children.items():
        if name not in {word.lower() for word in known}:
            raise InvalidSettings(f"{where}.{one.name}: Traefik knows no such name; {closest(one.name, known)}")
