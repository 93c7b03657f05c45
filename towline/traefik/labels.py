"""What labels and dynamic files declare: settings → routers, services and middlewares, as Traefik reads them.

From Traefik's pkg/provider (docker, configuration.go, merge.go) and pkg/config/dynamic, v3.7. What Traefik makes of them is
in router_status.
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
    """A container with its labels. name: without the slash. project, service: Compose's, both '' for a container of none."""

    name: str
    project: str
    service: str
    labels: Mapping[str, str]

    @property
    def own_name(self) -> str:
        """Traefik's name for its service and router when the labels name none: `web-guestbook` for web of guestbook."""
        return normalize(f"{self.service}_{self.project}" if self.project and self.service else self.name)


@dataclass(frozen=True)
class Router:
    """A router as it is declared. Traefik drops routers of the same name that differ in any field.

    rule: None when what the default rule's template yields is undetermined. service: '' when the container declares several
    and the router names none. tls: None for none. by_default: whether the rule is the default rule.
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
    """A service or a middleware as it is declared. kind: of a middleware, such as `basicauth`."""

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
    """Whether Traefik takes the container. Raises InvalidSettings for labels for which it would skip the container."""
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
    rule = rule_from(default_rule, TemplateData(container.own_name, container.name, container.labels))
    declared = [_of_protocol(node, protocol, container.own_name, rule) for protocol in PROTOCOLS]
    return Declarations(
        tuple(router for declarations in declared for router in declarations.routers),
        tuple(service for declarations in declared for service in declarations.services),
        tuple(middleware for declarations in declared for middleware in declarations.middlewares),
    )


def _of_protocol(root: Node, protocol: Protocol, own_name: str, default_rule: str | None) -> Declarations:
    node = root.at(protocol)
    if not _is_built(root, protocol):
        return Declarations(middlewares=tuple(_middlewares(node, protocol)))
    services = tuple(_services(node, protocol)) or (Component(own_name, protocol, ()),)
    routers = tuple(node.at("routers").children.values())
    if not routers and protocol == "http" and len(services) == 1:
        routers = (Node(own_name),)
    service = services[0].name if len(services) == 1 else ""
    return Declarations(
        tuple(_router(router, protocol, service, default_rule) for router in routers),
        services,
        tuple(_middlewares(node, protocol)),
    )


def _is_built(root: Node, protocol: Protocol) -> bool:
    """Whether Traefik makes services and routers of the protocol: HTTP ones unless the labels name only TCP or UDP."""
    if protocol != "http":
        return any(root.has(protocol, kind) for kind in ("routers", "services"))
    other = any(_is_built(root, protocol) for protocol in ("tcp", "udp"))
    return not other or any(root.has("http", kind) for kind in ("routers", "services", "middlewares"))


def _router(node: Node, protocol: Protocol, service: str, default_rule: str | None = "") -> Router:
    by_default = protocol == "http" and not node.at("rule").value
    return Router(
        name=node.name,
        protocol=protocol,
        rule=default_rule if by_default else node.at("rule").value,
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
    """The services, without their servers: every container adds its own, so these need not be equal."""
    for service in node.at("services").children.values():
        options = tuple(option for option in _options(service) if not option[0].startswith("loadbalancer.server."))
        yield Component(service.name, protocol, options)


def _middlewares(node: Node, protocol: Protocol) -> Iterator[Component]:
    for middleware in node.at("middlewares").children.values():
        yield Component(middleware.name, protocol, _options(middleware), next(iter(middleware.children), ""))


def _options(node: Node) -> Options:
    """Every value below the node and the names that lead to it, in lower case and joined: `("cookie.name", "x")`."""
    options: list[tuple[str, str]] = []
    waiting = [("", node)]
    while waiting:
        path, below = waiting.pop()
        if below.value and below is not node:
            options.append((path, below.value))
        waiting += [(f"{path}.{name}".lstrip("."), child) for name, child in below.children.items()]
    return tuple(sorted(options))


# ---------------------------------------------------------------------------------------------------- dynamic files


def parse_document(root: Node) -> tuple[Router, ...]:
    """The routers of a dynamic file. Raises InvalidSettings when one name in a router makes Traefik leave the file unread."""
    for protocol in PROTOCOLS:
        _check_routers(root.at(protocol), protocol)
    return tuple(
        _router(router, protocol, "")
        for protocol in PROTOCOLS
        for router in root.at(protocol, "routers").children.values()
    )


# ------------------------------------------------------------------------------------------------------ known names

_IN_PROTOCOL: Mapping[Protocol, tuple[str, ...]] = {
    "http": ("routers", "services", "middlewares", "serversTransports", "models"),
    "tcp": ("routers", "services", "middlewares", "serversTransports", "models"),
    "udp": ("routers", "services"),
}
_IN_ROUTER: Mapping[Protocol, tuple[str, ...]] = {
    "http": (
        *("rule", "entryPoints", "middlewares", "service", "priority", "tls"),
        *("ruleSyntax", "observability", "parentRefs"),
    ),
    "tcp": ("rule", "entryPoints", "middlewares", "service", "priority", "tls", "ruleSyntax"),
    "udp": ("entryPoints", "service"),
}
_IN_TLS = {"http": ("options", "certResolver", "domains"), "tcp": ("options", "certResolver", "domains", "passthrough")}
_IN_SERVICE = ("loadBalancer", "middlewares", "weighted", "mirroring", "failover", "highestRandomWeight")
_IN_LOAD_BALANCER: Mapping[Protocol, tuple[str, ...]] = {
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
        _check(service, _IN_SERVICE, where)
        _check(service.at("loadBalancer"), _IN_LOAD_BALANCER[protocol], f"{where}.loadbalancer")


def _check_routers(node: Node, protocol: Protocol) -> None:
    _check(node, _IN_PROTOCOL[protocol], protocol)
    for parent in (node, *(node.at(kind) for kind in ("routers", "services", "middlewares"))):
        if parent.name and not parent.children:
            raise InvalidSettings(f"{protocol}: Traefik wants something under {parent.name}")
    for router in node.at("routers").children.values():
        where = f"{protocol}.routers.{router.name}"
        _check(router, _IN_ROUTER[protocol], where)
        _check(router.at("tls"), _IN_TLS.get(protocol, ()), f"{where}.tls")


def _check(node: Node, known: tuple[str, ...], where: str) -> None:
    for name, child in node.children.items():
        if name not in {word.lower() for word in known}:
            raise InvalidSettings(f"{where}.{child.name}: Traefik knows no such name; {closest(child.name, known)}")
