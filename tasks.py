"""towline's tasks: the options of each, and the function that carries it out. `inv --list` names them all.

cli/task.py adds --host, --config and --ledger. What is slow to load is imported inside the tasks: `inv --list` stays instant.
"""

from __future__ import annotations

from invoke.collection import Collection
from invoke.exceptions import Exit

from towline.cli.options import (
    AdoptFlags,
    CheckFlags,
    CommitFlags,
    PlanFlags,
    RunFlags,
    ServiceFlags,
    is_here,
    required_stack,
    selected_stacks,
)
from towline.cli.output import say
from towline.cli.task import ADOPT_HELP, CHECK_HELP, towline_task
from towline.workspace import Workspace

# --- reading ----------------------------------------------------------------------------------------------------------


@towline_task()
def list_stacks(workspace: Workspace, format: str = "table") -> None:
    """List the stacks of this project, in the order in which deploy-all takes them."""
    from towline.cli import listing

    listing.show_stacks(workspace, format)


@towline_task()
def get_containers(workspace: Workspace, format: str = "table") -> None:
    """List the containers of the stacks on their hosts: state, health, image, ports."""
    from towline.cli import listing

    listing.show_containers(workspace, format)


@towline_task()
def test_connectivity(workspace: Workspace) -> None:
    """Log in and show what was found: user, host key, round trip, session limit, Docker."""
    from towline.cli import listing

    listing.show_connectivity(workspace)


@towline_task(flags=PlanFlags)
def plan(workspace: Workspace, flags: PlanFlags, stack: str = "") -> None:
    """Show what a deploy would do and why, for one stack or all; changes nothing. --check: exit code 10 when there are changes."""
    from towline.cli import deploying
    from towline.cli.at_commit import at_commit

    with at_commit(workspace, flags.ref) as there:
        deploying.plan_stacks(there, selected_stacks(there, stack), flags)


@towline_task(help={"check": "exit with code 10 when an image is outdated"})
def outdated(workspace: Workspace, stack: str = "", format: str = "table", check: bool = False) -> None:
    """List the images of one stack or all with their digests, here and in their registries; pulls nothing."""
    from towline.cli.outdated import show_outdated

    show_outdated(workspace, selected_stacks(workspace, stack), format, check=check)


# --- deploying --------------------------------------------------------------------------------------------------------


@towline_task("deploy-via-ssh", flags=ServiceFlags)
def deploy(workspace: Workspace, flags: ServiceFlags, stack: str = "", max_downtime: str = "", *, dry: bool) -> None:
    """Deploy one stack: upload its files, rehearse the build, then down, build, up, and wait until it is healthy."""
    from towline.cli import deploying
    from towline.cli.at_commit import at_commit

    with at_commit(workspace, flags.ref) as there:
        deploying.deploy_one(there, stack, flags, max_downtime=max_downtime, dry=dry)


@towline_task("deploy-all-services", flags=CommitFlags)
def deploy_all(workspace: Workspace, flags: CommitFlags, *, dry: bool) -> None:
    """Deploy every stack, infrastructure first; a stack that fails stops only those that need it."""
    from towline.cli import deploying
    from towline.cli.at_commit import at_commit

    with at_commit(workspace, flags.ref) as there:
        deploying.deploy_every_stack(there, flags, dry=dry)


# --- checking ---------------------------------------------------------------------------------------------------------


@towline_task("test-infrastructure", flags=CheckFlags, help=CHECK_HELP)
def test_infra(workspace: Workspace, flags: CheckFlags) -> None:
    """Check the server: host, engine, stacks, services, routes. Exit code 1 when something fails."""
    from towline.cli import checking

    checking.run_checks(workspace, flags)


@towline_task("test-all-services", flags=CheckFlags, help=CHECK_HELP)
def test_services(workspace: Workspace, flags: CheckFlags, from_: str = "") -> None:
    """Check only routes and declared checks; --from=here: routes from this machine too. Exit code 1 when something fails."""
    from towline.cli import checking

    checking.run_checks(workspace, flags, services_only=True, from_here=is_here(from_))


