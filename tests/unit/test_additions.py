"""What a plan says a host does not have yet."""

from __future__ import annotations

from towline.deploy.planning.additions import Additions, find_additions
from towline.facts.compose_model import Model
from towline.facts.inventory import Inventory

MODEL = Model(
    services={
        "web": {"build": {"context": "."}, "networks": {"default": None, "proxy": None}},
        "db": {
            "image": "redis:7",
            "networks": {"default": None},
            "volumes": [
                {"type": "volume", "source": "data", "target": "/data"},
                {"type": "volume", "source": "old", "target": "/old"},
                {"type": "bind", "source": "./conf", "target": "/conf"},
                {"type": "volume", "target": "/anonymous"},
            ],
        },
    },
    networks={
        "default": {"name": "shop_default"},
        "proxy": {"name": "proxy", "external": True},
        "unused": {"name": "shop_unused"},
    },
    volumes={
        "data": {"name": "shop_data"},
        "old": {"name": "old", "external": True},
        "unused": {"name": "shop_unused"},
    },
)


def test_what_is_not_there_is_added_and_what_no_service_uses_or_is_external_is_not() -> None:
    nothing = Inventory(images={"redis:7": ""})
    assert find_additions(MODEL, nothing) == Additions(("redis:7",), ("shop_default",), ("shop_data",))


def test_an_external_network_that_no_stack_makes_is_added() -> None:
    assert find_additions(MODEL, Inventory(), ["proxy"]).networks == ("proxy", "shop_default")


def test_what_is_there_is_no_addition() -> None:
    there = Inventory(
        networks=frozenset({"shop_default", "proxy"}), volumes={"shop_data": "shop"}, images={"redis:7": "sha256:1"}
    )
    assert find_additions(MODEL, there, ["proxy"]) == Additions()
