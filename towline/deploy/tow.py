"""One stack, or many in order, from the folder here to running there."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from towline.bundle import load_manifest
from towline.catalog import Stack
from towline.deploy.ending import error_of
from towline.deploy.plan import Options, Plan, plan_deploy
from towline.deploy.run import Outcome, Watch, carry_out, send_release
from towline.errors import ConnectionFailed, TowlineError, UsageError
from towline.facts import engine
from towline.facts import stack as stacks
from towline.facts.stack import StackFact
from towline.remote.paths import StackPaths
from towline.ssh.connection import Connection


def read_deploy_facts(connection: Connection, stack: Stack) -> StackFact:
    """What stands on the host for this stack, in one session. Raises TowlineError when Docker cannot be used there."""
    asked = engine.commands()
    paths = StackPaths(connection.host.root, stack.name)
    results = connection.batch((*asked, *stacks.commands(paths)), together=True, name="facts")
    problem = engine.problem(engine.parse(results[: len(asked)]), connection.host.name)
    if problem:
        raise problem
    return stacks.parse(results[len(asked) :])


def prepare(
    connection: Connection, stack: Stack, options: Options, networks: frozenset[str]
) -> tuple[Plan, Callable[[Watch], None]]:
    """The plan, and what sends its release. Local files are read first: bad input ends here, before any network."""
    manifest = load_manifest(stack)
    plan = plan_deploy(stack, manifest, read_deploy_facts(connection, stack), options, networks)
    return plan, lambda watch: send_release(connection, stack, manifest, plan, watch)


def deploy(
    connection: Connection, stack: Stack, options: Options, networks: frozenset[str], watch: Watch
) -> Outcome:
    """Deploy one stack and wait for it to be healthy.

    On the host: facts (one session), the tarball of changed files (one, none when nothing changed), the run (one).
    Raises DeployRolledBack, DeployFailed, LockHeld, ConnectionFailed, RemoteFailed, StackError.
    """
    plan, send = prepare(connection, stack, options, networks)
    watch.planned(plan)
    if plan.new_release:
        send(watch)
    outcome = carry_out(connection, plan, options, watch)
    error = error_of(outcome, plan)
    watch.ended(plan, outcome)
    if error:
        raise error
    return outcome


def deploy_in_order(
    stacks: Iterable[Stack], needs_of: Callable[[Stack], frozenset[str]], deploy_one: Callable[[Stack], object]
) -> dict[str, TowlineError | None]:
    """Deploy each in turn; one that fails stops those that need it, not the others.

    Answers with each stack's error, None for a good end. Bad input and a lost connection end it all: they are raised.
    """
    ended: dict[str, TowlineError | None] = {}
    for stack in stacks:
        failed = sorted(name for name in needs_of(stack) if ended.get(name))
        if failed:
            ended[stack.name] = TowlineError(f"{stack.name}: not deployed, since {', '.join(failed)} failed")
            continue
        try:
            deploy_one(stack)
            ended[stack.name] = None
        except (UsageError, ConnectionFailed):
            raise
        except TowlineError as error:
            ended[stack.name] = error
    return ended
