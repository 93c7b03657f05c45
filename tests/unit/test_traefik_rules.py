"""Traefik's rules: the grammar, what the matchers take, and the requests that rules give."""

from __future__ import annotations

import time

import pytest

from towline.traefik.go_regexps import literal, matches
from towline.traefik.matchers import Protocol, Syntax
from towline.traefik.requests import MOST, ExampleRequest, find_requests
from towline.traefik.rules import LONGEST, Call, InvalidRule, parse_rule

A, B, C = (Call("Host", (name,)) for name in "abc")


# --------------------------------------------------------------------------------------------------- the grammar


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("Host(`a`)", (A,)),
        ("  Host ( `a` ) ", (A,)),
        ("Host(`a`)&&Host(`b`)", (A, B, "&&")),
        ("Host(`a`) || Host(`b`) && Host(`c`)", (A, B, C, "&&", "||")),
        ("Host(`a`) && Host(`b`) || Host(`c`)", (A, B, "&&", C, "||")),
        ("(Host(`a`) || Host(`b`)) && Host(`c`)", (A, B, "||", C, "&&")),
        ("Host(`a`) || Host(`b`) || Host(`c`)", (A, B, "||", C, "||")),
        ("!Host(`a`) && Host(`b`)", (A, "!", B, "&&")),
        ("!(Host(`a`) && Host(`b`))", (A, B, "&&", "!")),
        ("!!Host(`a`)", (A, "!", "!")),
        ("((Host(`a`)))", (A,)),
        ('Host("a")', (A,)),
        (r'Host("\x61")', (A,)),
        (r'Host("\u0061")', (A,)),
        (r'Host("\141")', (A,)),
        (r'Path("/\"\\\t")', (Call("Path", ('/"\\\t',)),)),
        (r"PathRegexp(`\.js$`)", (Call("PathRegexp", (r"\.js$",)),)),
        ("Host(`a`,`b`)", (Call("Host", ("a", "b")),)),
        ("Host(`a`,)", (A,)),
        ("Host()", (Call("Host", ()),)),
        ('Path(`/(x) || !y && "z" // no`)', (Call("Path", ('/(x) || !y && "z" // no',)),)),
        ("Host(`a`) // and nothing else", (A,)),
        ("Host(`a`) /* or */ || Host(`b`)", (A, B, "||")),
    ],
)
def test_rule_is_read_as_go_reads_it(text: str, terms: tuple[object, ...]) -> None:
    assert parse_rule(text).terms == terms


def test_line_may_break_behind_an_operator() -> None:
    assert parse_rule("Host(`a`) ||\n  Host(`b`)\n").terms == (A, B, "||")
    assert parse_rule("Host(\n`a`,\n)").terms == (A,)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "expected a matcher, found the end (character 1)"),
        ("Host(`a`", "expected , or ) in Host(…), found the end (character 9)"),
        ("(Host(`a`)", "the ( at character 1 is never closed"),
        ("Host(`a`))", "the ) at character 10 closes nothing"),
        ("()", "expected a matcher, found ) (character 2)"),
        ("!", "expected a matcher, found the end (character 2)"),
        ("Host(`a`) &&", "expected a matcher, found the end (character 13)"),
        ("&& Host(`a`)", "expected a matcher, found && (character 1)"),
        ("Host(`a`) Host(`b`)", "expected && or ||, found Host (character 11)"),
        ("Host(`a`) `b`", "expected && or ||, found a text (character 11)"),
        ("Host(`a`) !Host(`b`)", "expected && or ||, found ! (character 11)"),
        ("Host", "expected ( after Host, found the end (character 5)"),
        ("`a`", "expected a matcher, found a text (character 1)"),
        ("Host(a)", "expected a value in backticks or ) in Host(…), found a (character 6)"),
        ("Host(Path(`/`))", "expected a value in backticks or ) in Host(…), found Path (character 6)"),
        ("Host(`a` `b`)", "expected , or ) in Host(…), found a text (character 10)"),
        ("Host(,)", "expected a value in backticks or ) in Host(…), found , (character 6)"),
        ("Host(1)", "'1' is unexpected (character 6)"),
        ("Host('a')", "single quotes hold no value, use backticks (character 6)"),
        ("Host(`a)", "the ` is never closed (character 6)"),
        ('Host("a)', 'the " is never closed (character 6)'),
        ('Host("a\n")', 'the " is never closed (character 6)'),
        ("Host(`a`) & Host(`b`)", "'&' is unexpected (character 11); it is written && and ||"),
        ("Host(`a`); Host(`b`)", "';' is unexpected (character 10)"),
        (r'PathRegexp("\.js$")', r"\. is not a Go escape sequence; use backticks (character 12)"),
        (r'Host("\777")', r"\777 is not a Go escape sequence; use backticks (character 6)"),
        (
            "Host(`a`)\n|| Host(`b`)",
            "expected && or ||, found the end of a line (character 10); put && or || at the end of the line, not at the start",
        ),
        (
            "Host(`a`\n)",
            "expected , or ) in Host(…), found the end of a line (character 9); put && or || at the end of the line",
        ),
    ],
)
def test_invalid_rule_says_what_is_wrong_and_where(text: str, sentence: str) -> None:
    with pytest.raises(InvalidRule) as caught:
        parse_rule(text)
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize("depth", [10_000, 30_000])
def test_deep_nesting_is_no_trouble(depth: int) -> None:
    assert parse_rule("(" * depth + "Host(`a`)" + ")" * depth).terms == (A,)
    assert find_requests("!" * depth + "Host(`a`)").requests == (ExampleRequest("a"),)
    for broken in ("(" * depth, "(" * depth + "Host(`a`)", "Host(`a`)" + ")" * depth):
        with pytest.raises(InvalidRule):
            parse_rule(broken)


