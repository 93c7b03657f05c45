"""A Traefik's static configuration: its command, environment or file → its entry points and what it makes of containers.

Traefik takes one of the three and leaves the others unread, in this order (traefik.io, "The Install Configuration", and
cmd/traefik): a file that is there; else flags, when there is any word; else the variables.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from towline.traefik.default_rule import DEFAULT
from towline.traefik.evaluate import evaluate
from towline.traefik.go_regexps import matches
from towline.traefik.matchers import Protocol, Syntax
from towline.traefik.rules import Call, InvalidRule, parse_rule
from towline.traefik.settings_tree import InvalidSettings, Node, parse_file, tree

INTERNAL = "traefik"  # the entry point that Traefik makes for its own pages, never a default
FILES = tuple(
    f"{folder}/traefik.{end}"
    for folder in ("/etc/traefik", "$XDG_CONFIG_HOME", "$HOME/.config", ".")
    for end in ("toml", "yaml", "yml")
)


@dataclass(frozen=True)
class EntryPoint:
    """Where Traefik listens. port: 0 when none can be told.

    tls: whether every HTTP router gets TLS here. redirect_to: the entry point, or `:port`, that every HTTP request is sent
    on to, else ''.
    """

    name: str
    port: int
    proto: Protocol = "tcp"
    tls: bool = False
    redirect_to: str = ""
    as_default: bool = False


@dataclass(frozen=True)
class Traefik:
    """docker: whether it looks at containers at all; the three after it are providers.docker's (or providers.swarm's).

    syntax: of rules that do not say. problem: why it would not start or not work, else ''.
    """

    entry_points: tuple[EntryPoint, ...]
    docker: bool = False
    exposed_by_default: bool = True
    constraints: str = ""
    default_rule: str = DEFAULT
    syntax: Syntax = "v3"
    problem: str = ""

    def entry_points_for(self, protocol: Protocol) -> tuple[str, ...]:
        """The names of the entry points where routers of the protocol can be."""
        proto = "udp" if protocol == "udp" else "tcp"
        return tuple(one.name for one in self.entry_points if one.proto == proto)

    def default_entry_points(self, protocol: Protocol) -> tuple[str, ...]:
        """The names of the entry points of a router that names none: those marked asDefault, else all but `traefik`."""
        names = self.entry_points_for(protocol)
        if protocol == "udp":
            return names
        marked = {one.name for one in self.entry_points if one.as_default}
        return tuple(name for name in names if name != INTERNAL and (not marked or name in marked))


@dataclass(frozen=True)
class ConfigFile:
    """A static file as it was found; its name's ending says whether it is TOML."""

    name: str
    text: str


def config_paths(words: Sequence[str]) -> tuple[str, ...]:
    """Where Traefik looks for its file, the first one there wins; with the variables as the shell writes them."""
    try:
        named = tree(_flags(words)).at("configfile").value
    except InvalidSettings:
        named = ""
    return (*filter(str.strip, [named]), *FILES)


def parse_traefik(
    words: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    file: ConfigFile | None = None,
    image: str = "",
) -> Traefik:
    """The configuration out of a container's command words, its environment, the file that is there, and its image's name.

    `image` tells v2 from v3 by its tag. Never raises: what Traefik would not start with is in `problem`.
    """
    try:
        node = parse_file(file.text, file.name) if file else tree(_flags(words) or _variables(environment or {}))
        return _traefik(node, _syntax(node, image))
    except InvalidSettings as e:
        return Traefik((EntryPoint("http", 80),), problem=str(e))


def _syntax(node: Node, image: str) -> Syntax:
    old = re.search(r":v?2(\.|-|@|$)", image.rpartition("/")[2])
    return "v2" if old or node.at("core", "defaultRuleSyntax").value == "v2" else "v3"


# ------------------------------------------------------------------------------------------------ flags, variables


def _flags(words: Sequence[str]) -> list[tuple[tuple[str, ...], str]]:
    """The flags among the words; one without a value takes the next word when that is no flag, else it is `true`."""
    pairs: dict[str, str] = {}
    rest = [*words]
    while rest and not rest[0].startswith("-"):  # `traefik`, an entry point script
        rest.pop(0)
    while rest and re.match("--?[^-=]", rest[0]):
        name, equals, value = rest.pop(0).lstrip("-").partition("=")
        if not equals:
            value = rest.pop(0) if rest and not rest[0].startswith("-") else "true"
        key = next((key for key in pairs if key.lower() == name.lower()), name)
        pairs[key] = value
    return [(tuple(name.split(".")), value) for name, value in pairs.items()]


_ROOTS = (
    *("GLOBAL", "SERVERSTRANSPORT", "TCPSERVERSTRANSPORT", "ENTRYPOINTS", "PROVIDERS", "API", "METRICS", "PING", "LOG"),
    *("ACCESSLOG", "TRACING", "HOSTRESOLVER", "CERTIFICATESRESOLVERS", "EXPERIMENTAL", "CORE", "SPIFFE", "OCSP"),
)


