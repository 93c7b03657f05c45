"""What Traefik makes of a declared router: where it listens, with TLS or not, what keeps it from being served, how to ask it.

From Traefik's pkg/server (aggregator.go, router/router.go, router/tcp/manager.go) and pkg/config/runtime, v3.7.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from towline.errors import closest
from towline.traefik.labels import Declared, Part, Provider, Router
from towline.traefik.matchers import Protocol, Syntax
from towline.traefik.requests import Asked, asks_of
from towline.traefik.rules import BadRule, Call, parse_rule
from towline.traefik.static_configuration import Traefik

_Parts = Mapping[tuple[str, str], list[Part]]


class World:
    """What routers can name: entry points, and everything that all the containers, or a file, declare."""

    def __init__(self, traefik: Traefik, declared: Sequence[Declared], provider: Provider = "docker") -> None:
        self.traefik = traefik
        self.provider = provider
        self.services = _by_name(part for one in declared for part in one.services)
        self.middlewares = _by_name(part for one in declared for part in one.middlewares)


def _by_name(parts: Iterable[Part]) -> _Parts:
    found: dict[tuple[str, str], list[Part]] = {}
    for part in parts:
        found.setdefault((part.protocol, part.name), []).append(part)
    return found


# ------------------------------------------------------------------------------------------------- where it is


def entry_points_of(router: Router, traefik: Traefik) -> tuple[tuple[str, ...], str]:
    """The entry points that exist of those that the router is to be on, and a sentence about those that do not."""
    known = traefik.listening(router.protocol)
    wanted = dict.fromkeys(router.entry_points or traefik.defaults(router.protocol))
    missing = [name for name in wanted if name not in known]
    there = tuple(name for name in wanted if name in known)
    if missing:
        return there, f"there is no {router.protocol} entry point {', '.join(missing)}; {closest(missing[0], known)}"
    return there, "" if there else f"there is no entry point for {router.protocol}"


def tls_on(router: Router, entry_points: tuple[str, ...], traefik: Traefik) -> tuple[str, ...]:
    """Those of the router's entry points where it speaks TLS: an entry point's own is for HTTP routers without any."""
    if router.tls is not None or router.protocol != "http":
        return entry_points if router.tls is not None else ()
    secured = {one.name for one in traefik.entry_points if one.tls}
    return tuple(name for name in entry_points if name in secured)


# ------------------------------------------------------------------------------------------------- how it is asked


@dataclass(frozen=True)
class Asking(Asked):
    """problem: what is wrong with the rule, else ''."""

    problem: str = ""


def asked_by(router: Router, traefik: Traefik, reason: str = "") -> Asking:
    """The requests for a router, none with a `reason` why."""
    untold = reason or _untold(router)
    if untold:
        return Asking(reasons=(untold,))
    try:
        found = asks_of(router.rule or "", router.protocol, _syntax(router, traefik))
    except BadRule as e:
        return Asking(problem=f"rule {(router.rule or '')[:200]}: {e}" if router.rule else "it has no rule")
    return Asking(found.asks, found.reasons)


def _untold(router: Router) -> str:
    """Why no request can be told whatever the rule is, else ''."""
    if router.protocol == "udp":
        return "UDP has no request that anything would answer"
    if router.parents:
        return f"it is asked through its parent, {', '.join(router.parents)}"
    return "what the rule's template gives cannot be told" if router.rule is None or "{{" in router.rule else ""


def _syntax(router: Router, traefik: Traefik) -> Syntax:
    """Of the rule: what the router says, else Traefik's own."""
    own: Mapping[str, Syntax] = {"v2": "v2", "v3": "v3"}
    return own.get(router.syntax, traefik.syntax)


# --------------------------------------------------------------------------------------------------- what is wrong


def problem_of(router: Router, world: World) -> str:
    """What keeps Traefik from serving the router, beside its rule and its entry points; else ''."""
    return next(_problems(router, world), "")


def _problems(router: Router, world: World) -> Iterator[str]:
    names = [name for call in _calls(router.rule or "") if call.name.lower() == "hostsni" for name in call.values]
    if router.protocol == "tcp" and router.tls is None and names and names[0] != "*":
        yield "its rule names a server (HostSNI), which only TLS tells, and it has no tls"
    if world.provider == "file":  # its services and middlewares may be in another file
        return
    if not router.service:
        yield "its container declares several services, and it names none of them"
    yield from _parts_wrong(world.services, "service", (router.service,), router.protocol)
    yield from _parts_wrong(world.middlewares, "middleware", router.middlewares, router.protocol)


def _parts_wrong(parts: _Parts, kind: str, names: Iterable[str], protocol: Protocol) -> Iterator[str]:
    for name in names:
        plain, _, provider = name.partition("@")
        found = parts.get((protocol, plain), [])
        if provider not in ("", "docker"):
            continue
        if not found:
            known = [part for of, part in parts if of == protocol]
            yield f"no container's labels declare its {protocol} {kind} {name}; {closest(plain, known)}"
        elif len(set(found)) > 1:
            yield f"its {kind} {plain} is declared differently by several containers, so Traefik drops it"


def _calls(rule: str) -> tuple[Call, ...]:
    try:
        return parse_rule(rule).calls
    except BadRule:
        return ()
