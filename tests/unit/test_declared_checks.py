"""x-towline.checks and x-towline.waive: each kind and its defaults, and one clear line for every error."""

from __future__ import annotations

import re
from datetime import date
from typing import Any

import pytest

from towline.errors import StackError
from towline.project.declared_checks import (
    Check,
    Command,
    Dns,
    File,
    Http,
    Retry,
    Tcp,
    Tls,
    parse_checks,
)
from towline.project.waivers import Waiver, parse_waivers
from towline.project.yaml_file import Place, parse_yaml

CHECKS = Place("stacks/web/compose.yaml", "x-towline.checks", StackError)
WAIVE = Place("stacks/web/compose.yaml", "x-towline.waive", StackError)


def checks(text: str) -> tuple[Check, ...]:
    return parse_checks(parse_yaml(text, "compose.yaml"), ["web", "db"], CHECKS)


def check(text: str) -> Check:
    (declared,) = checks(f"[{{{text}}}]")
    return declared


# ---------------------------------------------------------------------------------------------------- what is right

GOOD: dict[str, Check] = {
    "http: /health": Http("http./health", url="/health"),
    "http: 'https://a.example/x?y=1'": Http("http.https://a.example/x-y=", url="https://a.example/x?y=1"),
    "http: /, route: api": Http("http.api/", url="/", route="api"),
    "http: /, status: 204": Http("http./", status=(204,)),
    "http: /, status: [200, 301]": Http("http./", status=(200, 301)),
    "http: /, contains: ok, header: {x: y}, max_seconds: 2, follow: true": Http(
        "http./", contains="ok", header={"x": "y"}, max_seconds=2, follow=True
    ),
    "tcp: 'db:6379'": Tcp("tcp.db:6379", host="db", port=6379),
    "tcp: '[2001:db8::1]:25'": Tcp("tcp.-2001:db8::1-:25", host="2001:db8::1", port=25),
    "dns: a.example": Dns("dns.a.example", host="a.example"),
    "dns: a.example, address: 192.0.2.1": Dns("dns.a.example", host="a.example", address="192.0.2.1"),
    "tls: a.example": Tls("tls.a.example", host="a.example", port=443, min_days=14),
    "tls: 'web:8443', server_name: b.example, min_days: 0": Tls(
        "tls.web:8443", host="web", port=8443, server_name="b.example", min_days=0
    ),
    "command: test -e /x | true": Command("command.test--e-/x-|-true", words=("sh", "-c", "test -e /x | true")),
    "command: [test, -z, ''], service: db, exit_code: 1, contains: x, timeout: 2.5": Command(
        "command.test--z-", words=("test", "-z", ""), service="db", exit_code=1, contains="x", timeout=2.5
    ),
    "file: data/*.gz": File("file.data/-.gz", path="data/*.gz"),
    "file: x, exists: false": File("file.x", path="x", exists=False),
    "file: x, mode: 0600, owner: root, max_age: 26h, min_bytes: 1": File(
        "file.x", path="x", mode="600", owner="root", max_age=93600, min_bytes=1
    ),
    "file: x, mode: 644, max_age: 90": File("file.x", path="x", mode="644", max_age=90),
    "file: x, mode: '0000'": File("file.x", path="x", mode="0"),
    "file: x, mode: '0044'": File("file.x", path="x", mode="44"),
    "tcp: 'db:1', name: db-listens, retry: 3": Tcp("db-listens", Retry(3), host="db", port=1),
    "tcp: 'db:1', retry: {times: 2, pause: 0.5}": Tcp("tcp.db:1", Retry(2, 0.5), host="db", port=1),
}


@pytest.mark.parametrize("text", GOOD)
def test_check_is_read_with_its_defaults(text: str) -> None:
    assert check(text) == GOOD[text]


