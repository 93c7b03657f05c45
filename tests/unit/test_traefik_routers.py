"""The routes of a Traefik: from labels, from dynamic files, and from the shipped stacks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from towline.project.yaml_file import load_yaml
from towline.traefik.labels import LabelledContainer
from towline.traefik.requests import ExampleRequest
from towline.traefik.routers import Route, parse_dynamic, parse_routes
from towline.traefik.static_configuration import Traefik, parse_traefik

TOP = Path(__file__).parents[2]
FLAGS = (
    "--entrypoints.web.address=:80",
    "--entrypoints.websecure.address=:443",
    "--entrypoints.websecure.http.tls=true",
    "--entrypoints.dns.address=:53/udp",
    "--providers.docker=true",
)
TRAEFIK = parse_traefik(FLAGS)
HOST = "Host(`a.example`)"


def container(
    labels: Mapping[str, str], service: str = "web", project: str = "shop", number: int = 1
) -> LabelledContainer:
    return LabelledContainer(f"{project}-{service}-{number}", project, service, labels)


def router(name: str = "r", protocol: str = "http", **keys: str) -> dict[str, str]:
    return {f"traefik.{protocol}.routers.{name}.{key.replace('_', '.')}": value for key, value in keys.items()}


def routes(*containers: LabelledContainer, traefik: Traefik = TRAEFIK) -> tuple[Route, ...]:
    return parse_routes(containers, traefik)


def the_route(*containers: LabelledContainer, traefik: Traefik = TRAEFIK) -> Route:
    (route,) = parse_routes(containers, traefik)
    return route


# ------------------------------------------------------------------------------------------------------ one router


def test_route_has_everything_that_the_labels_declare() -> None:
    labels = {
        **router(
            rule=HOST,
            entrypoints="web, websecure",
            middlewares="auth,gzip@file",
            service="s",
            priority="7",
        ),
        "traefik.http.services.s.loadbalancer.server.port": "8080",
        "traefik.http.middlewares.auth.basicauth.users": "x",
    }
    assert the_route(container(labels)) == Route(
        router="r",
        protocol="http",
        project="shop",
        services=("web",),
        rule=HOST,
        entry_points=("web", "websecure"),
        tls_on=("websecure",),
        requests=(ExampleRequest("a.example"),),
    )


def test_router_that_names_no_entry_point_is_on_all_the_default_ones() -> None:
    assert the_route(container(router(rule=HOST))).entry_points == ("web", "websecure")
    marked = parse_traefik((*FLAGS, "--entrypoints.web.asdefault=true"))
    assert the_route(container(router(rule=HOST)), traefik=marked).entry_points == ("web",)
    bare = parse_traefik(("--providers.docker",))
    assert the_route(container(router(rule=HOST)), traefik=bare).entry_points == ("http",)


def test_names_in_labels_have_no_case() -> None:
    labels = {"traefik.HTTP.Routers.Web.Rule": HOST, "traefik.http.routers.web.entryPoints": "web"}
    route = the_route(container(labels))
    assert (route.router, route.rule, route.entry_points) == ("Web", HOST, ("web",))


def test_several_routers_of_one_container_are_several_routes() -> None:
    found = routes(container({**router("a", rule=HOST), **router("b", rule="PathPrefix(`/b`)")}))
    assert [(route.router, route.requests) for route in found] == [
        ("a", (ExampleRequest("a.example"),)),
        ("b", (ExampleRequest("", "/b"),)),
    ]


@pytest.mark.parametrize(
    ("keys", "tls_on"),
    [
        ({}, ("websecure",)),
        ({"tls": "true"}, ("web", "websecure")),
        ({"tls": "True"}, ("web", "websecure")),
        ({"tls": ""}, ("web", "websecure")),
        ({"tls_certresolver": "le"}, ("web", "websecure")),
        ({"tls_domains[0]_main": "a.example"}, ("web", "websecure")),
        ({"tls": "false"}, ("websecure",)),
        ({"tls": "false", "tls_certresolver": "le"}, ("websecure",)),
        ({"tls": "true", "entrypoints": "web"}, ("web",)),
        ({"entrypoints": "web"}, ()),
    ],
)
def test_tls_comes_from_the_router_or_from_its_entry_point(keys: dict[str, str], tls_on: tuple[str, ...]) -> None:
    route = the_route(container(router(rule=HOST, **keys)))
    assert (route.tls_on, route.problem) == (tls_on, "")


def test_rule_of_v2_is_read_as_such() -> None:
    labels = router(rule="Host(`a`, `b`)")
    assert "one value since Traefik 3" in the_route(container(labels)).problem
    assert the_route(container({**labels, **router(rulesyntax="v2")})).requests == (
        ExampleRequest("a"),
        ExampleRequest("b"),
    )
    old = parse_traefik(FLAGS, image="traefik:v2.11")
    assert the_route(container(labels), traefik=old).requests == (ExampleRequest("a"), ExampleRequest("b"))


def test_part_of_a_rule_without_a_request_says_why() -> None:
    route = the_route(container(router(rule=f"{HOST} || PathRegexp(`^/[a-z]+$`)")))
    assert route.requests == (ExampleRequest("a.example"),)
    assert route.problem == ""
    assert "regular expression" in route.reasons[0]


# --------------------------------------------------------------------------------------------------- TCP and UDP


@pytest.mark.parametrize(
    ("keys", "requests", "tls_on", "problem"),
    [
        ({"rule": "HostSNI(`*`)", "entrypoints": "web"}, [ExampleRequest("", "", "")], (), ""),
        (
            {"rule": "HostSNI(`db.example`)", "tls": "true"},
            [ExampleRequest("db.example", "", "")],
            ("web", "websecure"),
            "",
        ),
        (
            {"rule": "HostSNI(`db.example`)", "tls_passthrough": "true"},
            [ExampleRequest("db.example", "", "")],
            ("web", "websecure"),
            "",
        ),
        ({"rule": "HostSNI(`db.example`)"}, [], (), "its rule names a server (HostSNI)"),
        ({"rule": "Host(`db.example`)"}, [], (), "rule Host(`db.example`): Traefik knows no tcp matcher Host"),
        ({"entrypoints": "web"}, [], (), "it has no rule"),
    ],
)
def test_tcp_router_has_a_request_for_its_server_name(
    keys: dict[str, str], requests: list[ExampleRequest], tls_on: tuple[str, ...], problem: str
) -> None:
    route = the_route(container(router(protocol="tcp", **keys)))
    assert (route.protocol, list(route.requests), route.tls_on) == ("tcp", requests, tls_on)
    assert route.problem.startswith(problem)
    assert bool(route.problem) is bool(problem)


def test_container_with_tcp_alone_has_no_http_route() -> None:
    labels = {**router(protocol="tcp", rule="HostSNI(`*`)"), "traefik.tcp.services.r.loadbalancer.server.port": "5432"}
    assert [route.protocol for route in routes(container(labels))] == ["tcp"]
    with_both = {**labels, "traefik.http.services.x.loadbalancer.server.port": "80"}
    assert [route.protocol for route in routes(container(with_both))] == ["http", "tcp"]


def test_udp_router_is_on_udp_entry_points_and_has_no_request() -> None:
    route = the_route(
        container({"traefik.udp.services.r.loadbalancer.server.port": "53", **router(protocol="udp", service="r")})
    )
    assert (route.protocol, route.entry_points, route.tls_on, route.requests) == ("udp", ("dns",), (), ())
    assert route.reasons == ("UDP has no request that every server answers",)
    assert route.problem == ""


# -------------------------------------------------------------------------------------- which containers, which rule


@pytest.mark.parametrize(
    ("enable", "by_default", "exposed"),
    [("true", False, True), ("1", False, True), ("false", True, False), (None, True, True), (None, False, False)],
)
def test_container_is_exposed_by_its_label_else_by_default(enable: str | None, by_default: bool, exposed: bool) -> None:
    labels = {**router(rule=HOST), **({"traefik.enable": enable} if enable else {})}
    assert bool(routes(container(labels), traefik=replace(TRAEFIK, exposed_by_default=by_default))) is exposed


def test_traefik_that_reads_no_docker_has_no_routes() -> None:
    assert routes(container(router(rule=HOST)), traefik=parse_traefik(FLAGS[:-1])) == ()


def test_constraints_leave_containers_out() -> None:
    front = container({**router(rule=HOST), "tier": "front"})
    assert routes(front, traefik=replace(TRAEFIK, constraints="Label(`tier`, `back`)")) == ()
    assert the_route(front, traefik=replace(TRAEFIK, constraints="Label(`tier`, `front`)")).requests
    untold = the_route(front, traefik=replace(TRAEFIK, constraints="LabelRegex(`tier`, `(x+)+`)"))
    assert (untold.requests, untold.reasons) == (
        (),
        ("whether its container meets Traefik's constraints cannot be determined",),
    )
    assert routes(front, traefik=replace(TRAEFIK, constraints="no constraint")) == ()


def test_container_without_a_router_gets_the_default_rule() -> None:
    route = the_route(container({}, "my_web", "the.shop"))
    assert (route.router, route.rule) == ("my-web-the-shop", "Host(`my-web-the-shop`)")
    assert route.requests == (ExampleRequest("my-web-the-shop"),)
    alone = the_route(LabelledContainer("some_box", "", "", {}))
    assert (alone.router, alone.services, alone.requests) == ("some-box", (), (ExampleRequest("some-box"),))


def test_router_without_a_rule_gets_the_default_rule() -> None:
    traefik = replace(TRAEFIK, default_rule="Host(`{{ .Name }}.example`)")
    assert the_route(container(router(entrypoints="web")), traefik=traefik).requests == (
        ExampleRequest("web-shop.example"),
    )


def test_undetermined_default_rule_is_a_reason() -> None:
    route = the_route(container({}), traefik=replace(TRAEFIK, default_rule="{{ if true }}Host(`a`){{ end }}"))
    assert (route.rule, route.requests, route.problem) == ("", (), "")
    assert route.reasons == ("what the rule's template yields cannot be determined",)


# --------------------------------------------------------------------------------------------- several containers


def test_replicas_of_a_service_are_one_route() -> None:
    labels = router(rule=HOST)
    assert the_route(container(labels), container(labels, number=2)).services == ("web",)


def test_services_that_declare_the_same_router_carry_it_together() -> None:
    labels = {**router(rule=HOST), "traefik.http.services.s.loadbalancer.server.port": "80"}
    assert the_route(container(labels), container(labels, "new")).services == ("new", "web")


def test_router_declared_differently_is_a_problem_of_every_project_concerned() -> None:
    shop, blog = container(router(rule=HOST)), container(router(rule="Host(`b`)"), "app", "blog")
    found = routes(shop, blog)
    assert [(route.project, route.services, route.requests) for route in found] == [
        ("blog", ("app",), ()),
        ("shop", ("web",), ()),
    ]
    problem = "declared differently by containers of app of blog, web of shop, so Traefik drops it"
    assert {route.problem for route in found} == {problem}


def test_same_rule_from_two_services_is_a_conflict_too_as_each_goes_to_its_own() -> None:
    labels = router(rule=HOST)
    assert "declared differently" in the_route(container(labels), container(labels, "api")).problem


def test_same_name_in_two_protocols_is_no_conflict() -> None:
    found = routes(container(router(rule=HOST)), container(router(protocol="tcp", rule="HostSNI(`*`)"), "db"))
    assert [(route.protocol, route.problem) for route in found] == [("http", ""), ("tcp", "")]


def test_service_may_be_declared_by_another_container() -> None:
    front = container(router(rule=HOST, service="s@docker"))
    back = container({"traefik.http.services.s.loadbalancer.server.port": "81"}, "back")
    found = {route.router: route for route in routes(front, back)}
    assert found["r"].problem == ""


def test_order_of_the_containers_makes_no_difference() -> None:
    all_of_them = [container(router(f"r{i}", rule=f"Host(`{i}`)"), f"s{i}") for i in range(5)]
    assert routes(*all_of_them) == routes(*reversed(all_of_them))


# ------------------------------------------------------------------------------------------------------- problems


def port(service: str) -> dict[str, str]:
    return {f"traefik.http.services.{service}.loadbalancer.server.port": "80"}


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        (router(rule="Host(`a`"), "rule Host(`a`: expected , or ) in Host(…), found the end (character 9)"),
        (router(rule="Hst(`a`)"), "rule Hst(`a`): Traefik knows no http matcher Hst"),
        (router(rule=HOST, entrypoints="https"), "there is no http entry point https; known: web, websecure"),
        (router(rule=HOST, entrypoints="dns"), "there is no http entry point dns"),
        (router(rule=HOST, service="apy"), "no container's labels declare its http service apy"),
        (router(rule=HOST, middlewares="auth"), "no container's labels declare its http middleware auth"),
        (
            {**router(rule=HOST), **port("a"), **port("b")},
            "its container declares several services, and it names none of them",
        ),
        (
            router(rule=HOST, priority="high"),
            "r.priority: expected a whole number, found 'high'; for that Traefik leaves all",
        ),
        (
            router(rule=HOST, entrypoint="web"),
            "http.routers.r.entrypoint: Traefik knows no such name; did you mean entryPoints?",
        ),
        (router(rule=HOST, tls_resolver="le"), "http.routers.r.tls.resolver: Traefik knows no such name"),
        (
            {**router(rule=HOST), "traefik.http.services.s.loadbalancer.port": "80"},
            "http.services.s.loadbalancer.port: Traefik knows no such name",
        ),
        (
            {**router(rule=HOST), "traefik.http.router.x.rule": "y"},
            "http.router: Traefik knows no such name; did you mean routers?",
        ),
        ({**router(rule=HOST), "traefik.enable": "yes"}, "traefik.enable: expected true or false, found 'yes'"),
        (
            {**router(rule=HOST), "traefik.enabled": "true"},
            "traefik.enabled: Traefik knows no such name; did you mean enable?",
        ),
        (
            {**router(rule=HOST), "Traefik.http.x": "true"},
            "label Traefik.http.x: Traefik wants `traefik` in lower case",
        ),
        ({**router(rule=HOST), "traefik.tcp.routers": "x"}, "tcp: Traefik wants something under routers"),
        ({**router(rule=HOST), "traefik.udp": "x"}, "udp: Traefik wants something under udp"),
        ({**router(rule=HOST), "traefik.http..x": "true"}, "label traefik.http..x: '' is not a name"),
    ],
)
def test_what_traefik_would_not_serve_is_a_problem(labels: dict[str, str], problem: str) -> None:
    found = {route.router: route for route in routes(container(labels))}
    assert found["r"].problem.startswith(problem)
    assert found["r"].requests == ()


def test_one_entry_point_that_is_missing_leaves_the_others() -> None:
    route = the_route(container(router(rule=HOST, entrypoints="web,https")))
    assert (route.entry_points, route.requests, route.problem) == (("web",), (ExampleRequest("a.example"),), "")
    assert route.reasons == ("there is no http entry point https; known: web, websecure",)


def test_service_or_middleware_declared_differently_breaks_who_uses_it() -> None:
    header = "traefik.http.middlewares.m.headers.customresponseheaders.X"
    web = container({**router("a", rule=HOST, middlewares="m"), header: "1"})
    api = container({**router("b", rule="Host(`b`)"), header: "2"}, "api")
    found = {route.router: route.problem for route in routes(web, api)}
    assert found == {
        "a": "its middleware m is declared differently by several containers, so Traefik drops it",
        "b": "",
    }
    sticky = "traefik.http.services.s.loadbalancer.sticky.cookie.name"
    both = routes(
        container({**router("a", rule=HOST), sticky: "x"}),
        container({**router("b", rule="Host(`b`)"), sticky: "y"}, "api"),
    )
    assert {route.problem for route in both} == {
        "its service s is declared differently by several containers, so Traefik drops it"
    }


def test_wrong_label_is_a_problem_also_when_no_router_is_declared() -> None:
    route = the_route(container({"traefik.http.service.s.loadbalancer.server.port": "80"}))
    assert (route.router, route.project, route.services) == ("web-shop", "shop", ("web",))
    assert "http.service: Traefik knows no such name; did you mean services?" in route.problem


@pytest.mark.parametrize(
    "labels",
    [
        router(rule="(" * 10_000 + HOST + ")" * 10_000),
        router(rule="(" * 10_000),
        router(rule="x" * 1_000_000),
        router(rule=" || ".join([HOST] * 3000)),
        {"traefik." * 10_000: "x"},
        {"traefik.http." + "a." * 10_000 + "b": "x"},
        {"traefik.http.routers.r": "x"},
        {"traefik.http.routers": "x"},
        {"traefik.http": "x"},
        {"traefik.http.routers.r.rule]": "x"},
        {"traefik.http.routers.[0].rule": "x"},
        {"traefik.http.routers.r.priority": "9" * 5000},
        {"traefik.http.routers.r.priority": "١"},
        {"traefik.http.services.s.loadbalancer.server.port": "²"},
        {"traefik.http.routers.\ud800.rule": "Host(`\ud800`)"},
        router(rule="Host(`a`)\n|| Host(`b\n`)", middlewares="a\nb"),
        {"traefik.http.rou\nters.r.rule": HOST, "traefik.http." + "x" * 5000: "y"},
        {"": "", ".": "", "traefik": "", "traefik.": ""},
    ],
    ids=lambda labels: repr(next(iter(labels.items())))[:50],
)
def test_hostile_labels_are_no_exception(labels: dict[str, str]) -> None:
    for route in routes(container(labels)):
        assert len(route.problem) < 1000
        assert "\n" not in route.problem


# -------------------------------------------------------------------------------------------------- dynamic files


def test_yaml_and_toml_files_give_the_same_routes() -> None:
    yaml = "http: {routers: {r.x: {rule: 'Host(`a`)', entryPoints: [web], service: s, middlewares: [m], priority: 3, tls: {}}}}"
    toml = """
