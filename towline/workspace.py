"""A project and its hosts: settings, stacks, the host of each, one connection to each host.

The tasks, ssh_manager and the pytest fixtures use it; scripts and tasks of your own can, too:

    from towline.workspace import Workspace

    workspace = Workspace()
    result = workspace.connection(workspace.stack("web")).run(("uptime",))
    print(result.out.strip())

Files are read at first need, and a host is logged in to by the first command that runs there. All workspaces of a process share
one login per host. What is wrong is raised as an error of towline.errors.
"""

from __future__ import annotations

import atexit
import copy
import functools
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from towline.errors import UsageError

if TYPE_CHECKING:
    from towline.bundle.working_tree import WorkingTree
    from towline.project.catalog import Catalog
    from towline.project.settings import Host, Settings
    from towline.project.stack import Stack
    from towline.ssh.connection import Connection, Connections


@functools.cache
def shared_connections() -> Connections:
    """The connections that all workspaces of this process share, closed when it ends. What they have to say goes to stderr.

    A value of the module: what a task runner keeps in its configuration is copied for each task, and each copy would log in anew.
    """
    from towline.ssh.connection import Connections
    from towline.terminal import say

    connections = Connections(note=say)
    atexit.register(connections.close)
    return connections


class Workspace:
    """The project that the working folder is in.

    host: name of a host for all stacks, in place of their own and the default one. config: settings file in place of towline.yaml.
    folders: where to look for the project in place of the working folder; the first that is in a project is taken.
    connections: in place of the shared ones; whoever passes them closes them.
    """

    def __init__(
        self,
        *,
        host: str = "",
        config: str = "",
        folders: Sequence[Path] = (),
        connections: Connections | None = None,
    ) -> None:
        self._host, self._config, self._folders, self._connections = host, config, folders, connections

    @property
    def chosen_host(self) -> str:
        """The name of the host for all stacks; '' for their own."""
        return self._host

    @functools.cached_property
    def settings(self) -> Settings:
        """The project's folder (`top`), hosts and defaults. Raises SettingsError, also where there is no project."""
        from towline.project.settings import find_top, load_settings

        inside = (folder for folder in self._folders if find_top(folder.absolute()))
        start = next(inside, self._folders[0] if self._folders else None)
        return load_settings(start, self._config or None)

    @functools.cached_property
    def catalog(self) -> Catalog:
        """All stacks of the project. Raises StackError for the first that is wrong."""
        from towline.project.catalog import load_catalog

        return load_catalog(self.settings)

    def reread(self) -> Workspace:
        """The same project, with its settings and stacks read anew."""
        return Workspace(host=self._host, config=self._config, folders=self._folders, connections=self._connections)

    def stack(self, name: str) -> Stack:
        """The stack of that name, or in that folder. Raises StackError, which offers the nearest name."""
        return self.catalog.stack(name)

    def working_tree(self, stack: Stack) -> WorkingTree:
        """The files of the stack, read and hashed now. Raises StackError."""
        from towline.bundle.working_tree import load_working_tree

        return replace(
            load_working_tree(stack, self.catalog.missing_networks(stack)), makers=self.catalog.makers(stack)
        )

    def host(self, stack: Stack | None = None) -> Host:
        """The host that was chosen, else the stack's own, else the default one; the sandbox where no host is configured.

        Raises SettingsError for an unknown host and where none of several is chosen, UsageError for a sandbox that does not run.
        """
        from towline.project.settings import SANDBOX

        name = self.host_name(stack)
        if name == SANDBOX and SANDBOX not in self.settings.hosts:
            return _sandbox_host(self.settings)
        return self.settings.host(name)

    def host_name(self, stack: Stack | None = None) -> str:
        """The name of that host, configured or not; '' where none of several is chosen."""
        from towline.project.settings import SANDBOX

        named = self._host or (stack.host if stack else None) or self.settings.default_host
        return named or ("" if self.settings.hosts else SANDBOX)

    def by_host(self, stacks: Iterable[Stack]) -> dict[Host, list[Stack]]:
        """Host → those of the stacks that are for it. Raises as `host` does."""
        groups: dict[Host, list[Stack]] = {}
        for stack in stacks:
            groups.setdefault(self.host(stack), []).append(stack)
        return groups

    def on_host(self, name: str) -> Workspace:
        """The same project with this host for all stacks."""
        workspace = copy.copy(self)
        workspace._host = name
        return workspace

    def connection(self, stack: Stack | None = None) -> Connection:
        """The connection to `host(stack)`, the same one at each call. Raises as `host` does."""
        return self.connection_to(self.host(stack))

    def connection_to(self, host: Host) -> Connection:
        """The connection to a host of this project."""
        return (self._connections or shared_connections()).to(host)


def _sandbox_host(settings: Settings) -> Host:
    from towline import sandbox

    running = sandbox.read_status()
    if running is None:
        why = "it is what is meant" if settings.hosts else "no other host is configured"
        raise UsageError(
            f"the sandbox does not run, and {why}",
            "`inv sandbox.up` starts a server here to try towline on; a real one is named in towline.yaml",
        )
    return running.host()
