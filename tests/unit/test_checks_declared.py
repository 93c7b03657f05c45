"""Declared checks: what is run or asked for each, and what its answer means."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from msgspec.structs import replace as replace_struct

from tests.example_host import CERTIFICATE, GOOD, NOW, Example
from towline.checks import ask as asking
from towline.checks import declared_commands, declared_probes
from towline.checks.answers import Answers
from towline.checks.ask import MOST_REDIRECTS, ProbedCheck, ask
from towline.checks.declared_probes import CheckContext
from towline.checks.finding import Finding
from towline.commands.shell import Command as Words
from towline.commands.shell import WithEnvironment, line
from towline.facts.probe import Answer, Probe
from towline.project.declared_checks import Check, Command, Dns, File, Http, Retry, Tcp, Tls
from towline.ssh.session import Result

SHOP = GOOD.stacks[1]
DAY = 86400


def where(example: Example = GOOD) -> CheckContext:
    return example.state().context(example.stacks[1], {})


def finding(example: Example, name: str) -> Finding:
    (found,) = [one for one in example.findings() if one.id == f"stack.shop.check.{name}"]
    return found


def judged(check: Check, result: Result) -> tuple[str, str]:
    found = declared_commands.judge_command(check, where(), result)
    return found.result, found.sentence


# ------------------------------------------------------------------------------------------------- run on the server


def words_of(check: Check) -> Words:
    words = declared_commands.command(check, SHOP, "stacks")
    assert words is not None
    return words


def test_command_runs_within_its_time_and_is_tried_again() -> None:
    words = words_of(Command("x", Retry(3, 0.5), words=("echo", "a b"), exit_code=1, contains="yes", timeout=2))
    assert words[:2] == ("sh", "-c")
    assert words[3:7] == ("towline", "3", "0.5", "1")
    assert environment(words)["TOWLINE_HAS"] == "yes"
    assert words[-3:] == ("stacks/shop", "echo", "a b")
    assert "2" in words


def test_command_in_a_service_names_project_and_service() -> None:
    words = words_of(Command("x", words=("redis-cli", "ping"), service="db"))
    assert words[-5:] == ("towline", "shop", "db", "redis-cli", "ping")


def environment(words: Words) -> dict[str, str]:
    assert isinstance(words, WithEnvironment)
    return dict(words.environment)


SECRET = "it's $ecret"


@pytest.mark.parametrize("service", ["", "db"])
@pytest.mark.parametrize(
    "command",
    [
        Command("x", words=("sh", "-c", f"echo {SECRET}"), contains=SECRET),
        Command("x", words=("bash", "-c", f"echo {SECRET}", "name", SECRET)),
        Command("x", words=("redis-cli", "-a", SECRET), from_variables=True),
    ],
    ids=["text", "shell", "words"],
)
def test_no_word_of_a_command_line_holds_a_variable_s_value(command: Command, service: str) -> None:
    words = words_of(replace_struct(command, service=service))
    assert not [word for word in words if "ecret" in word]
    assert "ecret" in environment(words)["TOWLINE_TEXT"]
    assert line(words).startswith("(export TOWLINE_HAS=")


def test_file_is_looked_for_in_the_live_folder() -> None:
    assert words_of(File("x", path="data/*.gz"))[-2:] == ("stacks/shop", "data/*.gz")


def test_file_that_should_not_be_there_is_tried_until_it_is_gone() -> None:
    assert words_of(File("x", path="lock"))[6] == "0"
    assert words_of(File("x", path="lock", exists=False))[6] == "2"


def test_name_is_resolved_by_the_server_s_own_means() -> None:
    assert words_of(Dns("x", host="a.example"))[-3:] == ("getent", "ahosts", "a.example")


@pytest.mark.parametrize("check", [Http("x"), Tcp("x", host="db", port=1), Tls("x", host="db")])
def test_what_is_asked_over_tcp_runs_nothing_there(check: Check) -> None:
    assert declared_commands.command(check, SHOP, "stacks") is None


COMMAND = Command("x", words=("true",), contains="PONG", timeout=10)
THERE = b"600 root 12 3600 data/a.gz\n"
ADDRESSES = b"192.0.2.1     STREAM a.example\n192.0.2.1     DGRAM\n2001:db8::1   STREAM\n"
RESULTS: dict[str, tuple[Check, Result, str, str]] = {
    "says it": (COMMAND, Result(0, b"PONG\n"), "pass", "does what it should"),
    "does not say it": (COMMAND, Result(0, b"PING\n"), "fail", "does not say 'PONG'"),
    "other code": (COMMAND, Result(3, b"PONG\n"), "fail", "ended with 3, expected 0"),
    "expected code": (Command("x", words=("false",), exit_code=1), Result(1), "pass", "does what it should"),
    "too long": (COMMAND, Result(124), "fail", "did not end within 10 s, expected 0"),
    "service is down": (Command("x", words=("true",), service="db"), Result(125), "skip", "db does not run"),
    "file": (File("x", path="data/*.gz"), Result(0, THERE), "pass", "data/a.gz is as it should be"),
    "no file": (File("x", path="data/*.gz"), Result(2), "fail", "data/*.gz does not exist"),
    "no file, as it should": (File("x", path="lock", exists=False), Result(2), "pass", "as it should"),
    "file that should not be": (File("x", path="lock", exists=False), Result(0, THERE), "fail", "and should not"),
    "right mode": (File("x", path="x", mode="600"), Result(0, THERE), "pass", ""),
    "other mode": (File("x", path="x", mode="640"), Result(0, THERE), "fail", "has mode 600, expected 640"),
    "other owner": (File("x", path="x", owner="backup"), Result(0, THERE), "fail", "is root's, expected backup"),
    "young": (File("x", path="x", max_age=7200), Result(0, THERE), "pass", ""),
    "old": (File("x", path="x", max_age=1800), Result(0, THERE), "fail", "was changed 1.0 h ago, expected at most 30 min"),
    "small": (File("x", path="x", min_bytes=13), Result(0, THERE), "fail", "has 12 bytes, expected at least 13"),
    "blanks in its name": (File("x", path="x"), Result(0, b"644 a 1 5 a  b c\n"), "pass", "a  b c is as it should be"),
    "resolves": (Dns("x", host="a.example"), Result(0, ADDRESSES), "pass", "resolves a.example"),
    "resolves to it": (Dns("x", host="a.example", address="2001:db8::1"), Result(0, ADDRESSES), "pass", ""),
    "resolves elsewhere": (Dns("x", host="a.example", address="192.0.2.9"), Result(0, ADDRESSES), "fail", "is not 192.0.2.9"),
    "does not resolve": (Dns("x", host="a.example"), Result(2), "fail", "does not resolve a.example"),
    "no getent": (Dns("x", host="a.example"), Result(127), "skip", "no getent"),
}  # fmt: skip


@pytest.mark.parametrize("name", RESULTS)
def test_what_ran_is_judged(name: str) -> None:
    check, result, expected, sentence = RESULTS[name]
    found, told = judged(check, result)
    assert found == expected
    assert sentence in told


def test_evidence_is_the_end_of_what_was_said() -> None:
    said = "".join(f"line {n}\n" for n in range(30)).encode()
    assert declared_commands.judge_command(COMMAND, where(), Result(1, said)).evidence.split("\n") == [
        f"line {n}" for n in range(20, 30)
    ]


# ---------------------------------------------------------------------------------------------------- asked over TCP

ASKED: dict[str, tuple[Check, tuple[Probe, ...]]] = {
    "service": (Tcp("x", host="db", port=6379), (Probe("172.21.0.2", 6379, http=False),)),
    "elsewhere": (Tcp("x", host="192.0.2.9", port=25), (Probe("192.0.2.9", 25, http=False),)),
    "certificate of a service": (Tls("x", host="db", port=6380), (Probe("172.21.0.2", 6380, tls=True, http=False),)),
    "certificate": (Tls("x", host="b.example"), (Probe("b.example", 443, "b.example", tls=True, http=False),)),
    "certificate as somebody": (
        Tls("x", host="db", port=1, server_name="c.example"),
        (Probe("172.21.0.2", 1, "c.example", tls=True, http=False),),
    ),
    "url of a service": (Http("x", url="http://db:8000/x?y=1"), (Probe("172.21.0.2", 8000, "db", path="/x?y=1"),)),
    "url": (Http("x", url="https://b.example"), (Probe("b.example", 443, "b.example", tls=True),)),
    "path": (
        Http("x", url="/health"),
        (
            Probe("127.0.0.1", 80, "a.example", path="/health"),
            Probe("127.0.0.1", 443, "a.example", tls=True, path="/health"),
        ),
    ),
    "path of another route": (Http("x", url="/", route="other"), ()),
}


@pytest.mark.parametrize("name", ASKED)
def test_what_is_asked(name: str) -> None:
    check, questions = ASKED[name]
    assert declared_probes.probes(check, where()) == questions


def test_service_without_a_running_container_is_not_asked() -> None:
    down = GOOD.container("shop-db-1", state="exited")
    assert declared_probes.probes(Tcp("x", host="db", port=1), where(down)) == ()


OK = Answer(status=200, body=b"<h1>Shop</h1>", headers={"content-type": "text/html; charset=utf-8"}, seconds=0.5)
JUDGED: dict[str, tuple[Check, Answer, str, str]] = {
    "fine": (Http("x"), OK, "pass", "answers as it should"),
    "redirect": (Http("x"), Answer(status=302), "pass", ""),
    "404": (Http("x"), Answer(status=404), "fail", "a.example/: status 404"),
    "404 that is right": (Http("x", status=(404,)), Answer(status=404), "pass", ""),
    "another status": (Http("x", status=(200, 204)), Answer(status=301), "fail", "status 301, expected 200 or 204"),
    "contains": (Http("x", contains="Shop"), OK, "pass", ""),
    "does not contain": (Http("x", contains="Blog"), OK, "fail", "'Blog' is not in the answer"),
    "header": (Http("x", header={"Content-Type": "text/html"}), OK, "pass", ""),
    "other header": (Http("x", header={"Content-Type": "json"}), OK, "fail", "header Content-Type is 'text/html; charset=utf-8'"),
    "no header": (Http("x", header={"X-Y": "1"}), OK, "fail", "header X-Y is 'not there', expected '1'"),
    "slow": (Http("x", max_seconds=0.2), OK, "fail", "it took 0.50 s, expected at most 0.2"),
    "quick": (Http("x", max_seconds=0.6), OK, "pass", ""),
    "nobody": (Http("x"), Answer("nobody answers"), "fail", "a.example/: nobody answers"),
}  # fmt: skip


@pytest.mark.parametrize("name", JUDGED)
def test_http_answer_is_judged(name: str) -> None:
    check, answer, result, sentence = JUDGED[name]
    both = GOOD.answered("a.example@127.0.0.1:80", answer).answered("a.example@127.0.0.1:443", answer)
    found = finding(both.checked(check), "x")
    assert found.result == result
    assert sentence in found.sentence


CERTIFICATES: dict[str, tuple[Check, Any, str, str]] = {
    "good": (Tls("x", host="a.example"), CERTIFICATE, "pass", "its certificate is good"),
    "none": (Tls("x", host="a.example"), None, "fail", "no certificate is served"),
    "expired": (Tls("x", host="a.example"), replace(CERTIFICATE, ends=NOW - 1), "fail", "has expired"),
    "few days": (Tls("x", host="a.example", min_days=90), CERTIFICATE, "fail", "good for 60 days only"),
    "expired, and no days wanted": (
        Tls("x", host="a.example", min_days=0), replace(CERTIFICATE, ends=NOW - 1), "fail", "has expired"),
    "other name": (Tls("x", host="b.example"), CERTIFICATE, "fail", "is for a.example, *.a.example"),
    "other name is meant": (Tls("x", host="b.example", server_name="a.example"), CERTIFICATE, "pass", ""),
    "any name, of a service": (Tls("x", host="db"), CERTIFICATE, "pass", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", CERTIFICATES)
def test_served_certificate_is_judged(name: str) -> None:
    check, served, result, sentence = CERTIFICATES[name]
    (question,) = declared_probes.probes(check, where())
    found = declared_probes.judge_answers(check, where(), [(question, Answer(certificate=served))])
    assert found.result == result
    assert sentence in found.sentence


def test_port_that_is_shut_fails() -> None:
    example = GOOD.checked(Tcp("x", host="db", port=6380)).answered("172.21.0.2:6380", Answer("nobody answers"))
    assert finding(example, "x").result == "fail"
    assert example.wrong() == ["stack.shop.check.x"]


# --------------------------------------------------------------------------------------------- what cannot be asked


def test_path_of_an_unknown_route_fails_and_offers_the_nearest() -> None:
    found = finding(GOOD.checked(Http("x", route="shpo")), "x")
    assert (found.result, found.sentence) == ("fail", "there is no route 'shpo'; did you mean shop?")


def test_path_without_any_route_fails() -> None:
    found = finding(GOOD.checked(Http("x")).container("shop-web-1", labels={}), "x")
    assert (found.result, found.sentence) == ("fail", "no Traefik serves a route of shop, so / cannot be requested")


CAUSES: dict[str, tuple[Any, str]] = {
    "its service is stopped": (
        lambda e: e.container("shop-db-1", state="exited", held=()),
        "stack.shop.service.db.running",
    ),
    "its service is unhealthy": (
        lambda e: e.container("shop-db-1", health="unhealthy"),
        "stack.shop.service.db.healthy",
    ),
    "Traefik is unhealthy": (
        lambda e: e.container("traefik-traefik-1", health="unhealthy"),
        "stack.traefik.service.traefik.healthy",
    ),
    "the engine is down": (lambda e: e.dead_engine(), "engine.running"),
    "it is not deployed": (lambda e: e.look("shop", current="", model=None), "stack.shop.deployed"),
}


@pytest.mark.parametrize("name", CAUSES)
def test_check_that_fails_for_another_reason_speaks_of_that(name: str) -> None:
    change, cause = CAUSES[name]
    shut = Answer("nobody answers")
    example = GOOD.checked(Tcp("x", host="db", port=1), Http("y")).answered("172.21.0.2:1", shut)
    broken = change(example.answered("a.example@127.0.0.1:80", shut))
    assert finding(broken, "y").result == "skip"
    assert finding(broken, "y").because == cause
    if "Traefik" not in name:
        assert finding(broken, "x").because == cause


def test_name_that_does_not_resolve_is_no_service_s_fault() -> None:
    example = GOOD.checked(Dns("x", host="a.example"), x=Result(2)).container("shop-db-1", health="unhealthy")
    assert finding(example, "x").result == "fail"


def test_check_of_a_command_is_judged_with_the_rest() -> None:
    check = Command("x", words=("true",))
    assert GOOD.checked(check, x=Result(0)).wrong() == []
    assert GOOD.checked(check, x=Result(1)).wrong() == ["stack.shop.check.x"]


# ---------------------------------------------------------------------------------------------------- redirects, retries


def redirect(to: str, seconds: float = 0.1) -> Answer:
    return Answer(status=302, headers={"location": to}, seconds=seconds)


START = Probe("127.0.0.1", 80, "a.example", path="/x/y")
REDIRECTS = {
    "/login": Probe("127.0.0.1", 80, "a.example", path="/login"),
    "login?a=b": Probe("127.0.0.1", 80, "a.example", path="/x/login?a=b"),
    "../z#part": Probe("127.0.0.1", 80, "a.example", path="/z"),
    "/a b/ü": Probe("127.0.0.1", 80, "a.example", path="/a%20b/%C3%BC"),
    "https://a.example/": Probe("127.0.0.1", 443, "a.example", tls=True),
    "https://a.example:8443/s": Probe("127.0.0.1", 443, "a.example", tls=True, path="/s"),
    "//a.example/s": Probe("127.0.0.1", 80, "a.example", path="/s"),
    "https://else.example/": Probe("else.example", 443, "else.example", tls=True),
    "http://db:8000/": Probe("172.21.0.2", 8000, "db"),
    "ftp://a.example/": None,
    "https://": None,
    "https://a.example:99999/": None,
    "http://[": None,
    "mailto:a@a.example": None,
}


@pytest.mark.parametrize("target", REDIRECTS)
def test_redirect_is_followed_on_the_line_that_reaches_it(target: str) -> None:
    assert declared_probes.follow(redirect(target), START, where()) == REDIRECTS[target]


class Server:
    """What answers in place of the network; an answer that was not told about fails the test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answers: dict[str, list[Answer]]) -> None:
        self.answers, self.asked = answers, list[str]()
        monkeypatch.setattr(asking, "send_all", self.send_all)
        monkeypatch.setattr(asking.time, "sleep", lambda seconds: self.asked.append(f"slept {seconds}"))

    def send_all(self, dial: object, questions: list[Probe]) -> dict[Probe, Answer]:
        return {one: self.answer(f"{one.shown}{one.path}") for one in dict.fromkeys(questions)}

    def answer(self, key: str) -> Answer:
        self.asked.append(key)
        left = self.answers[key]
        return left.pop(0) if len(left) > 1 else left[0]


