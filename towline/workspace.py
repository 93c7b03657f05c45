"""What a task works with: the settings and the catalogue, read at first use, the hosts, and their connections."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from towline.project.catalog import Catalog, Stack
    from towline.project.settings import Host, Settings
    from towline.ssh.connection import Connection, Connections


class Work:
    """One task's. Holds no connection: `connections` gives the one holder of them."""

    def __init__(self, connections: Callable[[], Connections], *, host: str = "", config: str = "") -> None:
        self._connections, self._host, self._config = connections, host, config

    @functools.cached_property
    def settings(self) -> Settings:
        from towline.project.settings import load_settings

        return load_settings(config=self._config or None)

    @functools.cached_property
    def catalog(self) -> Catalog:
        from towline.project.catalog import load_catalog

        return load_catalog(self.settings)

    def use_host(self, name: str) -> None:
        self._host = name

    def host(self, stack: Stack | None = None) -> Host:
        """The host that --host names, else the stack's own, else the default one, else the sandbox."""
        from towline.hosts import choose_host

        return choose_host(self.settings, self._host or (stack.host if stack else None))

    def host_name(self, stack: Stack) -> str:
        """Its name without asking whether it runs; '-' when several hosts are configured and none is the default."""
        named = self._host or stack.host or self.settings.default_host
        return named or ("-" if self.settings.hosts else "sandbox")

    def hosts(self) -> list[Host]:
        """The one that --host names, else every host that a stack is for."""
        hosts = [self.host(stack) for stack in self.catalog.stacks] or [self.host()]
        return list({host.name: host for host in hosts}.values())

    def connection(self, stack: Stack | None = None) -> Connection:
        return self.to(self.host(stack))

    def to(self, host: Host) -> Connection:
        return self._connections().to(host)
