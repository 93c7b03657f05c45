"""What a survey's parser makes of answers recorded from Docker Engine 28.5, compose 2.40 and the scripts themselves."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.example_host import make_stack
from towline.commands.docker import COMPOSE_VERSION
from towline.errors import RemoteFailed
from towline.facts.container import Container, Mount
from towline.facts.drift import DriftFact
from towline.facts.host import FileSystem
from towline.facts.port import Binding, Port
from towline.facts.survey import Survey, commands, parse
from towline.ssh.session import Result

RECORDED = Path(__file__).parent / "recorded"
HOST = (RECORDED / "host.json").read_bytes()
LOOKED = (RECORDED / "survey.txt").read_text()
DOCUMENTS = (RECORDED / "engine.json").read_text().splitlines()
STACKS = (make_stack("shop", "web", "job"), make_stack("blog", "blog"))
IMAGE = "sha256:fae2a74d22440a10804daaf0580bae6ebbf6a3c6fe2134ec990cb5ebe3716852"
NOW = json.loads(HOST)["now"]
WEB_ID = "9dbbbc5db0d812ab9febd3bd0ba6c9dc811cf1c50f170948db30ae53a818a8d5"


def engine(*events: dict[str, Any]) -> bytes:
    """The engine's answers, one behind the other."""
    bodies = [*DOCUMENTS, "".join(f"{json.dumps(event)}\n" for event in events)]
    return b"".join(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode() for body in bodies)


def read(
    looked: str = LOOKED, *, host: bytes = HOST, answers: bytes | None = None, cuts: str = "", asked: float = NOW
) -> Survey:
    results = [Result(0, host), Result(0, engine() if answers is None else answers), Result(0, looked.encode())]
    return parse([*results, Result(0, cuts.encode())], STACKS, (asked - 0.1, asked + 0.1))


def container(name: str, looked: str = LOOKED, **how: Any) -> Container:
    (found,) = [one for one in read(looked, **how).containers if one.name == name]
    return found


def test_machine_is_read() -> None:
    machine = read().host
    assert (machine.user, machine.os, machine.cpus) == ("deploy", "Debian GNU/Linux 12 (bookworm)", 2)
    assert (machine.load, machine.memory) == ((1.27, 2.84, 4.88), 25276510208)
    assert (machine.max_sessions, machine.max_startups, machine.reboot) == (10, "10:30:100", "no")


def test_what_the_machine_does_not_tell_is_empty() -> None:
    machine = read(host=b'{"now":0,"user":"a"}').host
    assert (machine.load, machine.memory, machine.cpus, machine.max_sessions) == ((0.0, 0.0, 0.0), 0, 1, 0)


def test_engine_is_read() -> None:
    found = read().engine
    assert (found.problem, found.version, found.driver) == ("", "28.5.2+dfsg4", "overlay2")
    assert found.images == {"busybox:1": IMAGE, "busybox:1.37": IMAGE}
    assert list(found.unnamed.values()) == [2203150]
    assert found.networks == {"host", "none", "bridge", "shop_default"}
    assert found.volumes == {"shop_data"}


def test_running_container_is_read_whole() -> None:
    one = container("shop-web-1")
    assert replace(one, labels={}) == Container(
        id=WEB_ID,
        name="shop-web-1",
        project="shop",
        service="web",
        state="running",
        image="busybox:1.37",
        image_id=IMAGE,
        health="healthy",
        said="all is well",
        pid=30881,
        started="2026-11-23T21:46:21.465925201Z",
        config_hash="dbcd69666fc726f6581fcc2eda0fea1daa953eeb028d7bfe3dd0a3a7e0cb8824",
        compose="2.40.3",
        command=("-f", "-p", "8080", "-h", "/www"),
        wanted=(
            Binding("53/udp", Port("0.0.0.0", 18153, "udp")),
            Binding("8080/tcp", Port("127.0.0.1", 18180)),
        ),
        held=(
            Binding("53/udp", Port("0.0.0.0", 18153, "udp")),
            Binding("53/udp", Port("::", 18153, "udp")),
            Binding("8080/tcp", Port("127.0.0.1", 18180)),
        ),
        networks={"shop_default": "172.20.0.2"},
        mounts=(
            Mount("volume", "shop_data", "/var/lib/docker/volumes/shop_data/_data", "/data"),
            Mount("bind", "", "/srv/stacks/shop/conf", "/www"),
        ),
    )
    assert one.labels["traefik.http.routers.shop.rule"] == "Host(`shop.example`) || Host(`www.shop.example`)"
    assert (one.running, one.address) == (True, "172.20.0.2")


