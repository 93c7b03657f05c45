"""Traefik's static configuration, by each of its three ways: flags, variables, a file."""

from __future__ import annotations

import pytest

from towline.traefik.default_rule import DEFAULT, TemplateData, normalize, rule_from
from towline.traefik.rules import InvalidRule
from towline.traefik.static_configuration import (
    ConfigFile,
    EntryPoint,
    Traefik,
    config_paths,
    meets_constraints,
    parse_traefik,
)

WEB = EntryPoint("web", 80)
YAML = """
entryPoints:
  web:
    address: ":80"
    http:
      redirections:
        entryPoint: {to: websecure}
  websecure:
    address: ":443"
    asDefault: true
    http: {tls: {}}
providers:
  docker: {exposedByDefault: false, network: proxy}
"""
TOML = """
[entryPoints.web]
address = ":80"
[entryPoints.web.http.redirections.entryPoint]
to = "websecure"
[entryPoints.websecure]
address = ":443"
asDefault = true
[entryPoints.websecure.http.tls]
[providers.docker]
exposedByDefault = false
network = "proxy"
"""
FLAGS = (
    "--entrypoints.web.address=:80",
    "--entryPoints.web.http.redirections.entrypoint.to=websecure",
    "--entryPoints.websecure.address=:443",
    "--entrypoints.websecure.asdefault",
    "--ENTRYPOINTS.websecure.HTTP.TLS=true",
    "--providers.docker",
    "--providers.docker.exposedbydefault=false",
    "--providers.docker.network",
    "proxy",
)
VARIABLES = {
    "PATH": "/bin",
    "TRAEFIK_ENTRYPOINTS_WEB_ADDRESS": ":80",
    "TRAEFIK_ENTRYPOINTS_WEB_HTTP_REDIRECTIONS_ENTRYPOINT_TO": "websecure",
    "TRAEFIK_ENTRYPOINTS_WEBSECURE_ADDRESS": ":443",
    "TRAEFIK_ENTRYPOINTS_WEBSECURE_ASDEFAULT": "true",
    "TRAEFIK_ENTRYPOINTS_WEBSECURE_HTTP_TLS": "true",
    "TRAEFIK_PROVIDERS_DOCKER_EXPOSEDBYDEFAULT": "false",
    "TRAEFIK_PROVIDERS_DOCKER_NETWORK": "proxy",
}


@pytest.mark.parametrize(
    "found",
    [
        parse_traefik(FLAGS),
        parse_traefik(("/entrypoint.sh", "traefik", *FLAGS)),
        parse_traefik(environment=VARIABLES),
        parse_traefik(file=ConfigFile("traefik.yml", YAML)),
        parse_traefik(file=ConfigFile("/etc/traefik/traefik.toml", TOML)),
    ],
    ids=["flags", "flags behind a script", "environment", "YAML", "TOML"],
)
def test_the_same_settings_come_from_flags_variables_and_files(found: Traefik) -> None:
    assert found == Traefik(
        entry_points=(
            EntryPoint("web", 80, redirect_to="websecure"),
            EntryPoint("websecure", 443, tls=True, as_default=True),
        ),
        docker=True,
        exposed_by_default=False,
    )


def test_file_wins_over_flags_and_flags_over_variables() -> None:
    file = ConfigFile("traefik.yml", "entryPoints: {a: {address: ':81'}}")
    variables = {"TRAEFIK_ENTRYPOINTS_C_ADDRESS": ":83"}
    words = ("traefik", "--entrypoints.b.address=:82")

    def names(found: Traefik) -> list[str]:
        return [point.name for point in found.entry_points]

    assert names(parse_traefik(words, variables, file)) == ["a"]
    assert names(parse_traefik(words, variables)) == ["b"]
    assert names(parse_traefik(("traefik",), variables)) == ["c"]
    assert names(parse_traefik(("--api",), variables)) == ["http"]


def test_variables_that_are_not_traefiks_are_no_settings() -> None:
    assert parse_traefik(environment={"TRAEFIK_HOST": "a", "traefik_entrypoints_web_address": ":1"}) == parse_traefik()


def test_without_entry_points_there_is_one_on_port_80() -> None:
    assert parse_traefik().entry_points == (EntryPoint("http", 80),)
    assert parse_traefik().docker is False


