"""Example requests for a rule: candidates are made of what the rule names, and those are kept for which it is surely true.

Candidates are the named hosts × paths × methods × headers × query parameters, with a plain value for each (`/`, GET). What
cannot be determined (a client's address, most regular expressions) gives a reason in place of a request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from textwrap import shorten
from typing import Any
from urllib.parse import urlencode

from towline.traefik.evaluate import PARTS, Request, escaped, evaluate, holds, part_of
from towline.traefik.go_regexps import literal
from towline.traefik.matchers import Condition, Formula, Protocol, Syntax, joined, translate
from towline.traefik.rules import Operator, fold, parse_rule

MOST = 50  # alternatives of one rule that get a request or a reason; a rule may have millions
MOST_CONDITIONS = 1000  # in one rule
MOST_TERMS = 100_000  # evaluated over all candidates for a rule
MOST_TERMS_AGAIN = 2_000  # evaluated for a single alternative that the candidates for the whole rule leave out


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
        """Whether the request changes nothing, by HTTP's own rules (RFC 9110, 9.2.1)."""
        return self.method in ("", "GET", "HEAD", "OPTIONS")


@dataclass(frozen=True)
class Examples:
    """requests: at most MOST. reasons: why alternatives have no request. problem: what is wrong with the rule, else ''."""

    requests: tuple[ExampleRequest, ...] = ()
    reasons: tuple[str, ...] = ()
    problem: str = ""


def find_requests(text: str, protocol: Protocol = "http", syntax: Syntax = "v3") -> Examples:
    """A request for each alternative of the rule, in its order. Raises InvalidRule when Traefik would not take the rule.

    >>> for request in find_requests("Host(`a.example`) && (Path(`/x`) || Method(`POST`))").requests:
    ...     print(request.method, request.host, request.path)
    GET a.example /x
    POST a.example /
    """
    formula = translate(parse_rule(text), protocol, syntax)
    count = len(_conditions(formula))
    if count > MOST_CONDITIONS:
        return Examples(reasons=(f"the rule has {count} matchers, too many to find a request for",))
    requests, reasons = _requests(formula)
    return Examples(tuple(dict.fromkeys(_example(request, protocol) for request in requests)), tuple(reasons))


def _example(request: Request, protocol: Protocol) -> ExampleRequest:
    if protocol == "tcp":
        return ExampleRequest(request.host, "", "")
    query = f"?{urlencode(request.query)}" if request.query else ""
    return ExampleRequest(request.host, escaped(request.path) + query, request.method, request.headers)


def _conditions(formula: Formula) -> list[Condition]:
    return [term for term in formula if isinstance(term, Condition)]


# ---------------------------------------------------------------------------------------------------- alternatives

_Conditions = tuple[Condition, ...]


def _requests(formula: Formula) -> tuple[list[Request], list[str]]:
    """The requests for the formula's alternatives, in its order, and the reasons why others have none."""
    requests, complete = _search(formula, MOST_TERMS)
    reasons: list[str] = []
    missing = set(_conditions(formula)).difference(*requests)
    for _ in range(MOST - len(requests)):
        if not missing:
            break
        alternative = _alternative(formula, min(missing, key=_position), {*chain.from_iterable(requests)})
        of_alternative, _ = _search(joined(alternative, "&&"), MOST_TERMS_AGAIN)
        if of_alternative:
            request = next(iter(of_alternative.values()))
            requests[_met(formula, request)] = request
        else:
            reasons.append(_reason(alternative))
        missing.difference_update(alternative, *requests)
    if len(requests) > MOST or missing:
        reasons.insert(0, f"only the first {MOST} alternatives of the rule are probed")
    elif not complete:
        reasons.append("not every combination of what the rule names was tried")
    in_order = sorted(requests, key=lambda met: [*map(_position, met)])
    return [requests[met] for met in in_order[:MOST]], list(dict.fromkeys(reasons))


def _position(condition: Condition) -> int:
    return condition.position


def _met(formula: Formula, request: Request) -> _Conditions:
    """The conditions that make the formula true for the request."""

    def join(left: _Conditions, right: _Conditions, operator: Operator) -> _Conditions:
        return left + right if operator == "||" or (left and right) else ()

    return fold(formula, lambda condition: (condition,) if holds(condition, request) else (), join)


def _alternative(formula: Formula, wanted: Condition, met: set[Condition]) -> _Conditions:
    """An alternative of the formula that has the wanted condition: conditions that make it true together.

    Of two sides of an `||` without that condition it takes the one that another request meets, else the first.
    """

    def preference(conditions: _Conditions) -> tuple[bool, bool]:
        return wanted in conditions, met.issuperset(conditions)

    def join(left: _Conditions, right: _Conditions, operator: Operator) -> _Conditions:
        return left + right if operator == "&&" else max(left, right, key=preference)

    return fold(formula, lambda condition: (condition,), join)


# ------------------------------------------------------------------------------------------------------ candidates


@dataclass(frozen=True)
class _Candidate:
    """request: some of its parts are decided. rest: what is left of the formula then. terms: how many were evaluated."""

    request: Request
    rest: bool | Formula
    terms: int


