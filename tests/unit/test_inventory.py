"""What the parsers make of answers recorded from Docker Engine 28.5 and compose 2.40, and of /proc/net/tcp and tcp6."""

from __future__ import annotations

from dataclasses import replace

import pytest

from towline.errors import RemoteFailed
from towline.facts.container import Container, Mount
from towline.facts.inventory import Inventory, commands, parse
from towline.facts.port import Port, parse_listening
from towline.ssh.session import Result

IMAGE = "sha256:fae2a74d22440a10804daaf0580bae6ebbf6a3c6fe2134ec990cb5ebe3716852"
HASH = "5d55ff0159262f7244a8e8cfed7a0480d74086097fdd513520bc3447ec5bae10"
ANONYMOUS = "0f3fcc192f272ba1b61724cd3789b7a5e569af7b1ce6cb58d0c7fb0b90c9abb7"

FRONT = (
    b'{"id":"1111111111111111111111111111111111111111111111111111111111111111","name":"/rec4-front",'
    b'"image":"busybox:1","image_id":"sha256:fae2a74d22440a10804daaf0580bae6ebbf6a3c6fe2134ec990cb5ebe3716852"'
    b',"state":{"Status":"running","StartedAt":"2026-11-23T19:13:19.035048395Z"},"restarts":0,'
    b'"labels":{"com.docker.compose.project":"rec4","com.docker.compose.service":"web",'
    b'"com.docker.compose.oneoff":"False","com.docker.compose.config-hash":"5d55ff0159262f7244a8e8cfed7a0480d7'
    b'4086097fdd513520bc3447ec5bae10","towline.inputs":"sha256-abc"},"host":{"ports":{"53/udp":[{"HostIp":"",'
    b'"HostPort":"18082"}],"80/tcp":[{"HostIp":"","HostPort":"18080"}],"81/tcp":[{"HostIp":"127.0.0.1",'
    b'"HostPort":"18081"}]},"network":"rec4_default"},"ports":{"53/udp":[{"HostIp":"0.0.0.0",'
    b'"HostPort":"18082"},{"HostIp":"::","HostPort":"18082"}],"80/tcp":[{"HostIp":"0.0.0.0",'
    b'"HostPort":"18080"},{"HostIp":"::","HostPort":"18080"}],"81/tcp":[{"HostIp":"127.0.0.1",'
    b'"HostPort":"18081"}]},"mounts":[{"Type":"volume","Name":"rec4_data",'
    b'"Source":"/var/lib/docker/volumes/rec4_data/_data","Destination":"/data","Driver":"local","Mode":"rw",'
    b'"RW":true,"Propagation":""},{"Type":"bind","Source":"/tmp/rec4/site","Destination":"/site","Mode":"rw",'
    b'"RW":true,"Propagation":"rprivate"},{"Type":"volume",'
    b'"Name":"0f3fcc192f272ba1b61724cd3789b7a5e569af7b1ce6cb58d0c7fb0b90c9abb7",'
    b'"Source":"/var/lib/docker/volumes/0f3fcc192f272ba1b61724cd3789b7a5e569af7b1ce6cb58d0c7fb0b90c9abb7/_data'
    b'","Destination":"/scratch","Driver":"local","Mode":"z","RW":true,"Propagation":""}]}\n'
)
HOST = (
    b'{"id":"2222222222222222222222222222222222222222222222222222222222222222","name":"/rec4-host",'
    b'"image":"busybox:1","image_id":"sha256:fae2a74d22440a10804daaf0580bae6ebbf6a3c6fe2134ec990cb5ebe3716852"'
    b',"state":{"Status":"running","StartedAt":"2026-11-23T19:13:19.567314773Z"},"restarts":0,'
    b'"labels":{"com.docker.compose.project":"","com.docker.compose.service":"",'
    b'"com.docker.compose.oneoff":"","com.docker.compose.config-hash":"","towline.inputs":""},'
    b'"host":{"ports":{},"network":"host"},"ports":{},"mounts":[]}\n'
)
BARE = (
    b'{"id":"3333333333333333333333333333333333333333333333333333333333333333","name":"/rec4-bare",'
    b'"image":"busybox:1","image_id":"sha256:fae2a74d22440a10804daaf0580bae6ebbf6a3c6fe2134ec990cb5ebe3716852"'
    b',"state":{"Status":"created","StartedAt":"0001-01-01T00:00:00Z"},"restarts":0,'
    b'"labels":{"com.docker.compose.project":"","com.docker.compose.service":"",'
    b'"com.docker.compose.oneoff":"","com.docker.compose.config-hash":"","towline.inputs":""},'
    b'"host":{"ports":{"80/tcp":[{"HostIp":"","HostPort":"18095"}]},"network":"bridge"},"ports":{},'
    b'"mounts":[]}\n'
)
LISTENING = (
    b"0100007F:8F67\n0100007F:46B3\n0100007F:46A1\n00000000:8000\n00000000:07E8\n00000000:46AA\n00000000:46A0\n"
    b"00000000000000000000000000000000:8000\n00000000000000000000000000000000:46AA\n"
    b"00000000000000000000000000000000:46A0\n"
)
NETWORKS = b'"bridge"\n"host"\n"none"\n"rec4-outer"\n"rec4_default"\n'
VOLUMES = (
    b'{"name":"0f3fcc192f272ba1b61724cd3789b7a5e569af7b1ce6cb58d0c7fb0b90c9abb7","project":""}\n'
    b'{"name":"rec4_data","project":"rec4"}\n'
)
IMAGE_THERE = Result(0, f'"{IMAGE}"\n'.encode())
IMAGE_NOT_THERE = Result(1, b"\n", b"Error response from daemon: No such image: nope:1\n")
DEAD = Result(
    1, b"", b"Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?\n"
)


