"""Deploys: one stack, a rollback, or many stacks in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from towline.bundle.working_tree import WorkingTree
from towline.commands import docker
from towline.deploy.events import Event
from towline.deploy.outcome import error_of
from towline.deploy.planning.plan import Options, Plan
from towline.deploy.prepare import prepare, prepare_rollback, read_current_state
from towline.deploy.runner import Outcome, ProgressView, follow_run, run_plan
from towline.deploy.upload import upload_release
from towline.errors import Detached, TowlineError, UsageError
from towline.project.stack import Stack
from towline.remote.paths import StackPaths
from towline.ssh.connection import Connection

ATTEMPTS = 5  # a deploy that waited for the lock may find that others deployed meanwhile: then it is planned again


def deploy(connection: Connection, tree: WorkingTree, options: Options, view: ProgressView) -> Plan:
    """Deploy one stack and wait for it to be healthy; the plan that was run.

    On the host: current state (one session), model (one), the tarball of changed files (one, none when nothing changed), the
    run (one). Raises DeployRolledBack, DeployFailed, LockHeld, ConnectionFailed, RemoteFailed.
    """

    def attempt() -> tuple[Plan, Outcome]:
        plan = prepare(connection, tree, options, view)
        view.planned(plan)
        _confirm_risks(plan, view)
        if plan.new_release:
            upload = upload_release(connection, tree, plan)
            view.uploaded(plan, upload)
        return plan, _with_what_runs(connection, plan, run_plan(connection, plan, options, view))

    return _repeat_while_stale(attempt, view)


def rollback(connection: Connection, stack: Stack, to: str, options: Options, view: ProgressView) -> Plan:
    """Run a release again that is on the server, with the images it had; '' names the good one before the live one.

    On the host: current state (one session), what the release holds (one), the run (one). Raises as deploy does.
    """

    def attempt() -> tuple[Plan, Outcome]:
        plan = prepare_rollback(connection, stack, to, options, view)
        view.planned(plan)
        return plan, _with_what_runs(connection, plan, run_plan(connection, plan, options, view))

    return _repeat_while_stale(attempt, view)


def _confirm_risks(plan: Plan, view: ProgressView) -> None:
    """Raises TowlineError for a risk that stops the deploy, or that the person does not take."""
    stopping = [risk for risk in plan.risks if risk.stops]
    if stopping:
        raise TowlineError(f"{plan.stack}: not deployed, nothing has been touched: {stopping[0].sentence}")
    if plan.risks and not view.confirm(plan):
        raise TowlineError(f"{plan.stack}: not deployed, nothing has been touched")


def _repeat_while_stale(attempt: Callable[[], tuple[Plan, Outcome]], view: ProgressView) -> Plan:
    """Attempt until the plan is not stale, that is: until nobody deployed between the plan and the lock."""
    for _ in range(ATTEMPTS):
        plan, outcome = attempt()
        if outcome.result != "stale":
            break
        view.note(f"{plan.stack}: somebody deployed it meanwhile; planning again")
    _finish(plan, outcome, view)
    return plan


def attach(connection: Connection, stack: Stack, view: ProgressView) -> Outcome:
    """Follow the stack's running deploy, or the last one, from its start to its end; its error is raised here too."""
    fact = read_current_state(connection, stack).stack
    for sentence in fact.broken:
        view.note(f"{stack.name}: {sentence}")
    if fact.last_run is None:
        raise TowlineError(f"{stack.name}: nothing has been deployed on {connection.host.name} yet")
    plan = Plan(stack.name, stack.project, fact.last_run.id, fact.last_run.release, previous=fact.current)
    outcome = follow_run(connection, StackPaths(connection.host.root, stack.name), plan.run, view)
    return _finish(plan, _with_what_runs(connection, plan, outcome), view)


def _with_what_runs(connection: Connection, plan: Plan, outcome: Outcome) -> Outcome:
    """The outcome; of a runner that was killed, with the services that run now: one session more."""
    if outcome.result == "died":
        label = f"label={docker.PROJECT}={plan.project}"
        form = f'{{{{.Label "{docker.SERVICE}"}}}}'
        listed = connection.run(("docker", "ps", "--filter", label, "--format", form), timeout=30, name="what runs")
        services = ", ".join(sorted(set(listed.out.split()))) if listed.ok else "not known"
        outcome.add(Event("running", 0.0, {"services": services}))
    return outcome


def _finish(plan: Plan, outcome: Outcome, view: ProgressView) -> Outcome:
    """Show how the run ended. Raises its error."""
    view.ended(plan, outcome)
    error = error_of(outcome, plan)
    if error:
        raise error
    return outcome


def deploy_in_order(
    stacks: Iterable[Stack], needs_of: Callable[[Stack], frozenset[str]], deploy_one: Callable[[Stack], object]
) -> dict[str, TowlineError | None]:
    """Deploy each in turn; one that fails stops those that need it, not the others.

    Returns each stack's error by name, None for a success. Bad input ends all of it, and so does whoever leaves it to the
    server: UsageError and Detached are raised.
    """
    errors: dict[str, TowlineError | None] = {}
    for stack in stacks:
        failed = sorted(name for name in needs_of(stack) if errors.get(name))
        if failed:
            errors[stack.name] = TowlineError(f"{stack.name}: not deployed, since {', '.join(failed)} failed")
            continue
        try:
            deploy_one(stack)
            errors[stack.name] = None
        except (UsageError, Detached):
            raise
        except TowlineError as error:
            errors[stack.name] = error
    return errors
