"""One stack, or many in order, from the folder here to running there."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from towline.bundle import load_manifest
from towline.catalog import Catalog, Stack
from towline.deploy.ending import error_of, locked
from towline.deploy.plan import Options, Plan, disk_problem, plan_deploy, plan_rollback
from towline.deploy.pruning import prune
from towline.deploy.run import Outcome, Watch, attach, carry_out, send_release
from towline.errors import TowlineError, UsageError
from towline.facts import cuts, disk, engine
from towline.facts import stack as stacks
from towline.facts.disk import DiskFact
from towline.facts.stack import StackFact
from towline.manifest import Manifest
from towline.remote.paths import StackPaths
from towline.ssh.connection import Connection
from towline.ssh.ledger import size_text


@dataclass(frozen=True)
class Cargo:
    """What is to be deployed. networks: external ones that no stack creates, made on the host before the stack."""

    stack: Stack
    manifest: Manifest
    networks: frozenset[str] = frozenset()


def load_cargo(catalog: Catalog, stack: Stack) -> Cargo:
    """Everything local, read and checked: bad input ends here, before any network. Raises StackError."""
    return Cargo(stack, load_manifest(stack), catalog.missing_networks(stack))


@dataclass(frozen=True)
class Facts:
    """What one session tells before a deploy."""

    stack: StackFact
    disk: DiskFact | None


def read_facts(connection: Connection, stack: str) -> Facts:
    """What stands on the host for this stack, in one session. Raises TowlineError when Docker cannot be used there."""
    asked, root = engine.commands(), connection.host.root
    commands = (*asked, disk.command(root), *stacks.commands(StackPaths(root, stack)))
    results = connection.batch(commands, together=True, name="facts")
    problem = engine.problem(engine.parse(results[: len(asked)]), connection.host.name)
    if problem:
        raise problem
    free, *state = results[len(asked) :]
    return Facts(stacks.parse(state), disk.parse(free))


def prepare(connection: Connection, cargo: Cargo, options: Options, watch: Watch) -> Plan:
    """The plan for deploying the stack, from one session's facts.

    Raises LockHeld, and TowlineError when Docker cannot be used there or the disk is too small.
    """
    facts = _look(connection, cargo.stack.name, options, watch)
    plan = plan_deploy(cargo.stack, cargo.manifest, facts.stack, options, cargo.networks)
    too_little = disk_problem(plan, facts.stack, facts.disk, connection.host.name)
    if too_little:
        pruned = prune(connection, [cargo.stack], really=False)
        would = f"{size_text(pruned.bytes)} of releases and {pruned.cache} of build cache"
        raise TowlineError(too_little, f"`inv prune --stack={cargo.stack.name}` would free {would}")
    return plan


def _look(connection: Connection, stack: str, options: Options, watch: Watch) -> Facts:
    facts = read_facts(connection, stack)
    note_cut(facts.stack, stack, watch.note)
    if facts.stack.held:
        raise locked(stack, facts.stack.held)
    if facts.stack.holder and facts.stack.running and not options.lock_wait:
        raise locked(stack, f"{facts.stack.holder} at {facts.stack.running.step!r}")
    return facts


def note_cut(fact: StackFact, stack: str, note: Callable[[str], None]) -> None:
    """Say so when the last run ended without a result: killed, or the server went down under it."""
    if fact.last_run and fact.last_run.outcome == "cut":
        note(cuts.sentence(stack, fact.last_run.id, fact.last_run.step))


REPLANS = 5  # how often a deploy that waited for the lock may find that others deployed meanwhile


def deploy(connection: Connection, cargo: Cargo, options: Options, watch: Watch) -> Outcome:
    """Deploy one stack and wait for it to be healthy.

    On the host: facts (one session), the tarball of changed files (one, none when nothing changed), the run (one).
    Raises DeployRolledBack, DeployFailed, LockHeld, ConnectionFailed, RemoteFailed.
    """

    def attempt() -> tuple[Plan, Outcome]:
        plan = prepare(connection, cargo, options, watch)
        watch.planned(plan)
        if plan.new_release:
            send_release(connection, cargo.stack, cargo.manifest, plan, watch)
        return plan, carry_out(connection, plan, options, watch)

    return _see_through(attempt, watch)


def rollback(connection: Connection, stack: Stack, to: str, options: Options, watch: Watch) -> Outcome:
    """Run a release again that is on the server, with the images it had; '' names the good one before the live one.

    On the host: facts (one session), the run (one). Raises as deploy does.
    """

    def attempt() -> tuple[Plan, Outcome]:
        plan = prepare_rollback(connection, stack, to, options, watch)
        watch.planned(plan)
        return plan, carry_out(connection, plan, options, watch)

    return _see_through(attempt, watch)


def prepare_rollback(connection: Connection, stack: Stack, to: str, options: Options, watch: Watch) -> Plan:
    """The plan for going back, from one session's facts. Raises LockHeld, TowlineError."""
    return plan_rollback(stack, _look(connection, stack.name, options, watch).stack, to, options)


def _see_through(attempt: Callable[[], tuple[Plan, Outcome]], watch: Watch) -> Outcome:
    """The end of an attempt. One whose plan had grown old when it got the lock is made again, from new facts."""
    for _ in range(REPLANS):
        plan, outcome = attempt()
        if outcome.result != "stale":
            break
        watch.note(f"{plan.stack}: somebody deployed it meanwhile; planning again")
    return _ended(plan, outcome, watch)


def join(connection: Connection, stack: Stack, watch: Watch) -> Outcome:
    """Follow the stack's running deploy, or the last one, from its beginning to its end; its error is raised here too."""
    fact = read_facts(connection, stack.name).stack
    if fact.last_run is None:
        raise TowlineError(f"{stack.name}: nothing has been deployed on {connection.host.name} yet")
    plan = Plan(stack.name, stack.project, fact.last_run.id, fact.last_run.release, previous=fact.current)
    outcome = attach(connection, StackPaths(connection.host.root, stack.name), plan.run, watch)
    return _ended(plan, outcome, watch)


def _ended(plan: Plan, outcome: Outcome, watch: Watch) -> Outcome:
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