def _search(formula: Formula, most_terms: int) -> tuple[dict[_Conditions, Request], bool]:
    """Conditions that make the formula true → the plainest request that meets them; and whether every candidate was tried.

    At most one request more than MOST.
    """
    requests: dict[_Conditions, Request] = {}
    terms = 0
    for candidate in _candidates(formula, Request(undecided=PARTS)):
        terms += candidate.terms
        if candidate.rest is True:
            request = replace(candidate.request, undecided=())
            met = _met(formula, request)
            requests[met] = min(requests.get(met, request), request, key=_specific)
        if len(requests) > MOST or terms > most_terms:
            return requests, False
    return requests, True


def _specific(request: Request) -> int:
    """How many parts of the request have another value than the plain one."""
    return sum(getattr(request, part) != getattr(Request(), part) for part in PARTS)


def _candidates(formula: Formula, request: Request) -> Iterator[_Candidate]:
    """The request with one part after the other decided, by each value that is proposed for it.

    A value that stands in for others is tried where it leaves something else of the formula than they do.
    """
    if not request.undecided:
        return
    part, *undecided = request.undecided
    rests: dict[Any, bool | Formula] = {}
    for value, others in _values(part, formula).items():
        candidate = replace(request, **{part: value}, undecided=tuple(undecided))
        rests[value] = rest = evaluate(formula, partial(holds, request=candidate))
        if rest in [rests.get(other) for other in others]:
            continue
        yield _Candidate(candidate, rest, len(formula))
        if not isinstance(rest, bool):
            yield from _candidates(rest, candidate)


# ---------------------------------------------------------------------------------------------------------- values


def _values(part: str, formula: Formula) -> dict[Any, tuple[Any, ...]]:
    """What is proposed for the part: what the formula names, the plain value, and what stands in for these → for which."""
    plain = getattr(Request(), part)
    conditions = [condition for condition in _conditions(formula) if part_of(condition) == part]
    if not conditions:
        return {plain: ()}
    positive = [condition for condition in conditions if not condition.negated]
    named = [value for condition in positive if (value := _value(condition)) is not None and _meets(value, condition)]
    values: dict[Any, tuple[Any, ...]] = dict.fromkeys([*named, plain], ())
    return values | {value: others for value, others in _stand_ins(part, positive, [*values]) if value not in values}


def _stand_ins(part: str, positive: list[Condition], values: list[Any]) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """Another host and method than the plain ones, a path below a prefix, all headers or parameters together."""
    if part == "host":
        yield "localhost", ("",)
    elif part == "method":
        yield "HEAD", ("GET",)
    elif part == "path":
        for prefix in (condition.values[0] for condition in positive if condition.name == "PathPrefix"):
            yield f"{prefix.removesuffix('/')}/", (prefix,)
    else:
        yield tuple(chain.from_iterable(values)), tuple(values)


def _meets(value: Any, condition: Condition) -> bool:
    return holds(condition, replace(Request(), **{part_of(condition): value})) is True


def _value(condition: Condition) -> Any:
    """What the condition names outright, or by a regular expression that matches one text; None: nothing."""
    name, values = condition.name.removesuffix("Regexp"), condition.values
    if name != condition.name:
        text = literal(values[-1])
        if text is None:
            return None
        values = (*values[:-1], text)
    return _VALUES[name](*values)


def _host(value: str) -> str:
    """A host that the value matches: `*.example.com` (since 3.7) is any name one level below."""
    return "" if value == "*" else value.lower().rstrip(".").replace("*", "towline", 1)


def _pair(key: str, value: str = "") -> tuple[tuple[str, str]]:
    return ((key, value),)


_VALUES: Mapping[str, Callable[..., Any]] = {
    "Host": _host,
    "HostSNI": _host,
    "Path": str,
    "PathPrefix": str,
    "Method": str.upper,
    "Header": _pair,
    "Query": _pair,
}


# --------------------------------------------------------------------------------------------------------- reasons

_DEPENDS = {"ClientIP": "the client's address", "ALPN": "the protocols that the client offers"}


def _reason(alternative: _Conditions) -> str:
    """A sentence that says why no request is known that meets all the conditions."""
    shown = alternative[:20]
    text = shorten(" && ".join(dict.fromkeys(map(str, shown))), 200, placeholder=" …")
    for condition in alternative:
        if condition.name in _DEPENDS:
            return f"{text}: {condition.name} depends on {_DEPENDS[condition.name]}"
    if any(condition.name.endswith("Regexp") and not _is_met(condition, alternative) for condition in shown):
        return f"{text}: no example can be derived from the regular expression"
    if any(_has_port(condition) and not _is_met(condition, alternative) for condition in shown):
        return f"{text}: Traefik looks at hosts without their port"
    return f"{text}: no request is known that meets all of it"


def _has_port(condition: Condition) -> bool:
    return condition.name == "Host" and ":" in condition.values[0]


def _is_met(condition: Condition, alternative: _Conditions) -> bool:
    """Whether any value that is tried for the condition's part meets it."""
    return any(_meets(value, condition) for value in _values(part_of(condition), alternative))
