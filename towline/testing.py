"""What a test of a server works with: a host, a stack on it, a service of that stack. The pytest plugin's fixtures return them.

    def test_whoami_is_up(towline_stack):
        assert towline_stack("whoami").service("whoami").running

Nothing is cached: each query is one session, over the host's one login. A query that fails raises a TowlineError.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from towline.commands import docker
from towline.commands.shell import Command, login_shell
from towline.errors import RemoteFailed, StackError, UsageError, closest
from towline.facts import container_list
from towline.facts.container import Container
from towline.project.stack import Stack
from towline.remote.paths import StackPaths
from towline.ssh.connection import Connection
from towline.ssh.session import Result
from towline.workspace import Workspace

SECONDS = 60  # timeout of a command, unless the test sets another


def stack_under_test(workspace: Workspace, name: str) -> StackUnderTest:
    """The stack of that name. Connects to nothing. Raises StackError when there is none, and as Workspace.host does."""
    stack = workspace.stack(name)
    return StackUnderTest(HostUnderTest(workspace.connection(stack)), stack)


@dataclass(frozen=True, repr=False)
class HostUnderTest:
    """A host; `connection` is its towline.ssh.connection.Connection, for everything else."""

    connection: Connection

    @property
    def name(self) -> str:
        return self.connection.host.name

    def run(self, command: str | Sequence[str], timeout: float = SECONDS) -> Result:
        """The result of the command (ok, code, out, err); one session. After `timeout` seconds it is ended, with code 124.

        A text is read by the login's own shell, as with `ssh host TEXT`; the words of a list are run without a shell.
        """
        return self.connection.run(_words(command), timeout=timeout, name="run")

    def batch(self, commands: Sequence[str | Sequence[str]], timeout: float = SECONDS) -> list[Result]:
        """The results of the commands, run one after the other in one session. `timeout` is for each of them."""
        batch = [_words(command) for command in commands]
        return self.connection.batch(batch, timeout=timeout) if batch else []

    def __repr__(self) -> str:
        return f"<host {self.name}>"


@dataclass(frozen=True, repr=False)
class StackUnderTest:
    """A stack of the project on its host."""

    host: HostUnderTest
    stack: Stack

    @property
    def name(self) -> str:
        return self.stack.name

    @property
    def services(self) -> tuple[str, ...]:
        """The names of the services in the local compose file."""
        return tuple(service.name for service in self.stack.services)

    def service(self, name: str) -> ServiceUnderTest:
        """The service of that name. No session. Raises StackError when there is none."""
        if name not in self.services:
            raise StackError(f"{self.stack.label}: no service {name!r}; {closest(name, self.services)}")
        return ServiceUnderTest(self, name)

    def containers(self) -> tuple[Container, ...]:
        """The stack's containers, running or not, by service and name. One session."""
        return container_list.read_project(self.host.connection, self.stack.project)

    def read_file(self, path: str) -> str:
        """The text of a file, `path` relative to the live folder. One session. Raises RemoteFailed when it cannot be read."""
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            raise UsageError(f"{path!r}: expected a path in the live folder of {self.name}, such as compose.yaml")
        live = StackPaths(self.host.connection.host.root, self.name).live
        result = self.host.connection.run(("cat", "--", f"{live}/{path}"), timeout=SECONDS, name="read_file")
        if not result.ok:
            raise RemoteFailed(f"{self.host.name}: {result.last_line}")
        return result.out

    def __repr__(self) -> str:
        return f"<stack {self.name} on {self.host.name}>"


class ServiceUnderTest:
    """A service of a stack. Its repr, which pytest shows with a failed assertion, has the containers of the last query."""

    def __init__(self, stack: StackUnderTest, name: str) -> None:
        self.stack, self.name = stack, name
        self._last: tuple[Container, ...] | None = None

    @property
    def running(self) -> bool:
        """Whether the service has containers and all of them run. One session."""
        containers = self.containers()
        return bool(containers) and all(container.state == "running" for container in containers)

    @property
    def healthy(self) -> bool:
        """Whether the service has containers and the health check of each passes; false without a health check. One session."""
        containers = self.containers()
        return bool(containers) and all(
            (container.state, container.health) == ("running", "healthy") for container in containers
        )

    def containers(self) -> tuple[Container, ...]:
        """The service's containers, running or not, by name. One session."""
        return self._keep(self.stack.containers())

    def exec(self, command: str | Sequence[str], *words: str, timeout: float = SECONDS) -> Result:
        """The result of a command in the service's newest running container; one session.

        A text alone is read by the container's `sh`; words (`exec("nginx", "-t")`, or a list) are run without a shell.
        After `timeout` seconds the code is 124; in the container the command may go on.
        Raises RemoteFailed when no container of the service runs.
        """
        inside = _words([command, *words] if words and isinstance(command, str) else command, ("sh", "-c"))
        project, connection = self.stack.stack.project, self.stack.host.connection
        batch = [docker.containers(project), docker.execute(project, self.name, inside)]
        listing, result = connection.batch(batch, timeout=timeout, name="exec")
        containers = self._keep(container_list.parse_answer(listing, connection.host.name))
        if not any(container.state == "running" for container in containers):
            raise RemoteFailed(f"{self!r}: no container runs that {inside[0]!r} could be run in")
        return result

    def _keep(self, containers: Sequence[Container]) -> tuple[Container, ...]:
        self._last = tuple(container for container in containers if container.service == self.name)
        return self._last

    def __repr__(self) -> str:
        states = ", ".join(f"{container.name} {_state(container)}" for container in self._last or ())
        shown = "" if self._last is None else f": {states or 'no container'}"
        return f"<service {self.name} of {self.stack.name} on {self.stack.host.name}{shown}>"


def _state(container: Container) -> str:
    unchecked = container.state == "running" and not container.health
    return f"{container.status}, no health check" if unchecked else container.status


def _words(command: str | Sequence[str], shell: Command = ()) -> Command:
    """A command of a test as words: a text becomes an argument of `shell`, by default the login's own."""
    if isinstance(command, str):
        return (*shell, command) if shell else login_shell(command)
    if not command:
        raise UsageError("an empty list cannot be run; a command has a word or more")
    return tuple(str(word) for word in command)
