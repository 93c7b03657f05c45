"""From what is here and what stands there to a plan: two sessions, and nothing changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from towline.bundle.manifest import Manifest
from towline.bundle.walk import load_manifest
from towline.deploy.outcome import locked
from towline.deploy.planning.additions import find_additions
from towline.deploy.planning.drift import Drift, find_drift
from towline.deploy.planning.plan import (
    DesiredState,
    Options,
    Plan,
    RollbackTarget,
    disk_problem,
    plan_deploy,
    plan_rollback,
    release_to_go_back_to,
)
from towline.deploy.planning.risks import find_risks
from towline.deploy.planning.situation import Risk
from towline.deploy.prune import prune
from towline.deploy.runner import ProgressView
from towline.errors import TowlineError
from towline.facts import disk, drift, engine, interrupted, inventory
from towline.facts import stack as stacks
from towline.facts.compose_model import Rendered, read_model
from towline.facts.disk import DiskFact
from towline.facts.drift import DriftFact
from towline.facts.inventory import Inventory
from towline.facts.registry import Unpullable, read_unpullable, to_be_pulled
from towline.facts.release import read_release
from towline.facts.stack import StackFact
from towline.project.catalog import Catalog, Stack
from towline.project.compose_file import interpolated
from towline.project.env_file import read_env
from towline.project.variables import used_variables
from towline.remote.paths import StackPaths
from towline.ssh.connection import Connection
from towline.ssh.ledger import size_text


@dataclass(frozen=True)
class Cargo:
    """What is to be deployed, as it lies here. networks: external ones that no stack creates, made there before the stack."""

    stack: Stack
    manifest: Manifest
    networks: frozenset[str] = frozenset()

    @property
    def images(self) -> tuple[str, ...]:
        """The images that the stack does not build, but for those whose names only the server can tell."""
        env = self.stack.root_env or self.stack.folder / ".env"
        named = {interpolated(one.image, env) for one in self.stack.services if one.image and not one.builds}
        return tuple(sorted(name for name in named if "$" not in name))


def load_cargo(catalog: Catalog, stack: Stack) -> Cargo:
    """Everything local, read and checked: bad input ends here, before any network. Raises StackError."""
    return Cargo(stack, load_manifest(stack), catalog.missing_networks(stack))


@dataclass(frozen=True)
class Facts:
    """What one session tells before a deploy."""

    stack: StackFact
    disk: DiskFact | None
    around: Inventory
    live: DriftFact


def read_facts(connection: Connection, stack: Stack, images: tuple[str, ...] = ()) -> Facts:
    """What stands on the host for this stack, in one session. Raises TowlineError when Docker cannot be used there."""
    root = connection.host.root
    parts = (
        engine.commands(),
        (disk.command(root),),
        stacks.commands(StackPaths(root, stack.name)),
        inventory.commands(images),
        (drift.command(root, stack.name, stack.project),),
    )
    results = connection.batch([command for part in parts for command in part], together=True, name="facts")
    asked, free, state, around, seen = ([results.pop(0) for _ in part] for part in parts)
    problem = engine.unusable(engine.parse(asked), connection.host.name)
    if problem:
        raise problem
    return Facts(stacks.parse(state), disk.parse(free[0]), inventory.parse(around, images), drift.parse(seen[0]))


def prepare(connection: Connection, cargo: Cargo, options: Options, watch: ProgressView) -> Plan:
    """The plan for deploying the stack: one session for the facts, one in which compose renders the stack's files; when images
    have to be pulled, one in which their registries are asked for them.

    Raises LockHeld, RemoteFailed when compose refuses the files, and TowlineError when Docker cannot be used there or the
    disk is too small.
    """
    facts = _look(connection, cargo.stack, options, watch, cargo.images)
    rendered = read_model(connection, cargo.stack, cargo.manifest)
    wanted = DesiredState(
        cargo.stack, cargo.manifest, rendered.model, cargo.networks, facts.around.inputs_by_service(cargo.stack.project)
    )
    plan = plan_deploy(wanted, facts.stack, options)
    too_little = disk_problem(plan, facts.stack, facts.disk, connection.host.name)
    if too_little:
        pruned = prune(connection, [cargo.stack], really=False)
        would = f"{size_text(pruned.bytes)} of releases and {pruned.cache} of build cache"
        raise TowlineError(too_little, f"`inv prune --stack={cargo.stack.name}` would free {would}")
    unpullable = read_unpullable(connection, to_be_pulled(rendered.model, facts.around.images))
    return replace(
        plan,
        additions=find_additions(rendered.model, facts.around, cargo.networks),
        risks=_risks(cargo, plan, facts, rendered, unpullable),
        drift=_drift(plan, facts),
    )


def _drift(plan: Plan, facts: Facts) -> tuple[Drift, ...]:
    """What was changed there since the live release was deployed; a cut deploy is told as what it is."""
    last = facts.stack.last_run
    if facts.stack.model is None or (last and last.outcome in ("cut", "running")):
        return ()
    project = facts.stack.model.project or plan.project
    return find_drift(project, facts.stack.model.services, facts.live, facts.around, facts.live.kept)


def _risks(
    cargo: Cargo, plan: Plan, facts: Facts, rendered: Rendered, unpullable: Mapping[str, Unpullable]
) -> tuple[Risk, ...]:
    env = next((entry.source for entry in cargo.manifest.entries if entry.path == ".env"), None)
    texts = [(cargo.stack.folder / name).read_text(encoding="utf-8") for name in cargo.stack.compose_files]
    return find_risks(
        cargo.stack.name,
        plan.project,
        plan.strategy,
        facts.stack.model,
        rendered.model,
        frozenset(cargo.manifest.by_path),
        frozenset(entry.path for entry in plan.changes.removed),
        facts.around,
        frozenset(read_env(env.read_bytes())) if env else frozenset(),
        cargo.networks,
        variables=frozenset().union(*map(used_variables, texts)),
        unpullable=unpullable,
        absent=rendered.absent,
    )


def prepare_rollback(connection: Connection, stack: Stack, to: str, options: Options, watch: ProgressView) -> Plan:
    """The plan for going back: one session for the facts, one for what the release holds. Raises LockHeld, TowlineError."""
    facts = _look(connection, stack, options, watch)
    release = release_to_go_back_to(stack, facts.stack, to)
    files = read_release(connection, StackPaths(connection.host.root, stack.name), release)
    return plan_rollback(
        stack, facts.stack, RollbackTarget(release, files, facts.around.inputs_by_service(stack.project)), options
    )


def _look(
    connection: Connection, stack: Stack, options: Options, watch: ProgressView, images: tuple[str, ...] = ()
) -> Facts:
    facts = read_facts(connection, stack, images)
    note_cut(facts.stack, stack.name, watch.note)
    if facts.stack.held:
        raise locked(stack.name, facts.stack.held)
    if facts.stack.holder and facts.stack.running and not options.lock_wait:
        raise locked(stack.name, f"{facts.stack.holder} at {facts.stack.running.step!r}")
    return facts


def note_cut(fact: StackFact, stack: str, note: Callable[[str], None]) -> None:
    """Say so when the last run ended without a result: killed, or the server went down under it."""
    if fact.last_run and fact.last_run.outcome == "cut":
        note(interrupted.sentence(stack, fact.last_run.id, fact.last_run.step))
