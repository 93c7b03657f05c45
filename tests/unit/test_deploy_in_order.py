"""deploy_in_order: which stacks are deployed after one that failed, and what ends all of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from towline.deploy.deploy import deploy_in_order
from towline.errors import Detached, LockHeld, StackError, TowlineError
from towline.project.stack import Stack

STACKS = [Stack(name, name, "stack", Path(name), Path(), ("compose.yaml",), ()) for name in ("proxy", "shop", "blog")]
NEEDS = {"shop": frozenset({"proxy"})}


def order(errors: dict[str, TowlineError]) -> tuple[list[str], dict[str, TowlineError | None]]:
    """The stacks that were tried, and what deploy_in_order gave, where deploying these raises these errors."""
    tried: list[str] = []

    def deploy_one(stack: Stack) -> None:
        tried.append(stack.name)
        if stack.name in errors:
            raise errors[stack.name]

    return tried, deploy_in_order(STACKS, lambda stack: NEEDS.get(stack.name, frozenset()), deploy_one)


def test_stack_that_fails_stops_those_that_need_it_and_no_other() -> None:
    tried, found = order({"proxy": LockHeld("locked")})
    assert tried == ["proxy", "blog"]
    assert {name: str(error) for name, error in found.items()} == {
        "proxy": "locked",
        "shop": "shop: not deployed, since proxy failed",
        "blog": "None",
    }


@pytest.mark.parametrize("error", [StackError("wrong input"), Detached("left to the server")])
def test_wrong_input_and_a_second_ctrl_c_end_all_of_it(error: TowlineError) -> None:
    with pytest.raises(type(error)):
        order({"proxy": error})