def test_nothing_declared_is_nothing_to_check() -> None:
    assert parse_checks(None, ["web"], CHECKS) == ()
    assert parse_waivers(None, WAIVE) == ()


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("2m", 120), ("1.5h", 5400), ("1w", 604800)])
def test_age_may_be_given_in_any_unit(text: str, seconds: float) -> None:
    declared = check(f"file: x, max_age: {text}")
    assert isinstance(declared, File)
    assert declared.max_age == seconds


def test_long_name_is_shortened_to_what_an_id_can_be() -> None:
    name = check(f"command: 'echo {'x' * 200}\t?'").name
    assert (len(name), name[:15], name[-2:]) == (80, "command.echo-xx", "x…")


def test_given_name_makes_two_of_the_same_check() -> None:
    assert [check.name for check in checks("[{http: /}, {http: /, name: again}]")] == ["http./", "again"]


# ---------------------------------------------------------------------------------------- variables and their values


def filled(written: str, values: str) -> tuple[Check, ...]:
    return parse_checks(
        parse_yaml(f"[{written}]", "compose.yaml"), ["web", "db"], CHECKS, parse_yaml(f"[{values}]", "compose.yaml")
    )


NAMES = {
    "{command: 'curl -u ann:hunter22 http://web/'}": "command.curl--u-ann-http://web/",
    "{command: 'curl -u $USER:$PASS http://web/'}": "command.curl--u-$USER:$PASS-http://web/",
    "{command: [redis-cli, --pass, hunter22, ping]}": "command.redis-cli---pass-ping",
    "{command: 'PGPASSWORD=hunter22 psql -c x'}": "command.PGPASSWORD=-psql--c-x",
    "{command: 'curl -H \"Authorization: Bearer hunter22\" web'}": 'command.curl--H-"Authorization:-Bearer-"-web',
    "{command: 'echo $$HOME ${X:-hunter22} ${Y:?hunter22}'}": "command.echo-$HOME-$X-$Y",
    "{http: 'https://ann:hunter22@a.example/x?token=hunter22&n=$N'}": "http.https://a.example/x-token=&n=$N",
    "{http: '/x?a=${SECRET:-hunter22}'}": "http./x-a=$SECRET",
    "{tcp: '${HOST}:5432'}": "tcp.$HOST:5432",
}


@pytest.mark.parametrize(("written", "name"), NAMES.items(), ids=str)
def test_default_name_has_no_value(written: str, name: str) -> None:
    values = re.sub(r"\$\$|\$\{\w+[^}]*\}|\$\w+", "hunter22", written)
    (check,) = filled(written, values)
    assert check.name == name


def test_checks_that_differ_in_what_is_left_out_are_numbered() -> None:
    text = "{http: '/x?page=1'}, {http: '/x?page=2'}, {http: '/x?page=3'}"
    assert [check.name for check in filled(text, text)] == ["http./x-page=", "http./x-page=-2", "http./x-page=-3"]


def test_what_is_run_is_what_was_filled_in() -> None:
    (check,) = filled("{command: 'echo $X'}", "{command: echo hunter22}")
    assert check == Command("command.echo-$X", words=("sh", "-c", "echo hunter22"), from_variables=True)


@pytest.mark.parametrize(
    ("written", "values"),
    [
        ("{http: '$URL'}", "{http: 'ftp://ann:hunter22@x'}"),
        ("{http: 'ftp://$URL'}", "{http: 'ftp://ann:hunter22@x'}"),
        ("{tcp: 'db:$PORT'}", "{tcp: 'db:hunter22'}"),
        ("{command: '$EMPTY', service: wbe}", "{command: hunter22, service: wbe}"),
        ("{file: x, max_age: '$AGE'}", "{file: x, max_age: hunter22}"),
    ],
)
def test_error_quotes_no_value(written: str, values: str) -> None:
    with pytest.raises(StackError) as caught:
        filled(written, values)
    assert "hunter22" not in str(caught.value)
    assert str(caught.value).startswith("stacks/web/compose.yaml: x-towline.checks[0]")


# --------------------------------------------------------------------------------------------------- what is wrong

