"""Deploys that ended without a result: their runner was killed, or the server went down under it."""

from __future__ import annotations

from collections.abc import Callable

from towline.commands.shell import Command, script
from towline.remote import script as remote_script
from towline.ssh.session import Result


def command(root: str) -> Command:
    """One line a cut deploy, for all stacks below `root`."""
    return script(remote_script("runs", "interrupted"), root)


def tell(result: Result, note: Callable[[str], None]) -> None:
    """Say of each what it was and how it is mended."""
    for stack, run, step in (line.split() for line in result.out.splitlines()):
        note(sentence(stack, run, step))


def sentence(stack: str, run: str, step: str) -> str:
    """
    >>> sentence("web", "20261123-120000", "down")
    "web: deploy 20261123-120000 was cut at 'down'; `inv deploy` or `inv rollback` with --stack=web mends it"
    """
    return f"{stack}: deploy {run} was cut at {step!r}; `inv deploy` or `inv rollback` with --stack={stack} mends it"
