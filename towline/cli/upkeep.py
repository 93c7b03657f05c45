"""What lock, unlock and prune do and show. dry: nothing is changed, and the output says what would be."""

from __future__ import annotations

from collections.abc import Sequence

from towline.cli.output import say, show
from towline.deploy.lock import lock, unlock
from towline.deploy.prune import prune
from towline.project.catalog import Stack
from towline.report.prune import sentence
from towline.workspace import Work


def lock_stack(workspace: Work, stack: Stack, message: str, *, dry: bool) -> None:
    if dry:
        show(f"{stack.name}: would lock it on {workspace.host(stack).name}")
    else:
        show(f"{stack.name}: locked: {lock(workspace.connection(stack), stack.name, message, say)}")


def unlock_stack(workspace: Work, stack: Stack, *, dry: bool) -> None:
    if dry:
        show(f"{stack.name}: would unlock it on {workspace.host(stack).name}")
        return
    text = unlock(workspace.connection(stack), stack.name, say)
    show(f"{stack.name}: unlocked, was: {text}" if text else f"{stack.name}: was not locked")


def prune_hosts(workspace: Work, stacks: Sequence[Stack], *, dry: bool) -> None:
    """On each host of the stacks: one session."""
    for host in {host.name: host for host in map(workspace.host, stacks)}.values():
        here = [stack for stack in stacks if workspace.host(stack).name == host.name]
        show(sentence(host.name, prune(workspace.to(host), here, really=not dry), really=not dry))