def answers(inspected: bytes = b"", listening: bytes = b"", networks: bytes = NETWORKS) -> list[Result]:
    return [Result(0, inspected), Result(0, listening), Result(0, networks), Result(0, VOLUMES)]


def test_each_image_is_asked_for_by_a_command_of_its_own() -> None:
    assert commands(["busybox:1", "a b"])[4:] == (
        ("docker", "image", "inspect", "--format", "{{json .Id}}", "busybox:1"),
        ("docker", "image", "inspect", "--format", "{{json .Id}}", "a b"),
    )


def test_networks_and_volumes_are_asked_for_as_json() -> None:
    assert commands()[2:] == (
        ("docker", "network", "ls", "--format", "{{json .Name}}"),
        (
            *("docker", "volume", "ls", "--format"),
            '{"name":{{json .Name}},"project":{{json (.Label "com.docker.compose.project")}}}',
        ),
    )


def test_container_of_compose_is_read_whole() -> None:
    (front,) = parse(answers(FRONT)).containers
    assert front.host_ports == (
        Port("0.0.0.0", 18080),
        Port("0.0.0.0", 18082, "udp"),
        Port("127.0.0.1", 18081),
        Port("::", 18080),
        Port("::", 18082, "udp"),
    )
    assert front.inputs == "sha256-abc"
    assert replace(front, labels={}, wanted=(), held=()) == Container(
        "rec4-front",
        "rec4",
        "web",
        "running",
        id="1" * 64,
        config_hash=HASH,
        image_id=IMAGE,
        image="busybox:1",
        started="2026-11-23T19:13:19.035048395Z",
        mounts=(
            Mount("volume", "rec4_data", "/var/lib/docker/volumes/rec4_data/_data", "/data"),
            Mount("bind", "", "/tmp/rec4/site", "/site"),
            Mount("volume", ANONYMOUS, f"/var/lib/docker/volumes/{ANONYMOUS}/_data", "/scratch"),
        ),
    )