[http.routers."r.x"]
rule = "Host(`a`)"
entryPoints = ["web"]
service = "s"
middlewares = ["m"]
priority = 3
[http.routers."r.x".tls]
"""
    wanted = Route(
        router="r.x",
        protocol="http",
        project="edge",
        rule="Host(`a`)",
        entry_points=("web",),
        tls_on=("web",),
        requests=(ExampleRequest("a"),),
    )
    assert parse_dynamic(yaml, TRAEFIK, project="edge") == (wanted,)
    assert parse_dynamic(toml, TRAEFIK, project="edge", name="edge.toml") == (wanted,)


def test_file_with_tcp_and_udp_routers_gives_them_too() -> None:
    text = "tcp: {routers: {db: {rule: 'HostSNI(`db`)', service: s, tls: {passthrough: true}}}}\nudp: {routers: {q: {service: s}}}"
    db, q = parse_dynamic(text, TRAEFIK)
    assert (db.protocol, db.requests) == ("tcp", (ExampleRequest("db", "", ""),))
    assert (q.protocol, q.entry_points, q.requests) == ("udp", ("dns",), ())


@pytest.mark.parametrize(
    ("text", "name", "problem"),
    [
        ("http: [", "d.yaml", "d.yaml:2: broken YAML"),
        ("http = [", "d.toml", "d.toml: broken TOML"),
        ("", "d.yaml", "d.yaml: holds no settings"),
        ("[" * 5000, "d.yaml", "d.yaml"),
        ("http: {routers: {r: {entrypoint: web}}}", "d.yaml", "http.routers.r.entrypoint: Traefik knows no such name"),
        ("http: {routers: {r: {priority: high}}}", "d.yaml", "r.priority: expected a whole number"),
    ],
)
def test_broken_dynamic_file_is_one_route_with_a_problem(text: str, name: str, problem: str) -> None:
    (route,) = parse_dynamic(text, TRAEFIK, project="edge", name=name)
    assert (route.router, route.project) == ("", "edge")
    assert route.problem.startswith(problem)


def test_dynamic_router_with_a_bad_rule_leaves_the_others() -> None:
    text = "http: {routers: {a: {rule: 'Host(', service: s}, b: {rule: 'Host(`b`)', service: s}, c: {service: s}}}"
    found = parse_dynamic(text, TRAEFIK)
    assert [(route.router, bool(route.requests)) for route in found] == [("a", False), ("b", True), ("c", False)]
    assert [bool(route.problem) for route in found] == [True, False, True]


def test_templates_and_children_in_a_dynamic_file_have_a_reason_and_no_request() -> None:
    text = """
