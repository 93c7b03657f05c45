"""Example requests for a rule: the rule's alternatives, one request proposed for each, and only those kept that surely match.

A request is proposed from what a rule names outright (hosts, paths, methods, headers, parameters), then held against every
condition of its alternative, as Traefik would; what cannot be told (a client's address, most regular expressions) gives a
reason in place of a request.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address
from itertools import islice, product
from posixpath import normpath
from textwrap import shorten
from urllib.parse import quote, unquote, urlencode

from towline.traefik.go_regexps import literal, matches
from towline.traefik.matchers import Condition, Meaning, Protocol, Syntax, meaning
from towline.traefik.rules import Call, Rule, parse_rule

MOST = 50  # requests of one rule; a rule may mean millions
MOST_CALLS = 1000  # matchers in one rule
MOST_TRIES = 16  # requests held against one alternative
RESERVED = ":/?#[]@!$&'()*+,;="
_ESCAPED = "|".join(f"{ord(sign):02X}" for sign in f"{RESERVED}%")  # what stays escaped where Traefik looks at a path


@dataclass(frozen=True)
class ExampleRequest:
    """A request that a rule matches. host: '' when any will do, for TCP the server name to send (SNI).

    path: escaped, with its query; '' for TCP. method: '' for TCP. headers: name and value, in the rule's order.
    """

    host: str
    path: str = "/"
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def safe(self) -> bool:
        """Whether asking changes nothing, by HTTP's own rules (RFC 9110, 9.2.1)."""
        return self.method in ("", "GET", "HEAD", "OPTIONS")


@dataclass(frozen=True)
class Examples:
    """requests: at most MOST. reasons: a sentence for each part of the rule that has no request. problem: the rule's, else ''."""

    requests: tuple[ExampleRequest, ...] = ()
    reasons: tuple[str, ...] = ()
    problem: str = ""


def find_requests(text: str, protocol: Protocol = "http", syntax: Syntax = "v3") -> Examples:
    """The requests for a rule. Raises InvalidRule when Traefik would not take the rule.

    >>> for request in find_requests("Host(`a.example`) && (Path(`/x`) || Method(`POST`))").requests:
    ...     print(request.method, request.host, request.path)
    GET a.example /x
    POST a.example /
    """
    rule = parse_rule(text)
    meanings = {call: meaning(call, protocol, syntax) for call in rule.calls}
    if len(rule.calls) > MOST_CALLS:
        return Examples(reasons=(f"the rule has {len(rule.calls)} matchers, too many to find a request for",))
    found = _alternatives(rule, meanings)
    requests: dict[ExampleRequest, None] = {}
    reasons = [] if found.whole else [f"only the first {MOST} alternatives of the rule are asked"]
    for alternative in found.ways:
        ask = _ask(alternative, protocol)
        if isinstance(ask, ExampleRequest):
            requests[ask] = None
        else:
            reasons.append(ask)
    return Examples(tuple(requests), tuple(dict.fromkeys(reasons)))


# ----------------------------------------------------------------------------------------- rule → its alternatives

_All = tuple[Condition, ...]


@dataclass(frozen=True)
class _Ways:
    """An OR of ANDs; whole: none was left out."""

    ways: tuple[_All, ...]
    whole: bool = True


@dataclass(frozen=True)
class _Part:
    """When a part of a rule is true, and when it is false."""

    true: _Ways
    false: _Ways


def _alternatives(rule: Rule, meanings: Mapping[Call, Meaning]) -> _Ways:
    stack: list[_Part] = []
    for term in rule.terms:
        if isinstance(term, Call):
            stack.append(_part(meanings[term]))
        elif term == "!":
            one = stack.pop()
            stack.append(_Part(one.false, one.true))
        else:
            right, left = stack.pop(), stack.pop()
            stack.append(_and(left, right) if term == "&&" else _or(left, right))
    return stack[0].true


