"""What lock, unlock and prune do. dry: nothing is changed; the output says what would be."""

from __future__ import annotations

from collections.abc import Sequence

from towline.cli.output import say, show
from towline.deploy.lock import lock, unlock
from towline.deploy.prune import prune
from towline.project.stack import Stack
from towline.report.prune import sentence
from towline.workspace import Workspace


def lock_stack(workspace: Workspace, stack: Stack, message: str, *, dry: bool) -> None:
    """Set a person's lock. One session. Raises LockHeld when there is one already."""
    if dry:
        show(f"{stack.name}: would lock it on {workspace.host(stack).name}")
    else:
        show(f"{stack.name}: locked: {lock(workspace.connection(stack), stack.name, message, say)}")


def unlock_stack(workspace: Workspace, stack: Stack, *, dry: bool) -> None:
    """Remove a person's lock. One session."""
    if dry:
        show(f"{stack.name}: would unlock it on {workspace.host(stack).name}")
        return
    text = unlock(workspace.connection(stack), stack.name, say)
    show(f"{stack.name}: unlocked, was: {text}" if text else f"{stack.name}: was not locked")


def prune_hosts(workspace: Workspace, stacks: Sequence[Stack], *, dry: bool) -> None:
    """Free disk space on every host of the stacks. One session per host."""
    for host, group in workspace.by_host(stacks).items():
        pruned = prune(workspace.connection_to(host), group, really=not dry)
        show(sentence(host.name, pruned, really=not dry))
