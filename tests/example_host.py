"""A host where all is as it should be, as facts: Traefik, and a shop of two services behind it. Tests break it, one thing each."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from towline.checks.answers import Answers
from towline.checks.baseline import Baseline
from towline.checks.finding import Finding, Report
from towline.checks.run import check_answers, local_routes, probed_checks
from towline.checks.scope import Scope, select
from towline.checks.state import State, check_state
from towline.facts.certificate import Certificate
from towline.facts.compose_model import parse_model
from towline.facts.container import Container, Mount
from towline.facts.drift import DriftFact
from towline.facts.engine import Engine
from towline.facts.host import FileSystem, HostFact
from towline.facts.port import Binding, Port
from towline.facts.probe import Answer, Probe
from towline.facts.survey import StackSurvey, Survey
from towline.project.compose_file import Service
from towline.project.declared_checks import Check
from towline.project.settings import Host
from towline.project.stack import Stack
from towline.report.groups import sentence
from towline.ssh.session import Result

NOW = 1_795_000_000.0
LONG_AGO = "2026-11-01T10:00:00.5Z"  # NOW is 2026-11-18T11:06:40Z
JUST_NOW = "2026-11-18T11:05:00.5Z"
HOST = Host("prod", "192.0.2.7")
IMAGES = {
    "traefik:v3.7": "sha256:" + "a" * 64,
    "shop-web:latest": "sha256:" + "b" * 64,
    "redis:7": "sha256:" + "c" * 64,
}
CERTIFICATE = Certificate(("a.example", "*.a.example"), "CN=a.example", "CN=R11", NOW + 60 * 86400, "f" * 64)


def image(name: str) -> str:
    return IMAGES[name]


def digest(service: str) -> str:
    return f"{service:0<64}"


def make_stack(name: str, *services: str, **more: Any) -> Stack:
    top = Path("/project")
    folder = top / "stacks" / name
    return Stack(name, name, "stack", folder, top, ("compose.yaml",), tuple(map(Service, services)), **more)


def binding(outside: str, inside: str, address: str = "0.0.0.0", proto: str = "tcp") -> Binding:
    return Binding(f"{inside}/{proto}", Port(address, int(outside), proto))


TRAEFIK = Container(
    "traefik-traefik-1",
    "traefik",
    "traefik",
    "running",
    id="1" * 64,
    image="traefik:v3.7",
    image_id=image("traefik:v3.7"),
    health="healthy",
    said="OK",
    started=LONG_AGO,
    config_hash=digest("traefik"),
    compose="2.40.3",
    command=(
        "--entrypoints.web.address=:80",
        "--entrypoints.websecure.address=:443",
        "--entrypoints.websecure.http.tls=true",
        "--providers.docker.exposedbydefault=false",
    ),
    wanted=(binding("80", "80"), binding("443", "443")),
    held=(binding("80", "80"), binding("443", "443")),
    networks={"proxy": "172.20.0.2"},
)
WEB = Container(
    "shop-web-1",
    "shop",
    "web",
    "running",
    id="2" * 64,
    image="shop-web",
    image_id=image("shop-web:latest"),
    started=LONG_AGO,
    config_hash=digest("web"),
    compose="2.40.3",
    labels={"traefik.enable": "true", "traefik.http.routers.shop.rule": "Host(`a.example`)"},
    networks={"proxy": "172.20.0.3", "shop_default": "172.21.0.3"},
    mounts=(Mount("bind", "", "/srv/stacks/shop/conf", "/etc/web"),),
)
DB = Container(
    "shop-db-1",
    "shop",
    "db",
    "running",
    id="3" * 64,
    image="redis:7",
    image_id=image("redis:7"),
    health="healthy",
    started=LONG_AGO,
    config_hash=digest("db"),
    compose="2.40.3",
    wanted=(binding("6379", "6379", "127.0.0.1"),),
    held=(binding("6379", "6379", "127.0.0.1"),),
    networks={"shop_default": "172.21.0.2"},
    mounts=(Mount("volume", "shop_data", "/var/lib/docker/volumes/shop_data/_data", "/data"),),
)
TRAEFIK_KEYS = {
    "services": {"traefik": {"image": "traefik:v3.7", "command": list(TRAEFIK.command), "networks": {"proxy": None}}},
    "networks": {"proxy": {"name": "proxy"}},
}
SHOP_KEYS = {
    "services": {
        "web": {
            "networks": {"default": None, "proxy": None},
            "labels": dict(WEB.labels),
            "volumes": [{"type": "bind", "source": "./conf", "target": "/etc/web"}],
        },
        "db": {
            "image": "redis:7",
            "networks": {"default": None},
            "volumes": [{"type": "volume", "source": "data", "target": "/data"}],
        },
    },
    "networks": {"default": {"name": "shop_default"}, "proxy": {"name": "proxy", "external": True}},
    "volumes": {"data": {"name": "shop_data"}},
}


def make_look(name: str, keys: Mapping[str, Any], kept: Mapping[str, str]) -> StackSurvey:
    return StackSurvey(
        name,
        name,
        live_folder=f"/srv/stacks/{name}",
        current="20261101-100000",
        digest=f"digest of {name}",
        at="2026-11-01T10:00:00Z",
        model=parse_model(f"/tmp/x\n{json.dumps(keys)}"),
        drift=DriftFact(hashes={service: digest(service) for service in kept}, kept=kept),
    )


MACHINE = HostFact(
    now=NOW,
    user="deploy",
    os="Debian GNU/Linux 12 (bookworm)",
    kernel="6.1.0-26-amd64 x86_64",
    uptime=864000.0,
    cpus=4,
    load=(0.5, 0.4, 0.3),
    memory=8 << 30,
    memory_free=6 << 30,
    max_sessions=2,
    max_startups="2:30:10",
)
SURVEY = Survey(
    host=MACHINE,
    engine=Engine(
        version="28.5.2",
        driver="overlay2",
        images=IMAGES,
        networks=frozenset({"bridge", "host", "none", "proxy", "shop_default"}),
        volumes=frozenset({"shop_data"}),
        compose="/usr/libexec/docker/cli-plugins/docker-compose",
    ),
    containers=(DB, WEB, TRAEFIK),
    stacks={
        "traefik": make_look("traefik", TRAEFIK_KEYS, {"traefik": image("traefik:v3.7")}),
        "shop": make_look("shop", SHOP_KEYS, {"web": image("shop-web:latest"), "db": image("redis:7")}),
    },
    disks=(FileSystem("/", 100 << 30, 50 << 30, 1_000_000, 900_000),),
    names={"a.example": ("192.0.2.7",)},
)


@dataclass(frozen=True)
class Example:
    """Facts and answers of one look. A question without an answer of its own is answered well."""

    survey: Survey = SURVEY
    stacks: tuple[Stack, ...] = (make_stack("traefik", "traefik"), make_stack("shop", "web", "db"))
    baselines: Mapping[str, Baseline] = field(
        default_factory=lambda: {"traefik": Baseline("digest of traefik"), "shop": Baseline("digest of shop")}
    )
    answers: Mapping[str, Answer] = field(default_factory=dict)  # ADDRESS:PORT, or NAME@ADDRESS:PORT → answer
    results: Mapping[tuple[str, str], Result] = field(default_factory=dict)
    forbidden: str = ""

    # breaking it -----------------------------------------------------------------------------------------------------

    def container(self, name: str, **changes: Any) -> Example:
        found = [replace(one, **changes) if one.name == name else one for one in self.survey.containers]
        return self.surveyed(containers=tuple(found))

    def without(self, name: str) -> Example:
        return self.surveyed(containers=tuple(one for one in self.survey.containers if one.name != name))

    def with_container(self, one: Container) -> Example:
        return self.surveyed(containers=(*self.survey.containers, one))

    def surveyed(self, **changes: Any) -> Example:
        return replace(self, survey=replace(self.survey, **changes))

    def machine(self, **changes: Any) -> Example:
        return self.surveyed(host=replace(self.survey.host, **changes))

    def engine(self, **changes: Any) -> Example:
        return self.surveyed(engine=replace(self.survey.engine, **changes))

    def dead_engine(self, problem: str = "Cannot connect to the Docker daemon", socket: str = "open") -> Example:
        return self.surveyed(engine=Engine(problem, socket), containers=())

    def look(self, stack: str, **changes: Any) -> Example:
        look = replace(self.survey.stacks[stack], **changes)
        return self.surveyed(stacks={**self.survey.stacks, stack: look})

    def live(self, stack: str, **changes: Any) -> Example:
        return self.look(stack, drift=replace(self.survey.stacks[stack].drift, **changes))

    def model(self, stack: str, change: Callable[[Any], object]) -> Example:
        keys = json.loads(json.dumps(TRAEFIK_KEYS if stack == "traefik" else SHOP_KEYS))
        change(keys)
        return self.look(stack, model=parse_model(f"/tmp/x\n{json.dumps(keys)}"))

    def here(self, stack: str, **changes: Any) -> Example:
        return replace(self, baselines={**self.baselines, stack: replace(self.baselines[stack], **changes)})

    def answered(self, where: str, answer: Answer) -> Example:
        return replace(self, answers={**self.answers, where: answer})

    def checked(self, *checks: Check, **results: Result) -> Example:
        stacks = tuple(replace(one, checks=checks) if one.name == "shop" else one for one in self.stacks)
        return replace(self, stacks=stacks, results={("shop", name): result for name, result in results.items()})

    # looking at it ---------------------------------------------------------------------------------------------------

    def scope(self, **more: Any) -> Scope:
        return Scope(**{"stacks": self.stacks, "baselines": self.baselines} | more)

    def state(self, **scope: Any) -> State:
        return check_state(HOST, self.scope(**scope), self.survey, self.results)

    def answered_to(self, state: State) -> Answers:
        if self.forbidden:
            return Answers(forbidden=self.forbidden)
        probes = [probe for served in state.routes for probe in served.probes]
        probes += [port.probe for port in state.ports if port.probe]
        return Answers(
            by_probe={probe: self.answer(probe) for probe in probes},
            declared={it.key: [(probe, self.answer(probe)) for probe in it.probes] for it in probed_checks(state)},
        )

    def findings(self, **scope: Any) -> tuple[Finding, ...]:
        """All findings, also those that the scope does not include."""
        state = self.state(**scope)
        local = {probe: self.answer(probe) for served in local_routes(state) for probe in served.probes}
        return check_answers(state, self.answered_to(state), Answers({} if self.forbidden else local))

    def answer(self, question: Probe) -> Answer:
        good = Answer(status=200 if question.http else 0, certificate=CERTIFICATE if question.tls else None)
        return self.answers.get(f"{question.name}@{question.shown}", self.answers.get(question.shown, good))

    def report(self, **scope: Any) -> Report:
        return Report(select(self.findings(**scope), self.scope(**scope)), 0.0)

    def told(self, **scope: Any) -> dict[str, str]:
        """Id → result of what is not a pass; for the scope asked for."""
        return {one.id: one.result for one in self.report(**scope).findings if one.result != "pass"}

    def sentences(self, **scope: Any) -> dict[str, str]:
        return {one.id: sentence(one) for one in self.findings(**scope)}

    def causes(self) -> set[str]:
        """The ids that explain skipped findings."""
        return {one.because for one in self.findings() if one.because}

    def wrong(self, **scope: Any) -> list[str]:
        """The ids of what fails or warns."""
        return sorted(name for name, result in self.told(**scope).items() if result in ("fail", "warn"))


GOOD = Example()
