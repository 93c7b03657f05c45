"""The routes of a Traefik: containers' labels and dynamic files → routers, where they listen, and example requests for each.

What Traefik would log as an error and leave out is here too, with the problem in a sentence: nothing raises.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from textwrap import shorten

from towline.traefik.labels import (
    PROTOCOLS,
    Declarations,
    LabelledContainer,
    Router,
    is_exposed,
    parse_container,
    parse_document,
)
from towline.traefik.matchers import Protocol
from towline.traefik.requests import ExampleRequest, Examples
from towline.traefik.router_status import (
    DynamicConfiguration,
    component_problem,
    merge,
    router_entry_points,
    router_requests,
    tls_entry_points,
    tls_problem,
)
from towline.traefik.rules import InvalidRule
from towline.traefik.settings_tree import InvalidSettings, parse_file
from towline.traefik.static_configuration import Traefik, meets_constraints

__all__ = ["ExampleRequest", "LabelledContainer", "Route", "parse_dynamic", "parse_routes"]


@dataclass(frozen=True)
class Route:
    """One router. project: Compose's, of the first container that declares it; services: those of the project that declare it.

    rule: '' for UDP, and where it cannot be determined. entry_points: those that exist, the defaults when none is named;
    tls_on: those of them that speak TLS. requests: examples that it matches, none when there is a problem. reasons: why a
    part of the rule has no request. problem: why Traefik does not serve the router, else ''.
    """

    router: str
    protocol: Protocol
    project: str = ""
    services: tuple[str, ...] = ()
    rule: str = ""
    entry_points: tuple[str, ...] = ()
    tls_on: tuple[str, ...] = ()
    requests: tuple[ExampleRequest, ...] = ()
    reasons: tuple[str, ...] = ()
    problem: str = ""


def parse_routes(containers: Iterable[LabelledContainer], traefik: Traefik) -> tuple[Route, ...]:
    """Every router that the containers' labels make, by protocol, router and project; none when Traefik reads no Docker.

    Containers count whatever their state: these are the routes that should exist. Replicas of a service give one route.
    """
    if not traefik.docker:
        return ()
    in_order = sorted(containers, key=lambda container: (container.project, container.service, container.name))
    read = [_read(container, traefik) for container in in_order]
    configuration = merge(labels.declared for labels in read)
    routers = sorted((router for labels in read for router in labels.routers), key=lambda router: router.key)
    routes = [
        route
        for _, same_name in groupby(routers, lambda router: router.key)
        for route in _merged(list(same_name), traefik, configuration)
    ]
    unread = dict.fromkeys(route for labels in read for route in labels.unread)
    return tuple(sorted((*routes, *unread), key=_order))


def parse_dynamic(text: str, traefik: Traefik, *, project: str = "", name: str = "dynamic.yaml") -> tuple[Route, ...]:
    """The routers of a file of Traefik's file provider; TOML when `name` ends so. A broken file is one route, router ''.

    Services and middlewares may stand in other files, so whether they exist is not checked.
    """
    try:
        routers = parse_document(parse_file(text, name))
    except InvalidSettings as e:
        return (Route("", "http", project, problem=_line(str(e))),)
    file = LabelledContainer("", project, "", {})
    return tuple(_route([_DeclaredRouter(router, file)], traefik, tls_problem(router)) for router in routers)


def _line(text: str) -> str:
    """The text for a report, whatever the labels in it hold: one line, and not a long one."""
    return shorten(text, 500, placeholder=" …")


def _order(route: Route) -> tuple[int, str, str]:
    return PROTOCOLS.index(route.protocol), route.router, route.project


# ------------------------------------------------------------------------------------------------- one container


@dataclass(frozen=True)
class _DeclaredRouter:
    """A router and the container that declares it. reason: why it has no requests, else ''."""

    router: Router
    container: LabelledContainer
    reason: str = ""

    @property
    def key(self) -> tuple[str, str]:
        return self.router.protocol, self.router.name

    @property
    def place(self) -> str:
        container = self.container
        return f"{container.service} of {container.project}" if container.project else container.name


@dataclass(frozen=True)
class _ReadLabels:
    """What a container declares. unread: a route for each of its routers when Traefik cannot read its labels."""

    declared: Declarations = field(default_factory=Declarations)
    routers: tuple[_DeclaredRouter, ...] = ()
    unread: tuple[Route, ...] = ()


def _read(container: LabelledContainer, traefik: Traefik) -> _ReadLabels:
    try:
        if not is_exposed(container, traefik.exposed_by_default):
            return _ReadLabels()
        kept = meets_constraints(container.labels, traefik.constraints)
        if kept is False:
            return _ReadLabels()
        declared = parse_container(container, traefik.default_rule)
    except InvalidRule:  # constraints that are none let no container in; Traefik.problem says it
        return _ReadLabels()
    except InvalidSettings as e:
        return _ReadLabels(unread=tuple(_unread(container, str(e))))
    reason = "" if kept else "whether its container meets Traefik's constraints cannot be determined"
    return _ReadLabels(declared, tuple(_DeclaredRouter(router, container, reason) for router in declared.routers))


def _unread(container: LabelledContainer, problem: str) -> Iterator[Route]:
    """A route for each router that the labels name, or for the container's own."""
    keys = [re.fullmatch(r"traefik\.(http|tcp|udp)\.routers?\.([^.]+)\..*", key, re.I) for key in container.labels]
    sentence = f"{_line(problem)}; for that Traefik leaves all labels of the container unread"
    named = {(key[1].lower(), key[2]) for key in keys if key} or {("http", container.own_name)}
    for protocol in PROTOCOLS:
        for name in sorted(name for of_protocol, name in named if of_protocol == protocol):
            yield Route(name, protocol, container.project, (container.service,), problem=sentence)


# -------------------------------------------------------------------------------------------------- all together


def _merged(declared: list[_DeclaredRouter], traefik: Traefik, configuration: DynamicConfiguration) -> Iterator[Route]:
    """One route when all declare the same router; else Traefik drops it, and there is a route for each project concerned."""
    router = declared[0].router
    if len({same_name.router for same_name in declared}) == 1:
        yield _route(declared, traefik, tls_problem(router) or component_problem(router, configuration))
        return
    places = ", ".join(dict.fromkeys(same_name.place for same_name in declared))
    problem = f"declared differently by containers of {places}, so Traefik drops it"
    for _, of_project in groupby(declared, lambda same_name: same_name.container.project):
        yield _route(list(of_project), traefik, problem)


def _route(declared: list[_DeclaredRouter], traefik: Traefik, problem: str) -> Route:
    """The route of a router that all of `declared` declare."""
    router, container, reason = declared[0].router, declared[0].container, declared[0].reason
    examples = Examples(reasons=(reason,)) if reason else router_requests(router, traefik)
    entry_points, missing = router_entry_points(router, traefik)
    problem = problem or examples.problem or ("" if entry_points else missing)
    containers = [same_router.container for same_router in declared]
    services = {same.service for same in containers if same.project == container.project and same.service}
    return Route(
        router=router.name,
        protocol=router.protocol,
        project=container.project,
        services=tuple(sorted(services)),
        rule=router.rule or "",
        entry_points=entry_points,
        tls_on=tls_entry_points(router, entry_points, traefik),
        requests=() if problem else examples.requests,
        reasons=tuple(_line(why) for why in (*examples.reasons, missing if entry_points else "") if why),
        problem=_line(problem),
    )
