"""Three-valued evaluation of rules, and that every example request is one for which its rule is true."""

from __future__ import annotations

import operator
import random
from collections.abc import Callable
from functools import reduce

import pytest

from towline.traefik.evaluate import Request, evaluate, holds
from towline.traefik.matchers import Condition, Formula, translate
from towline.traefik.requests import MOST, ExampleRequest, find_requests
from towline.traefik.rules import parse_rule

T, F, N = True, False, None
HOST, PATH, CLIENT = Condition("Host", ("a",)), Condition("Path", ("/x",)), Condition("ClientIP", ("::1",))


# ------------------------------------------------------------------------------------------------ a whole rule


@pytest.mark.parametrize("left", [T, F, N])
@pytest.mark.parametrize("right", [T, F, N])
def test_and_or_and_not_follow_kleene(left: bool | None, right: bool | None) -> None:
    values = {"l": left, "r": right}

    def verdict(*terms: str) -> bool | None:
        truth = evaluate(
            [term if term in ("&&", "||", "!") else [term] for term in terms], lambda leaf: values[leaf[0]]
        )
        return truth if isinstance(truth, bool) else None

    assert verdict("l", "r", "&&") is (F if F in (left, right) else N if N in (left, right) else T)
    assert verdict("l", "r", "||") is (T if T in (left, right) else N if N in (left, right) else F)
    assert verdict("l", "!") is (N if left is None else not left)


@pytest.mark.parametrize(
    ("request_", "rest"),
    [
        (Request(undecided=("host", "path")), (HOST, PATH, CLIENT, "||", "&&")),
        (Request(host="a", undecided=("path",)), (PATH, CLIENT, "||")),
        (Request(host="b", undecided=("path",)), False),
        (Request(host="a", path="/x"), True),
        (Request(host="a", path="/y"), (CLIENT,)),
    ],
)
def test_evaluation_leaves_what_is_undecided(request_: Request, rest: bool | Formula) -> None:
    formula = (HOST, PATH, CLIENT, "||", "&&")
    assert evaluate(formula, lambda condition: holds(condition, request_)) == rest


def test_negation_moves_to_the_conditions() -> None:
    formula = translate(parse_rule("!(Host(`a`, `b`) && !Headers(`X`, `1`, `Y`, `2`))"), "http", "v2")
    assert [str(term) for term in formula] == [
        *("!Host(`a`)", "!Host(`b`)", "&&"),
        *("Header(`X`, `1`)", "Header(`Y`, `2`)", "&&", "||"),
    ]


# ----------------------------------------------------------------------------------------------- one condition


@pytest.mark.parametrize(
    ("name", "values", "request_", "met"),
    [
        ("Host", ("A.example.",), Request("a.example"), True),
        ("Host", ("a",), Request("a:80"), True),
        ("Host", ("a:80",), Request("a:80"), False),
        ("Host", ("::1",), Request("::1"), True),
        ("Host", ("*.a",), Request("x.a"), True),
        ("Host", ("*.a",), Request("y.x.a"), False),
        ("Host", ("*",), Request(""), True),
        ("Host", ("a",), Request(""), False),
        ("Path", ("/a b",), Request(path="/a%20b"), True),
        ("Path", ("/a%2Fb",), Request(path="/a%2Fb"), True),
        ("Path", ("/a",), Request(path="//a"), True),
        ("PathPrefix", ("/a",), Request(path="/ab"), True),
        ("PathRegexp", ("^/[0-9]+$",), Request(path="/1"), True),
        ("PathRegexp", (r"\p{Greek}",), Request(path="/1"), None),
        ("Method", ("get",), Request(), True),
        ("Header", ("x-key", "v"), Request(headers=(("X-Key", "v"),)), True),
        ("Header", ("X-Key", "V"), Request(headers=(("X-Key", "v"),)), False),
        ("HeaderRegexp", ("X", "^v"), Request(headers=(("x", "vv"),)), True),
        ("HeaderRegexp", ("X", "^v"), Request(), False),
        ("Query", ("q", "1"), Request(query=(("q", "1"),)), True),
        ("Query", ("q",), Request(query=(("q", ""),)), True),
        ("QueryRegexp", ("q", "^1"), Request(query=(("q", "12"),)), True),
        ("ClientIP", ("::1",), Request(), None),
        ("ALPN", ("h2",), Request(), None),
    ],
)
def test_condition_is_compared_as_traefik_does(
    name: str, values: tuple[str, ...], request_: Request, met: bool | None
) -> None:
    assert holds(Condition(name, values), request_) is met
    assert holds(Condition(name, values, negated=True), request_) is (None if met is None else not met)


def test_condition_on_an_undecided_part_is_undecided() -> None:
    assert holds(HOST, Request(host="a", undecided=("host",))) is None
    assert holds(HOST, Request(host="a", undecided=("path",))) is True


# -------------------------------------------------------------------------------------------- generated rules

Test = Callable[[ExampleRequest], bool]
MATCHERS: dict[str, Test] = {
    **{f"Host(`{name}`)": lambda request, name=name: request.host == name for name in "abc"},
    **{f"Path(`{path}`)": lambda request, path=path: _path(request) == path for path in ("/", "/x", "/x/y")},
    **{
        f"PathPrefix(`{path}`)": lambda request, path=path: _path(request).startswith(path)
        for path in ("/", "/x", "/x/y")
    },
    **{f"Method(`{name}`)": lambda request, name=name: request.method == name for name in ("GET", "POST")},
    "Header(`X`, `1`)": lambda request: ("X", "1") in request.headers,
    "Header(`Y`, `2`)": lambda request: ("Y", "2") in request.headers,
    "Query(`q`, `1`)": lambda request: "q=1" in request.path.partition("?")[2].split("&"),
    "HostRegexp(`^[ab]$`)": lambda request: request.host in ("a", "b"),
}


def _path(request: ExampleRequest) -> str:
    return request.path.partition("?")[0]


def generated(chance: random.Random, depth: int) -> tuple[str, Test]:
    """A rule, and whether a request meets it: found without the evaluation that is tested here."""
    if depth == 0 or chance.random() < 0.2:
        text = chance.choice([*MATCHERS])
        test = MATCHERS[text]
    else:
        sides = [generated(chance, depth - 1) for _ in range(chance.choice([2, 2, 3]))]
        word, join = chance.choice([("&&", operator.and_), ("||", operator.or_)])
        text = f"({f' {word} '.join(side for side, _ in sides)})"

        def test(request: ExampleRequest) -> bool:
            return reduce(join, [met(request) for _, met in sides])

    if chance.random() < 0.1:
        return f"!{text}", lambda request: not test(request)
    return text, test


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_every_example_request_of_a_generated_rule_meets_it(depth: int) -> None:
    chance = random.Random(depth)
    for _ in range(200):
        rule, meets = generated(chance, depth)
        examples = find_requests(rule)
        assert [request for request in examples.requests if not meets(request)] == [], rule
        assert examples.requests or examples.reasons, rule
        assert len(examples.requests) <= MOST
