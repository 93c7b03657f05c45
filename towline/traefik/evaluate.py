"""Whether a rule is true for a request: three-valued evaluation, since some conditions are undecided.

Undecided is a condition on a part of the request that is not chosen yet, or one whose result cannot be determined. The whole
may be decided all the same (Kleene's logic): false AND undecided is false, true OR undecided is true. What a matcher compares
is from Traefik's pkg/muxer/http and pkg/muxer/tcp, v3.7.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address
from posixpath import normpath
from typing import Any
from urllib.parse import quote, unquote

from towline.traefik.go_regexps import matches
from towline.traefik.matchers import Condition
from towline.traefik.rules import Leaf, Operator, fold

RESERVED = ":/?#[]@!$&'()*+,;="
_ESCAPED = "|".join(f"{ord(sign):02X}" for sign in f"{RESERVED}%")  # what stays escaped where Traefik looks at a path

Truth = bool | None  # None: undecided
Pairs = tuple[tuple[str, str], ...]


# --------------------------------------------------------------------------------------------------- a whole rule

_Value = bool | tuple[Any, ...]  # true, false, or the terms that are left


def evaluate(terms: Iterable[Leaf | Operator], truth: Callable[[Leaf], Truth]) -> bool | tuple[Leaf | Operator, ...]:
    """True or False where the terms (in postfix order) are decided; else what is left of them, without what is decided.

    >>> evaluate((1, 2, "||", 3, "!", "&&"), {1: None, 2: False, 3: False}.get)
    (1,)
    """

    def value(leaf: Leaf) -> _Value:
        decided = truth(leaf)
        return (leaf,) if decided is None else decided

    return fold(terms, value, _join, _negate)


def _join(left: _Value, right: _Value, operator: Operator) -> _Value:
    decisive = operator == "||"  # the value of one side that decides both
    if isinstance(left, bool):
        return left if left is decisive else right
    if isinstance(right, bool):
        return right if right is decisive else left
    return (*left, *right, operator)


def _negate(value: _Value) -> _Value:
    return not value if isinstance(value, bool) else (*value, "!")


# ------------------------------------------------------------------------------------------------- one condition


@dataclass(frozen=True)
class Request:
    """A request. host: '' for none. path: as a rule writes it, without the query. undecided: the parts not chosen yet."""

    host: str = ""
    path: str = "/"
    method: str = "GET"
    headers: Pairs = ()
    query: Pairs = ()
    undecided: tuple[str, ...] = ()


PARTS = ("host", "path", "method", "headers", "query")


def part_of(condition: Condition) -> str:
    """The part of a Request that the condition looks at; '' for what is in none, such as the client's address."""
    return _MATCHERS[condition.name][0] if condition.name in _MATCHERS else ""


def holds(condition: Condition, request: Request) -> Truth:
    """Whether the request meets the condition; None: undecided."""
    part = part_of(condition)
    if not part or part in request.undecided:
        return None
    met = _MATCHERS[condition.name][1](getattr(request, part), *condition.values)
    return None if met is None else met != condition.negated


def _host_is(host: str, value: str) -> bool:
    """Traefik looks at the request's host without its port, so `Host(`a:8080`)` never matches."""
    wanted = value.lower()
    name = _without_port(host)
    if wanted == "*":
        return True
    if wanted.startswith("*"):  # since 3.7
        return bool(name) and wanted.rstrip(".") == ".".join(("*", *name.split(".")[1:]))
    return bool(name) and name == wanted.rstrip(".")


def _without_port(host: str) -> str:
    try:
        return host if ":" in host and IPv6Address(host) else host.partition(":")[0]
    except ValueError:
        return host.partition(":")[0]


def escaped(path: str) -> str:
    """The path as it is sent; a % that escapes nothing is escaped itself."""
    return quote(re.sub(r"%(?![0-9A-F]{2})", "%25", path), safe=f"{RESERVED}%")


@lru_cache(maxsize=1000)
def _routing_path(path: str) -> str:
    """The path as Traefik's matchers see it: unescaped, but for what is reserved in a URL (since v2.11.25 and v3.4.1)."""
    sent = escaped(path).partition("?")[0].partition("#")[0]
    return _clean(unquote(re.sub(f"%({_ESCAPED})", r"%25\1", sent)))


def _clean(path: str) -> str:
    """The path without `//`, `/./` and `/../`, which Traefik removes before it looks (sanitizePath)."""
    clean = f"/{normpath(path).lstrip('/')}"
    return f"{clean}/" if path.endswith("/") and clean != "/" else clean


def _any_matches(pattern: str, texts: Iterable[str]) -> Truth:
    truths = [matches(pattern, text) for text in texts]
    return None if None in truths else any(truths)


def _has_header(headers: Pairs, name: str, value: str) -> bool:
    return (name.lower(), value) in [(key.lower(), text) for key, text in headers]


def _header_matches(headers: Pairs, name: str, pattern: str) -> Truth:
    return _any_matches(pattern, [text for key, text in headers if key.lower() == name.lower()])


_MATCHERS: Mapping[str, tuple[str, Callable[..., Truth]]] = {
    "Host": ("host", _host_is),
    "HostSNI": ("host", _host_is),
    "HostRegexp": ("host", lambda host, pattern: matches(pattern, host)),
    "HostSNIRegexp": ("host", lambda host, pattern: matches(pattern, host)),
    "Path": ("path", lambda path, value: _routing_path(path) == value),
    "PathPrefix": ("path", lambda path, value: _routing_path(path).startswith(value)),
    "PathRegexp": ("path", lambda path, pattern: matches(pattern, _routing_path(path))),
    "Method": ("method", lambda method, value: method == value.upper()),
    "Header": ("headers", _has_header),
    "HeaderRegexp": ("headers", _header_matches),
    "Query": ("query", lambda query, name, value="": (name, value) in query),
    "QueryRegexp": ("query", lambda query, name, pattern: _any_matches(pattern, [v for n, v in query if n == name])),
}
