"""Facts in, risks out: each risk where it is, and nothing where it is not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from towline.bundle.manifest import Entry, Manifest
from towline.deploy.planning.mount_risks import looks_like_file
from towline.deploy.planning.risks import find_risks
from towline.deploy.planning.situation import CurrentState, DesiredState, Release, Risk, Situation
from towline.facts.compose_model import Model
from towline.facts.container import Container, Mount
from towline.facts.inventory import Inventory
from towline.facts.port import Binding, Port
from towline.facts.registry import Unpullable
from towline.facts.stack import StackFact
from towline.project.stack import Stack
from towline.project.variables import used_variables

ANONYMOUS = "0f3fcc192f272ba1b61724cd3789b7a5e569af7b1ce6cb58d0c7fb0b90c9abb7"


@dataclass(frozen=True)
class Given:
    """What a situation is made from, beside the model and what else is on the host."""

    project: str = "web"
    strategy: str = "recreate"
    old: Model | None = None
    manifest_paths: frozenset[str] = frozenset()
    removed_paths: frozenset[str] = frozenset()
    env_names: frozenset[str] = frozenset()
    networks_made: frozenset[str] = frozenset()
    variables: frozenset[str] = frozenset()
    unpullable: Mapping[str, Unpullable] = field(default_factory=dict)
    absent: frozenset[str] = frozenset()

    def situation(self, new: Model, around: Inventory) -> Situation:
        release = Release(new, files(self.manifest_paths), variables=dict.fromkeys(self.env_names, "1"))
        stack = Stack("web", self.project, "stack", Path(), Path(), ("compose.yaml",), ())
        live = StackFact(now="", live=True, current="", manifest=files(self.removed_paths), model=self.old)
        return Situation(
            DesiredState(stack, release, self.networks_made),
            CurrentState(live, around),
            self.strategy,
            self.variables,
            self.absent,
            self.unpullable,
        )


def files(paths: frozenset[str]) -> Manifest:
    return Manifest(tuple(Entry("f", 0o644, 0, "-", path) for path in sorted(paths)))


def risks(new: Model, around: Inventory | None = None, **given: Any) -> tuple[Risk, ...]:
    return find_risks(Given(**given).situation(new, around or Inventory()))


def names(found: tuple[Risk, ...]) -> list[tuple[str, bool]]:
    return [(risk.name, risk.stops) for risk in found]


def service(**keys: Any) -> Model:
    return Model({"app": keys})


def port(published: str, host_ip: str = "", protocol: str = "tcp") -> dict[str, Any]:
    item = {"mode": "ingress", "target": 80, "published": published, "protocol": protocol}
    return {**item, "host_ip": host_ip} if host_ip else item


def container(name: str = "shop-web-1", project: str = "shop", **more: Any) -> Container:
    held = tuple(Binding(f"80/{port.proto}", port) for port in more.pop("holds", ()))
    return Container(name, project, "web" if project else "", more.pop("state", "running"), held=held, **more)


def holding(*ports: Port, **more: Any) -> Inventory:
    return Inventory(containers=(container(holds=ports, **more),))


STOP = [("port-taken", True)]
EVERY = (Port("0.0.0.0", 80), Port("::", 80))


def test_stack_with_nothing_wrong_has_no_risk() -> None:
    around = Inventory((container(holds=EVERY),), (Port("0.0.0.0", 22),), frozenset({"edge"}))
    new = Model(
        {"app": {"image": "a", "ports": [port("81")], "networks": {"edge": None}}}, {}, {"edge": {"name": "edge"}}
    )
    assert risks(new, around) == ()


# --- port-taken -----------------------------------------------------------------------------------------------------------


def test_port_of_another_project_s_container_is_taken_and_it_is_named() -> None:
    assert risks(service(ports=[port("80")]), holding(*EVERY)) == (
        Risk(
            "port-taken",
            "app: port 80/tcp is taken by container shop-web-1 of project shop; stop that, or publish another port",
            stops=True,
        ),
    )


def test_port_of_a_container_without_project_is_taken() -> None:
    (risk,) = risks(service(ports=[port("80")]), holding(*EVERY, name="bare", project=""))
    assert "container bare that compose did not make" in risk.sentence


def test_port_of_another_program_is_taken() -> None:
    (risk,) = risks(service(ports=[port("80", "127.0.0.1")]), Inventory(listeners=(Port("0.0.0.0", 80),)))
    assert risk.stops
    assert risk.sentence.startswith("app: port 127.0.0.1:80/tcp is taken by another program")


def test_own_container_s_port_is_not_taken() -> None:
    assert risks(service(ports=[port("80")]), holding(*EVERY, project="web")) == ()


@pytest.mark.parametrize(
    ("wanted", "held", "clash"),
    [
        ("", "127.0.0.1", True),
        ("127.0.0.1", "0.0.0.0", True),
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("127.0.0.1", "::", False),  # Docker's own :: has no IPv4
        ("", "::1", True),
        ("::", "0.0.0.0", False),
        ("::1", "::", True),
        ("[::1]", "::1", True),
        ("0:0:0:0:0:0:0:1", "::1", True),
        ("0.0.0.0", "::1", False),
    ],
)
def test_addresses_clash_when_both_cannot_be_bound(wanted: str, held: str, clash: bool) -> None:
    assert names(risks(service(ports=[port("80", wanted)]), holding(Port(held, 80)))) == (STOP if clash else [])


def test_program_on_every_ipv6_address_has_ipv4_too() -> None:
    around = Inventory(listeners=(Port("::", 80),))
    assert names(risks(service(ports=[port("80", "127.0.0.1")]), around)) == STOP


def test_same_number_of_another_protocol_is_free() -> None:
    assert risks(service(ports=[port("80", protocol="udp")]), holding(*EVERY)) == ()


@pytest.mark.parametrize("published", ["", "0"])
def test_port_that_docker_chooses_is_free(published: str) -> None:
    assert risks(service(ports=[port(published)]), holding(*EVERY)) == ()


@pytest.mark.parametrize(("published", "clash"), [("80-81", False), ("79-80", False), ("80-80", True)])
def test_range_is_taken_when_all_of_it_is(published: str, clash: bool) -> None:
    assert names(risks(service(ports=[port(published)]), holding(*EVERY))) == (STOP if clash else [])


def test_service_on_the_host_s_network_publishes_nothing() -> None:
    assert risks(service(ports=[port("80")], network_mode="host"), holding(*EVERY)) == ()


def test_listener_that_may_be_the_stack_s_own_is_asked_about() -> None:
    own = container("web-app-1", "web", host_network=True)
    around = Inventory((own,), (Port("0.0.0.0", 80),))
    assert names(risks(service(ports=[port("80")]), around)) == [("port-taken", False)]


def test_two_services_that_want_one_port_clash() -> None:
    new = Model({"a": {"ports": [port("80")]}, "b": {"ports": [port("80", "127.0.0.1")]}})
    (risk,) = risks(new)
    assert (risk.name, risk.stops) == ("port-taken", True)
    assert risk.sentence == "a and b want the same port, 80/tcp and 127.0.0.1:80/tcp; change one of them"


@pytest.mark.parametrize(
    "other", [port("81"), port("80", protocol="udp"), port("80-81"), {"target": 80, "protocol": "tcp"}]
)
def test_two_services_with_different_ports_do_not_clash(other: dict[str, Any]) -> None:
    assert risks(Model({"a": {"ports": [port("80")]}, "b": {"ports": [other]}})) == ()


def test_two_services_at_different_addresses_do_not_clash() -> None:
    new = Model({"a": {"ports": [port("80", "10.0.0.1")]}, "b": {"ports": [port("80", "10.0.0.2")]}})
    assert risks(new) == ()


@pytest.mark.parametrize("keys", [{"scale": 2}, {"deploy": {"replicas": 2}}])
def test_replicas_cannot_share_a_port(keys: dict[str, Any]) -> None:
    assert names(risks(service(ports=[port("80")], **keys))) == STOP
    assert risks(service(ports=[port("80-81")], **keys)) == ()


def test_service_with_no_replicas_wants_nothing() -> None:
    assert risks(service(ports=[port("80")], scale=0), holding(*EVERY)) == ()


# --- name-taken -----------------------------------------------------------------------------------------------------------


def test_container_name_of_another_project_is_taken_also_when_stopped() -> None:
    around = Inventory((container("front", "shop", state="exited"),))
    assert risks(service(container_name="front"), around) == (
        Risk(
            "name-taken",
            "app: container_name front is taken by container front of project shop; choose another, or remove that container",
            stops=True,
        ),
    )


def test_container_name_of_the_stack_itself_is_free() -> None:
    assert risks(service(container_name="front"), Inventory((container("front", "web"),))) == ()


# --- image-missing --------------------------------------------------------------------------------------------------------

LOST = {"nope:1": Unpullable("missing")}
NOT_THERE = Inventory(images={"nope:1": ""})


@pytest.mark.parametrize(
    ("why", "stops", "sentence"),
    [
        (Unpullable("missing"), True, "and its registry has no such image; check its name and tag"),
        (
            Unpullable("denied"),
            True,
            "and its registry does not give it to this login; check its name, or log in there: docker login",
        ),
        (
            Unpullable("unreachable", "no such host"),
            True,
            "and its registry cannot be reached from there (no such host); "
            "see that it can, or load the image there: docker load",
        ),
        (
            Unpullable("unreachable", "no such host", certain=False),
            False,
            "and its registry cannot be reached from there (no such host); the engine may get it by its own proxy, "
            "mirror or plain HTTP; if not, the deploy ends at the pull",
        ),
    ],
    ids=["missing", "denied", "unreachable", "unreachable for the login"],
)
def test_image_that_is_nowhere_stops_or_asks_and_the_sentence_says_why(
    why: Unpullable, stops: bool, sentence: str
) -> None:
    found = risks(service(image="nope:1"), NOT_THERE, unpullable={"nope:1": why})
    assert found == (Risk("image-missing", f"app: image nope:1 is not on the server, {sentence}", stops),)


def test_image_that_is_pulled_each_time_has_to_be_had_though_it_is_there() -> None:
    new = service(image="nope:1", pull_policy="always")
    (risk,) = risks(new, Inventory(images={"nope:1": "sha256:1"}), unpullable=LOST)
    assert risk.sentence.startswith("app: image nope:1 is pulled each time (pull_policy: always), and its registry has")


def test_image_that_can_be_pulled_is_no_risk() -> None:
    assert risks(service(image="nope:1"), Inventory(images={"nope:1": ""})) == ()


def test_image_that_is_there_need_not_be_pulled() -> None:
    assert risks(service(image="nope:1"), Inventory(images={"nope:1": "sha256:1"}), unpullable=LOST) == ()


def test_image_that_is_built_need_not_be_pulled_by_any_service() -> None:
    new = Model({"app": {"image": "nope:1", "build": {"context": "."}}, "worker": {"image": "nope:1"}})
    assert risks(new, Inventory(images={"nope:1": ""}), unpullable=LOST) == ()


def test_image_that_may_not_be_pulled_has_to_be_there() -> None:
    new = service(image="nope:1", pull_policy="never")
    assert names(risks(new, Inventory(images={"nope:1": ""}))) == [("image-missing", True)]
    assert risks(new, Inventory(images={"nope:1": "sha256:1"})) == ()


# --- network-missing ------------------------------------------------------------------------------------------------------


def joined(name: str, **keys: Any) -> Model:
    return Model({"app": {"networks": {"outer": None}}}, networks={"outer": {"name": name, **keys}})


def test_external_network_that_nobody_makes_stops() -> None:
    assert risks(joined("edge", external=True)) == (
        Risk(
            "network-missing",
            "the external network edge does not exist on the server and no stack makes it; "
            "make it there: docker network create edge",
            stops=True,
        ),
    )


def test_external_network_that_another_stack_makes_is_not_to_be_made_by_hand() -> None:
    situation = Given().situation(joined("edge", external=True), Inventory())
    desired = replace(situation.desired, makers={"edge": "traefik"})
    (risk,) = find_risks(replace(situation, desired=desired))
    assert risk.sentence == (
        "the external network edge does not exist on the server; the stack traefik makes it: inv deploy --stack=traefik"
    )


@pytest.mark.parametrize(
    ("model", "around", "made"),
    [
        (joined("edge", external=True), Inventory(networks=frozenset({"edge"})), frozenset()),
        (joined("edge", external=True), Inventory(), frozenset({"edge"})),
        (joined("host", external=True), Inventory(), frozenset()),
        (joined("web_edge"), Inventory(), frozenset()),
        (Model({"app": {}}, networks={"outer": {"name": "edge", "external": True}}), Inventory(), frozenset()),
    ],
    ids=["there", "made", "built in", "the stack's own", "unused"],
)
def test_network_that_will_be_there_is_no_risk(model: Model, around: Inventory, made: frozenset[str]) -> None:
    assert risks(model, around, networks_made=made) == ()


# --- volume-orphaned ------------------------------------------------------------------------------------------------------

OLD = Model({"db": {}}, {"data": {"name": "web_data"}})
THERE = Inventory(volumes={"web_data": "web"})


def test_volume_that_the_new_release_lacks_is_asked_about() -> None:
    assert risks(Model(), THERE, old=OLD) == (
        Risk(
            "volume-orphaned",
            "no service uses volume web_data any more; its content stays on the server; "
            "when it is not wanted: docker volume rm web_data",
            stops=False,
        ),
    )


def test_renamed_project_leaves_its_volume_behind() -> None:
    (risk,) = risks(Model({}, {"data": {"name": "site_data"}}), THERE, old=OLD, project="site")
    assert (risk.name, risk.stops) == ("volume-orphaned", False)
    assert risk.sentence == (
        "volume data is now site_data, so the content of web_data stays behind; "
        "keep it with `name: web_data` under volumes.data"
    )


def test_containers_of_a_renamed_project_would_go_on_beside_the_new_ones() -> None:
    around = Inventory((container("web-db-1", "web"), container("web-app-1", "web", state="exited")))
    old = Model(project="web")
    assert names(risks(Model(), around, old=old)) == []
    assert names(risks(Model(), Inventory(), old=old, project="site")) == []
    (risk,) = risks(Model(), around, old=old, project="site")
    assert (risk.name, risk.stops) == ("project-renamed", True)
    assert risk.sentence == (
        "the project was web and is now site: the containers of web (web) would go on beside it; keep the name, or take them "
        "down first, there: docker compose --project-name web down"
    )


@pytest.mark.parametrize(
    ("old", "new", "around"),
    [
        (None, Model(), THERE),
        (OLD, OLD, THERE),
        (OLD, Model({}, {"mine": {"name": "web_data", "external": True}}), THERE),
        (OLD, Model(), Inventory()),
        (Model({}, {"data": {"name": "web_data", "external": True}}), Model(), THERE),
    ],
    ids=["first deploy", "kept", "kept under another key", "not there", "never ours"],
)
def test_volume_that_is_not_left_behind_is_no_risk(old: Model | None, new: Model, around: Inventory) -> None:
    assert risks(new, around, old=old) == ()


# --- anonymous-volume -----------------------------------------------------------------------------------------------------

SCRATCH = Mount("volume", ANONYMOUS, "", "/scratch")


def mounting(*mounts: Mount, project: str = "web", **more: Any) -> Inventory:
    return Inventory((container("web-web-1", project, mounts=mounts, **more),))


def test_anonymous_volume_is_asked_about_with_service_and_destination() -> None:
    assert risks(Model(), mounting(SCRATCH)) == (
        Risk(
            "anonymous-volume",
            "web: the new container will not see what is in /scratch now, since its volume 0f3fcc192f27 has no name; "
            "give it one under volumes:, or deploy web with strategy: update",
            stops=False,
        ),
    )


@pytest.mark.parametrize("strategy", ["update", "rolling"])
def test_anonymous_volume_is_kept_by_the_other_strategies(strategy: str) -> None:
    assert risks(Model(), mounting(SCRATCH), strategy=strategy) == ()


@pytest.mark.parametrize(
    "around",
    [
        mounting(Mount("volume", "web_data", "", "/data"), Mount("bind", "", "/srv/x", "/x")),
        mounting(SCRATCH, project="shop"),
        mounting(SCRATCH, state="exited"),
        mounting(SCRATCH, oneoff=True, state="exited"),
    ],
    ids=["named", "another project's", "stopped", "one-off"],
)
def test_other_mounts_are_no_risk(around: Inventory) -> None:
    assert risks(Model(), around) == ()


# --- variable-undefined ---------------------------------------------------------------------------------------------------


def test_variable_that_is_set_nowhere_is_asked_about() -> None:
    found = risks(Model(), variables=frozenset({"TAG", "SET", "HOME"}), env_names=frozenset({"SET"}))
    assert found == (
        Risk(
            "variable-undefined",
            "${TAG} is set nowhere, so Compose makes it empty; set it in the .env of web, or write ${TAG:-}",
            stops=False,
        ),
    )


# What `docker compose config` 2.40 warned of with this file: these names and no others.
RECORDED = """\
# ${COMMENT}
name: rec5
x-a: "${XEXT}"
services:
  web:
    image: busybox:${TAG}
    hostname: "${H:-d}${H2-d}${ALT:+x}${ALT2+x}"
    command: "$$ESC $${ESC2} $PLAIN.${NEST:-${INNER}} ${NEST2:-$INNER2/x} ${NEST3:-a${DEEP:-}b} $$$AFTER ${_u1}\
 ${B:+${INALT}} ${lower}"
    labels:
      "${KEY}": v
      a: '${EMPTYD:-} ${E2-}'
      b: |
        multi # ${NOTCOMMENT}
        $LINE
  x:
    image: busybox
    profiles: [p]
    command: $PROFILED
