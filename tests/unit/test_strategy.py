"""Which services are rolled, which are not and why, and whose roll can be seen."""

from __future__ import annotations

from typing import Any

import pytest

from towline.deploy.planning.comparison import ServicePlan
from towline.deploy.planning.strategy import (
    first_services,
    pulled_anew,
    rest_of,
    rolling_back,
    rolling_notes,
    rolling_services,
)
from towline.facts.compose_model import Model

CHECK = {"test": ["CMD", "true"], "interval": "2s"}
WEB = {"image": "web:1", "healthcheck": CHECK}
CHANGED = ServicePlan("web", "recreate", ("image web:2",))


def model(**web: Any) -> Model:
    return Model({"web": {**WEB, **web}})


def test_a_changed_service_with_a_health_check_is_rolled_without_a_word() -> None:
    assert rolling_services([CHANGED], model(), model(image="web:2")) == {"web": 1}
    assert rolling_notes([CHANGED], model(), model(image="web:2")) == ()


def test_what_does_not_get_new_containers_is_not_rolled() -> None:
    services = [ServicePlan("web", action) for action in ("unchanged", "create", "reload", "restart", "remove")]
    assert rolling_services(services, model(), model(image="web:2")) == {}
    assert rolling_notes(services, model(), model(image="web:2")) == ()


CANNOT: list[tuple[dict[str, Any], str]] = [
    ({"container_name": "web"}, "its container_name can be had once"),
    ({"network_mode": "host"}, "it is on the host's network"),
    ({"ports": [{"target": 80, "published": "8080"}]}, "host port 8080 can be had once"),
    (
        {"volumes": [{"type": "volume", "source": "files", "target": "/files"}]},
        "files at /files may have one writer",
    ),
    ({"healthcheck": {}}, "it has no health check"),
    ({"healthcheck": {**CHECK, "disable": True}}, "it has no health check"),
    ({"healthcheck": {"test": ["NONE"]}}, "it has no health check"),
    ({"deploy": {"replicas": 0}}, "it has no replicas"),
]


@pytest.mark.parametrize(("has", "why"), CANNOT, ids=[why for _, why in CANNOT])
def test_a_service_that_cannot_be_rolled_is_named_with_its_reason(has: dict[str, Any], why: str) -> None:
    assert rolling_services([CHANGED], model(), model(**has)) == {}
    assert rolling_notes([CHANGED], model(), model(**has)) == (f"web cannot be rolled, so it is updated: {why}",)


@pytest.mark.parametrize(
    "has",
    [
        {"ports": [{"target": 80}]},
        {"ports": [{"target": 80, "published": "0"}]},
        {"volumes": [{"type": "bind", "source": "/etc/x", "target": "/x", "read_only": True}]},
    ],
    ids=["a port of the engine's choice", "port 0", "a folder that it only reads"],
)
def test_what_two_containers_may_share_does_not_keep_a_service_from_being_rolled(has: dict[str, Any]) -> None:
    assert rolling_services([CHANGED], model(), model(**has)) == {"web": 1}


def test_as_many_new_containers_are_made_as_the_new_files_want() -> None:
    three = model(deploy={"replicas": 3})
    assert rolling_services([CHANGED], model(), three) == {"web": 3}
    assert rolling_back(["web", "gone"], three) == {"web": 3}
    assert rolling_back(["web"], model(scale=2)) == {"web": 2}
    assert rolling_back(["web"], None) == {}


def test_what_runs_without_a_health_check_cannot_be_taken_out_of_rotation() -> None:
    old = model(healthcheck={})
    assert rolling_services([CHANGED], old, model()) == {}
    assert rolling_notes([CHANGED], old, model()) == (
        "web cannot be rolled, so it is updated: what runs has no health check",
    )


def test_other_labels_for_traefik_are_named_since_two_containers_then_say_it_differently() -> None:
    old, new = model(labels={"traefik.enable": "true", "a": "1"}), model(labels={"traefik.enable": "false", "a": "1"})
    assert rolling_services([CHANGED], old, new) == {"web": 1}
    (note,) = rolling_notes([CHANGED], old, new)
    assert note.startswith("web has other labels for Traefik, ")
    assert rolling_notes([CHANGED], old, model(labels={"traefik.enable": "true", "a": "2"})) == ()


ENDED, HEALTHY = {"condition": "service_completed_successfully"}, {"condition": "service_healthy"}


def chain(**migrate: Any) -> Model:
    """app waits for migrate, which waits for db; cache is nobody's."""
    return Model(
        {
            "app": {**WEB, "depends_on": {"migrate": ENDED}},
            "migrate": {"image": "web:1", "depends_on": {"db": HEALTHY}, **migrate},
            "db": {"image": "db:1"},
            "cache": {"image": "cache:1"},
        }
    )


def plans(**actions: str) -> list[ServicePlan]:
    return [ServicePlan(name, actions.get(name, "unchanged")) for name in ("db", "migrate", "app", "cache")]


def test_what_a_rolled_service_depends_on_comes_first_when_it_changes_or_ends() -> None:
    assert first_services({"app": 1}, plans(app="recreate"), chain()) == {"app": ("migrate",)}
    changed = plans(app="recreate", db="recreate", cache="recreate")
    assert first_services({"app": 1}, changed, chain()) == {"app": ("db", "migrate")}
    assert first_services({"app": 1, "db": 1}, changed, chain()) == {"app": ("migrate",)}
    assert first_services({"app": 1}, plans(app="recreate"), chain(deploy={"replicas": 0})) == {}
    assert first_services({}, plans(db="recreate"), chain()) == {}


def test_one_shot_that_came_first_is_not_run_again_by_up() -> None:
    assert rest_of({"app": 1}, plans(app="recreate"), chain()) == ("app", "cache", "db")
    assert rest_of({}, plans(migrate="recreate"), chain()) == ()
    assert rest_of({"app": 1}, [CHANGED], None) == ()


def test_images_that_pull_policy_asks_for_are_pulled_anew() -> None:
    policies = ("always", "daily", "weekly", "every_12h", "missing", "never", "build", "if_not_present", None)
    services = {str(policy): {"image": "x", "pull_policy": policy} for policy in policies}
    built = {"built": {"build": {"context": "."}, "image": "x", "pull_policy": "always"}}
    assert pulled_anew(Model({**services, **built})) == ("always", "daily", "every_12h", "weekly")