def test_ended_container_is_read() -> None:
    one = container("shop-job-1")
    assert (one.state, one.code, one.finished, one.running) == ("exited", 0, "2026-11-23T21:46:21.56232622Z", False)
    assert (one.networks, one.address, one.health, one.log_limited) == ({"none": ""}, "", "", False)


def test_container_on_the_host_s_network_is_reached_there() -> None:
    one = container("host")
    assert (one.host_network, one.networks, one.address, one.project) == (True, {}, "127.0.0.1", "")


def test_services_are_told_apart_from_what_compose_run_made() -> None:
    found = read(LOOKED.replace('oneoff":"False","com.docker.compose.project":"shop"', 'oneoff":"True","com.docker.compose.project":"shop"', 1))  # fmt: skip  # noqa: E501
    assert [one.name for one in found.containers_of("shop")] == ["shop-web-1"]
    assert [one.name for one in read().containers_of("shop")] == ["shop-job-1", "shop-web-1"]
    assert [one.name for one in read().containers_of("shop", "job")] == ["shop-job-1"]


def test_log_s_size_is_its_container_s() -> None:
    path = f"/var/lib/docker/containers/{WEB_ID}/{WEB_ID}-json.log"
    assert container("shop-web-1", LOOKED.replace(f"log\t{path}\t0", f"log\t{path}\t4711")).log_bytes == 4711


@pytest.mark.parametrize(("ago", "killed"), [(60, True), (86000, True), (90000, False)])
def test_kill_for_memory_counts_for_a_day(ago: int, killed: bool) -> None:
    event = {"Action": "oom", "Actor": {"ID": WEB_ID}, "time": int(NOW) - ago}
    assert container("shop-web-1", answers=engine(event)).oom == killed
    assert not container("host", answers=engine(event)).oom


def test_stack_is_read() -> None:
    found = read().stacks["shop"]
    assert (found.current, found.digest, found.at) == ("20270101-120000", "sha256-abc", "2027-01-01T12:00:00Z")
    assert found.live_folder == "/srv/stacks/shop"
    assert found.env == {"TOKEN": True, "EMPTY": False}
    assert found.drift == DriftFact(
        hashes={
            "web": "dbcd69666fc726f6581fcc2eda0fea1daa953eeb028d7bfe3dd0a3a7e0cb8824",
            "job": "a0852e3c978b3538cc5c06f257846dad212978c64c034bb0c04af32d20253ffe",
        },
        once=frozenset({"job"}),
        kept={"web": IMAGE, "job": IMAGE},
    )
    assert found.model is not None
    assert found.model.services["web"]["volumes"][0]["source"] == "./conf"
    assert (found.interrupted, found.certs) == ("", {})


def test_stack_that_is_not_there_is_empty() -> None:
    found = read().stacks["blog"]
    assert (found.current, found.live_folder, found.model, found.drift) == ("", "", None, DriftFact())


def test_edited_and_stale_are_their_stack_s() -> None:
    found = read(f"{LOOKED.rstrip()}\nedited\tx\n").stacks  # the last one is blog
    assert (found["blog"].drift.edited, found["shop"].drift.edited) == (("x",), ())
    assert (
        read(LOOKED.replace("once\tjob", "stale\tweb\tshop-web-1\tconf")).stacks["shop"].drift.stale[0].path == "conf"
    )


def test_cut_deploy_is_its_stack_s() -> None:
    found = read(cuts="shop\t20270101-130000\troll web\n").stacks
    assert (found["shop"].interrupted, found["blog"].interrupted) == ("20270101-130000", "")


