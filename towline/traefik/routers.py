"""The routes of a Traefik: containers' labels and dynamic files → routers, where they listen, and requests to ask each by.

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
    Declared,
    LabelledContainer,
    Router,
    is_exposed,
    parse_container,
    parse_document,
)
from towline.traefik.matchers import Protocol
from towline.traefik.requests import Ask
from towline.traefik.router_status import World, asked_by, entry_points_of, problem_of, tls_on
from towline.traefik.rules import BadRule
from towline.traefik.settings_tree import Misread, parse_file
from towline.traefik.static_configuration import Traefik, kept

__all__ = ["Ask", "LabelledContainer", "Route", "parse_dynamic", "parse_routes"]


@dataclass(frozen=True)
class Route:
    """One router. project: Compose's, of the first container that declares it; services: that project's which do.

    rule: '' for UDP, and where it cannot be told. entry_points: those that exist, the defaults when none is named. tls_on:
    those of them that speak TLS. asks: example requests, none when there is a problem. reasons: why a part has no request.
    problem: why Traefik does not serve it, else ''.
    """

    router: str
    protocol: Protocol
    project: str = ""
    services: tuple[str, ...] = ()
    rule: str = ""
    entry_points: tuple[str, ...] = ()
    tls_on: tuple[str, ...] = ()
    asks: tuple[Ask, ...] = ()
    reasons: tuple[str, ...] = ()
    problem: str = ""


def parse_routes(containers: Iterable[LabelledContainer], traefik: Traefik) -> tuple[Route, ...]:
    """Every router that the containers' labels make, by protocol, router and project; none when Traefik reads no Docker.

    Containers count whatever their state: these are the routes that there should be. Replicas of a service give one route.
    """
    if not traefik.docker:
        return ()
    read = [_read(one, traefik) for one in sorted(containers, key=lambda one: (one.project, one.service, one.name))]
    world = World(traefik, [one.declared for one in read])
    found = [_Found(router, one.container, one.reason) for one in read for router in one.declared.routers]
    found.sort(key=lambda one: one.key)
    routes = [route for _, group in groupby(found, lambda one: one.key) for route in _merged(list(group), world)]
    unread = dict.fromkeys(route for one in read for route in one.unread)
    return tuple(sorted((*routes, *unread), key=_order))


def parse_dynamic(text: str, traefik: Traefik, *, project: str = "", name: str = "dynamic.yaml") -> tuple[Route, ...]:
    """The routers of a file of Traefik's file provider; TOML when `name` ends so. A file that is broken is one route, router ''.

    Services and middlewares may stand in other files, so that they exist is not looked at.
    """
    try:
        declared = parse_document(parse_file(text, name))
    except Misread as e:
        return (Route("", "http", project, problem=_line(str(e))),)
    world = World(traefik, [declared], "file")
    return tuple(_route([_Found(router, LabelledContainer("", project, "", {}))], world) for router in declared.routers)


def _line(text: str) -> str:
    """A sentence for a report, whatever the labels in it hold: one line, and no page."""
    return shorten(text, 500, placeholder=" …")


def _order(route: Route) -> tuple[int, str, str]:
    return PROTOCOLS.index(route.protocol), route.router, route.project


# ------------------------------------------------------------------------------------------------- one container


@dataclass(frozen=True)
class _Read:
    """A container and what it declares; unread: its routes when Traefik cannot read its labels; reason: why none is asked."""

    container: LabelledContainer
    declared: Declared = field(default_factory=Declared)
    unread: tuple[Route, ...] = ()
    reason: str = ""


def _read(container: LabelledContainer, traefik: Traefik) -> _Read:
    try:
        if not is_exposed(container, traefik.exposed_by_default):
            return _Read(container)
        keep = kept(container.labels, traefik.constraints)
        if keep is False:
            return _Read(container)
        reason = "" if keep else "whether Traefik's constraints let its container in cannot be told"
        return _Read(container, parse_container(container, traefik.default_rule), reason=reason)
    except BadRule:  # constraints that are none let no container in; Traefik.problem says it
        return _Read(container)
    except Misread as e:
        return _Read(container, unread=tuple(_unread(container, str(e))))


def _unread(container: LabelledContainer, problem: str) -> Iterator[Route]:
    """A route for each router that the labels speak of, or for the container's own."""
    keys = [re.fullmatch(r"traefik\.(http|tcp|udp)\.routers?\.([^.]+)\..*", key, re.I) for key in container.labels]
    whole = f"{_line(problem)}; for that Traefik leaves all labels of the container unread"
    named = {(key[1].lower(), key[2]) for key in keys if key} or {("http", container.own_name)}
    for protocol in PROTOCOLS:
        for name in sorted(name for of, name in named if of == protocol):
            yield Route(name, protocol, container.project, (container.service,), problem=whole)


# -------------------------------------------------------------------------------------------------- all together


@dataclass(frozen=True)
class _Found:
    """A router and the container that declares it. reason: why it is not asked, else ''."""

    router: Router
    container: LabelledContainer
    reason: str = ""

    @property
    def key(self) -> tuple[str, str]:
        return self.router.protocol, self.router.name

    @property
    def place(self) -> str:
        one = self.container
        return f"{one.service} of {one.project}" if one.project else one.name


def _merged(found: list[_Found], world: World) -> Iterator[Route]:
    """One route when all declare the same router; else Traefik drops it, and every project concerned is told."""
    if len({one.router for one in found}) == 1:
        yield _route(found, world)
        return
    places = ", ".join(dict.fromkeys(one.place for one in found))
    problem = f"declared differently by containers of {places}, so Traefik drops it"
    for _, own in groupby(found, lambda one: one.container.project):
        yield _route(list(own), world, problem)


def _route(found: list[_Found], world: World, problem: str = "") -> Route:
    """The route of a router that all of `found` declare."""
    router, container = found[0].router, found[0].container
    asked = asked_by(router, world.traefik, found[0].reason)
    entry_points, missing = entry_points_of(router, world.traefik)
    wrong = problem or problem_of(router, world) or asked.problem or ("" if entry_points else missing)
    return Route(
        router=router.name,
        protocol=router.protocol,
        project=container.project,
        services=tuple(
            sorted({one.container.service for one in found if one.container.project == container.project} - {""})
        ),
        rule=router.rule or "",
        entry_points=entry_points,
        tls_on=tls_on(router, entry_points, world.traefik),
        asks=() if wrong else asked.asks,
        reasons=tuple(_line(reason) for reason in (*asked.reasons, missing if entry_points else "") if reason),
        problem=_line(wrong),
    )
