"""One stack, or many in order, from the folder here to running there."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from towline.bundle.working_tree import WorkingTree
from towline.deploy.outcome import error_of
from towline.deploy.planning.plan import Options, Plan
from towline.deploy.prepare import prepare, prepare_rollback, read_current_state
from towline.deploy.runner import Outcome, ProgressView, attach, carry_out, send_release
from towline.errors import TowlineError, UsageError
from towline.project.catalog import Stack
from towline.remote.paths import StackPaths
from towline.ssh.connection import Connection

REPLANS = 5  # how often a deploy that waited for the lock may find that others deployed meanwhile


def deploy(connection: Connection, tree: WorkingTree, options: Options, watch: ProgressView) -> Plan:
    """Deploy one stack and wait for it to be healthy; the plan that was carried out.

    On the host: facts (one session), the tarball of changed files (one, none when nothing changed), the run (one).
    Raises DeployRolledBack, DeployFailed, LockHeld, ConnectionFailed, RemoteFailed.
    """

    def attempt() -> tuple[Plan, Outcome]:
        plan = prepare(connection, tree, options, watch)
        watch.planned(plan)
        _weigh(plan, watch)
        if plan.new_release:
            send_release(connection, tree.stack, tree.manifest, plan, watch)
        return plan, carry_out(connection, plan, options, watch)

    return _see_through(attempt, watch)


def rollback(connection: Connection, stack: Stack, to: str, options: Options, watch: ProgressView) -> Plan:
    """Run a release again that is on the server, with the images it had; '' names the good one before the live one.

    On the host: facts (one session), what the release holds (one), the run (one). Raises as deploy does.
    """

    def attempt() -> tuple[Plan, Outcome]:
        plan = prepare_rollback(connection, stack, to, options, watch)
        watch.planned(plan)
        return plan, carry_out(connection, plan, options, watch)

    return _see_through(attempt, watch)


def _weigh(plan: Plan, watch: ProgressView) -> None:
    """Raises TowlineError for a risk that stops the deploy, or that the person does not take."""
    stopping = [risk for risk in plan.risks if risk.stops]
    if stopping:
        raise TowlineError(f"{plan.stack}: not deployed, nothing has been touched: {stopping[0].sentence}")
    if plan.risks and not watch.agreed(plan):
        raise TowlineError(f"{plan.stack}: not deployed, nothing has been touched")


def _see_through(attempt: Callable[[], tuple[Plan, Outcome]], watch: ProgressView) -> Plan:
    """The end of an attempt. One whose plan had grown old when it got the lock is made again, from new facts."""
    for _ in range(REPLANS):
        plan, outcome = attempt()
        if outcome.result != "stale":
            break
        watch.note(f"{plan.stack}: somebody deployed it meanwhile; planning again")
    _ended(plan, outcome, watch)
    return plan


def join(connection: Connection, stack: Stack, watch: ProgressView) -> Outcome:
    """Follow the stack's running deploy, or the last one, from its beginning to its end; its error is raised here too."""
    fact = read_current_state(connection, stack).stack
    if fact.last_run is None:
        raise TowlineError(f"{stack.name}: nothing has been deployed on {connection.host.name} yet")
    plan = Plan(stack.name, stack.project, fact.last_run.id, fact.last_run.release, previous=fact.current)
    outcome = attach(connection, StackPaths(connection.host.root, stack.name), plan.run, watch)
    return _ended(plan, outcome, watch)


def _ended(plan: Plan, outcome: Outcome, watch: ProgressView) -> Outcome:
    watch.ended(plan, outcome)
    error = error_of(outcome, plan)
    if error:
        raise error
    return outcome


def deploy_in_order(
    stacks: Iterable[Stack], needs_of: Callable[[Stack], frozenset[str]], deploy_one: Callable[[Stack], object]
) -> dict[str, TowlineError | None]:
    """Deploy each in turn; one that fails stops those that need it, not the others.

    Answers with each stack's error, None for a good end. Bad input ends it all: it is raised.
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
        except UsageError:
            raise
        except TowlineError as error:
            ended[stack.name] = error
    return ended
