"""What list-stacks, get-containers, test-connectivity and releases do. Nothing is changed on a host.

What is slow to load is imported inside the functions: list-stacks needs no SSH.
"""

from __future__ import annotations

from towline.cli.output import say, show, show_rows
from towline.project.stack import Stack
from towline.workspace import Workspace


def show_stacks(workspace: Workspace, format: str) -> None:
    """Print the stacks of the project, in the order of deploy-all. Connects to nothing."""
    rows: list[dict[str, object]] = [
        {
            "name": stack.name,
            "kind": stack.kind,
            "folder": stack.address,
            "hosts": [workspace.host_name(stack) or "-"],
            "services": [service.name for service in stack.services],
            "needs": sorted(workspace.catalog.needs_of(stack)),
        }
        for stack in workspace.catalog.order()
    ]
    show_rows(rows, ["name", "kind", "folder", "hosts", "services", "needs"], format)


def show_containers(workspace: Workspace, format: str) -> None:
    """Print the stacks' containers on every host that a stack is for. One session per host."""
    from towline.facts.container_list import read_containers

    rows = [
        row
        for host in workspace.by_host(workspace.catalog.stacks) or [workspace.host()]
        for row in read_containers(workspace.connection_to(host), workspace.catalog, say)
    ]
    show_rows(rows, ["host", "stack", "service", "name", "state", "health", "status", "ports"], format)


def show_connectivity(workspace: Workspace) -> None:
    """Print how the chosen host is reached. Raises TowlineError with the names of what is wrong."""
    from towline.errors import TowlineError
    from towline.facts.connectivity import read_connectivity
    from towline.report import connectivity

    host = workspace.host()
    rows = connectivity.lines(read_connectivity(workspace.connection()), host)
    show(connectivity.text(rows))
    wrong = [row.name for row in rows if row.result == "fail"]
    if wrong:
        raise TowlineError(f"{host.name}: not as it should be: {', '.join(wrong)}")


def show_releases(workspace: Workspace, stack: Stack, format: str) -> None:
    """Print the stack's releases on its host, newest first. One session."""
    from towline.deploy.prepare import note_interrupted, read_current_state
    from towline.report.releases import rows

    fact = read_current_state(workspace.connection(stack), stack).stack
    note_interrupted(fact, stack.name, say)
    columns = ["id", "at", "by", "git", "strategy", "outcome", "seconds", "live"]
    show_rows(rows(stack.name, workspace.host(stack).name, fact), columns, format)