def test_file_systems_are_told_once_by_their_shortest_path() -> None:
    assert read().disks == (FileSystem("/", 4096 * 66053021, 4096 * 19986120, 16777216, 16262616),)


def test_names_listeners_and_plugin_are_read() -> None:
    found = read(LOOKED.replace("name\tshop.example", "name\tshop.example\t192.0.2.1\t2001:db8::1"))
    assert found.names == {"shop.example": ("192.0.2.1", "2001:db8::1"), "www.shop.example": ()}
    assert found.listeners == (Port("127.0.0.1", 18180),)
    assert found.engine.compose == "/usr/libexec/docker/cli-plugins/docker-compose"


# ------------------------------------------------------------------------------------------------------ certificates


def cert(path: str, content: bytes = b"der") -> str:
    return f"cert\t{path}\t{base64.b64encode(content).decode()}\n"


def certs(*lines: str) -> dict[str, dict[str, bytes]]:
    found = read(LOOKED.replace("stack\tshop\n", f"{''.join(lines)}stack\tshop\n")).stacks
    return {name: dict(look.certs) for name, look in found.items()}


def test_certificate_in_a_live_folder_is_that_stack_s_by_its_path_there() -> None:
    assert certs(cert("/srv/stacks/shop/tls/a b.pem")) == {"shop": {"tls/a b.pem": b"der"}, "blog": {}}


def test_certificate_that_is_mounted_is_that_stack_s_by_its_whole_path() -> None:
    mounted = "/var/lib/docker/volumes/shop_data/_data/a.crt"
    assert certs(cert(mounted)) == {"shop": {mounted: b"der"}, "blog": {}}


def test_certificate_of_nobody_is_left_out() -> None:
    assert certs(cert("/srv/stacks/shop-2/a.pem"), "cert\t/srv/stacks/shop/b.pem\tnot base64\n") == {
        "shop": {},
        "blog": {},
    }


# ------------------------------------------------------------------------------------------------- what does not answer

NO_ENGINE = "engine\tCannot connect to the Docker daemon\topen\ndisk\t/\t1\t9\t5\t9\t5\ta\nstack\tshop\nstack\tblog\n"


def test_engine_that_does_not_answer_is_a_fact() -> None:
    found = read(NO_ENGINE, answers=b"")
    assert (found.engine.problem, found.engine.socket) == ("Cannot connect to the Docker daemon", "open")
    assert (found.containers, set(found.stacks)) == ((), {"shop", "blog"})


def test_engine_without_a_word_is_a_problem_still() -> None:
    assert read("engine\t\tdenied\n", answers=b"").engine.problem == "docker does not answer"


def test_engine_whose_api_breaks_off_is_a_problem() -> None:
    assert read(answers=engine()[:300]).engine.problem == "the engine's API does not answer"


@pytest.mark.parametrize("host", [b"", b"sh: awk: not found\n"])
def test_machine_that_tells_nothing_is_an_error_of_one_line(host: bytes) -> None:
    with pytest.raises(RemoteFailed, match="the server did not answer with its description"):
        read(host=host)


@pytest.mark.parametrize("which", [0, 2])
def test_script_that_fails_is_an_error_with_its_last_line(which: int) -> None:
    results = [Result(0, HOST), Result(0, engine()), Result(0, LOOKED.encode()), Result(0)]
    results[which] = Result(1, b"", b"x\nmktemp: No space left on device\n")
    with pytest.raises(RemoteFailed, match="could not be checked: mktemp: No space left on device"):
        parse(results, STACKS, (NOW, NOW))


@pytest.mark.parametrize(("here", "skew"), [(NOW, 0.0), (NOW + 300, -299.9), (NOW - 300, 299.9)])
def test_clock_is_held_against_ours(here: float, skew: float) -> None:
    assert read(asked=here).skew == pytest.approx(skew, abs=0.01)


def test_commands_name_root_stacks_and_projects() -> None:
    named = commands("stacks", [make_stack("a.b", "x")])[2]
    assert named[4:] == ("stacks", "a.b", "a.b")
    assert commands("stacks", [])[2][4:] == ("stacks",)
    assert COMPOSE_VERSION in LOOKED