def _part(meant: Meaning) -> _Part:
    one_each = tuple((condition,) for condition in meant.conditions)
    none = tuple(condition.opposite for condition in meant.conditions)
    if meant.need == "any":
        return _Part(_cut(one_each), _Ways((none,)))
    return _Part(_Ways((meant.conditions,)), _cut(tuple((condition,) for condition in none)))


def _and(left: _Part, right: _Part) -> _Part:
    return _Part(_both(left.true, right.true), _either(left.false, right.false))


def _or(left: _Part, right: _Part) -> _Part:
    return _Part(_either(left.true, right.true), _both(left.false, right.false))


def _both(left: _Ways, right: _Ways) -> _Ways:
    pairs = tuple(one + other for one, other in islice(product(left.ways, right.ways), MOST))
    return _Ways(pairs, left.whole and right.whole and len(left.ways) * len(right.ways) <= MOST)


def _either(left: _Ways, right: _Ways) -> _Ways:
    return _cut(left.ways + right.ways, left.whole and right.whole)


def _cut(ways: tuple[_All, ...], whole: bool = True) -> _Ways:
    return _Ways(ways[:MOST], whole and len(ways) <= MOST)


# ---------------------------------------------------------------------------------------- alternative → a request


@dataclass(frozen=True)
class _Request:
    """A request that is tried. path: as the rule writes it, without a query."""

    host: str
    path: str
    method: str
    headers: tuple[tuple[str, str], ...]
    query: tuple[tuple[str, str], ...]

    def ask(self) -> ExampleRequest:
        query = f"?{urlencode(self.query)}" if self.query else ""
        return ExampleRequest(self.host, _escaped(self.path) + query, self.method, self.headers)


def _escaped(path: str) -> str:
    """The path as it goes over the wire; a % that escapes nothing is escaped itself."""
    return quote(re.sub(r"%(?![0-9A-F]{2})", "%25", path), safe=f"{RESERVED}%")


def _ask(conditions: _All, protocol: Protocol) -> ExampleRequest | str:
    """A request that meets all the conditions, or the reason why none is known."""
    wanted = tuple(dict.fromkeys(conditions))
    tried = list(islice(_requests(wanted), MOST_TRIES))
    for request in tried:
        if all(_holds(one, request) for one in wanted):
            return ExampleRequest(request.host, "", "") if protocol == "tcp" else request.ask()
    return _reason(wanted, [one for one in wanted if not _holds(one, tried[-1])])


def _reason(wanted: _All, missed: list[Condition]) -> str:
    whole = shorten(" && ".join(map(str, wanted[:20])), 200, placeholder=" …")
    depends = next((one for one in missed if one.name in _DEPENDS), None)
    if depends:
        return f"{whole}: {depends.name} depends on {_DEPENDS[depends.name]}"
    if any(one.name.endswith("Regexp") for one in missed):
        return f"{whole}: no example can be told from a regular expression"
    if any(one.name == "Host" and ":" in one.values[0] for one in missed):
        return f"{whole}: Traefik looks at hosts without their port"
    return f"{whole}: no request is known that meets all of it"


_DEPENDS = {"ClientIP": "the address of who asks", "ALPN": "what the client speaks"}


def _requests(conditions: _All) -> Iterator[_Request]:
    """The requests to try, the plainest first."""
    given = [one for one in conditions if not one.negated]
    headers = tuple(_pair(one) for one in given if one.name == "Header")
    query = tuple(_pair(one) for one in given if one.name == "Query")
    for host, path, method in product(_hosts(given), _paths(given), _methods(given)):
        yield _Request(host, path, method, headers, query)


def _pair(one: Condition) -> tuple[str, str]:
    return one.values[0], one.values[1] if len(one.values) > 1 else ""


def _values(conditions: Iterable[Condition], *names: str) -> list[str]:
    """What the conditions name outright."""
    told = (one.values[0] if one.name in names else _literal(one, names) for one in conditions)
    return [value for value in told if value]