def _variables(environment: Mapping[str, str]) -> list[tuple[tuple[str, ...], str]]:
    """Traefik's own variables: TRAEFIK_ENTRYPOINTS_WEB_ADDRESS is entrypoints, web, address; names come out in lower case."""
    ours = tuple(f"TRAEFIK_{root}" for root in _ROOTS)
    return [(tuple(key.lower().split("_")[1:]), value) for key, value in environment.items() if key.startswith(ours)]


# --------------------------------------------------------------------------------------------------- tree → value


def _traefik(node: Node, syntax: Syntax) -> Traefik:
    providers = node.at("providers")
    docker = providers.at("docker") if providers.at("docker").enabled else providers.at("swarm")
    entry_points = tuple(_entry_points(node))
    return Traefik(
        entry_points=entry_points,
        docker=docker.enabled,
        exposed_by_default=docker.boolean("exposedByDefault", True),
        constraints=docker.at("constraints").value,
        default_rule=docker.at("defaultRule").value if docker.has("defaultRule") else DEFAULT,
        syntax=syntax,
        problem=next(_problems(entry_points, docker.at("constraints").value), ""),
    )


def _entry_points(node: Node) -> Iterator[EntryPoint]:
    """Those configured, by name, else `http` on port 80; and `traefik` on 8080 when a page of Traefik's own is to be there."""
    given = node.at("entryPoints").children
    for one in sorted(given.values(), key=lambda one: one.name):
        yield _entry_point(one.name, one)
    if not given:
        yield EntryPoint("http", 80)
    if INTERNAL not in given and _own_pages(node):
        yield EntryPoint(INTERNAL, 8080)


def _own_pages(node: Node) -> bool:
    """Whether something is served on the internal entry point: SetEffectiveConfiguration in pkg/config/static."""
    prometheus = node.at("metrics", "prometheus")
    insecure = any(
        part.enabled and part.boolean("insecure", False) for part in (node.at("api"), node.at("providers", "rest"))
    )
    return insecure or any(_own_page(part) for part in (node.at("ping"), prometheus))


def _own_page(part: Node) -> bool:
    chosen = part.at("entryPoint").value if part.has("entryPoint") else INTERNAL
    return part.enabled and chosen == INTERNAL and not part.boolean("manualRouting", False)


def _entry_point(name: str, node: Node) -> EntryPoint:
    address, _, proto = node.at("address").value.partition("/")
    _, colon, port = address.rpartition(":")
    http = node.at("http")
    return EntryPoint(
        name=name,
        port=_port(port) if colon else 0,
        proto=_proto(name, proto),
        tls=http.at("tls").enabled,
        redirect_to=http.at("redirections", "entryPoint", "to").value,
        as_default=node.boolean("asDefault", False),
    )


def _port(text: str) -> int:
    """The port of an address; Go also takes a service's name, of which two are known here."""
    known = {"http": 80, "https": 443}
    return known.get(text) or (int(text) if re.fullmatch(r"[0-9]{1,5}", text) and int(text) < 65536 else 0)


def _proto(name: str, text: str) -> Protocol:
    if text.lower() not in ("", "tcp", "udp"):
        raise InvalidSettings(f"entryPoints.{name}.address: expected /tcp or /udp behind the port, found /{text}")
    return "udp" if text.lower() == "udp" else "tcp"


def _problems(entry_points: Iterable[EntryPoint], constraints: str) -> Iterator[str]:
    names = {one.name for one in entry_points}
    for one in entry_points:
        if not one.port:
            yield f"entryPoints.{one.name}.address: there is no port in it"
        if one.redirect_to not in ("", *names) and not re.fullmatch(r":\d+", one.redirect_to):
            yield f"entryPoints.{one.name}.http.redirections: there is no entry point {one.redirect_to}"
    try:
        meets_constraints({}, constraints)
    except InvalidRule as e:
        yield f"providers.docker.constraints: {e}"


# ----------------------------------------------------------------------------------------------------- constraints


def meets_constraints(labels: Mapping[str, str], constraints: str) -> bool | None:
    """Whether Traefik looks at a container with these labels; None: a regular expression in it cannot be told.

    Raises InvalidRule for constraints that are none; Traefik then looks at no container.
    """
    if not constraints:
        return True
    verdict = evaluate(parse_rule(constraints).terms, lambda call: _has_label(labels, call))
    return verdict if isinstance(verdict, bool) else None


def _has_label(labels: Mapping[str, str], call: Call) -> bool | None:
    if call.name not in ("Label", "LabelRegex") or len(call.values) != 2:
        raise InvalidRule(f"expected Label(`name`, `value`) or LabelRegex(`name`, `pattern`), found {call}")
    name, value = call.values
    found = labels.get(name, "")
    return found == value if call.name == "Label" else matches(value, found)