def asked(*checks: Check) -> Answers:
    """The answers of the shop's checks, without any route."""
    context = replace(where(GOOD.checked(*checks)), routes={})
    probed = [ProbedCheck(check, context, declared_probes.probes(check, context)) for check in checks]
    return ask(lambda *_: pytest.fail("dialled"), (), probed)


def outcome(
    monkeypatch: pytest.MonkeyPatch, check: Check, answers: dict[str, list[Answer]]
) -> tuple[str, str, list[str]]:
    server = Server(monkeypatch, answers)
    after = asked(check)
    found = declared_probes.judge_answers(check, where(GOOD.checked(check)), after.declared["shop", "x"])
    return found.result, found.sentence, server.asked


URL = "http://192.0.2.9:80/"
HERE, THERE_TOO = "192.0.2.9:80/", "192.0.2.9:80/b"


def test_redirects_are_followed_only_where_the_check_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {HERE: [redirect("/b")], THERE_TOO: [Answer(status=500)]}
    assert outcome(monkeypatch, Http("x", url=URL, follow=True), answers)[0] == "fail"
    assert outcome(monkeypatch, Http("x", url=URL), answers)[0] == "pass"


def test_time_of_a_followed_answer_is_that_of_all_its_redirects(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {HERE: [redirect("/b", 0.4)], THERE_TOO: [replace(OK, seconds=0.4)]}
    check = Http("x", url=URL, follow=True, max_seconds=0.5)
    assert outcome(monkeypatch, check, answers)[:2] == ("fail", "192.0.2.9/: it took 0.80 s, expected at most 0.5")


def test_redirect_in_a_circle_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    result, sentence, asked = outcome(monkeypatch, Http("x", url=URL, follow=True), {HERE: [redirect("/")]})
    assert (result, sentence) == ("fail", f"192.0.2.9/: it redirects more than {MOST_REDIRECTS} times")
    assert len(asked) == MOST_REDIRECTS + 1


def test_redirect_that_cannot_be_followed_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    found = outcome(monkeypatch, Http("x", url=URL, follow=True), {HERE: [redirect("ftp://a/")]})
    assert found[:2] == ("fail", "192.0.2.9/: it redirects to ftp://a/, which cannot be requested")


def test_two_checks_of_one_url_are_judged_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    """One follows its redirect, the other wants to see it; it is asked once for both."""
    server = Server(monkeypatch, {HERE: [redirect("/b")], THERE_TOO: [OK]})
    both = (Http("x", url=URL, follow=True, contains="Shop"), Http("y", url=URL, status=(302,)))
    example = GOOD.checked(*both)
    after = asked(*both)
    assert [
        declared_probes.judge_answers(one, where(example), after.declared["shop", one.name]).result for one in both
    ] == ["pass"] * 2
    assert server.asked == [HERE, THERE_TOO]


def test_check_is_tried_again_until_it_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {HERE: [Answer("nobody"), Answer(status=503), OK]}
    result, _, asked = outcome(monkeypatch, Http("x", Retry(5, 0.25), url=URL), answers)
    assert (result, asked) == ("pass", [HERE, "slept 0.25", HERE, "slept 0.25", HERE])


def test_check_that_never_holds_is_tried_so_often(monkeypatch: pytest.MonkeyPatch) -> None:
    result, _, asked = outcome(monkeypatch, Http("x", Retry(2, 1), url=URL), {HERE: [Answer("nobody")]})
    assert (result, asked.count(HERE)) == ("fail", 3)
