"""What Traefik makes of a declared router: where it listens, where it speaks TLS, what keeps it from being served, its requests.

From Traefik's pkg/server (aggregator.go, router/router.go, router/tcp/manager.go) and pkg/config/runtime, v3.7.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from towline.errors import closest
from towline.traefik.labels import Component, Declarations, Router
from towline.traefik.matchers import Protocol, Syntax
from towline.traefik.requests import Examples, find_requests
from towline.traefik.rules import Call, InvalidRule, parse_rule
from towline.traefik.static_configuration import Traefik

_Components = Mapping[tuple[Protocol, str], list[Component]]


@dataclass(frozen=True)
class DynamicConfiguration:
    """The services and middlewares that all containers declare together, by protocol and name."""

    services: _Components
    middlewares: _Components


def merge(declared: Iterable[Declarations]) -> DynamicConfiguration:
    """What Traefik merges of the containers: pkg/provider/merge.go."""
    all_declared = [*declared]
    return DynamicConfiguration(
        _by_name(service for declarations in all_declared for service in declarations.services),
        _by_name(middleware for declarations in all_declared for middleware in declarations.middlewares),
    )


def _by_name(components: Iterable[Component]) -> _Components:
    by_name: dict[tuple[Protocol, str], list[Component]] = {}
    for component in components:
        by_name.setdefault((component.protocol, component.name), []).append(component)
    return by_name


# -------------------------------------------------------------------------------------------- entry points and TLS


def router_entry_points(router: Router, traefik: Traefik) -> tuple[tuple[str, ...], str]:
    """Those entry points of the router that exist, and a sentence about those that do not, else ''."""
    known = traefik.entry_points_for(router.protocol)
    wanted = dict.fromkeys(router.entry_points or traefik.default_entry_points(router.protocol))
    missing = [name for name in wanted if name not in known]
    existing = tuple(name for name in wanted if name in known)
    if missing:
        return existing, f"there is no {router.protocol} entry point {', '.join(missing)}; {closest(missing[0], known)}"
    return existing, "" if existing else f"there is no entry point for {router.protocol}"


def tls_entry_points(router: Router, entry_points: tuple[str, ...], traefik: Traefik) -> tuple[str, ...]:
    """Those of the router's entry points where it speaks TLS: an entry point's own TLS is for HTTP routers without any."""
    if router.tls is not None or router.protocol != "http":
        return entry_points if router.tls is not None else ()
    with_tls = {entry_point.name for entry_point in traefik.entry_points if entry_point.tls}
    return tuple(name for name in entry_points if name in with_tls)


# -------------------------------------------------------------------------------------------------------- requests


def router_requests(router: Router, traefik: Traefik) -> Examples:
    """Example requests for the router, or the reason why there are none, or the problem of its rule."""
    if reason := _no_request(router):
        return Examples(reasons=(reason,))
    try:
        return find_requests(router.rule or "", router.protocol, _syntax(router, traefik))
    except InvalidRule as e:
        return Examples(problem=f"rule {(router.rule or '')[:200]}: {e}" if router.rule else "it has no rule")


def _no_request(router: Router) -> str:
    """Why the router has no request whatever its rule is, else ''."""
    if router.protocol == "udp":
        return "UDP has no request that every server answers"
    if router.parents:
        return f"it is reached through its parent, {', '.join(router.parents)}"
    if router.rule is None or "{{" in router.rule:
        return "what the rule's template yields cannot be determined"
    return ""


def _syntax(router: Router, traefik: Traefik) -> Syntax:
    """The syntax of the router's rule: what the router says, else Traefik's default."""
    own: Mapping[str, Syntax] = {"v2": "v2", "v3": "v3"}
    return own.get(router.syntax, traefik.syntax)


# -------------------------------------------------------------------------------------------------------- problems


def tls_problem(router: Router) -> str:
    """What is wrong with a TCP rule that only TLS can serve, else ''."""
    names = [name for call in _calls(router.rule or "") if call.name.lower() == "hostsni" for name in call.values]
    if router.protocol == "tcp" and router.tls is None and names and names[0] != "*":
        return "its rule names a server (HostSNI), which only TLS carries, and it has no tls"
    return ""


def component_problem(router: Router, configuration: DynamicConfiguration) -> str:
    """What is wrong with the service and middlewares that a container's router names, else ''."""
    return next(_component_problems(router, configuration), "")


def _component_problems(router: Router, configuration: DynamicConfiguration) -> Iterator[str]:
    if not router.service:
        yield "its container declares several services, and it names none of them"
    yield from _named_wrongly(configuration.services, "service", (router.service,), router.protocol)
    yield from _named_wrongly(configuration.middlewares, "middleware", router.middlewares, router.protocol)


def _named_wrongly(components: _Components, kind: str, names: Iterable[str], protocol: Protocol) -> Iterator[str]:
    """A sentence for each name that no container declares, or that several declare differently.

    A name of another provider (`auth@file`) is not looked up.
    """
    for name in names:
        plain, _, provider = name.partition("@")
        declared = components.get((protocol, plain), [])
        if provider not in ("", "docker"):
            continue
        if not declared:
            known = [known for of_protocol, known in components if of_protocol == protocol]
            yield f"no container's labels declare its {protocol} {kind} {name}; {closest(plain, known)}"
        elif len(set(declared)) > 1:
            yield f"its {kind} {plain} is declared differently by several containers, so Traefik drops it"


def _calls(rule: str) -> tuple[Call, ...]:
    try:
        return parse_rule(rule).calls
    except InvalidRule:
        return ()