@pytest.mark.parametrize(
    "text",
    [
        " || ".join(f"Host(`a{i}`)" for i in range(3000)),
        " && ".join(f"Host(`a{i}`)" for i in range(3000)),
        " && ".join(f"(Host(`a{i}`) || Host(`b{i}`))" for i in range(400)),
        "!(" + " || ".join(f"(Host(`a{i}`) && Host(`b{i}`))" for i in range(400)) + ")",
        "Host(" + ",".join(["`a`"] * 15_000) + ")",
        "PathRegexp(`" + "(a|a)*" * 1000 + "`)",
        "/*" * 30_000,
        "`" * 60_001,
        "\0\ud800" * 1000,
    ],
    ids=lambda text: text[:20].encode(errors="replace").decode(),
)
def test_huge_rule_takes_no_time(text: str) -> None:
    started = time.process_time()
    for syntax in ("v2", "v3"):
        try:
            assert len(find_requests(text, "http", syntax).requests) <= MOST  # type: ignore[arg-type]
        except InvalidRule as e:
            assert "\n" not in str(e)
    assert time.process_time() - started < 2


def test_rule_longer_than_anyone_writes_is_refused() -> None:
    with pytest.raises(InvalidRule, match="longer than"):
        parse_rule(" " * LONGEST + "Host(`a`)")


# ---------------------------------------------------------------------------------------------------- the matchers