http:
  routers:
    t: {rule: 'Host(`{{ env "HOST" }}`)', service: s}
    c: {rule: "Path(`/x`)", service: s, parentRefs: [t]}
"""
    t, c = parse_dynamic(text, TRAEFIK)
    assert (t.requests, t.reasons) == ((), ("what the rule's template yields cannot be determined",))
    assert (c.requests, c.reasons) == ((), ("it is reached through its parent, t",))


# ------------------------------------------------------------------------------------------------- shipped stacks


def shipped(stack: str) -> dict[str, Any]:
    """The services of a shipped stack, its variables at their defaults."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value) if isinstance(value, str) else value

    document = load_yaml(TOP / stack / "compose.yaml")
    assert isinstance(document, dict)
    return {name: plain(service) for name, service in document["services"].items()}


def own_traefik() -> Traefik:
    service = shipped("infrastructure/traefik")["traefik"]
    return parse_traefik(service["command"], image=service["image"])


def test_shipped_traefik_has_its_three_entry_points() -> None:
    found = own_traefik()
    assert [(point.name, point.port, point.tls) for point in found.entry_points] == [
        ("web", 80, False),
        ("websecure", 443, True),
        ("traefik", 8080, False),
    ]
    assert (found.docker, found.exposed_by_default, found.problem) == (True, False, "")


