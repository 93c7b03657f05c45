"""What Traefik's matchers take: a rule → conditions on a request, the same for rules of v2 and v3.

From Traefik's pkg/muxer/http and pkg/muxer/tcp (v3.7, and v2.11's pkg/muxer): v3 takes one value where v2 took several.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_network
from typing import Literal

from towline.errors import closest
from towline.traefik.go_regexps import is_open
from towline.traefik.rules import Call, InvalidRule, Operator, Rule, fold

Protocol = Literal["http", "tcp", "udp"]
Syntax = Literal["v2", "v3"]


@dataclass(frozen=True)
class Condition:
    """A matcher with its values that a request has to meet; negated: that it must not meet.

    name: one of v3's matchers, also in a rule of v2. position: in the formula, so that equal conditions stay apart.
    """

    name: str
    values: tuple[str, ...]
    negated: bool = False
    position: int = 0

    def __str__(self) -> str:
        return f"{'!' * self.negated}{Call(self.name, self.values)}"


Formula = tuple[Condition | Operator, ...]  # in postfix order, with && and || only
_Both = tuple[Formula, Formula]  # when a part of a rule is true, and when it is false


def translate(rule: Rule, protocol: Protocol, syntax: Syntax) -> Formula:
    """The rule as a formula: its matchers as conditions, and each `!` moved to the conditions that it negates.

    Raises InvalidRule when Traefik would not take one of the matchers.
    """
    true, _ = fold(rule.terms, lambda call: _translate(call, protocol, syntax), _join, lambda both: both[::-1])
    return tuple(replace(term, position=i) if isinstance(term, Condition) else term for i, term in enumerate(true))


def _join(left: _Both, right: _Both, operator: Operator) -> _Both:
    """By De Morgan's laws."""
    opposite: Operator = "||" if operator == "&&" else "&&"
    return (*left[0], *right[0], operator), (*left[1], *right[1], opposite)


def _translate(call: Call, protocol: Protocol, syntax: Syntax) -> _Both:
    """One of a call's conditions makes it true; of several headers or query parameters (v2's) all have to hold."""
    name = _known(call, protocol, syntax)
    conditions = _conditions(call, name, syntax)
    for condition in conditions:
        _check(condition)
    opposites = [replace(condition, negated=True) for condition in conditions]
    if name in ("Headers", "HeadersRegexp", "Query"):
        return joined(conditions, "&&"), joined(opposites, "||")
    return joined(conditions, "||"), joined(opposites, "&&")


def joined(conditions: Sequence[Condition], operator: Operator) -> Formula:
    """The conditions with the operator between each two, in postfix order."""
    first, *others = conditions
    return (first, *(term for condition in others for term in (condition, operator)))


def _conditions(call: Call, name: str, syntax: Syntax) -> list[Condition]:
    if not call.values or not all(call.values):
        raise InvalidRule(f"{name} needs a value" if not call.values else f"{call}: a value is empty")
    if syntax == "v2":
        return _conditions_v2(call, name)
    _check_count(call, name)
    alone = name == "QueryRegexp" and len(call.values) == 1  # which Traefik takes as Query
    return [Condition("Query" if alone else name, call.values)]


# ------------------------------------------------------------------------------------------------ names and counts

_HTTP_V3: Mapping[str, tuple[int, ...]] = {
    **dict.fromkeys(("ClientIP", "Method", "Host", "HostRegexp", "Path", "PathRegexp", "PathPrefix"), (1,)),
    **dict.fromkeys(("Header", "HeaderRegexp"), (2,)),
    **dict.fromkeys(("Query", "QueryRegexp"), (1, 2)),
}
_HTTP_V2 = (
    "Host",
    "HostHeader",
    "HostRegexp",
    "ClientIP",
    "Path",
    "PathPrefix",
    "Method",
    "Headers",
    "HeadersRegexp",
    "Query",
)
_TCP = dict.fromkeys(("ALPN", "ClientIP", "HostSNI", "HostSNIRegexp"), (1,))
_COUNTS = {**_HTTP_V3, **_TCP}


def _known(call: Call, protocol: Protocol, syntax: Syntax) -> str:
    """The matcher's name as Traefik's documentation writes it; Host, host and HOST are one, hOST is none."""
    names: Iterable[str] = _TCP if protocol == "tcp" else _HTTP_V3 if syntax == "v3" else _HTTP_V2
    for name in names:
        if call.name in (name, name.lower(), name.upper(), name.capitalize()):
            return name
    raise InvalidRule(
        f"Traefik knows no {protocol} matcher {call.name} in rules of {syntax}; {closest(call.name, names)}"
    )