@pytest.mark.parametrize(
    ("rule", "protocol", "syntax", "sentence"),
    [
        ("Hst(`a`)", "http", "v3", "Traefik knows no http matcher Hst in rules of v3; did you mean Host?"),
        ("hOST(`a`)", "http", "v3", "Traefik knows no http matcher hOST"),
        (
            "Headers(`a`, `b`)",
            "http",
            "v3",
            "Traefik knows no http matcher Headers in rules of v3; did you mean Header?",
        ),
        (
            "Header(`a`, `b`)",
            "http",
            "v2",
            "Traefik knows no http matcher Header in rules of v2; did you mean Headers?",
        ),
        ("PathRegexp(`/`)", "http", "v2", "Traefik knows no http matcher PathRegexp in rules of v2"),
        ("HostSNI(`a`)", "http", "v3", "Traefik knows no http matcher HostSNI"),
        ("Host(`a`)", "tcp", "v3", "Traefik knows no tcp matcher Host in rules of v3; did you mean HostSNI?"),
        ("Host(`a`, `b`)", "http", "v3", "Host takes one value since Traefik 3, found 2; write Host(`a`) || Host(`b`)"),
        ("Header(`a`)", "http", "v3", "Header takes 2 values, found 1"),
        ("Query(`a`, `b`, `c`)", "http", "v3", "Query takes 1 or 2 values, found 3"),
        ("Headers(`a`)", "http", "v2", "Headers(`a`): Headers takes a name and a value each time, found 1 in all"),
        ("Query(`a`)", "http", "v2", "Query(`a`): Query takes a name and a value each time, found 1 in all"),
        ("Host()", "http", "v3", "Host needs a value"),
        ("Host(``)", "http", "v3", "Host(``): a value is empty"),
        ("Path(`x`)", "http", "v3", "Path(`x`): a path starts with /"),
        ("PathPrefix(`x`)", "http", "v2", "PathPrefix(`x`): a path starts with /"),
        ("Host(`müller.example`)", "http", "v3", "Host(`müller.example`): takes only ASCII"),
        ("ClientIP(`10.0.0.0/33`)", "http", "v3", "ClientIP(`10.0.0.0/33`): is neither an address nor a network"),
        ("ClientIP(`fe80::1%eth0`)", "http", "v3", "ClientIP(`fe80::1%eth0`): is neither an address nor a network"),
        ("HostRegexp(`(`)", "http", "v3", "HostRegexp(`(`): a bracket of the regular expression is open"),
        ("PathRegexp(`a)(`)", "http", "v3", "PathRegexp(`a)(`): a bracket of the regular expression is open"),
        ("Path(`/{a`)", "http", "v2", "Path(`/{a`): a brace is open"),
        ("HostSNI(`*.a`)", "tcp", "v2", "HostSNI(`*.a`): is not a host name in rules of v2"),
        ("ALPN(`acme-tls/1`)", "tcp", "v3", "ALPN(`acme-tls/1`): is reserved for Traefik's own certificates"),
        ("HostSNI(`a b`)", "tcp", "v3", "HostSNI(`a b`): is not a host name"),
    ],
)
def test_matcher_that_traefik_would_not_take_is_an_invalid_rule(
    rule: str, protocol: Protocol, syntax: Syntax, sentence: str
) -> None:
    with pytest.raises(InvalidRule) as caught:
        find_requests(rule, protocol, syntax)
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize("name", ["PathPrefix", "pathprefix", "PATHPREFIX", "Pathprefix"])
def test_matcher_may_be_written_in_the_cases_that_traefik_knows(name: str) -> None:
    assert find_requests(f"{name}(`/x`)").requests == (ExampleRequest("", "/x"),)


# ---------------------------------------------------------------------------------------------------- the requests


