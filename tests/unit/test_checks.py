"""Facts in, findings out: each thing that is wrong gives exactly the finding that names it, and nothing else fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.example_host import CERTIFICATE, DB, GOOD, HOST, JUST_NOW, NOW, TRAEFIK, WEB, Example, binding, make_stack
from towline.checks.host import check_host
from towline.checks.scope import select
from towline.facts import certificate
from towline.facts.compose_model import parse_model
from towline.facts.drift import StaleMount
from towline.facts.host import FileSystem
from towline.facts.port import Port
from towline.facts.probe import Answer

SHOP, FRONT = "stack.shop", "stack.traefik"
WEB_IS, DB_IS, TRAEFIK_IS = f"{SHOP}.service.web", f"{SHOP}.service.db", f"{FRONT}.service.traefik"
GB = 1 << 30
DEAD = Answer("nobody answers there")
OTHER = "sha256:" + "e" * 64
Change = Callable[[Example], Example]


def disk(free: int, size: int = 100 * GB, inodes_free: int = 900_000) -> Change:
    return lambda e: e.surveyed(disks=(FileSystem("/", size, free, 1_000_000, inodes_free),))


def stopped(name: str, **more: Any) -> Change:
    """As Docker tells it: no ports, and its networks without an address."""
    gone = {"state": "exited", "held": (), "code": 137, "finished": JUST_NOW}
    networks = {one.name: dict.fromkeys(one.networks, "") for one in GOOD.survey.containers}
    return lambda e: e.container(name, **gone | {"networks": networks[name]} | more)


def looping(e: Example) -> Example:
    """Caught as it is up for a moment: nobody answers on its port, and its check has failed."""
    up = e.container("shop-db-1", restarts=7, started=JUST_NOW, health="unhealthy", code=1)
    return up.answered("127.0.0.1:6379", DEAD)


def oom(e: Example) -> Example:
    return stopped("shop-db-1", oom=True, state="restarting")(e)


def taken(e: Example) -> Example:
    return stopped("shop-db-1", state="created")(e).surveyed(listeners=(Port("0.0.0.0", 6379),))


def taken_by_another(e: Example) -> Example:
    other = replace(DB, id="9" * 64, name="other", project="", service="")
    return stopped("shop-db-1", state="created")(e).with_container(other)


def port_elsewhere(e: Example) -> Example:
    """The same number at another address is no clash."""
    return stopped("shop-db-1")(e).surveyed(listeners=(Port("127.0.0.2", 6379),))


def cut_off(e: Example) -> Example:
    """Docker takes published ports off a container that has no network left."""
    return e.container("shop-db-1", networks={}, held=())


def edited_and_stale(e: Example) -> Example:
    return e.live("shop", edited=("conf/a.conf",), stale=(StaleMount("web", "shop-web-1", "conf"),))


def without_network(e: Example) -> Example:
    return e.engine(networks=e.survey.engine.networks - {"shop_default"})


def compose_of(version: str) -> Change:
    return lambda e: e.surveyed(containers=tuple(replace(one, compose=version) for one in e.survey.containers))


def replicas(count: int) -> Change:
    return lambda e: e.model("shop", lambda keys: keys["services"]["db"].update(deploy={"replicas": count}))


FAILS: dict[str, tuple[Change, str]] = {
    # host
    "disk is full": (disk(2 * GB), "host.disk./"),
    "inodes are used up": (disk(50 * GB, inodes_free=10_000), "host.inodes./"),
    "memory is used up": (lambda e: e.machine(memory_free=100 << 20), "host.memory"),
    "clock is far off": (lambda e: e.surveyed(skew=-300.0), "host.clock"),
    "docker is not allowed": (lambda e: e.dead_engine("permission denied", "denied"), "host.docker"),
    "docker is not there": (lambda e: e.dead_engine("docker: not found", "none"), "host.docker"),
    # engine
    "engine is down": (lambda e: e.dead_engine(), "engine.running"),
    "engine's socket is gone": (lambda e: e.dead_engine(socket="absent"), "engine.running"),
    "compose is missing": (lambda e: e.engine(compose=""), "engine.compose"),
    # stack
    "never deployed": (lambda e: e.look("shop", current="", model=None).without("shop-web-1").without("shop-db-1"),
                       f"{SHOP}.deployed"),
    "deploy was cut": (lambda e: e.look("shop", interrupted="20261118-100000"), f"{SHOP}.whole"),
    "file was edited": (lambda e: e.live("shop", edited=("compose.yaml",)), f"{SHOP}.files"),
    "file is missing": (lambda e: e.live("shop", missing=("conf/a.conf",)), f"{SHOP}.files"),
    "mounted file was edited": (edited_and_stale, f"{SHOP}.files"),
    ".env was edited": (lambda e: e.here("shop", example=frozenset({"A"}), variables={"web": frozenset({"A"})})
                        .look("shop", env={"B": True}).live("shop", edited=(".env",)), f"{SHOP}.files"),
    ".env lacks a name": (lambda e: e.here("shop", example=frozenset({"A"})).look("shop", env={"B": True}),
                          f"{SHOP}.env"),
    "network is gone": (without_network, f"{SHOP}.network.shop_default"),
    "volume is gone": (lambda e: e.engine(volumes=frozenset()), f"{SHOP}.volume.shop_data"),
    "orphan": (lambda e: e.with_container(replace(WEB, id="9" * 64, name="shop-old-1", service="old", wanted=(), labels={})),
               f"{SHOP}.orphans"),
    "certificate file cannot be read": (lambda e: e.look("shop", certs={"tls/a.pem": b"none"}),
                                        f"{SHOP}.certificate.tls/a.pem"),
    # service
    "container is gone": (lambda e: e.without("shop-db-1"), f"{DB_IS}.containers"),
    "one container too few": (replicas(2), f"{DB_IS}.containers"),
    "one container too many": (replicas(0), f"{DB_IS}.containers"),
    "stopped": (stopped("shop-db-1"), f"{DB_IS}.running"),
    "never started": (stopped("shop-db-1", state="created", error="no such file"), f"{DB_IS}.running"),
    "paused": (lambda e: e.container("shop-db-1", state="paused"), f"{DB_IS}.running"),
    "paused while it holds its port": (lambda e: e.container("traefik-traefik-1", state="paused")
                                       .surveyed(listeners=(Port("0.0.0.0", 80),)), f"{TRAEFIK_IS}.running"),
    "looping": (looping, f"{DB_IS}.restarts"),
    "between two starts": (stopped("shop-db-1", state="restarting", restarts=2), f"{DB_IS}.restarts"),
    "looped and gave up": (stopped("shop-db-1", restarts=3, started=JUST_NOW), f"{DB_IS}.restarts"),
    "killed for its memory": (oom, f"{DB_IS}.memory"),
    "killed for its memory and up again": (lambda e: e.container("shop-db-1", oom=True, restarts=1), f"{DB_IS}.memory"),
    "port taken by a program": (taken, f"{DB_IS}.port.127.0.0.1:6379/tcp"),
    "port taken by a container": (taken_by_another, f"{DB_IS}.port.127.0.0.1:6379/tcp"),
    "port in use at another address": (port_elsewhere, f"{DB_IS}.running"),
    "port not published": (lambda e: e.container("shop-db-1", held=()), f"{DB_IS}.port.127.0.0.1:6379/tcp"),
    "nobody listens": (lambda e: e.answered("127.0.0.1:6379", DEAD), f"{DB_IS}.port.127.0.0.1:6379/tcp"),
    "unhealthy": (lambda e: e.container("shop-db-1", health="unhealthy", said="refused"), f"{DB_IS}.healthy"),
    "unhealthy, and its port is shut": (lambda e: e.container("shop-db-1", health="unhealthy")
                                        .answered("127.0.0.1:6379", DEAD), f"{DB_IS}.healthy"),
    "network cut": (cut_off, f"{DB_IS}.networks"),
    "web's network cut": (lambda e: e.container("shop-web-1", networks={"shop_default": "172.21.0.3"})
                          .answered("127.0.0.1:80", Answer(status=502)), f"{WEB_IS}.networks"),
    "image was replaced": (lambda e: e.container("shop-db-1", image_id=OTHER), f"{DB_IS}.image"),
    "image was retagged": (lambda e: e.engine(images={**e.survey.engine.images, "redis:7": OTHER}), f"{DB_IS}.image"),
    "image without a tag was retagged": (
        lambda e: e.engine(images={**e.survey.engine.images, "shop-web:latest": OTHER}), f"{WEB_IS}.image"),
    "made by hand": (lambda e: e.container("shop-db-1", config_hash="0"), f"{DB_IS}.configuration"),
    "mount is stale": (lambda e: e.live("shop", stale=(StaleMount("web", "shop-web-1", "conf"),)), f"{WEB_IS}.mounts"),
    "variable is not set": (lambda e: e.here("shop", variables={"web": frozenset({"TOKEN", "HOME"})}),
                            f"{WEB_IS}.environment"),
    "variable is empty": (lambda e: e.here("shop", variables={"web": frozenset({"TOKEN"})})
                          .look("shop", env={"TOKEN": False}), f"{WEB_IS}.environment"),
    # routes
    "Traefik answers 404 itself": (
        lambda e: e.answered("127.0.0.1:80", Answer(status=404, body=b"404 page not found\n")),
        f"{SHOP}.route.shop.web.answers"),
    "route answers 502": (lambda e: e.answered("127.0.0.1:80", Answer(status=502)), f"{SHOP}.route.shop.web.answers"),
    "certificate is of another": (
        lambda e: e.answered("127.0.0.1:443", Answer(status=200, certificate=replace(CERTIFICATE, names=("b.example",)))),
        f"{SHOP}.route.shop.websecure.certificate"),
    "Traefik is stopped": (stopped("traefik-traefik-1"), f"{TRAEFIK_IS}.running"),
    "Traefik is gone": (lambda e: e.without("traefik-traefik-1"), f"{TRAEFIK_IS}.containers"),
    "Traefik has no entry point": (
        lambda e: e.container("traefik-traefik-1", command=("--entrypoints.web.address=x", "--providers.docker")),
        f"{TRAEFIK_IS}.traefik"),
    "web is gone": (lambda e: e.without("shop-web-1"), f"{WEB_IS}.containers"),
}  # fmt: skip

WARNS: dict[str, tuple[Change, str]] = {
    "disk is small and nearly full": (disk(GB // 2, 8 * GB), "host.disk./"),
    "inodes are scarce": (disk(50 * GB, inodes_free=60_000), "host.inodes./"),
    "memory is scarce": (lambda e: e.machine(memory_free=500 << 20), "host.memory"),
    "load is high": (lambda e: e.machine(load=(1.0, 20.0, 9.0)), "host.load"),
    "clock is off": (lambda e: e.surveyed(skew=30.0), "host.clock"),
    "reboot is due": (lambda e: e.machine(reboot="yes"), "host.reboot"),
    "kernel was removed": (lambda e: e.machine(reboot="kernel"), "host.reboot"),
    "driver is slow": (lambda e: e.engine(driver="vfs"), "engine.storage"),
    "compose is old": (compose_of("2.17.0"), "engine.compose"),
    "unnamed images": (lambda e: e.engine(unnamed={"x": 6 * GB}), "engine.unnamed-images"),
    "log grows": (lambda e: e.container("shop-db-1", log_limited=False, log_bytes=GB), "engine.logs"),
    "working tree is ahead": (lambda e: e.here("shop", digest="newer"), f"{SHOP}.release"),
    "starting": (lambda e: e.container("shop-db-1", health="starting"), f"{DB_IS}.healthy"),
    "name does not resolve": (lambda e: e.surveyed(names={"a.example": ()}), f"{SHOP}.route.shop.names"),
}

FINE: dict[str, Change] = {
    "nothing": lambda e: e,
    "large disk with a hundredth free and a lot": disk(200 * GB, 4000 * GB),
    "memory is not told": lambda e: e.machine(memory=0, memory_free=0),
    "file system without inodes": lambda e: e.surveyed(disks=(FileSystem("/", 100 * GB, 50 * GB, 0, 0),)),
    "clock within the answer's time": lambda e: e.surveyed(skew=0.4),
    "sshd's settings cannot be read": lambda e: e.machine(max_sessions=0, max_startups=""),
    "unnamed image in use": lambda e: e.engine(unnamed={DB.image_id: 9 * GB}),
    "large log that is limited": lambda e: e.container("shop-db-1", log_bytes=9 * GB),
    "one-shot that did its work": lambda e: stopped("shop-db-1", code=0)(e).live("shop", once=frozenset({"db"})),
    "one-shot that did it at the fourth try": lambda e: stopped("shop-db-1", code=0, restarts=3, started=JUST_NOW)(
        e
    ).live("shop", once=frozenset({"db"})),
    "scaled to nothing": lambda e: replicas(0)(e.without("shop-db-1")),
    "restarted long ago": lambda e: e.container("shop-db-1", restarts=9),
    "a container of `compose run`": lambda e: e.with_container(replace(WEB, name="shop-run", oneoff=True)),
    "any free port": lambda e: e.container("shop-db-1", wanted=(binding("0", "6379", "127.0.0.1"),)),
    "udp": lambda e: e.container(
        "shop-db-1", wanted=(binding("53", "53", proto="udp"),), held=(binding("53", "53", proto="udp"),)
    ),
    "no .env here": lambda e: e.here("shop", example=frozenset({"A"})),
    "container of a profile": lambda e: replace(
        e.with_container(replace(WEB, id="9" * 64, name="shop-debug-1", service="debug", labels={})),
        stacks=(e.stacks[0], replace(e.stacks[1], services=(*e.stacks[1].services, profile("debug")))),
    ),
    "release of before compose models were kept": lambda e: e.look("shop", model=None),
    "release without hashes": lambda e: e.live("shop", hashes={}),
    "image named by its digest": lambda e: e.container("shop-db-1", image="redis@sha256:" + "c" * 64),
}


def profile(name: str) -> Any:
    (service,) = make_stack("x", name).services
    return replace(service, profiles=("debug",))


@pytest.mark.parametrize("name", FAILS)
def test_what_is_wrong_fails_once_by_its_name(name: str) -> None:
    change, finding = FAILS[name]
    told = change(GOOD).told()
    assert [one for one, result in told.items() if result in ("fail", "warn")] == [finding]
    assert told[finding] == "fail"


@pytest.mark.parametrize("name", WARNS)
def test_what_may_go_wrong_warns_once_by_its_name(name: str) -> None:
    change, finding = WARNS[name]
    told = change(GOOD).told()
    assert [one for one, result in told.items() if result in ("fail", "warn")] == [finding]
    assert told[finding] == "warn"


@pytest.mark.parametrize("name", FINE)
def test_what_is_as_it_may_be_is_no_finding(name: str) -> None:
    assert FINE[name](GOOD).wrong() == []


def test_host_that_is_as_it_should_be_has_a_finding_for_each_part_and_no_id_twice() -> None:
    ids = [one.id for one in GOOD.findings()]
    assert len(ids) == len(set(ids)) == 64
    assert GOOD.told() == {f"{WEB_IS}.healthy": "skip"}


@pytest.mark.parametrize("name", FAILS)
def test_every_skipped_finding_names_one_that_is_there(name: str) -> None:
    example = FAILS[name][0](GOOD)
    assert example.causes() - example.sentences().keys() == set()


def test_sessions_that_sshd_does_not_allow_fail() -> None:
    greedy = replace(HOST, max_sessions=4)
    found = [one for one in check_host(greedy, GOOD.survey) if one.result != "pass"]
    assert [(one.id, one.result, one.hint) for one in found] == [
        ("host.sshd.sessions", "fail", "set hosts.prod.max_sessions to 2")
    ]


# ------------------------------------------------------------------------------------------------ what is told with it


def finding(example: Example, name: str) -> Any:
    (found,) = [one for one in example.findings() if one.id == name]
    return found


def test_evidence_is_what_was_seen() -> None:
    one = finding(GOOD.container("shop-db-1", health="unhealthy", said="refused"), f"{DB_IS}.healthy")
    assert (one.evidence, one.hint) == ("shop-db-1: refused", "docker logs shop-db-1")
    one = finding(stopped("shop-db-1")(GOOD), f"{DB_IS}.running")
    assert one.evidence == "shop-db-1 is exited at 2026-11-18T11:05:00Z, exit code 137"
    one = finding(taken_by_another(GOOD), f"{DB_IS}.port.127.0.0.1:6379/tcp")
    assert one.sentence == "its port 127.0.0.1:6379/tcp is taken by container other"
    one = finding(GOOD.live("shop", edited=("a", "b"), missing=("c",)), f"{SHOP}.files")
    assert one.evidence == "a was edited\nb was edited\nc is missing"


def test_variables_are_told_by_name_and_never_by_value() -> None:
    one = GOOD.here("shop", variables={"web": frozenset({"A", "B"})}).look("shop", env={"A": False})
    assert finding(one, f"{WEB_IS}.environment").evidence == "A is empty\nB is not set"


def test_network_of_another_stack_is_not_made_by_this_one() -> None:
    found = finding(GOOD.engine(networks=frozenset({"shop_default"})), f"{SHOP}.network.proxy")
    assert (found.result, found.hint) == ("fail", "deploy the stack that makes it")


def test_replicas_with_ports_of_their_own_are_one_finding_the_worst() -> None:
    one = GOOD.container("shop-db-1", wanted=(binding("0", "6379"),), held=(binding("32768", "6379"),))
    two = replace(DB, id="9" * 64, name="shop-db-2", wanted=(binding("0", "6379"),), held=(binding("32769", "6379"),))
    both = replicas(2)(one.with_container(two))
    name = f"{DB_IS}.port.0.0.0.0:any:6379/tcp"
    assert finding(both, name).result == "pass"
    assert finding(both.answered("127.0.0.1:32769", DEAD), name).result == "fail"
    assert finding(both.answered("127.0.0.1:32768", DEAD), name).result == "fail"


@pytest.mark.parametrize(
    ("ends", "result", "sentence"),
    [(60, "pass", "long enough"), (5, "warn", "expires in 5 days"), (-1, "fail", "has expired")],
)
def test_certificate_file_is_judged_by_its_days(ends: int, result: str, sentence: str, monkeypatch: Any) -> None:
    one = replace(CERTIFICATE, ends=NOW + ends * 86400)
    monkeypatch.setattr(certificate, "parse", lambda der: one)
    found = finding(GOOD.look("shop", certs={"tls/a.pem": b"der"}), f"{SHOP}.certificate.tls/a.pem")
    assert found.result == result
    assert sentence in found.sentence


def test_stack_without_a_model_tells_what_it_can() -> None:
    found = GOOD.look("shop", model=None).sentences()
    assert found[f"{SHOP}.orphans"] == "the release has no record of its services"
    assert [name for name in found if name.startswith(f"{SHOP}.service.")] == [
        f"{DB_IS}.port.127.0.0.1:6379/tcp",
    ]
    assert parse_model("/x\n{}").services == {}


def test_traefik_that_is_known_to_be_down_is_not_blamed_on_its_settings() -> None:
    broken = ("--entrypoints.web.address=x", "--providers.docker")
    told = stopped("traefik-traefik-1", command=broken)(GOOD).told()
    assert told[f"{TRAEFIK_IS}.running"] == "fail"
    assert told[f"{TRAEFIK_IS}.traefik"] == "skip"
    assert TRAEFIK.command != broken


# --------------------------------------------------------------------------------------------------- what is asked for


def test_services_only_tells_routes_and_declared_checks() -> None:
    of = GOOD.scope(services_only=True)
    assert [one.id for one in select(GOOD.findings(), of)] == [
        f"{SHOP}.route.shop.web.answers",
        f"{SHOP}.route.shop.names",
        f"{SHOP}.route.shop.websecure.answers",
        f"{SHOP}.route.shop.websecure.certificate",
    ]


@pytest.mark.parametrize("name", ["Traefik is stopped", "web is gone", "engine is down", "docker is not allowed"])
@pytest.mark.parametrize("scope", [{"services_only": True}, {"only": "*.answers"}, {"machine": False}], ids=str)
def test_what_explains_a_skipped_finding_is_told_though_it_was_not_asked_for(name: str, scope: dict[str, Any]) -> None:
    change, cause = FAILS[name]
    assert change(GOOD).wrong(**scope) == [cause]


def test_one_stack_is_looked_at_with_the_traefik_of_another() -> None:
    scope: dict[str, Any] = {"stacks": GOOD.stacks[1:], "proxies": GOOD.stacks[:1], "machine": False}
    of = GOOD.scope(**scope)
    told = [one.id for one in select(GOOD.findings(), of)]
    assert f"{SHOP}.route.shop.web.answers" in told
    assert [name for name in told if not name.startswith(f"{SHOP}.")] == []
    assert stopped("traefik-traefik-1")(GOOD).wrong(**scope) == [f"{TRAEFIK_IS}.running"]


def test_forwarding_that_is_forbidden_is_the_reason_for_what_was_not_asked() -> None:
    told = replace(GOOD, forbidden="sshd forbids TCP forwarding")
    assert told.wrong() == ["host.sshd.forwarding"]
    reasons = {name: sentence for name, sentence in told.sentences().items() if told.told().get(name) == "skip"}
    del reasons[f"{WEB_IS}.healthy"]
    assert set(reasons) >= {f"{SHOP}.route.shop.web.answers", f"{DB_IS}.port.127.0.0.1:6379/tcp"}
    assert {it for it in reasons.values() if not it.startswith("see ")} == {"sshd forbids TCP forwarding"}


def test_image_that_an_updater_may_move_is_a_warning() -> None:
    moved = GOOD.container("shop-db-1", image_id=OTHER)
    assert moved.told()[f"{DB_IS}.image"] == "fail"
    allowed = replace(moved, stacks=tuple(replace(stack, images_may_move=True) for stack in moved.stacks))
    assert allowed.told()[f"{DB_IS}.image"] == "warn"