def _check_count(call: Call, name: str) -> None:
    counts = _COUNTS[name]
    if len(call.values) in counts:
        return
    if counts == (1,):
        instead = " || ".join(str(Call(name, (value,))) for value in call.values[:3])
        raise InvalidRule(f"{name} takes one value since Traefik 3, found {len(call.values)}; write {instead}")
    raise InvalidRule(f"{name} takes {' or '.join(map(str, counts))} values, found {len(call.values)}")


# ------------------------------------------------------------------------------------------------------- v2's own


def _conditions_v2(call: Call, name: str) -> list[Condition]:
    if name in ("Headers", "HeadersRegexp"):
        v3_name = name.replace("Headers", "Header")
        return [Condition(v3_name, pair) for pair in _pairs(call, call.values)]
    if name == "Query":
        return [_templated("Query", "QueryRegexp", pair, pair[1]) for pair in _pairs(call, _split(call.values))]
    return [_condition_v2(name, value) for value in call.values]


def _condition_v2(name: str, value: str) -> Condition:
    if value.count("{") != value.count("}") and name not in ("ALPN", "ClientIP", "Host", "HostHeader", "Method"):
        raise InvalidRule(f"{Call(name, (value,))}: a brace is open")
    if name == "HostSNI" and value.startswith("*."):
        raise InvalidRule(f"{Call(name, (value,))}: is not a host name in rules of v2")
    if name in ("HostRegexp", "HostSNIRegexp"):
        return Condition(name, (f"(?i)^{_pattern(value)}$",))
    if name == "Path":
        return _templated("Path", "PathRegexp", (value,), value)
    if name == "PathPrefix" and "{" in value:
        return Condition("PathRegexp", (f"^{_pattern(value)}",))
    return Condition("Host" if name == "HostHeader" else name, (value,))


def _templated(plain: str, regexp: str, values: tuple[str, ...], last: str) -> Condition:
    if "{" not in last:
        return Condition(plain, values)
    return Condition(regexp, (*values[:-1], f"^{_pattern(last)}$"))


def _pattern(template: str) -> str:
    """A text with v2's `{name:regexp}` and `{name}` (gorilla/mux's templates) as one regular expression."""
    parts = re.split(r"\{[^{}:]*(?::((?:[^{}]|\{[^{}]*\})*))?\}", template)
    return "".join(_inner(part) if i % 2 else _escaped(part) for i, part in enumerate(parts))


def _inner(pattern: str | None) -> str:
    return f"(?:{pattern or '[^./]+'})"


def _escaped(text: str) -> str:
    return re.sub(r"[^\w/%@~:,;=&!#'<>\" -]", r"\\\g<0>", text, flags=re.ASCII)


def _split(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(part for value in values for part in value.split("=", 1))


def _pairs(call: Call, values: tuple[str, ...]) -> list[tuple[str, str]]:
    if len(values) % 2:
        raise InvalidRule(f"{call}: {call.name} takes a name and a value each time, found {len(values)} in all")
    return list(zip(values[::2], values[1::2], strict=True))


# --------------------------------------------------------------------------------------------------- single values


def _check(condition: Condition) -> None:
    if condition.name in _CHECKS:
        _CHECKS[condition.name](condition)
    if condition.name.endswith("Regexp") and is_open(condition.values[-1]):
        raise InvalidRule(f"{condition}: a bracket of the regular expression is open")


def _check_path(condition: Condition) -> None:
    if not condition.values[0].startswith("/"):
        raise InvalidRule(f"{condition}: a path starts with /")


def _check_host(condition: Condition) -> None:
    if not condition.values[0].isascii():
        raise InvalidRule(f"{condition}: takes only ASCII; write the name in punycode (xn--…)")


def _check_sni(condition: Condition) -> None:
    if condition.values[0] != "*" and not re.fullmatch(r"(\*\.)?[\w.:-]+", condition.values[0], re.ASCII):
        raise InvalidRule(f"{condition}: is not a host name")


def _check_ip(condition: Condition) -> None:
    try:
        zone = "%" in condition.values[0]  # which Go never takes, and Python does in an IPv6 address
        network = None if zone else ip_network(condition.values[0], strict=False)
    except ValueError:
        network = None
    if network is None:
        raise InvalidRule(f"{condition}: is neither an address nor a network")


def _check_alpn(condition: Condition) -> None:
    if condition.values[0] == "acme-tls/1":
        raise InvalidRule(f"{condition}: is reserved for Traefik's own certificates")


_CHECKS: Mapping[str, Callable[[Condition], None]] = {
    "Path": _check_path,
    "PathPrefix": _check_path,
    "Host": _check_host,
    "HostRegexp": _check_host,
    "HostSNI": _check_sni,
    "ClientIP": _check_ip,
    "ALPN": _check_alpn,
}
