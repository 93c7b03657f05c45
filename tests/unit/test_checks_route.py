"""Routes: which there should be, where each is asked, and what the answers mean."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.example_host import CERTIFICATE, GOOD, NOW, TRAEFIK, WEB, Example, binding
from towline.checks import route
from towline.checks.certificate import judge_served
from towline.checks.finding import Finding
from towline.facts import certificate
from towline.facts.probe import Answer, Probe

ROUTE = "stack.shop.route.shop"
DAY = 86400
DASHBOARD = "http: {routers: {pages: {rule: 'Host(`t.example`)', entryPoints: [web], service: api@internal}}}\n"


def finding(example: Example, name: str, **scope: Any) -> Finding:
    (found,) = [one for one in example.findings(**scope) if one.id == name]
    return found


def questions(example: Example) -> dict[str, tuple[Probe, ...]]:
    return {f"{served.stack.name}.{served.name}": served.probes for served in example.state().routes}


def rule(text: str, **labels: str) -> Example:
    more = {f"traefik.http.routers.shop.{name}": value for name, value in labels.items()}
    return GOOD.container("shop-web-1", labels={**WEB.labels, "traefik.http.routers.shop.rule": text, **more})


# --------------------------------------------------------------------------------------------------- what is asked


def test_route_is_asked_at_each_entry_point_through_the_published_port() -> None:
    assert questions(GOOD) == {
        "shop.route.shop.web": (Probe("127.0.0.1", 80, "a.example"),),
        "shop.route.shop.websecure": (Probe("127.0.0.1", 443, "a.example", tls=True),),
    }


def test_published_port_and_address_are_the_ones_that_are_asked() -> None:
    held = (binding("8080", "80", "192.0.2.7"), binding("8443", "443", "::"))
    asked = questions(GOOD.container("traefik-traefik-1", held=held))
    assert asked["shop.route.shop.web"][0].shown == "192.0.2.7:8080"
    assert asked["shop.route.shop.websecure"][0].shown == "::1:8443"


def test_without_a_published_port_the_container_is_asked() -> None:
    asked = questions(GOOD.container("traefik-traefik-1", held=(), wanted=()))
    assert asked["shop.route.shop.web"][0].shown == "172.20.0.2:80"


def test_traefik_on_the_host_s_network_is_asked_there() -> None:
    asked = questions(GOOD.container("traefik-traefik-1", held=(), wanted=(), networks={}, host_network=True))
    assert asked["shop.route.shop.web"][0].shown == "127.0.0.1:80"


def test_every_host_and_path_of_a_rule_is_asked() -> None:
    asked = questions(rule("(Host(`a.example`) || Host(`b.example`)) && PathPrefix(`/x`)"))["shop.route.shop.web"]
    assert [(one.name, one.path) for one in asked] == [("a.example", "/x"), ("b.example", "/x")]


def test_nothing_is_asked_that_changes_something() -> None:
    asked = questions(rule("Host(`a.example`) && Method(`POST`)"))
    assert asked["shop.route.shop.web"] == ()


def test_route_without_a_container_should_be_there_still() -> None:
    assert questions(GOOD.without("shop-web-1")).keys() == questions(GOOD).keys()
    assert questions(GOOD.without("traefik-traefik-1")) == dict.fromkeys(questions(GOOD), ())


def test_traefik_that_cannot_be_reached_is_told_as_the_reason() -> None:
    one = GOOD.container("traefik-traefik-1", held=(), wanted=(), networks={})
    found = finding(replace(one, survey=replace(one.survey, engine=replace(one.survey.engine, networks=frozenset()))),
                    f"{ROUTE}.web.answers")  # fmt: skip
    assert (found.result, found.sentence) == ("skip", route.NOWHERE)


def test_containers_of_no_stack_have_no_route() -> None:
    labels = {"traefik.enable": "true", "traefik.http.routers.x.rule": "Host(`x.example`)"}
    other = replace(WEB, id="9" * 64, name="x", project="x", labels=labels)
    assert questions(GOOD.with_container(other)) == questions(GOOD)


def mounted(source: str, target: str, texts: dict[str, str]) -> Example:
    def change(keys: Any) -> None:
        keys["services"]["traefik"]["volumes"] = [{"type": "bind", "source": source, "target": target}]

    return GOOD.model("traefik", change).here("traefik", texts=texts)


@pytest.mark.parametrize(
    ("source", "target", "path"),
    [
        ("./dynamic", "/etc/traefik/dynamic", "dynamic/pages.yaml"),
        ("./dynamic/pages.yaml", "/pages.yaml", "dynamic/pages.yaml"),
        (".", "/conf", "pages.yaml"),
    ],
)
def test_routers_in_the_stack_s_own_files_are_asked_too(source: str, target: str, path: str) -> None:
    asked = questions(mounted(source, target, {path: DASHBOARD, "other.yaml": "x: 1"}))
    assert asked["traefik.route.pages.web"] == (Probe("127.0.0.1", 80, "t.example"),)


def test_static_file_that_is_mounted_tells_the_entry_points() -> None:
    text = "entryPoints: {plain: {address: ':80'}}\nproviders: {docker: {exposedByDefault: false}}\n"
    one = mounted("./traefik.yml", "/etc/traefik/traefik.yml", {"traefik.yml": text})
    assert questions(one.container("traefik-traefik-1", command=())) == {
        "shop.route.shop.plain": (Probe("127.0.0.1", 80, "a.example"),)
    }


# -------------------------------------------------------------------------------------------------- what answers mean

OWN_404 = Answer(status=404, body=b"404 page not found\n")
ANSWERS = {
    "200": (Answer(status=200), "pass", ""),
    "401": (Answer(status=401), "pass", ""),
    "404 of the service": (Answer(status=404, body=b"<h1>not here</h1>"), "pass", ""),
    "404 of Traefik": (OWN_404, "fail", "a.example/: Traefik answers 404 itself"),
    "302": (Answer(status=302), "pass", ""),
    "500": (Answer(status=500), "fail", "a.example/: status 500"),
    "502": (Answer(status=502), "fail", "a.example/: status 502, Traefik does not reach the service"),
    "504": (Answer(status=504), "fail", "status 504, Traefik does not reach the service"),
    "nobody": (Answer("nobody answers on 127.0.0.1:80"), "fail", "a.example/: nobody answers on 127.0.0.1:80"),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_answer_is_judged(name: str) -> None:
    answer, result, sentence = ANSWERS[name]
    found = finding(GOOD.answered("a.example@127.0.0.1:80", answer), f"{ROUTE}.web.answers")
    assert found.result == result
    assert sentence in found.sentence
    assert found.evidence.startswith(f"a.example/ at 127.0.0.1:80: {answer.problem or answer.status} in ")


TO_HTTPS = ("--entrypoints.web.http.redirections.entrypoint.to=websecure", *TRAEFIK.command)


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (Answer(status=301, headers={"location": "https://a.example/"}), "pass"),
        (Answer(status=308, headers={"location": "https://a.example/"}), "pass"),
        (Answer(status=200), "fail"),
        (OWN_404, "fail"),
    ],
)
def test_entry_point_that_sends_on_has_to_send_on(answer: Answer, result: str) -> None:
    example = GOOD.container("traefik-traefik-1", command=TO_HTTPS).answered("127.0.0.1:80", answer)
    assert finding(example, f"{ROUTE}.web.answers").result == result
    assert finding(example, f"{ROUTE}.websecure.answers").result == "pass"


def test_router_that_traefik_does_not_serve_fails_with_the_reason() -> None:
    found = finding(rule("Host(`a.example`", entrypoints="web"), f"{ROUTE}.nowhere.answers")
    assert found.result == "fail"
    assert found.sentence.startswith("Traefik does not serve the router shop: ")
    assert found.evidence == "Host(`a.example`"


def test_rule_without_a_request_is_skipped_with_the_reason() -> None:
    found = finding(rule("HostRegexp(`^.+[.]example$`)"), f"{ROUTE}.web.answers")
    assert found.result == "skip"
    assert found.sentence != ""


def test_tcp_route_is_asked_whether_it_is_open() -> None:
    labels = {
        "traefik.enable": "true",
        "traefik.tcp.routers.q.rule": "HostSNI(`*`)",
        "traefik.tcp.routers.q.entrypoints": "web",
    }
    example = GOOD.container("shop-web-1", labels=labels)
    (question,) = questions(example)["shop.route.tcp.q.web"]
    assert (question.http, question.tls, question.shown) == (False, False, "127.0.0.1:80")
    assert finding(example, "stack.shop.route.tcp.q.web.answers").result == "pass"


# ------------------------------------------------------------------------------------------------------ certificates

SELF = replace(CERTIFICATE, subject="CN=x", issuer="CN=x")
CERTIFICATES = {
    "good": (CERTIFICATE, "a.example", "pass", ""),
    "expired": (replace(CERTIFICATE, ends=NOW - DAY), "a.example", "fail", "has expired"),
    "expiring": (replace(CERTIFICATE, ends=NOW + 3 * DAY), "a.example", "warn", "expires in 3 days"),
    "another name": (CERTIFICATE, "b.example", "fail", "is for a.example, *.a.example"),
    "another name, expiring": (replace(CERTIFICATE, ends=NOW + DAY), "b.example", "fail", "is for a.example"),
    "no name": (replace(CERTIFICATE, names=()), "a.example", "fail", "is for no name"),
    "wildcard": (CERTIFICATE, "www.a.example", "pass", ""),
    "too deep for the wildcard": (CERTIFICATE, "x.www.a.example", "fail", "is for a.example"),
    "self-signed": (SELF, "a.example", "warn", "self-signed"),
    "self-signed, another name": (SELF, "b.example", "warn", "self-signed"),
    "self-signed for a name of this machine": (SELF, "shop.localhost", "pass", ""),
    "self-signed at home": (SELF, "shop.home.arpa", "pass", ""),
    "expired for a name of this machine": (replace(SELF, ends=NOW - DAY), "shop.localhost", "fail", "has expired"),
    "expiring for a name of this machine": (replace(SELF, ends=NOW + DAY), "shop.localhost", "warn", "in 1 days"),
    "any name": (CERTIFICATE, "", "pass", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", CERTIFICATES)
def test_served_certificate_is_judged(name: str) -> None:
    one, asked, result, why = CERTIFICATES[name]
    found, told = judge_served(asked, one, NOW)
    assert found == result
    assert why in told
    assert bool(told) == (result != "pass")


def served(one: certificate.Certificate | None) -> Example:
    return GOOD.answered("127.0.0.1:443", Answer(status=200, certificate=one))


def test_certificate_s_finding_tells_names_issuer_and_days() -> None:
    found = finding(served(CERTIFICATE), f"{ROUTE}.websecure.certificate")
    assert found.evidence == "a.example: a.example, *.a.example, issued by CN=R11, 60 days left"


def test_the_worst_certificate_of_a_route_is_told() -> None:
    expiring = replace(CERTIFICATE, ends=NOW + 3 * DAY)
    example = rule("Host(`a.example`) || Host(`b.example`)").answered(
        "127.0.0.1:443", Answer(status=200, certificate=expiring)
    )
    found = finding(example, f"{ROUTE}.websecure.certificate")
    assert (found.result, found.sentence) == ("fail", "b.example: the certificate is for a.example, *.a.example")


def test_without_an_answer_there_is_no_second_failure_for_its_certificate() -> None:
    example = GOOD.answered("a.example@127.0.0.1:443", Answer("hung up"))
    assert finding(example, f"{ROUTE}.websecure.certificate").because == f"{ROUTE}.websecure.answers"


@pytest.mark.parametrize(("days", "result"), [(-1, "fail"), (3, "warn")])
def test_old_certificate_that_lies_in_a_file_is_told_once(
    days: int, result: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = replace(CERTIFICATE, ends=NOW + days * DAY)
    monkeypatch.setattr(certificate, "parse", lambda der: old)
    told = served(old).look("traefik", certs={"tls/a.pem": b"der"}).told()
    assert told["stack.traefik.certificate.tls/a.pem"] == result
    assert told[f"{ROUTE}.websecure.certificate"] == "skip"


# ------------------------------------------------------------------------------------------------------------- names


def test_names_that_were_not_asked_are_not_judged() -> None:
    assert f"{ROUTE}.names" in GOOD.sentences()
    assert f"{ROUTE}.names" not in GOOD.surveyed(names={}).sentences()


def test_name_is_judged_once_for_a_router_with_two_entry_points() -> None:
    found = finding(GOOD.surveyed(names={"a.example": ()}), f"{ROUTE}.names")
    assert (found.result, found.evidence) == ("warn", "a.example")


# ---------------------------------------------------------------------------------------------------------- from here


def here(example: Example) -> dict[str, tuple[Probe, ...]]:
    routes = (route.from_this_machine(served, "192.0.2.7") for served in example.state().routes)
    return {served.name: served.probes for served in routes}


def test_from_here_a_route_is_asked_by_its_name_at_the_published_port() -> None:
    held = (binding("8080", "80"), binding("443", "443", "127.0.0.1"))
    example = GOOD.container("traefik-traefik-1", held=held, wanted=held)
    asked = here(example)
    assert [one.shown for one in asked["route.shop.web.from-here"]] == ["a.example:8080"]
    assert asked["route.shop.websecure.from-here"] == ()
    found = finding(example, f"{ROUTE}.websecure.from-here.answers", from_here=True)
    assert (found.result, found.sentence) == ("skip", "its entry point is published for the host alone")


def test_from_here_names_of_this_machine_are_asked_at_the_host() -> None:
    (question,) = here(rule("Host(`shop.localhost`)"))["route.shop.web.from-here"]
    assert (question.shown, question.name) == ("192.0.2.7:80", "shop.localhost")


def test_from_here_a_traefik_on_the_host_s_network_is_asked_at_its_own_port() -> None:
    example = GOOD.container("traefik-traefik-1", held=(), wanted=(), networks={}, host_network=True)
    assert [one.shown for one in here(example)["route.shop.web.from-here"]] == ["a.example:80"]


def test_from_here_the_finding_has_a_name_of_its_own() -> None:
    found = finding(GOOD.answered("a.example:80", Answer(status=500)), f"{ROUTE}.web.from-here.answers", from_here=True)
    assert found.result == "fail"
    assert finding(GOOD, f"{ROUTE}.web.answers", from_here=True).result == "pass"
