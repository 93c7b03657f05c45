"""A step: what the runner on the server does as one line of its sequence."""

from __future__ import annotations

from dataclasses import dataclass

from towline.commands.shell import Command, quote

RELEASE_ZERO = "0"  # what ran before the first deploy, as if it had been a release


@dataclass(frozen=True)
class Step:
    """`command` starts with a function of runner.sh (in_live, apply, health, …) or is a plain command.

    seconds: how long it may take, 0 for no limit.
    """

    name: str
    command: Command
    seconds: int = 0

    def line(self) -> str:
        """The line of the runner's `steps` file.

        >>> Step("apply", ("apply", "r1")).line()
        'apply\\t0\\tapply r1\\n'
        """
        return f"{self.name}\t{self.seconds}\t{quote(self.command)}\n"