def test_only_the_volume_that_docker_named_is_anonymous() -> None:
    (front,) = parse(answers(FRONT)).containers
    assert [mount.destination for mount in front.mounts if mount.anonymous] == ["/scratch"]


def test_container_that_never_started_holds_no_port_and_has_no_start() -> None:
    (bare,) = parse(answers(BARE)).containers
    assert (bare.host_ports, bare.started, bare.running, bare.project) == ((), "", False, "")


def test_container_between_two_starts_holds_the_ports_it_was_told_to() -> None:
    (bare,) = parse(answers(BARE.replace(b'"Status":"created"', b'"Status":"restarting"'))).containers
    assert bare.host_ports == (Port("0.0.0.0", 18095), Port("::", 18095))


def test_port_to_be_chosen_at_the_start_is_not_held() -> None:
    restarting = BARE.replace(b'"Status":"created"', b'"Status":"restarting"')
    for port in (b"", b"18090-18091"):
        (bare,) = parse(answers(restarting.replace(b"18095", port))).containers
        assert bare.host_ports == ()


def test_container_on_the_host_s_network_is_known_as_such() -> None:
    assert [(one.name, one.host_network) for one in parse(answers(FRONT + HOST)).containers] == [
        ("rec4-front", False),
        ("rec4-host", True),
    ]


def test_oneoff_container_is_told_from_a_service_s() -> None:
    (one,) = parse(answers(FRONT.replace(b'oneoff":"False"', b'oneoff":"True"'))).containers
    assert one.oneoff


def test_listeners_are_those_that_are_not_docker_s() -> None:
    assert parse(answers(FRONT, LISTENING)).listeners == (
        Port("0.0.0.0", 2024),
        Port("0.0.0.0", 18090),
        Port("0.0.0.0", 32768),
        Port("127.0.0.1", 18099),
        Port("127.0.0.1", 36711),
        Port("::", 18090),
        Port("::", 32768),
    )


def test_loopback_listener_on_a_port_published_elsewhere_is_not_docker_s() -> None:
    around = parse(answers(FRONT, b"0200007F:46A1\n"))  # Docker holds 127.0.0.1:18081
    assert around.listeners == (Port("127.0.0.2", 18081),)


def test_rootless_docker_s_one_socket_for_both_families_is_docker_s() -> None:
    only_four = FRONT.replace(b',{"HostIp":"::","HostPort":"18080"}', b"")
    assert parse(answers(only_four, b"00000000000000000000000000000000:46A0\n")).listeners == ()


def test_addresses_of_six_words_are_read() -> None:
    text = (
        "0000000000000000FFFF00000100007F:46B8\n"
        "00000000000000000000000000000000:46B5\n"
        "00000000000000000000000001000000:46B4\n"
        "B80D0120000000000000000001000000:0050\n"
    )
    assert parse_listening(text) == (
        Port("127.0.0.1", 18104),
        Port("2001:db8::1", 80),
        Port("::", 18101),
        Port("::1", 18100),
    )


def test_networks_volumes_and_images_are_read() -> None:
    results = [*answers(), IMAGE_THERE, IMAGE_NOT_THERE]
    assert parse(results, ["busybox:1", "nope:1"]) == Inventory(
        networks=frozenset({"bridge", "host", "none", "rec4-outer", "rec4_default"}),
        volumes={ANONYMOUS: "", "rec4_data": "rec4"},
        images={"busybox:1": IMAGE, "nope:1": ""},
    )


def test_host_without_proc_has_no_listeners() -> None:
    results = answers()
    results[1] = Result(127, b"", b"sh: awk: not found\n")
    assert parse(results).listeners == ()


@pytest.mark.parametrize("which", [0, 2, 3])
def test_engine_that_does_not_answer_is_an_error_and_not_an_empty_host(which: int) -> None:
    results = answers()
    results[which] = DEAD
    with pytest.raises(RemoteFailed, match="Cannot connect to the Docker daemon"):
        parse(results)
