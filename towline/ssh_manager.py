"""Commands on the configured host, with the functions that scripts of the older system call; all over one connection.

    from towline import ssh_manager

    ok, out, err = ssh_manager.run_ssh_command("uptime")
    ok, out, err = ssh_manager.run_multiple_commands(["cd /srv", "ls"])
    with ssh_manager.ssh_session() as session:
        session.add_command("docker ps")
        session.add_command("df -h")
        ok, out, err = session.execute()

Each call returns `(success, stdout, stderr)` and takes one session. The host is that of `Workspace().host()`: the default one of
the working folder's towline.yaml, else that of .env, else the sandbox. The first call logs in; the end of the program logs out.
Raises a TowlineError when the settings are wrong or the host cannot be reached.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import NamedTuple

from towline.commands.shell import joined_by_and, login_shell
from towline.errors import UsageError
from towline.ssh.connection import Connection
from towline.ssh.session import TIMED_OUT
from towline.workspace import Workspace


class Answer(NamedTuple):
    """The result of a call, unpacked as `(success, stdout, stderr)`. Bytes that are not UTF-8 are replaced."""

    success: bool
    stdout: str
    stderr: str


def run_ssh_command(cmd: str, timeout: float = 30) -> Answer:
    """Run `cmd` in the login's shell. After `timeout` seconds it is ended on the server, without success."""
    result = connection().run(login_shell(cmd), timeout=timeout, name="ssh_manager")
    note = f"timed out after {timeout:g} s\n" if result.code == TIMED_OUT else ""
    return Answer(result.ok, result.out, result.err + note)


def run_multiple_commands(commands: Iterable[str], timeout: float = 60) -> Answer:
    """Run the commands one after the other in one shell, up to the first that fails, as with `&&`.

    A `cd` or a variable holds for the commands after it. `timeout` is for all commands together. No commands: success, no session.
    """
    texts = list(commands)
    return run_ssh_command(joined_by_and(texts), timeout) if texts else Answer(True, "", "")


class Commands:
    """Collects commands and runs them in one session."""

    def __init__(self) -> None:
        self._commands: list[str] = []

    def add_command(self, cmd: str) -> None:
        """Add `cmd` to those that the next `execute` runs."""
        self._commands.append(cmd)

    def execute(self, timeout: float = 60) -> Answer:
        """Run the commands that were added since the last call, as run_multiple_commands does."""
        commands, self._commands = self._commands, []
        return run_multiple_commands(commands, timeout)


@contextmanager
def ssh_session() -> Iterator[Commands]:
    """Groups commands. Raises UsageError at the end of the block when commands were added and not executed."""
    session = Commands()
    yield session
    if session._commands:
        raise UsageError(f"ssh_session: {len(session._commands)} commands were added and never executed")


@cache
def connection() -> Connection:
    """The connection that all calls share."""
    return Workspace().connection()


# Older scripts write `from ssh_manager import ssh_manager`.
ssh_manager: ModuleType = sys.modules[__name__]