@pytest.mark.parametrize(
    ("rule", "requests"),
    [
        ("Host(`a.example`)", [ExampleRequest("a.example")]),
        ("Host(`A.Example.`)", [ExampleRequest("a.example")]),
        ("Host(`a`) || Host(`b`)", [ExampleRequest("a"), ExampleRequest("b")]),
        ("Host(`a`) || Host(`a`)", [ExampleRequest("a")]),
        ("Host(`a`) && PathPrefix(`/x`)", [ExampleRequest("a", "/x")]),
        ("Host(`a`) && (PathPrefix(`/x`) || Path(`/y`))", [ExampleRequest("a", "/x"), ExampleRequest("a", "/y")]),
        ("(Host(`a`) || Host(`b`)) && PathPrefix(`/x`)", [ExampleRequest("a", "/x"), ExampleRequest("b", "/x")]),
        ("PathPrefix(`/`)", [ExampleRequest("", "/")]),
        ("PathPrefix(`/api`) && PathPrefix(`/`)", [ExampleRequest("", "/api")]),
        ("Host(`*`)", [ExampleRequest("")]),
        ("Host(`*.example.com`)", [ExampleRequest("towline.example.com")]),
        ("Host(`::1`)", [ExampleRequest("::1")]),
        ("Host(`a`) && !PathPrefix(`/api`)", [ExampleRequest("a")]),
        ("Host(`a`) && !(PathPrefix(`/api`) || Path(`/x`))", [ExampleRequest("a")]),
        ("PathPrefix(`/x`) && !Path(`/x`)", [ExampleRequest("", "/x/")]),
        ("!Host(`a`)", [ExampleRequest("")]),
        ("!(!Host(`a`) || !Path(`/x`))", [ExampleRequest("a", "/x")]),
        ("Host(`a`) && Method(`post`)", [ExampleRequest("a", "/", "POST")]),
        ("Host(`a`) && !Method(`GET`)", [ExampleRequest("a", "/", "HEAD")]),
        ("Header(`X-Key`, `v`)", [ExampleRequest("", "/", "GET", (("X-Key", "v"),))]),
        ("Host(`a`) && Path(`/s`) && Query(`q`, `a b`) && Query(`m`)", [ExampleRequest("a", "/s?q=a+b&m=")]),
        ("QueryRegexp(`m`)", [ExampleRequest("", "/?m=")]),
        ("Path(`/ä b`)", [ExampleRequest("", "/%C3%A4%20b")]),
        ("Path(`/a%2Fb`)", [ExampleRequest("", "/a%2Fb")]),
        ("HostRegexp(`^a\\.example$`)", [ExampleRequest("a.example")]),
        ("HostRegexp(`.+`)", [ExampleRequest("localhost")]),
        ("HostRegexp(`.*`) && PathPrefix(`/x`)", [ExampleRequest("", "/x")]),
        ("Host(`a`) && PathRegexp(`^/(api|)`)", [ExampleRequest("a")]),
        ("Host(`a`) && !PathRegexp(`^/admin`)", [ExampleRequest("a")]),
        ("PathPrefix(`/x`) || PathPrefix(`/x/y`)", [ExampleRequest("", "/x"), ExampleRequest("", "/x/y")]),
        ("Host(`a`) || Host(`a`) && Path(`/x`)", [ExampleRequest("a"), ExampleRequest("a", "/x")]),
        ("Host(`a`) && Method(`GET`) || !Method(`GET`)", [ExampleRequest("a"), ExampleRequest("", "/", "HEAD")]),
        ("HostRegexp(`.+`) || Host(`a`)", [ExampleRequest("localhost"), ExampleRequest("a")]),
        ("HeaderRegexp(`X`, `^v$`)", [ExampleRequest("", "/", "GET", (("X", "v"),))]),
        (
            "(PathPrefix(`/x`) || PathPrefix(`/y`)) && !Path(`/x`)",
            [ExampleRequest("", "/x/"), ExampleRequest("", "/y")],
        ),
    ],
)
def test_rule_gives_a_request_for_each_alternative(rule: str, requests: list[ExampleRequest]) -> None:
    assert list(find_requests(rule).requests) == requests
    assert find_requests(rule).reasons == ()


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ("HostRegexp(`^[a-z]+\\.example$`)", "no example can be derived from the regular expression"),
        ("Host(`a`) && PathRegexp(`^/x/[0-9]+$`)", "no example can be derived from the regular expression"),
        ("HeaderRegexp(`X`, `.`)", "no example can be derived from the regular expression"),
        ("QueryRegexp(`q`, `.`)", "no example can be derived from the regular expression"),
        ("Host(`a`) && !PathRegexp(`\\p{Greek}`)", "no example can be derived from the regular expression"),
        ("Host(`a`) && ClientIP(`10.0.0.0/8`)", "ClientIP depends on the client's address"),
        ("Host(`a`) && !ClientIP(`::1`)", "ClientIP depends on the client's address"),
        ("Host(`a`) && Host(`b`)", "no request is known that meets all of it"),
        ("Host(`a`) && !Host(`a`)", "no request is known that meets all of it"),
        ("Host(`a`) && !Path(`/`)", "no request is known that meets all of it"),
        ("Path(`/x?y`)", "no request is known that meets all of it"),
        ("Path(`/100%`)", "no request is known that meets all of it"),
        ("Path(`/a//b`)", "no request is known that meets all of it"),
        ("PathPrefix(`/a/../b`)", "no request is known that meets all of it"),
        ("Host(`a:8080`)", "Traefik looks at hosts without their port"),
    ],
)
def test_what_gives_no_request_says_why(rule: str, why: str) -> None:
    found = find_requests(rule)
    assert found.requests == ()
    assert [reason.rpartition(": ")[2] for reason in found.reasons] == [why]


def test_one_alternative_without_a_request_leaves_the_others() -> None:
    found = find_requests("Host(`a`) || HostRegexp(`^x+$`)")
    assert found.requests == (ExampleRequest("a"),)
    assert found.reasons == ("HostRegexp(`^x+$`): no example can be derived from the regular expression",)


def test_nested_alternative_without_a_request_leaves_the_others() -> None:
    found = find_requests("Host(`a`) && (Path(`/x`) || PathRegexp(`^/[0-9]+$`) || ClientIP(`::1`) || Path(`/y`))")
    assert found.requests == (ExampleRequest("a", "/x"), ExampleRequest("a", "/y"))
    assert found.reasons == (
        "Host(`a`) && PathRegexp(`^/[0-9]+$`): no example can be derived from the regular expression",
        "Host(`a`) && ClientIP(`::1`): ClientIP depends on the client's address",
    )


