"""What is parsed of drift.sh's answer, and what of it counts as drift."""

from __future__ import annotations

from dataclasses import replace

import pytest

from towline.deploy.planning.drift import Drift, find_drift, moved_images
from towline.errors import RemoteFailed
from towline.facts.container import Container
from towline.facts.drift import DriftFact, StaleMount, command, parse
from towline.facts.inventory import Inventory
from towline.ssh.session import Result

HASH = "5d55ff0159262f7244a8e8cfed7a0480d74086097fdd513520bc3447ec5bae10"
IMAGE = "sha256:fae2a74d22440a10804daaf0580bae6ebbf6a3c6fe2134ec990cb5ebe3716852"
OTHER = "sha256:77e046fc0088aa2f7c4d9e24d0e9bb56ad1fa4f2f0d1c24e9a3f6f5bf4c0a1de"
WEB = Container("shop-web-1", "shop", "web", "running", config_hash=HASH, image="busybox:1", image_id=IMAGE)
AS_LEFT = DriftFact(hashes={"web": HASH}, kept={"web": IMAGE})

ANSWER = (
    "edited\tconf/a b.conf\nedited\tcompose.yaml\nmissing\tconf/c.conf\n"
    f"hash\tweb\t{HASH}\nkept\tweb\t{IMAGE}\nonce\tmigrate\nstale\tweb\tshop-web-1\tconf/a b.conf\nstale\tweb\tshop-web-1\t.\n"
)


def sentences(
    live: DriftFact = AS_LEFT, *containers: Container, services: tuple[str, ...] = ("web",), **images: str
) -> list[tuple[str, str]]:
    around = Inventory(containers=containers, images={"busybox:1": IMAGE} | images)
    return [(one.service, one.sentence) for one in find_drift("shop", services, live, around)]


# ------------------------------------------------------------------------------------------------------ the parser


def test_command_runs_the_script_on_root_stack_and_project() -> None:
    sh, c, text, _, *words = command("stacks", "shop", "shop2")
    assert (sh, c, words) == ("sh", "-c", ["stacks", "shop", "shop2"])
    heads = [text.index(f"\n# {name}.sh") for name in ("containers", "live_files", "comparison")]
    assert sorted(heads) == heads
    assert heads[-1] < text.index("\n# drift.sh ROOT STACK PROJECT")


def test_answer_becomes_a_fact() -> None:
    assert parse(Result(0, ANSWER.encode())) == DriftFact(
        edited=("conf/a b.conf", "compose.yaml"),
        missing=("conf/c.conf",),
        hashes={"web": HASH},
        stale=(StaleMount("web", "shop-web-1", "conf/a b.conf"), StaleMount("web", "shop-web-1", ".")),
        once=frozenset({"migrate"}),
        kept={"web": IMAGE},
    )


def test_nothing_is_an_empty_fact() -> None:
    assert parse(Result(0)) == DriftFact()


def test_docker_that_does_not_answer_is_no_empty_fact() -> None:
    with pytest.raises(RemoteFailed, match="Cannot connect"):
        parse(Result(1, b"", b"Cannot connect to the Docker daemon. Is it running?\n"))


# ------------------------------------------------------------------------------------------------------- the drift


def test_stack_as_it_was_left_has_no_drift() -> None:
    assert sentences(AS_LEFT, WEB) == []


def test_files_come_first_and_are_the_stack_s() -> None:
    live = replace(AS_LEFT, edited=("a",), missing=("b",))
    assert find_drift("shop", (), live, Inventory()) == (
        Drift("", "a was edited on the server"),
        Drift("", "b was removed on the server"),
    )


def test_many_files_are_cut_short() -> None:
    found = sentences(replace(AS_LEFT, missing=tuple(f"f{n}" for n in range(25))), WEB)
    assert len(found) == 11
    assert found[-1] == ("", "and 15 more: each was removed on the server")


def test_service_without_a_container() -> None:
    assert sentences() == [("web", "it has no container")]


@pytest.mark.parametrize("other", [{"project": "other"}, {"oneoff": True}, {"service": "old"}])
def test_containers_of_others_are_no_container_of_the_service(other: dict[str, str]) -> None:
    assert sentences(AS_LEFT, replace(WEB, **other)) == [("web", "it has no container")]  # type: ignore[arg-type]


@pytest.mark.parametrize("state", ["exited", "paused", "restarting", "created", "dead"])
def test_container_that_does_not_run(state: str) -> None:
    assert sentences(AS_LEFT, replace(WEB, state=state)) == [("web", f"its container shop-web-1 is {state}")]


def test_each_of_several_containers_is_told() -> None:
    stopped = replace(WEB, name="shop-web-2", state="exited")
    assert sentences(AS_LEFT, WEB, stopped) == [("web", "its container shop-web-2 is exited")]


def test_one_shot_that_did_its_work_is_no_drift() -> None:
    once = replace(AS_LEFT, once=frozenset({"web"}))
    assert sentences(once, replace(WEB, state="exited")) == []
    assert sentences(once, replace(WEB, state="paused")) == [("web", "its container shop-web-1 is paused")]


@pytest.mark.parametrize("digest", ["", "0" * 64])
def test_container_that_was_made_by_hand(digest: str) -> None:
    expected = [("web", "its container shop-web-1 was made from other settings than the live folder has")]
    assert sentences(AS_LEFT, replace(WEB, config_hash=digest)) == expected


def test_without_a_hash_nothing_is_said_of_settings() -> None:
    assert sentences(replace(AS_LEFT, hashes={}), replace(WEB, config_hash="0" * 64)) == []


def test_image_that_may_move_is_told_and_is_no_drift() -> None:
    moved = replace(WEB, image_id=OTHER)
    around = Inventory(containers=(moved,), images={"busybox:1": OTHER})
    assert find_drift("shop", ("web",), AS_LEFT, around, images_may_move=True) == ()
    assert moved_images("shop", AS_LEFT, around) == (
        f"web: shop-web-1 runs {OTHER[7:19]}, and the release was deployed with {IMAGE[7:19]}",
    )
    assert moved_images("shop", AS_LEFT, replace(around, containers=(WEB,))) == ()


def test_image_that_was_retagged() -> None:
    expected = [("web", "busybox:1 is another image now than its container shop-web-1 runs")]
    assert sentences(AS_LEFT, WEB, **{"busybox:1": OTHER}) == expected


def test_image_whose_name_is_gone() -> None:
    expected = [("web", "busybox:1, which its container shop-web-1 runs, is no longer there by that name")]
    assert sentences(AS_LEFT, WEB, **{"busybox:1": ""}) == expected


def test_image_that_was_not_asked_about_is_not_held_against_its_name() -> None:
    assert sentences(AS_LEFT, replace(WEB, image="shop-web")) == []


def test_container_that_runs_another_image_than_was_kept() -> None:
    expected = [("web", "its container shop-web-1 runs another image than the release was deployed with")]
    assert sentences(AS_LEFT, replace(WEB, image_id=OTHER), **{"busybox:1": OTHER}) == expected


def test_stale_mount_is_its_service_s() -> None:
    live = replace(AS_LEFT, stale=(StaleMount("web", "shop-web-1", "conf/a"), StaleMount("gone", "shop-gone-1", "x")))
    assert sentences(live, WEB) == [("web", "its container shop-web-1 still sees the conf/a of before")]


def test_services_are_told_in_order() -> None:
    assert [service for service, _ in sentences(DriftFact(), services=("b", "a"))] == ["a", "b"]