"""
WARNED = "AFTER INALT INNER INNER2 LINE NOTCOMMENT PLAIN PROFILED TAG XEXT _u1 lower"


def test_bare_variables_are_those_that_compose_warns_of() -> None:
    assert used_variables(RECORDED) == frozenset(WARNED.split())


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", set()),
        ("a: ${Q?need it} ${R:?x}", set()),
        ("a: ${OPEN", {"OPEN"}),
        ("a: $1 ${A B} $ $", set()),
        ("a: &x $X\nb: *x\nc: !reset $Y", {"X", "Y"}),
        ("a: [$X, {b: $Y}]\n---\nc: $Z", {"X", "Y", "Z"}),
        ("a: &a [*a, $X]", {"X"}),
        ("a: [ $X", {"X"}),
    ],
    ids=["empty", "required", "unclosed", "no names", "alias and tag", "two documents", "circle", "broken YAML"],
)
def test_bare_variables_are_found_in_any_text(text: str, found: set[str]) -> None:
    assert used_variables(text) == found


# --- volume-missing -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("declared", "there", "found"),
    [
        ({"name": "store", "external": True}, set(), [("volume-missing", True)]),
        ({"name": "store", "external": True}, {"store"}, []),
        ({"name": "web_d"}, set(), []),
    ],
    ids=["missing", "there", "the stack's own"],
)
def test_external_volume_has_to_be_there(
    declared: dict[str, Any], there: set[str], found: list[tuple[str, bool]]
) -> None:
    new = Model({"app": {"volumes": [{"type": "volume", "source": "d", "target": "/d"}]}}, volumes={"d": declared})
    assert names(risks(new, Inventory(volumes=dict.fromkeys(there, "")))) == found


def test_external_volume_that_no_service_mounts_is_no_risk() -> None:
    assert risks(Model({"app": {}}, volumes={"d": {"name": "store", "external": True}})) == ()


# --- mount-removed and mount-missing --------------------------------------------------------------------------------------


def bind(source: str) -> Model:
    return service(volumes=[{"type": "bind", "source": source, "target": "/x"}])


CONF = frozenset({"conf/app.conf"})


@pytest.mark.parametrize("source", ["./conf", "./conf/app.conf", "conf/", "./conf/./app.conf"])
def test_mount_of_what_the_new_release_lacks_stops(source: str) -> None:
    assert names(risks(bind(source), removed_paths=CONF)) == [("mount-removed", True)]


def test_removed_mount_is_told_with_its_services() -> None:
    mount = {"volumes": [{"type": "bind", "source": "./conf", "target": "/x"}]}
    assert [risk.sentence for risk in risks(Model({"a": mount, "b": mount}), removed_paths=CONF)] == [
        "a and b: mounts ./conf, which the last release had and this one has not; put it back, or take the mount out"
    ]


def test_removed_file_of_a_config_stops() -> None:
    new = Model({"app": {"configs": [{"source": "c"}]}}, configs={"c": {"name": "web_c", "file": "./conf/app.conf"}})
    assert names(risks(new, removed_paths=CONF)) == [("mount-removed", True)]


@pytest.mark.parametrize(
    ("source", "here", "removed"),
    [
        ("./conf", {"conf/other"}, {"conf/app.conf"}),
        ("./conf", set(), {"conf2/app.conf"}),
        ("./data", set(), set()),
        ("./data", set(), {"data/.gitkeep"}),
        ("/conf", set(), {"conf/app.conf"}),
        (".", set(), {"conf/app.conf"}),
        ("../conf", set(), {"conf/app.conf"}),
    ],
    ids=["part of it left", "another folder", "never sent", "placeholder", "absolute", "the stack's folder", "outside"],
)
def test_mount_that_lost_nothing_is_no_risk(source: str, here: set[str], removed: set[str]) -> None:
    assert risks(bind(source), manifest_paths=frozenset(here), removed_paths=frozenset(removed)) == ()


def test_mounted_file_that_is_nowhere_is_asked_about() -> None:
    assert risks(bind("./acme.json"), absent=frozenset({"./acme.json"})) == (
        Risk(
            "mount-missing",
            "app: mounts ./acme.json, which is neither in the release nor on the server; "
            "Docker will make an empty folder of it: add the file, or make it there first",
            stops=False,
        ),
    )


def test_absolute_file_that_is_not_there_is_asked_about() -> None:
    (risk,) = risks(bind("/srv/acme.json"), absent=frozenset({"/srv/acme.json"}))
    assert (risk.name, risk.stops) == ("mount-missing", False)
    assert risk.sentence.startswith("app: mounts /srv/acme.json, which is not on the server; Docker will make an empty")


@pytest.mark.parametrize("source", ["./data", "/srv/data"])
def test_folder_that_the_live_release_had_and_that_is_gone_is_asked_about(source: str) -> None:
    (risk,) = risks(bind(source), old=bind(source), absent=frozenset({source}))
    assert (risk.name, risk.stops) == ("mount-missing", False)
    assert f"mounts {source}, which the live release has, and which is gone from the server" in risk.sentence


@pytest.mark.parametrize(("options", "starts"), [({"create_host_path": True}, True), ({}, False)])
def test_folder_that_docker_may_not_make_is_asked_about(options: dict[str, bool], starts: bool) -> None:
    new = service(volumes=[{"type": "bind", "source": "./data", "target": "/x", "bind": options}])
    found = risks(new, absent=frozenset({"./data"}))
    assert ["its containers will not start" in risk.sentence for risk in found] == ([] if starts else [True])


def test_missing_file_of_a_secret_is_asked_about() -> None:
    new = Model({"app": {"secrets": [{"source": "s"}]}}, secrets={"s": {"file": "./token"}})
    (risk,) = risks(new, absent=frozenset({"token"}))
    assert risk.name == "mount-missing"
    assert "its containers will not start" in risk.sentence


@pytest.mark.parametrize(
    ("source", "here", "absent"),
    [
        ("./acme.json", set(), set()),
        ("./acme.json", {"acme.json"}, {"acme.json"}),
        ("./data", set(), {"data"}),
        ("/srv/data", set(), {"/srv/data"}),
    ],
    ids=["on the server or unknown", "in the release", "a folder", "an absolute folder"],
)
def test_mount_that_docker_makes_rightly_is_no_risk(source: str, here: set[str], absent: set[str]) -> None:
    assert risks(bind(source), manifest_paths=frozenset(here), absent=frozenset(absent)) == ()


def test_removed_mount_is_not_also_missing() -> None:
    found = risks(bind("./conf/app.conf"), removed_paths=CONF, absent=CONF)
    assert names(found) == [("mount-removed", True)]


@pytest.mark.parametrize("path", ["a.yml", "conf/nginx.conf", "Caddyfile", ".env", ".htpasswd", "x/hosts", "b.tar.gz"])
def test_names_that_look_like_files(path: str) -> None:
    assert looks_like_file(path)


@pytest.mark.parametrize("path", ["data", "conf.d", "v1.2", ".ssh", "x.d/", "a.b/c"])
def test_names_that_look_like_folders(path: str) -> None:
    assert not looks_like_file(path)


# --- together -------------------------------------------------------------------------------------------------------------


def test_risks_that_stop_come_first() -> None:
    found = risks(service(ports=[port("80")]), holding(*EVERY), variables=frozenset({"TAG"}))
    assert names(found) == [("port-taken", True), ("variable-undefined", False)]


def test_every_sentence_is_one_line() -> None:
    new = Model({"app": {"ports": [port("80")], "container_name": "shop-web-1"}})
    assert all("\n" not in risk.sentence for risk in risks(new, holding(*EVERY), old=OLD))


def test_a_dollar_in_a_value_is_named_and_the_value_is_not_shown() -> None:
    dollars = (("stacks/shop/.env:3", "DB_PASS", "def9"),)
    found = find_risks(replace(Given().situation(Model(), Inventory()), dollars=dollars))
    risk = next(risk for risk in found if risk.name == "variable-in-value")
    assert not risk.stops
    assert risk.sentence.startswith("stacks/shop/.env:3: in the value of DB_PASS, $def9 is read as a variable")