@pytest.mark.parametrize(
    ("word", "exists"),
    [
        ("--ping=true", True),
        ("--ping", True),
        ("--ping.manualrouting=true", False),
        ("--ping.entrypoint=web", False),
        ("--api=true", False),
        ("--api.insecure=true", True),
        ("--api.insecure=false", False),
        ("--metrics.prometheus=true", True),
        ("--metrics.prometheus.entrypoint=web", False),
        ("--ping=false", False),
    ],
)
def test_internal_entry_point_is_there_when_a_page_needs_it_and_never_a_default(word: str, exists: bool) -> None:
    found = parse_traefik(("--entrypoints.web.address=:80", word))
    assert [point.name for point in found.entry_points] == (["web", "traefik"] if exists else ["web"])
    assert found.default_entry_points("http") == ("web",)
    assert EntryPoint("traefik", 8080) in found.entry_points or not exists


@pytest.mark.parametrize(
    ("address", "wanted"),
    [
        (":80", (80, "tcp")),
        (":80/tcp", (80, "tcp")),
        (":53/UDP", (53, "udp")),
        ("127.0.0.1:8080", (8080, "tcp")),
        ("[::1]:8080", (8080, "tcp")),
        (":https", (443, "tcp")),
    ],
)
def test_port_and_protocol_come_from_the_address(address: str, wanted: tuple[int, str]) -> None:
    (found,) = parse_traefik((f"--entrypoints.x.address={address}",)).entry_points
    assert (found.port, found.proto) == wanted


def test_defaults_are_all_entry_points_of_the_protocol_or_those_marked() -> None:
    words = [
        f"--entrypoints.{name}.address=:{port}" for name, port in (("b", 1), ("a", 2), ("u", "3/udp"), ("traefik", 4))
    ]
    found = parse_traefik(words)
    assert (
        found.default_entry_points("http"),
        found.default_entry_points("tcp"),
        found.default_entry_points("udp"),
    ) == (("a", "b"), ("a", "b"), ("u",))
    assert parse_traefik([*words, "--entrypoints.b.asdefault"]).default_entry_points("http") == ("b",)
    assert found.entry_points_for("http") == ("a", "b", "traefik")


@pytest.mark.parametrize(
    ("words", "docker"),
    [
        (("--providers.docker",), True),
        (("--providers.docker=true",), True),
        (("--providers.docker=false",), False),
        (("--providers.docker.watch=true",), True),
        (("--providers.swarm.endpoint=x",), True),
        (("--providers.file.directory=x",), False),
    ],
)
def test_docker_is_read_when_its_provider_is_on(words: tuple[str, ...], docker: bool) -> None:
    assert parse_traefik(words).docker is docker


def test_docker_without_anything_under_it_in_a_file_is_off() -> None:
    assert parse_traefik(file=ConfigFile("t.yml", "api: {}\nproviders: {docker: }")).docker is False
    assert parse_traefik(file=ConfigFile("t.yml", "providers: {docker: {}}")).docker is True


@pytest.mark.parametrize(
    ("image", "words", "syntax"),
    [
        ("traefik:v2.11", (), "v2"),
        ("registry.example:2/traefik:v3.7", (), "v3"),
        ("traefik:2", (), "v2"),
        ("traefik:v2-alpine", (), "v2"),
        ("traefik:v3.7", ("--core.defaultrulesyntax=v2",), "v2"),
        ("traefik", (), "v3"),
        ("traefik:v20", (), "v3"),
    ],
)
def test_syntax_comes_from_the_image_and_the_settings(image: str, words: tuple[str, ...], syntax: str) -> None:
    assert parse_traefik(words, image=image).syntax == syntax


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--entrypoints.web.address=80",), "entryPoints.web.address: there is no port in it"),
        (("--entrypoints.web.http.tls=true",), "entryPoints.web.address: there is no port in it"),
        (("--entrypoints.web.address=:99999",), "entryPoints.web.address: there is no port in it"),
        (
            ("--entrypoints.web.address=:80/sctp",),
            "entryPoints.web.address: expected /tcp or /udp behind the port, found /sctp",
        ),
        (("--providers.docker.exposedbydefault=no",), "docker.exposedbydefault: expected true or false, found 'no'"),
        (
            ("--entrypoints.web.address=:80", "--entrypoints.web.http.redirections.entrypoint.to=tls"),
            "entryPoints.web.http.redirections: there is no entry point tls",
        ),
        (
            ("--providers.docker.constraints=Label(`a`)",),
            "providers.docker.constraints: expected Label(`name`, `value`)",
        ),
    ],
)
def test_settings_that_do_not_work_are_a_problem(words: tuple[str, ...], problem: str) -> None:
    assert parse_traefik(words).problem.lower().startswith(problem.lower())


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("traefik.yml", "a: [", "traefik.yml:2: broken YAML"),
        ("traefik.toml", "a = ", "traefik.toml: broken TOML"),
        ("traefik.yml", "", "traefik.yml: holds no settings"),
        ("traefik.yml", "- a", "traefik.yml: holds no settings"),
        ("traefik.yml", "a: 1\na: 2", "traefik.yml:2: broken YAML: duplicate key"),
        ("traefik.yml", "[" * 5000, "traefik.yml"),
        ("traefik.toml", "a = " + "[" * 5000, "traefik.toml"),
        (
            "traefik.yml",
            "a: &a [{x: 1}, {x: 1}]\n"
            + "\n".join(
                f"{b}: &{b} [{', '.join([f'{{x: *{a}}}'] * 9)}]" for a, b in zip("abcdef", "bcdefg", strict=True)
            ),
            "traefik.yml: is too large",
        ),
    ],
)
def test_broken_file_is_a_problem_and_no_exception(name: str, text: str, problem: str) -> None:
    assert parse_traefik(file=ConfigFile(name, text)).problem.startswith(problem)


