"""The repository's .env changes: only stacks that use what changed are concerned."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from tests.unit.test_container_data import file, manifest
from towline.bundle.working_tree import WorkingTree
from towline.deploy.planning.root_env import with_env_of_before
from towline.deploy.planning.situation import Release
from towline.facts.compose_model import Model
from towline.project.stack import Stack

STACK = Stack("web", "web", "stack", Path("/p/stacks/web"), Path("/p"), ("compose.yaml",), (), root_env=Path("/p/.env"))
WEB: dict[str, Any] = {"image": "web:1", "environment": {"A": "1"}}
OLD = manifest(file("compose.yaml"), file(".env", "A=1"), file("conf/a"))
NEW = manifest(file("compose.yaml"), file(".env", "A=1\nB=2"), file("conf/a"))


def kept(web: dict[str, Any] = WEB, new: Any = NEW, stack: Stack = STACK, live: bool = True, **sections: Any) -> bool:
    model = Model(services={"web": web}, **sections)
    before = Release(Model(services={"web": {**web, "environment": {"A": "1"}}}, **sections), OLD)
    tree = WorkingTree(stack, new)
    found = with_env_of_before(tree, before if live else None, Release(model, new), {"web": frozenset({""})})
    return found.manifest == OLD


def test_variable_that_nothing_uses_concerns_no_service() -> None:
    assert kept()


@pytest.mark.parametrize(
    "changes",
    [
        {"web": {**WEB, "environment": {"A": "2"}}},
        {"web": {**WEB, "volumes": [{"type": "bind", "source": "./.env", "target": "/x"}]}},
        {"web": {**WEB, "volumes": [{"type": "bind", "source": ".", "target": "/x"}]}},
        {"web": {**WEB, "build": {"context": "."}}},
        {"secrets": {"s": {"environment": "B"}}},
        {"new": manifest(*(entry for entry in NEW.entries if entry.path != "conf/a"))},
        {"stack": dataclasses.replace(STACK, env_files=(".env",))},
        {"stack": dataclasses.replace(STACK, root_env=None)},
        {"live": False},
    ],
)
def test_env_that_may_make_a_difference_is_sent(changes: dict[str, Any]) -> None:
    assert not kept(**changes)