BAD: dict[str, tuple[str, ...]] = {
    "{}": ("expected a list, got a mapping",),
    "[7]": ("[0]: expected a mapping, got 7",),
    "[{}]": ("[0]: a check has exactly one of http, tcp, dns, tls, command, file; found nothing",),
    "[{htpp: /}]": ("[0]: a check has exactly one of http,", "found htpp"),
    "[{http: /, tcp: 'a:1'}]": ("[0]: a check has exactly one of http,", "found http and tcp"),
    "[{http: /}, {http: /}]": ("[1]: a second check named 'http./'", "name:"),
    "[{http: /, statsu: 1}]": ("[0]: unknown key 'statsu'", "did you mean status?"),
    "[{http: }]": ("[0].http: is missing",),
    "[{http: 7}]": ("[0].http: expected str, got 7",),
    "[{http: health}]": ("[0].http: 'health': expected a path such as /health, or a URL",),
    "[{http: 'ftp://a/'}]": ("[0].http: 'ftp://a/': expected",),
    "[{http: 'http://'}]": ("[0].http: 'http://': expected",),
    "[{http: 'http://a:99999/'}]": ("[0].http: 'http://a:99999/': expected",),
    "[{http: 'http://a:0/'}]": ("[0].http: 'http://a:0/': expected",),
    "[{http: 'http://['}]": ("[0].http: 'http://[': expected",),
    "[{http: '/a b'}]": ("[0].http: '/a b': expected spaces", "%20"),
    "[{http: '/ü'}]": ("[0].http: '/ü': expected", "percent-encoded"),
    '[{http: "/a\\r\\nHost: b"}]': ("[0].http:", "percent-encoded"),
    "[{http: /, status: ok}]": ("[0].status: expected", "'ok'"),
    "[{http: /, status: 20}]": ("[0].status: expected int >= 100, got 20",),
    "[{http: /, status: [200, 900]}]": ("[0].status[1]: expected int <= 599, got 900",),
    "[{http: /, header: [x]}]": ("[0].header: expected mapping, got a list",),
    "[{http: /, max_seconds: -1}]": ("[0].max_seconds: expected", ">= 0", "got -1"),
    "[{http: /, follow: 1}]": ("[0].follow: expected bool, got 1",),
    "[{tcp: 6379}]": ("[0].tcp: expected str, got 6379",),
    "[{tcp: db}]": ("[0].tcp: 'db': expected host:port, such as db:5432",),
    "[{tcp: 'db:0'}]": ("[0].tcp: 'db:0': expected host:port",),
    "[{tcp: 'db:70000'}]": ("[0].tcp: 'db:70000': expected host:port",),
    "[{tcp: 'tcp://db:1'}]": ("[0].tcp: 'tcp://db:1': expected host:port",),
    "[{dns: 'a b'}]": ("[0].dns: 'a b': expected a name such as www.example.com",),
    "[{dns: '-x'}]": ("[0].dns: '-x': expected a name",),
    "[{tls: 'a:x'}]": ("[0].tls: 'a:x': expected host:port",),
    "[{tls: a, min_days: -1}]": ("[0].min_days: expected int >= 0, got -1",),
    "[{command: ' '}]": ("[0].command: ' ': expected a command line, or a list of words",),
    "[{command: []}]": ("[0].command: '': expected a command line",),
    "[{command: ['', x]}]": ("[0].command: ' x': expected",),
    "[{command: [a, 5]}]": ("[0].command[1]: expected str, got 5",),
    '[{command: "a\\0b"}]': ("[0].command: 'a\\x00b': expected",),
    "[{command: x, service: webb}]": ("[0].service: no service 'webb'", "did you mean web?"),
    "[{command: x, timeout: 0}]": ("[0].timeout: expected", "> 0", "got 0"),
    "[{command: x, exit_code: ok}]": ("[0].exit_code: expected int, got 'ok'",),
    "[{file: ' '}]": ("[0].file: ' ': expected a path",),
    '[{file: "a\\nb"}]': ("[0].file: 'a\\nb': expected a path",),
    "[{file: x, mode: rw}]": ("[0].mode: 'rw': expected octal digits, such as '0600'",),
    "[{file: x, mode: 888}]": ("[0].mode: '888': expected octal digits",),
    "[{file: x, max_age: soon}]": ("[0].max_age: 'soon': expected a time such as 90s, 26h or 1d",),
    "[{file: x, max_age: -5}]": ("[0].max_age: -5: expected a time",),
    "[{file: x, min_bytes: -1}]": ("[0].min_bytes: expected int >= 0, got -1",),
    "[{http: /, name: ''}]": ("[0].name: '': expected up to 80 characters without spaces",),
    "[{http: /, name: a b}]": ("[0].name: 'a b': expected",),
    '[{http: /, name: "a\\eb"}]': ("[0].name: 'a\\x1bb': expected",),
    "[{http: /, name: 'a*'}]": ("[0].name: 'a*': expected",),
    "[{http: /, retry: often}]": ("[0].retry: expected a number of times, or {times: 3, pause: 2}, got 'often'",),
    "[{http: /, retry: true}]": ("[0].retry: expected a number of times", "got True"),
    "[{http: /, retry: 500}]": ("[0].retry.times: expected int <= 100, got 500",),
    "[{http: /, retry: {tries: 3}}]": ("[0].retry: unknown key 'tries'", "times"),
    "[{http: /, retry: {times: 3, pause: 0}}]": ("[0].retry.pause: expected", "> 0", "got 0"),
}
BAD_WAIVERS: dict[str, tuple[str, ...]] = {
    "x": ("expected a list, got 'x'",),
    "[x]": ("[0]: expected a mapping, got 'x'",),
    "[{check: a, reason: b}]": ("[0].until: is missing",),
    "[{reason: b, until: 2027-01-31}]": ("[0].check: is missing",),
    "[{check: a, until: 2027-01-31}]": ("[0].reason: is missing",),
    "[{check: ' ', reason: b, until: 2027-01-31}]": ("[0].check: ' ': expected the id of a finding, or a pattern",),
    "[{check: a, reason: '', until: 2027-01-31}]": ("[0].reason: '': expected why the finding is known",),
    "[{check: a, reason: b, until: 2027-02-30}]": ("[0].until: '2027-02-30': expected a day such as 2027-01-31",),
    "[{check: a, reason: b, until: someday}]": ("[0].until: 'someday': expected a day",),
    "[{check: a, reason: b, until: 2027-01-31, why: c}]": ("[0]: unknown key 'why'",),
}


def message_of(parse: Any, text: str, *more: Any) -> str:
    with pytest.raises(StackError) as caught:
        parse(parse_yaml(text, "compose.yaml"), *more)
    return str(caught.value)


@pytest.mark.parametrize("text", BAD)
def test_bad_check_is_one_line_with_its_place(text: str) -> None:
    line = message_of(parse_checks, text, ["web", "db"], CHECKS)
    assert "\n" not in line
    assert line.startswith("stacks/web/compose.yaml: x-towline.checks")
    assert [words for words in BAD[text] if words not in line] == [], line


@pytest.mark.parametrize("text", BAD_WAIVERS)
def test_bad_waiver_is_one_line_with_its_place(text: str) -> None:
    line = message_of(parse_waivers, text, WAIVE)
    assert "\n" not in line
    assert line.startswith("stacks/web/compose.yaml: x-towline.waive")
    assert [words for words in BAD_WAIVERS[text] if words not in line] == [], line


def test_waiver_is_read_with_its_day() -> None:
    raw = parse_yaml("[{check: ' *.certificate ', reason: ' own ', until: 2027-01-31}]", "compose.yaml")
    assert parse_waivers(raw, WAIVE) == (Waiver("*.certificate", "own", date(2027, 1, 31)),)