@pytest.mark.parametrize(
    "words",
    [("--",), ("-",), ("---x",), ("--=",), ("--a", "--b"), ("--" + ".".join("a" * 50_000),), ("--..=x",), ("",)],
)
def test_strange_words_are_no_exception(words: tuple[str, ...]) -> None:
    assert parse_traefik(words).entry_points == (EntryPoint("http", 80),)


def test_toml_may_be_nested_deeply() -> None:
    found = parse_traefik(
        file=ConfigFile("traefik.toml", ".".join("a" * 5000) + " = 1\nentryPoints.web.address = ':80'")
    )
    assert found.entry_points == (WEB,)


def test_paths_of_the_file_begin_with_the_one_that_is_named() -> None:
    assert config_paths(("traefik", "--configFile=/x/y.yml"))[0] == "/x/y.yml"
    assert config_paths(())[0] == "/etc/traefik/traefik.toml"
    assert "$HOME/.config/traefik.yml" in config_paths(())


# ----------------------------------------------------------------------------------------------------- constraints


@pytest.mark.parametrize(
    ("constraints", "wanted"),
    [
        ("", True),
        ("Label(`tier`, `front`)", True),
        ("Label(`tier`, `back`)", False),
        ("!Label(`tier`, `back`)", True),
        ("Label(`tier`, `front`) && Label(`other`, ``)", True),
        ("LabelRegex(`tier`, `^fr`)", True),
        ("LabelRegex(`tier`, `(x+)+`)", None),
        ("Label(`tier`, `front`) || LabelRegex(`tier`, `(x+)+`)", True),
        ("Label(`tier`, `back`) && LabelRegex(`tier`, `(x+)+`)", False),
        ("!LabelRegex(`tier`, `(x+)+`)", None),
    ],
)
def test_constraints_let_containers_in_by_their_labels(constraints: str, wanted: bool | None) -> None:
    assert meets_constraints({"tier": "front"}, constraints) is wanted


@pytest.mark.parametrize("constraints", ["Label(`a`)", "label(`a`, `b`)", "Label(`a`, `b`", "Host(`a`)"])
def test_invalid_constraints_are_refused(constraints: str) -> None:
    with pytest.raises(InvalidRule):
        meets_constraints({}, constraints)


# ----------------------------------------------------------------------------------------------------- default rule


@pytest.mark.parametrize(
    ("template", "rule"),
    [
        (DEFAULT, "Host(`web-shop`)"),
        ("Host(`{{ .Name }}.example.com`)", "Host(`web-shop.example.com`)"),
        ("Host(`{{ normalize .ContainerName }}`)", "Host(`shop-web-1`)"),
        ('Host(`{{ index .Labels "my.host" }}`)', "Host(`h.example`)"),
        ('Host(`{{ index .Labels "none" }}x`)', "Host(`x`)"),
        ('Host(`{{ .ContainerName | trimPrefix "shop-" | upper }}`)', "Host(`WEB-1`)"),
        ("Host(`{{ trimSuffix `-shop` .Name }}`)", "Host(`web`)"),
        ("Host(`a`)", "Host(`a`)"),
        ("Host(`{{ if .Name }}a{{ end }}`)", None),
        ("{{ lower (index .Labels `x`) }}", None),
        ("{{- .Name -}}", None),
        ("{{ }}", None),
        ("{{ | }}", None),
        ("{{ .Labels }}", None),
        ("{{ nosuch .Name }}", None),
    ],
)
def test_default_rule_is_what_its_supported_template_yields(template: str, rule: str | None) -> None:
    assert rule_from(template, TemplateData("web-shop", "shop-web-1", {"my.host": "h.example"})) == rule


@pytest.mark.parametrize(
    ("name", "wanted"), [("web_shop", "web-shop"), ("/a--b_", "a-b"), ("ünï_1½", "ünï-1½"), ("...", ""), ("", "")]
)
def test_normalize_leaves_letters_and_numbers(name: str, wanted: str) -> None:
    assert normalize(name) == wanted
