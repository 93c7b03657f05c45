"""Commands on the configured host, with the functions that scripts of the older system call; all over one connection.

    from towline import ssh_manager

    ok, out, err = ssh_manager.run_ssh_command("uptime")
    ok, out, err = ssh_manager.run_multiple_commands(["cd /srv", "ls"])
    with ssh_manager.ssh_session() as session:
        session.add_command("docker ps")
        session.add_command("df -h")
        ok, out, err = session.execute()

Each call returns `(success, stdout, stderr)` and takes one session. The host is that of `Workspace().host()`: the default one of
towline.yaml, else that of SSH_HOST, in the environment or the .env, else the sandbox. The project is that of the working folder,
else that of the script's own folder. The first call logs in; the end of the program logs out. A host that cannot be reached gives
`(False, "", why)`. Raises a UsageError when the settings are wrong.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from towline.commands.shell import joined_by_and, login_shell
from towline.errors import ConnectionFailed
from towline.project.settings import Host
from towline.project.ssh_address import parse_ssh
from towline.project.yaml_file import Place
from towline.ssh.connection import Connection
from towline.ssh.session import TIMED_OUT
from towline.workspace import Workspace


class Answer(NamedTuple):
    """The result of a call, unpacked as `(success, stdout, stderr)`. Bytes that are not UTF-8 are replaced."""

    success: bool
    stdout: str
    stderr: str


class SSHManager:
    """The functions of this module, on the configured host, or on the one that is given as `ssh` takes it."""

    def __init__(self, ssh_host: str = "", ssh_user: str = "") -> None:
        self._given = ssh_host, ssh_user

    @cached_property
    def host(self) -> Host:
        name, user = self._given
        if not name:
            return self._workspace.host()
        own_user, address, port = parse_ssh(name, Place("SSHManager", "ssh_host"))
        return Host(name=address, address=address, user=user or own_user, port=port)

    @property
    def ssh_host(self) -> str:
        """The host's address, or its alias in ~/.ssh/config."""
        return self.host.address

    @property
    def ssh_user(self) -> str:
        """The user that was configured; '' for that of ~/.ssh/config or this machine."""
        return self.host.user or ""

    @cached_property
    def _workspace(self) -> Workspace:
        script = getattr(sys.modules["__main__"], "__file__", None)
        return Workspace(folders=[Path.cwd(), *([Path(script).resolve().parent] if script else [])])

    def connection(self) -> Connection:
        """The connection that all calls share."""
        return self._workspace.connection_to(self.host)

    def run_ssh_command(self, cmd: str, timeout: float = 30) -> Answer:
        """Run `cmd` in the login's shell. After `timeout` seconds it is ended on the server, without success."""
        try:
            result = self.connection().run(login_shell(cmd), timeout=timeout, name="ssh_manager")
        except ConnectionFailed as error:
            return Answer(False, "", f"{error}\n")
        note = f"timed out after {timeout:g} s\n" if result.code == TIMED_OUT else ""
        return Answer(result.ok, result.out, result.err + note)

    def run_multiple_commands(self, commands: Iterable[str], timeout: float = 60) -> Answer:
        """Run the commands one after the other in one shell, up to the first that fails, as with `&&`.

        A `cd` or a variable holds for the commands after it. `timeout` is for all commands together. No commands: success, no
        session.
        """
        texts = list(commands)
        return self.run_ssh_command(joined_by_and(texts), timeout) if texts else Answer(True, "", "")

    @contextmanager
    def ssh_session(self, timeout: float = 60) -> Iterator[Commands]:
        """Groups commands. What was added and not executed is run at the end of the block, unless an error ends it."""
        session = Commands(self, timeout)
        yield session
        if session.commands:
            session.execute()


class Commands:
    """Collects commands and runs them in one session. commands: those to be run; answer: of the last `execute`."""

    def __init__(self, manager: SSHManager, timeout: float) -> None:
        self._manager, self._timeout = manager, timeout
        self.commands: list[str] = []
        self.answer = Answer(True, "", "")

    def add_command(self, cmd: str) -> None:
        """Add `cmd` to those that the next `execute` runs."""
        self.commands.append(cmd)

    def execute(self, timeout: float | None = None) -> Answer:
        """Run the commands that were added since the last call, as run_multiple_commands does. timeout: else the session's."""
        commands, self.commands = self.commands, []
        self.answer = self._manager.run_multiple_commands(commands, self._timeout if timeout is None else timeout)
        return self.answer


# Older scripts write `from ssh_manager import ssh_manager`.
ssh_manager = SSHManager()

connection = ssh_manager.connection
run_ssh_command = ssh_manager.run_ssh_command
run_multiple_commands = ssh_manager.run_multiple_commands
ssh_session = ssh_manager.ssh_session


def __getattr__(name: str) -> str:
    """ssh_host and ssh_user, read from the settings when they are asked for."""
    if name in ("ssh_host", "ssh_user"):
        return str(getattr(ssh_manager, name))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