def _literal(one: Condition, names: tuple[str, ...]) -> str | None:
    return literal(one.values[0]) if one.name.removesuffix("Regexp") in names and one.name.endswith("Regexp") else None


def _hosts(given: list[Condition]) -> list[str]:
    named = [_host(value) for value in _values(given, "Host", "HostSNI")]
    return list(dict.fromkeys(named)) or ["", "localhost"]


def _host(value: str) -> str:
    """A host that the value matches: `*.example.com` (since 3.7) is any name one below."""
    return "" if value == "*" else value.lower().rstrip(".").replace("*", "towline", 1)


def _paths(given: list[Condition]) -> list[str]:
    exact = _values(given, "Path")
    if exact:
        return list(dict.fromkeys(exact))
    prefix = max((one.values[0] for one in given if one.name == "PathPrefix"), key=len, default="/")
    return [prefix, f"{prefix.removesuffix('/')}/"]


def _methods(given: list[Condition]) -> list[str]:
    return [value.upper() for value in _values(given, "Method")][:1] or ["GET", "HEAD"]


# --------------------------------------------------------------------------------------- does it match? as Traefik


def _holds(condition: Condition, request: _Request) -> bool | None:
    """Whether the request meets the condition; None: cannot be told."""
    found = _MATCHES[condition.name](request, *condition.values)
    return None if found is None else found != condition.negated


def _host_is(request: _Request, value: str) -> bool:
    """Traefik looks at the request's host without its port, so `Host(`a:8080`)` never matches."""
    wanted = value.lower()
    host = _without_port(request.host)
    if wanted == "*":
        return True
    if wanted.startswith("*"):
        return bool(host) and wanted.rstrip(".") == ".".join(("*", *host.split(".")[1:]))
    return bool(host) and host == wanted.rstrip(".")


def _without_port(host: str) -> str:
    try:
        return host if ":" in host and IPv6Address(host) else host.partition(":")[0]
    except ValueError:
        return host.partition(":")[0]


def _path_is(request: _Request, value: str) -> bool:
    return _routing_path(request) == value


def _routing_path(request: _Request) -> str:
    """The path as Traefik's matchers see it: unescaped, but for what is reserved in a URL (since v2.11.25 and v3.4.1)."""
    escaped = _escaped(request.path).partition("?")[0].partition("#")[0]
    return _clean(unquote(re.sub(f"%({_ESCAPED})", r"%25\1", escaped)))


def _clean(path: str) -> str:
    """Without `//`, `/./` and `/../`, which Traefik takes out before it looks (sanitizePath)."""
    clean = f"/{normpath(path).lstrip('/')}"
    return f"{clean}/" if path.endswith("/") and clean != "/" else clean


def _any_matches(pattern: str, texts: Iterable[str]) -> bool | None:
    found = [matches(pattern, text) for text in texts]
    return None if None in found else any(found)


def _cannot_tell(*_: object) -> None:
    return None


_MATCHES: Mapping[str, Callable[..., bool | None]] = {
    "Host": _host_is,
    "HostSNI": _host_is,
    "HostRegexp": lambda request, pattern: matches(pattern, request.host),
    "HostSNIRegexp": lambda request, pattern: matches(pattern, request.host),
    "Path": _path_is,
    "PathPrefix": lambda request, value: _routing_path(request).startswith(value),
    "PathRegexp": lambda request, pattern: matches(pattern, _routing_path(request)),
    "Method": lambda request, value: request.method == value.upper(),
    "Header": lambda request, name, value: (name.lower(), value) in [(n.lower(), v) for n, v in request.headers],
    "HeaderRegexp": lambda request, name, pattern: _any_matches(
        pattern, [v for n, v in request.headers if n.lower() == name.lower()]
    ),
    "Query": lambda request, name, value="": (name, value) in request.query,
    "QueryRegexp": lambda request, name, pattern: _any_matches(pattern, [v for n, v in request.query if n == name]),
    "ClientIP": _cannot_tell,
    "ALPN": _cannot_tell,
}
