"""Interrupted deploys: their runner was killed, or the server went down, before it wrote a result."""

from __future__ import annotations

from collections.abc import Callable

from towline.commands.shell import Command, script
from towline.remote import script as remote_script
from towline.ssh.session import Result


def command(root: str) -> Command:
    """A line per interrupted deploy, of all stacks below `root`."""
    return script(remote_script("runs", "interrupted"), root)


def tell(result: Result, note: Callable[[str], None]) -> None:
    """Say of each at which step it was interrupted and how to mend it."""
    for stack, run, step in parse(result):
        note(sentence(stack, run, step))


def parse(result: Result) -> list[tuple[str, str, str]]:
    """Stack, run and step of each; what is no such line is left out.

    >>> parse(Result(0, b"web\\t20261123-120000\\tdown\\nof a folder that somebody put there\\n\\n"))
    [('web', '20261123-120000', 'down')]
    """
    words = (line.split("\t") for line in result.out.split("\n"))
    return [(stack, run, step) for stack, run, step in (each for each in words if len(each) == 3)]


def sentence(stack: str, run: str, step: str) -> str:
    """
    >>> sentence("web", "20261123-120000", "down")
    "web: deploy 20261123-120000 was interrupted at 'down'; `inv deploy` or `inv rollback` with --stack=web mends it"
    """
    return f"{stack}: deploy {run} was interrupted at {step!r}; `inv deploy` or `inv rollback` with --stack={stack} mends it"
