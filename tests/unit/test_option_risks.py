"""Networks and volumes that get other options."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from towline.deploy.planning.option_risks import option_risks
from towline.deploy.planning.situation import CurrentState, DesiredState, Release, Situation
from towline.deploy.planning.strategy import why_not_rolling
from towline.facts.compose_model import Model
from towline.facts.container import Container
from towline.facts.inventory import Inventory
from towline.facts.stack import StackFact
from towline.project.stack import Stack

STACK = Stack("edge", "edge", "stack", Path("/p/stacks/edge"), Path("/p"), ("compose.yaml",), ())
OLD = Model(
    volumes={"share": {"name": "edge_share", "driver_opts": {"device": ":/one"}}, "out": {"external": True}},
    networks={"net": {"name": "edge_net", "ipam": {}}, "default": {"name": "edge_default", "ipam": {}}},
)
OTHER = Container("user-web-1", project="user", service="web", networks={"edge_net": "10.0.0.2"})


def found(new: Model, *containers: Container) -> list[tuple[str, bool]]:
    current = CurrentState(StackFact("20261126-120000", live=True, current="r", model=OLD))
    inventory = Inventory(containers=containers, volumes={"edge_share": "edge"})
    situation = Situation(DesiredState(STACK, Release(new)), replace(current, inventory=inventory))
    return [(risk.name, risk.stops) for risk in option_risks(situation)]


def test_a_volume_keeps_its_options() -> None:
    volumes = {**OLD.volumes, "share": {"name": "edge_share", "driver_opts": {"device": ":/two"}}}
    assert found(replace(OLD, volumes=volumes)) == [("volume-options", False)]


@pytest.mark.parametrize(
    ("users", "risks"), [((OTHER,), [("network-options", True)]), ((replace(OTHER, project="edge"),), [])]
)
def test_a_network_is_not_made_anew_under_others(users: tuple[Container, ...], risks: list[tuple[str, bool]]) -> None:
    networks = {**OLD.networks, "net": {"name": "edge_net", "ipam": {}, "driver_opts": {"mtu": "1400"}}}
    assert found(replace(OLD, networks=networks), *users) == risks


def test_what_stays_or_has_another_name_is_no_risk() -> None:
    renamed = {"share": {"name": "other", "driver_opts": {}}, "out": {"external": True, "driver_opts": {"a": "b"}}}
    assert found(OLD, OTHER) == []
    assert found(replace(OLD, volumes=renamed), OTHER) == []


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({"networks": {"a": None, "b": {"ipv4_address": "10.0.0.9"}}}, "the address 10.0.0.9 can be had once"),
        ({"mac_address": "02:42:ac:11:00:05"}, "the address 02:42:ac:11:00:05 can be had once"),
        ({"pre_start": [{"command": "x"}]}, "it has pre_start commands, which would run beside the old one"),
    ],
)
def test_what_only_one_container_can_have_is_not_rolled(keys: dict[str, object], why: str) -> None:
    assert why_not_rolling({"image": "x", "healthcheck": {"test": ["CMD", "true"]}, **keys}) == why