def test_shipped_stacks_have_one_route_each_by_http_and_https() -> None:
    containers = [
        container(service.get("labels") or {}, name, stack.partition("/")[2])
        for stack in ("infrastructure/traefik", "stacks/whoami", "stacks/guestbook")
        for name, service in shipped(stack).items()
    ]
    found = parse_routes(containers, own_traefik())
    assert [(route.router, route.project, route.services, route.requests) for route in found] == [
        ("guestbook", "guestbook", ("web",), (ExampleRequest("guestbook.localhost"),)),
        ("whoami", "whoami", ("whoami",), (ExampleRequest("whoami.localhost"),)),
    ]
    for route in found:
        assert (route.entry_points, route.tls_on, route.problem, route.reasons) == (
            ("web", "websecure"),
            ("websecure",),
            "",
            (),
        )


def test_shipped_dashboard_is_on_the_internal_entry_point() -> None:
    text = (TOP / "infrastructure/traefik/dynamic/dashboard.yaml").read_text(encoding="utf-8")
    (found,) = parse_dynamic(text, own_traefik(), project="traefik", name="dashboard.yaml")
    assert found == Route(
        router="dashboard",
        protocol="http",
        project="traefik",
        rule="Host(`localhost`) || Host(`127.0.0.1`)",
        entry_points=("traefik",),
        requests=(ExampleRequest("localhost"), ExampleRequest("127.0.0.1")),
    )
