"""What a task works with: the settings and the catalogue, read at first use, the hosts, and their connections."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from towline.errors import UsageError, closest

if TYPE_CHECKING:
    from towline.bundle.working_tree import WorkingTree
    from towline.checks.finding import Report
    from towline.deploy.planning.plan import Options
    from towline.project.catalog import Catalog, Stack
    from towline.project.settings import Host, Settings
    from towline.ssh.connection import Connection, Connections


class Work:
    """One task's. Holds no connection: `connections` gives the one holder of them. dry: only tell what would be done."""

    def __init__(
        self,
        connections: Callable[[], Connections],
        say: Callable[[str], None],
        *,
        host: str = "",
        config: str = "",
        ledger: str = "",
        dry: bool = False,
    ) -> None:
        self._connections, self._say = connections, say
        self._host, self._config, self._ledger, self.dry = host, config, ledger, dry

    def check(self, **options: Any) -> None:
        """Bad options end here, before any connection. Raises UsageError."""
        for flag in ("junit", "json", "html"):
            _check_writable(f"--{flag}", options.get(flag, ""))
        _check_writable("--ledger", self._ledger)
        if options.get("format", "table") not in ("table", "json"):
            raise UsageError(f"--format={options['format']}: known: json, table")

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

    def stack(self, name: str) -> Stack:
        """The stack of that name. Raises UsageError without one or for an unknown one."""
        if not name:
            known = closest("", (stack.name for stack in self.catalog.stacks))
            raise UsageError(f"--stack=NAME is missing; {known}")
        return self.catalog.stack(name)

    def stacks(self, name: str) -> list[Stack]:
        """The one of that name; all, in the order in which they are deployed, where there is none."""
        return [self.stack(name)] if name else list(self.catalog.order())

    def working_tree(self, name: str) -> WorkingTree:
        """The files of the stack of that name, read and hashed. Raises UsageError."""
        from towline.bundle.working_tree import load_working_tree

        stack = self.stack(name)
        return load_working_tree(stack, self.catalog.missing_networks(stack))

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

    def options(self, *, timeout: str, cache: bool, lock_wait: str, max_downtime: str = "") -> Options:
        """How a deploy is to be done, from the words of the command line. Raises UsageError."""
        from towline.deploy.planning.plan import Options

        defaults = self.settings.defaults
        return Options(
            timeout=seconds("--timeout", timeout, least=1) if timeout else defaults.timeout,
            keep_releases=defaults.keep_releases,
            cache=cache,
            lock_wait=seconds("--lock-wait", lock_wait, least=0),
            strategy=defaults.strategy,
            max_downtime=seconds("--max-downtime", max_downtime, least=0) if max_downtime else None,
        )

    def looker(self, stack: str, **how: Any) -> Callable[[], Report]:
        """Looks once at every host concerned. What lies here is read now, before any connection."""
        from towline.checks.baseline import read_baseline
        from towline.checks.proxy import is_traefik
        from towline.checks.run import check_hosts
        from towline.checks.scope import Scope
        from towline.report.secrets import redacted

        chosen = self.stacks(stack)
        at_front = [one for one in self.catalog.stacks if any(is_traefik(it.image or "") for it in one.services)]
        around = [one for one in at_front if one not in chosen]
        baselines = {one.name: read_baseline(one) for one in (*chosen, *around)}
        hosts = {self.host(one).name: self.host(one) for one in chosen} or {self.host().name: self.host()}

        def on(name: str, stacks: list[Stack]) -> list[Stack]:
            return [one for one in stacks if self.host_name(one) == name]

        places = [
            (self.to(host), Scope(on(name, chosen), baselines, on(name, around), machine=not stack, **how))
            for name, host in hosts.items()
        ]
        return lambda: redacted(check_hosts(places), [*chosen, *around])

    def end(self) -> None:
        """The ledger's line for each connection, and the file that --ledger names."""
        if "towline.ssh.connection" not in sys.modules:
            return
        ledgers = self._connections().ledgers
        for ledger in ledgers:
            self._say(ledger.line())
        if self._ledger:
            Path(self._ledger).write_text("".join(ledger.json_lines() for ledger in ledgers))


def seconds(flag: str, text: str, least: int) -> int:
    """Whole seconds, a day at most. Raises UsageError."""
    if not text.isdecimal() or not least <= int(text) <= 86400:
        raise UsageError(f"{flag}={text}: expected whole seconds from {least} to 86400, such as {flag}=60")
    return int(text)


def _check_writable(flag: str, name: str) -> None:
    file = Path(name)
    if name and (file.is_dir() or not file.absolute().parent.is_dir()):
        wrong = "is a folder" if file.is_dir() else f"there is no folder {file.parent}"
        raise UsageError(f"{flag}={name}: {wrong}; expected the name of a file to write")
