"""Which images the stacks need, and how each is provided; the engine and the registry are fakes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from towline.errors import TowlineError
from towline.sandbox import images
from towline.sandbox.stand_ins import build as stand_ins

TOP = Path(__file__).parents[2]


class Engine:
    """Answers `docker image inspect` and `docker pull`; fails on any other command."""

    def __init__(self, present: dict[str, bool], pullable: set[str]) -> None:
        self.present, self.pullable = present, pullable
        self.pulled: list[str] = []

    def run(self, argv: list[str], seconds: float | None = None) -> subprocess.CompletedProcess[str]:
        name = argv[-1]
        if argv[:3] == ["docker", "image", "inspect"]:
            label = "true" if self.present.get(name) else "<no value>"
            return subprocess.CompletedProcess(argv, 0 if name in self.present else 1, f"{label}\n", "")
        assert argv[:3] == ["docker", "pull", "-q"], argv
        assert seconds == images.PULL_SECONDS
        self.pulled.append(name)
        if name in self.pullable:
            self.present[name] = False
            return subprocess.CompletedProcess(argv, 0, name, "")
        return subprocess.CompletedProcess(argv, 1, "", "Error response from daemon: no such host\n")

    def build(self, name: str, pull_failure: str) -> str:
        self.present[name] = True
        return "made of straw"


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    fake = Engine({}, set())
    monkeypatch.setattr(images, "run", fake.run)
    monkeypatch.setattr(images, "build", fake.build)
    monkeypatch.setattr(images, "_registry_answers", lambda name: bool(fake.pullable))
    return fake


def test_an_image_that_is_there_is_left_alone(engine: Engine) -> None:
    engine.present["redis:7"] = False
    assert images.ensure(["redis:7"], pytest.fail) == []
    assert engine.pulled == []


def test_a_registry_that_does_not_answer_is_asked_once(engine: Engine) -> None:
    said: list[str] = []
    assert images.ensure(["redis:7", "caddy:2", "redis:7"], said.append) == ["redis:7", "caddy:2"]
    assert engine.pulled == ["redis:7"]
    assert said == ["stand-in for redis:7: made of straw", "stand-in for caddy:2: made of straw"]


def test_an_image_that_a_registry_lacks_does_not_end_the_pulling(engine: Engine) -> None:
    engine.pullable = {"caddy:2"}
    said: list[str] = []
    assert images.ensure(["redis:7", "caddy:2"], said.append) == ["redis:7"]
    assert said == ["stand-in for redis:7: made of straw", "pulled caddy:2"]


def test_a_pull_that_takes_too_long_counts_as_refused(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(argv: list[str], seconds: float | None = None) -> subprocess.CompletedProcess[str]:
        if argv[1] == "pull":
            raise subprocess.TimeoutExpired(argv, seconds or 0)
        return engine.run(argv, seconds)

    monkeypatch.setattr(images, "run", slow)
    assert images.ensure(["redis:7"], lambda line: None) == ["redis:7"]


def test_an_image_without_stand_in_is_an_error_with_the_reason() -> None:
    with pytest.raises(TowlineError, match=r"image nosuch/thing:1 cannot be pulled.*: no such host"):
        stand_ins.build("nosuch/thing:1", "no such host")


def test_the_shipped_stacks_name_only_images_that_have_a_stand_in() -> None:
    names = images.shipped_images(TOP)
    assert {"traefik:v3.7", "traefik/whoami:v1.11", "python:3.13-slim"} <= set(names)
    assert [name for name in names if stand_ins.split(name)[0] not in stand_ins.STAND_INS] == []


def test_every_stand_in_has_its_dockerfile() -> None:
    folders = {stand_in.folder for stand_in in stand_ins.STAND_INS.values()}
    assert all((Path(stand_ins.__file__).parent / folder / "Dockerfile").is_file() for folder in folders)


def test_images_come_from_services_and_from_the_dockerfiles_of_built_ones(tmp_path: Path) -> None:
    folder = tmp_path / "stacks/shop"
    (folder / "api").mkdir(parents=True)
    (folder / "api/Dockerfile").write_text("FROM python:3.13-slim\n")
    (folder / "compose.yml").write_text(
        "services:\n"
        "  db: {image: 'redis:${TAG:-7}'}\n"
        "  api: {image: shop/api, build: api}\n"
        "  job: {build: {context: ., dockerfile_inline: 'FROM alpine:3'}}\n"
    )
    assert images.shipped_images(tmp_path) == ["redis:7", "python:3.13-slim", "alpine:3"]


@pytest.mark.parametrize(
    ("dockerfile", "expected"),
    [
        ("FROM scratch\n", []),
        (
            "# FROM a\nfrom --platform=linux/amd64 a:1 as build\nFROM b:2\nCOPY --from=build /x /\n",
            ["a:1", "b:2"],
        ),
        ("FROM a:1 AS one\nFROM one\nCOPY --from=0 /x /\n", ["a:1"]),
        ('ARG TAG="9"\nARG BASE=redis\nFROM ${BASE}:$TAG\n', ["redis:9"]),
        ("FROM redis:${TAG:-7}\nCOPY --from=busybox:1 /bin/sh /\n", ["redis:7", "busybox:1"]),
    ],
)
def test_base_images_of_a_dockerfile(dockerfile: str, expected: list[str]) -> None:
    assert images.base_images(dockerfile) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("traefik", ("traefik", "latest")),
        ("docker.io/library/redis:7-alpine", ("redis", "7-alpine")),
        ("traefik/whoami:v1.11", ("traefik/whoami", "v1.11")),
        ("redis@sha256:0123", ("redis@sha256:0123", "")),
    ],
)
def test_repository_and_tag_of_a_name(name: str, expected: tuple[str, str]) -> None:
    assert stand_ins.split(name) == expected