# --- releases ---------------------------------------------------------------------------------------------------------


@towline_task(flags=RunFlags)
def rollback(workspace: Workspace, flags: RunFlags, stack: str = "", to: str = "", *, dry: bool) -> None:
    """Run the last good release of a stack again, or the one that --to names, with the images it had."""
    from towline.cli import deploying

    deploying.roll_back(workspace, required_stack(workspace, stack), to, flags, dry=dry)


@towline_task(flags=AdoptFlags, help=ADOPT_HELP)
def adopt(workspace: Workspace, flags: AdoptFlags, stack: str = "", *, dry: bool) -> None:
    """Take over what runs already, with its data; its compose files and .env are fetched when there is no such stack here yet."""
    from towline.cli import adopting

    adopting.adopt(workspace, stack, flags, dry=dry)


@towline_task()
def releases(workspace: Workspace, stack: str = "", format: str = "table") -> None:
    """List the releases of a stack on its host: time, author, commit, outcome, which one is live."""
    from towline.cli import listing

    listing.show_releases(workspace, required_stack(workspace, stack), format)


@towline_task()
def attach(workspace: Workspace, stack: str = "", verbose: bool = False) -> None:
    """Follow the running deploy of a stack from any machine, or show how the last one went."""
    from towline.cli import deploying

    deploying.follow(workspace, required_stack(workspace, stack), verbose=verbose)


@towline_task()
def lock(workspace: Workspace, stack: str = "", message: str = "", *, dry: bool) -> None:
    """Keep everybody from deploying a stack until `unlock`; the message is shown to whoever tries."""
    from towline.cli import upkeep

    upkeep.lock_stack(workspace, required_stack(workspace, stack), message, dry=dry)


@towline_task()
def unlock(workspace: Workspace, stack: str = "", *, dry: bool) -> None:
    """Remove a person's lock from a stack. The lock of a running deploy ends with that deploy."""
    from towline.cli import upkeep

    upkeep.unlock_stack(workspace, required_stack(workspace, stack), dry=dry)


@towline_task()
def prune(workspace: Workspace, stack: str = "", *, dry: bool) -> None:
    """Free disk space on the hosts: releases that no rollback needs, their images, the build cache. --dry only shows how much."""
    from towline.cli import upkeep

    upkeep.prune_hosts(workspace, selected_stacks(workspace, stack), dry=dry)


# --- the sandbox ------------------------------------------------------------------------------------------------------


@towline_task()
def up(workspace: Workspace) -> None:
    """Start a local server to try towline on: a real sshd with MaxSessions 2 and a real Docker Engine."""
    from towline.cli.demo import start_sandbox

    start_sandbox(workspace)


@towline_task()
def down(workspace: Workspace) -> None:  # noqa: ARG001
    """Stop the sandbox's sshd; its files and the Docker Engine stay."""
    from towline.cli.demo import stop_sandbox

    stop_sandbox()


@towline_task()
def status(workspace: Workspace) -> None:  # noqa: ARG001
    """Show whether the sandbox runs, and where."""
    from towline.cli.demo import show_sandbox

    show_sandbox()


@towline_task()
def demo(workspace: Workspace) -> None:
    """Start the sandbox, deploy Traefik and whoami to it, and fetch the whoami page through Traefik."""
    from towline.cli.demo import run_demo

    run_demo(workspace)


# --- towline itself ---------------------------------------------------------------------------------------------------


@towline_task(help={"only": "a folder of tests/, or the name of a test"})
def test(workspace: Workspace, only: str = "") -> None:
    """Run towline's own test suite; what it needs is installed first. --only=unit runs one of its folders."""
    from towline.cli import suite

    code = suite.run(workspace.settings.top, only, say)
    if code:
        raise Exit(code=code)


namespace = Collection(
    list_stacks,
    get_containers,
    test_connectivity,
    plan,
    outdated,
    deploy,
    deploy_all,
    test_infra,
    test_services,
    rollback,
    adopt,
    releases,
    attach,
    lock,
    unlock,
    prune,
    demo,
    test,
    Collection("sandbox", up, down, status),
)