@pytest.mark.parametrize(
    ("rule", "requests"),
    [
        ("Host(`a`, `b`)", [ExampleRequest("a"), ExampleRequest("b")]),
        ("HostHeader(`a`)", [ExampleRequest("a")]),
        (
            "Host(`a`, `b`) && Path(`/x`, `/y`)",
            [
                ExampleRequest("a", "/x"),
                ExampleRequest("a", "/y"),
                ExampleRequest("b", "/x"),
                ExampleRequest("b", "/y"),
            ],
        ),
        ("!Host(`a`, `localhost`)", [ExampleRequest("")]),
        ("Headers(`X`, `1`, `Y`, `2`)", [ExampleRequest("", "/", "GET", (("X", "1"), ("Y", "2")))]),
        ("Query(`q=1`, `r=2`)", [ExampleRequest("", "/?q=1&r=2")]),
        ("HostRegexp(`{any:.+}`)", [ExampleRequest("localhost")]),
        ("HostRegexp(`a.example`)", [ExampleRequest("a.example")]),
        ("Host(`a`) && PathPrefix(`/{any:.*}`)", [ExampleRequest("a")]),
        ("Method(`POST`, `GET`)", [ExampleRequest("", "/", "POST"), ExampleRequest("", "/", "GET")]),
    ],
)
def test_rule_of_v2_gives_its_requests(rule: str, requests: list[ExampleRequest]) -> None:
    found = find_requests(rule, "http", "v2")
    assert list(found.requests) == requests
    assert found.reasons == ()


def test_template_of_v2_gives_a_reason() -> None:
    found = find_requests("HostRegexp(`{sub:[a-z]+}.example.com`)", "http", "v2")
    assert found.requests == ()
    assert "regular expression" in found.reasons[0]


@pytest.mark.parametrize(
    ("rule", "requests"),
    [
        ("HostSNI(`*`)", [ExampleRequest("", "", "")]),
        ("HostSNI(`db.example`)", [ExampleRequest("db.example", "", "")]),
        ("HostSNI(`a`) || HostSNI(`b`)", [ExampleRequest("a", "", ""), ExampleRequest("b", "", "")]),
        ("HostSNI(`*.example.com`)", [ExampleRequest("towline.example.com", "", "")]),
        ("HostSNI(`*`) && ALPN(`h2`)", []),
        ("HostSNIRegexp(`^a+$`)", []),
    ],
)
def test_tcp_rule_gives_the_server_names_to_send(rule: str, requests: list[ExampleRequest]) -> None:
    assert list(find_requests(rule, "tcp").requests) == requests


def test_more_alternatives_than_are_probed_are_a_reason() -> None:
    found = find_requests(" || ".join(f"Host(`a{i}`)" for i in range(MOST + 1)))
    assert len(found.requests) == MOST
    assert found.reasons == (f"only the first {MOST} alternatives of the rule are probed",)
    hosts, paths = (" || ".join(f"{name}{i}`)" for i in range(8)) for name in ("Host(`a", "Path(`/"))
    assert find_requests(f"({hosts}) && ({paths})").reasons == found.reasons
    whole = find_requests(" && ".join(f"!Host(`a{i}`)" for i in range(MOST + 1)))
    assert whole.reasons == ()


def test_more_combinations_than_are_tried_are_a_reason() -> None:
    found = find_requests(" && ".join(f"Host(`a{i}`)" for i in range(1000)))
    assert found.requests == ()
    assert found.reasons[-1] == "not every combination of what the rule names was tried"


def test_only_requests_that_change_nothing_are_safe() -> None:
    safe = [
        find_requests(f"Method(`{method}`)").requests[0].safe for method in ("GET", "HEAD", "OPTIONS", "POST", "DELETE")
    ]
    assert safe == [True, True, True, False, False]


# ------------------------------------------------------------------------------------------------ regular expressions


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        (r"^/api", "/api/x", True),
        (r"^/api", "/", False),
        (r"(?i)^A$", "a", True),
        (r"^(www\.)?a\.example$", "a.example", True),
        (r"[^/]+$", "/x", True),
        (r"^\d\d$", "١١", False),
        (r"[[:alpha:]]", "a", None),
        (r"(?P<n>a)", "a", None),
        (r"a{2}", "aa", None),
        (r"a++", "aa", None),
        (r"(a+)+$", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!", None),
        (r".*.*.*x", "a", None),
        (r"(", "a", None),
        ("a" * 400, "a", None),
        ("(" * 200 + "a" + ")" * 200, "a", None),
    ],
)
def test_regular_expression_is_tried_only_where_python_reads_it_like_go(
    pattern: str, text: str, found: bool | None
) -> None:
    assert matches(pattern, text) is found


def test_pattern_for_one_text_is_that_text() -> None:
    assert literal(r"^a-b\.example$") == "a-b.example"
    assert literal(r"a") is None
    assert literal(r"^a.b$") is None
