"""What test-infra and test-services do: --watch, --wait, the reports, the exit code. Also the check that the gate makes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from invoke.exceptions import Exit

from towline.checks.baseline import baseline_of
from towline.checks.finding import Report
from towline.checks.proxy import is_traefik
from towline.checks.run import check_hosts, until_good
from towline.checks.scope import Scope
from towline.cli.options import CheckFlags, seconds, selected_stacks
from towline.cli.output import hide, say
from towline.errors import UsageError
from towline.project.settings import Host
from towline.project.stack import Stack
from towline.report import findings
from towline.report.files import write
from towline.report.secrets import redacted, redactor
from towline.workspace import Workspace


def run_checks(
    workspace: Workspace, flags: CheckFlags, *, services_only: bool = False, from_here: bool = False
) -> None:
    """Check once, or repeatedly with --wait and --watch, and write the reports. Raises Exit with code 1 when something fails."""
    scope = {"only": flags.only, "fail_fast": flags.fail_fast, "services_only": services_only, "from_here": from_here}
    check = make_check(workspace, flags.stack, **scope)
    files = {"junit": flags.junit, "json": flags.json, "html": flags.html}
    if flags.watch:
        if any(files.values()) or flags.wait:
            raise UsageError("--watch only shows: leave out --wait, --junit, --json and --html")
        findings.watch(check, seconds("--watch", flags.watch, least=1), verbose=flags.verbose)
        return
    at = datetime.now(UTC)
    report = until_good(check, seconds("--wait", flags.wait, least=0) if flags.wait else 0)
    findings.show(report, verbose=flags.verbose)
    lost = write(report, at, **files)
    for line in lost:
        say(f"error: {line}")
    if lost or report.count("fail"):
        raise Exit(code=1)


def make_check(workspace: Workspace, name: str, **scope: Any) -> Callable[[], Report]:
    """A function that checks the hosts of the stack of that name, '' for all, and returns a report.

    scope: fields of checks.scope.Scope. The stacks' files are read now, before any connection. Raises StackError.
    """
    chosen = selected_stacks(workspace, name)
    proxies = [other for other in workspace.catalog.stacks if _has_traefik(other) and other not in chosen]
    trees = {stack.name: workspace.working_tree(stack) for stack in (*chosen, *proxies)}
    baselines = {name: baseline_of(tree) for name, tree in trees.items()}
    redact = hide(redactor(*(tree.secrets for tree in trees.values())))

    def scope_of(host: Host, stacks: Sequence[Stack]) -> Scope:
        near = [proxy for proxy in proxies if workspace.host_name(proxy) == host.name]
        return Scope(stacks, baselines, near, machine=not name, **scope)

    hosts = workspace.by_host(chosen) or {workspace.host(): []}
    scopes = [(workspace.connection_to(host), scope_of(host, stacks)) for host, stacks in hosts.items()]
    return lambda: redacted(check_hosts(scopes), redact)


def _has_traefik(stack: Stack) -> bool:
    return any(is_traefik(service.image or "") for service in stack.services)
