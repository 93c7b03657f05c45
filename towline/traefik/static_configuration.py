"""A Traefik's static configuration: its command, environment or file → its entry points and how it reads containers.

Traefik takes one of the three and ignores the others, in this order (traefik.io, "The Install Configuration", and
cmd/traefik): a file that exists; else flags, when there are any; else the variables.
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
    """Where Traefik listens. port: 0 when it cannot be determined.

    tls: whether HTTP routers here have TLS. redirect_to: the entry point, or `:port`, to which every HTTP request is
    redirected, else ''.
    """

    name: str
    port: int
    proto: Protocol = "tcp"
    tls: bool = False
    redirect_to: str = ""
    as_default: bool = False


@dataclass(frozen=True)
class Traefik:
    """docker: whether it reads containers at all; the three fields after it are providers.docker's (or providers.swarm's).

    syntax: of rules whose router names none. problem: why it would not start or not work, else ''.
    """

    entry_points: tuple[EntryPoint, ...]
    docker: bool = False
    exposed_by_default: bool = True
    constraints: str = ""
    default_rule: str = DEFAULT
    syntax: Syntax = "v3"
    problem: str = ""

    def entry_points_for(self, protocol: Protocol) -> tuple[str, ...]:
        """The names of the entry points that routers of the protocol can use."""
        proto = "udp" if protocol == "udp" else "tcp"
        return tuple(entry_point.name for entry_point in self.entry_points if entry_point.proto == proto)

    def default_entry_points(self, protocol: Protocol) -> tuple[str, ...]:
        """The names of the entry points of a router that names none: those marked asDefault, else all but `traefik`."""
        names = self.entry_points_for(protocol)
        if protocol == "udp":
            return names
        marked = {entry_point.name for entry_point in self.entry_points if entry_point.as_default}
        return tuple(name for name in names if name != INTERNAL and (not marked or name in marked))


@dataclass(frozen=True)
class ConfigFile:
    """A file with the static configuration: TOML when its name ends so, else YAML."""

    name: str
    text: str


def config_paths(words: Sequence[str]) -> tuple[str, ...]:
    """Where Traefik looks for its file: the first that exists is taken. Variables are as a shell writes them."""
    try:
        path = tree(_flags(words)).at("configfile").value
    except InvalidSettings:
        path = ""
    return (*filter(str.strip, [path]), *FILES)


def parse_traefik(
    words: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    file: ConfigFile | None = None,
    image: str = "",
) -> Traefik:
    """The configuration from a container's command, its environment, the file that exists, and the name of its image.

    `image`: its tag distinguishes v2 from v3. Never raises: why Traefik would not start is in `problem`.
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
    """The flags among the words. One without a value takes the next word unless that is a flag; else its value is `true`."""
    pairs: dict[str, str] = {}
    rest = [*words]
    while rest and not rest[0].startswith("-"):  # `traefik`, or an entrypoint script
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
    prefixes = tuple(f"TRAEFIK_{root}" for root in _ROOTS)
    return [
        (tuple(key.lower().split("_")[1:]), value) for key, value in environment.items() if key.startswith(prefixes)
    ]


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
    """Those configured, by name, else `http` on port 80; and `traefik` on 8080 when Traefik serves pages of its own there."""
    configured = node.at("entryPoints").children
    for entry_point in sorted(configured.values(), key=lambda entry_point: entry_point.name):
        yield _entry_point(entry_point)
    if not configured:
        yield EntryPoint("http", 80)
    if INTERNAL not in configured and _uses_internal(node):
        yield EntryPoint(INTERNAL, 8080)


def _uses_internal(node: Node) -> bool:
    """Whether something is served on the internal entry point: SetEffectiveConfiguration in pkg/config/static."""
    insecure = any(
        section.enabled and section.boolean("insecure", False)
        for section in (node.at("api"), node.at("providers", "rest"))
    )
    return insecure or any(_is_internal(section) for section in (node.at("ping"), node.at("metrics", "prometheus")))


def _is_internal(section: Node) -> bool:
    entry_point = section.at("entryPoint").value if section.has("entryPoint") else INTERNAL
    return section.enabled and entry_point == INTERNAL and not section.boolean("manualRouting", False)


def _entry_point(node: Node) -> EntryPoint:
    address, _, proto = node.at("address").value.partition("/")
    _, colon, port = address.rpartition(":")
    http = node.at("http")
    return EntryPoint(
        name=node.name,
        port=_port(port) if colon else 0,
        proto=_proto(node.name, proto),
        tls=http.at("tls").enabled,
        redirect_to=http.at("redirections", "entryPoint", "to").value,
        as_default=node.boolean("asDefault", False),
    )


def _port(text: str) -> int:
    """The port of an address, 0 for none. Go also takes the name of a service, of which two are known here."""
    known = {"http": 80, "https": 443}
    return known.get(text) or (int(text) if re.fullmatch(r"[0-9]{1,5}", text) and int(text) < 65536 else 0)


def _proto(name: str, text: str) -> Protocol:
    if text.lower() not in ("", "tcp", "udp"):
        raise InvalidSettings(f"entryPoints.{name}.address: expected /tcp or /udp behind the port, found /{text}")
    return "udp" if text.lower() == "udp" else "tcp"


def _problems(entry_points: Iterable[EntryPoint], constraints: str) -> Iterator[str]:
    names = {entry_point.name for entry_point in entry_points}
    for entry_point in entry_points:
        name, target = entry_point.name, entry_point.redirect_to
        if not entry_point.port:
            yield f"entryPoints.{name}.address: there is no port in it"
        if target not in ("", *names) and not re.fullmatch(r":\d+", target):
            yield f"entryPoints.{name}.http.redirections: there is no entry point {target}"
    try:
        meets_constraints({}, constraints)
    except InvalidRule as e:
        yield f"providers.docker.constraints: {e}"


# ----------------------------------------------------------------------------------------------------- constraints


def meets_constraints(labels: Mapping[str, str], constraints: str) -> bool | None:
    """Whether Traefik takes a container with these labels; None: a regular expression leaves it undetermined.

    Raises InvalidRule for constraints with an error; Traefik then takes no container.
    """
    if not constraints:
        return True
    verdict = evaluate(parse_rule(constraints).terms, lambda call: _has_label(labels, call))
    return verdict if isinstance(verdict, bool) else None


def _has_label(labels: Mapping[str, str], call: Call) -> bool | None:
    if call.name not in ("Label", "LabelRegex") or len(call.values) != 2:
        raise InvalidRule(f"expected Label(`name`, `value`) or LabelRegex(`name`, `pattern`), found {call}")
    name, expected = call.values
    value = labels.get(name, "")
    return value == expected if call.name == "Label" else matches(expected, value)
