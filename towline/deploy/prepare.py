"""Read local files and host state, build a plan; changes nothing."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace

from towline.bundle.manifest import Manifest
from towline.bundle.repository import repository_ids
from towline.bundle.working_tree import WorkingTree
from towline.deploy.outcome import locked
from towline.deploy.planning.additions import find_additions
from towline.deploy.planning.chosen_services import tree_of_chosen
from towline.deploy.planning.container_data import MOST_NAMED, known_entries, question_of, without_own_data
from towline.deploy.planning.disk_space import disk_problem
from towline.deploy.planning.drift import Drift, find_drift, moved_images
from towline.deploy.planning.inputs import build_texts
from towline.deploy.planning.plan import Options, Plan, plan_deploy
from towline.deploy.planning.risks import find_risks
from towline.deploy.planning.rollback import RollbackTarget, find_rollback_release, plan_rollback
from towline.deploy.planning.root_env import with_env_of_before
from towline.deploy.planning.situation import CurrentState, DesiredState, Release, Situation
from towline.deploy.prune import prune
from towline.deploy.runner import ProgressView
from towline.engines.steps import RELEASE_ZERO
from towline.errors import TowlineError
from towline.facts import disk, drift, engine, interrupted, inventory
from towline.facts import stack as stacks
from towline.facts.compose_model import Model, read_model
from towline.facts.container_data import read_container_data
from towline.facts.image_digests import pulled_images, read_image_digests
from towline.facts.registry import read_unpullable, to_be_pulled
from towline.facts.release import ReleaseFiles, read_release
from towline.facts.running_project import find_project, find_projects, made_by_hand, read_kept_project, read_project
from towline.facts.stack import StackFact
from towline.project.env_file import undefined_in_values
from towline.project.ignore_file import IGNORE_FILE
from towline.project.stack import Stack
from towline.project.variables import used_variables
from towline.remote.paths import StackPaths
from towline.ssh.connection import ANSWER_WITHIN, Connection
from towline.text.amounts import comma_list, count_text, size_text


def read_current_state(connection: Connection, stack: Stack, images: tuple[str, ...] = ()) -> CurrentState:
    """What the host has of this stack and beside it, in one session; `images`: names to look for.

    Raises TowlineError when Docker cannot be used there.
    """
    root = connection.host.root
    parts = (
        engine.commands(),
        (disk.command(root),),
        stacks.commands(StackPaths(root, stack.name)),
        inventory.commands(images),
        (drift.command(root, stack.name, stack.project),),
    )
    commands = [command for part in parts for command in part]
    results = connection.batch(commands, parallel=True, timeout=ANSWER_WITHIN, name="facts")
    engine_results, (free,), stack_results, inventory_results, (live,) = (
        [results.pop(0) for _ in part] for part in parts
    )
    there = engine.parse(engine_results)
    problem = engine.unusable(there, connection.host.name)
    if problem:
        raise problem
    fact, there_is = stacks.parse(stack_results), inventory.parse(inventory_results, images)
    others = [container for container in there_is.containers if container.id not in fact.made]
    return CurrentState(
        fact,
        there_is,
        drift.parse(live),
        disk.parse(free),
        token=secrets.token_hex(3),
        untried=engine.untried(there),
        started_anew=any(made_by_hand(container, stack.project) for container in others),
    )


def prepare(connection: Connection, tree: WorkingTree, options: Options, view: ProgressView) -> Plan:
    """The plan for deploying the stack: one session for the current state, one in which compose renders the stack's files; when its
    project runs without a release, one for that; when images have to be pulled, one in which their registries are asked for them.

    Raises LockHeld, RemoteFailed when compose refuses the files, and TowlineError when Docker cannot be used there or the
    disk is too small.
    """
    stack = tree.stack
    current = _read_unlocked(connection, stack, options, view, tree.images)
    rendered = read_model(connection, tree)
    current = _with_running_project(connection, tree, current, rendered.model)
    if options.adopt and current.running is None:
        raise _nothing_to_adopt(stack, current, connection.host.name)
    if options.pull:
        current = replace(current, newer=_newer(connection, rendered.model))
    whole, (tree, not_sent) = tree, _without_own_data(connection, tree, current, options)
    current = _without(current, whole.data - tree.data)
    labels = current.inventory.inputs_by_service(stack.project)
    live = current.release if current.stack.current else None
    tree = with_env_of_before(tree, live, _release(tree, rendered.model), labels)
    if options.services:
        tree = _tree_of_chosen(tree, live, rendered.model, options)
    release = _release(tree, rendered.model)
    desired = DesiredState(
        stack,
        release,
        tree.networks,
        repository_ids(stack.top),
        rendered.env_file,
        (*_left_here(tree), *not_sent),
        tree.data,
        tree.makers,
    )
    plan = plan_deploy(desired, current, options)
    problem = disk_problem(plan, current, connection.host.name)
    if problem:
        pruned = prune(connection, [stack], really=False)
        would = f"{size_text(pruned.bytes)} of releases and {pruned.cache} of build cache"
        raise TowlineError(problem, f"`inv prune --stack={stack.name}` would free {would}")
    situation = Situation(
        desired,
        current,
        plan.strategy,
        adopting=bool(options.adopt),
        used=frozenset[str]().union(*(used_variables(tree.text(name)) for name in stack.compose_files))
        - rendered.variables,
        absent=rendered.absent,
        dollars=_dollars(tree),
        unpullable=read_unpullable(connection, to_be_pulled(rendered.model, current.inventory.images)),
    )
    return replace(
        plan,
        additions=find_additions(rendered.model, current.inventory, tree.networks),
        risks=find_risks(situation),
        drift=_drift(plan, current, stack),
        notes=(*plan.notes, *_moved(current, stack)),
    )


def _tree_of_chosen(tree: WorkingTree, live: Release | None, model: Model, options: Options) -> WorkingTree:
    if live is None:
        name = tree.stack.name
        raise TowlineError(
            f"{name}: no release is live, so no service can be deployed alone", f"inv deploy --stack={name}"
        )
    off = next((s for s in tree.stack.services if s.name in options.services and s.name not in model.services), None)
    if off is not None:
        raise TowlineError(
            f"{off.name}: its profile is not active ({comma_list(off.profiles)})",
            "name it in x-towline.profiles, or in COMPOSE_PROFILES of the stack's .env",
        )
    return tree_of_chosen(tree, live, _release(tree, model), options.services)


def _newer(connection: Connection, model: Model) -> dict[str, str]:
    """Image → `old → new` digest. Raises TowlineError when a registry does not tell: nothing would say what `--pull` takes."""
    found = read_image_digests(connection, pulled_images(model))
    untold = [f"{image}: {digests.why}" for image, digests in found.items() if digests.here and digests.why]
    if untold:
        raise TowlineError(f"--pull: {comma_list(untold)}", "without --pull the images that are there are used")
    return {image: digests.change for image, digests in found.items() if digests.outdated}


def _without_own_data(
    connection: Connection, tree: WorkingTree, current: CurrentState, options: Options
) -> tuple[WorkingTree, tuple[str, ...]]:
    """The tree without the container data that the host has of its own, asked for in another session where there may be such."""
    released = bool(current.stack.current)
    known = known_entries(tree, current.stack.manifest, released=released)
    question, fact = question_of(tree, known, released=released), None
    if question:
        fact = read_container_data(connection, StackPaths(connection.host.root, tree.stack.name).live, question)
    data = current.running.data if current.running and options.adopt else ()
    return without_own_data(tree, known, fact, current.drift, [path for _, path in data])


def _without(current: CurrentState, paths: frozenset[str]) -> CurrentState:
    """The state of what runs without a release without those of its files that are container data: none of the release's."""
    fact = current.stack
    if fact.current or not fact.manifest:
        return current
    return replace(current, stack=replace(fact, manifest=fact.manifest.without(paths)))


def _left_here(tree: WorkingTree) -> Iterator[str]:
    """Sentences about what of the folder does not come as it is here."""
    if tree.not_executable:
        listed = comma_list(tree.not_executable, MOST_NAMED)
        yield f"sent as git has it, not to be executed: {listed} (`git add --chmod=+x` changes that)"
    if tree.links_out:
        which, listed = count_text(len(tree.links_out), "symlink"), comma_list(tree.links_out, MOST_NAMED)
        yield f"not sent: {which} that lead out of the folder and that nothing needs: {listed} ({IGNORE_FILE} can list them)"


def _dollars(tree: WorkingTree) -> tuple[tuple[str, str, str], ...]:
    place = ".env" if tree.stack.root_env else f"{tree.stack.label}/.env"
    return tuple((f"{place}:{line}", name, inside) for line, name, inside in undefined_in_values(tree.text(".env")))


def _with_running_project(
    connection: Connection, tree: WorkingTree, current: CurrentState, model: Model
) -> CurrentState:
    """The current state with what runs of the project without a release, read in another session when there is such."""
    stack, fact = tree.stack, current.stack
    if fact.current:
        return current
    place, paths = (stack.name, stack.project), [entry.path for entry in tree.manifest.entries]
    if current.zero_interrupted:
        files = read_release(connection, StackPaths(connection.host.root, stack.name), RELEASE_ZERO)
        kept = read_kept_project(connection, place, files.model or Model(), paths, model)
        return replace(current, running=kept, stack=replace(fact, manifest=files.manifest, model=kept.model))
    found = find_project(current.inventory.containers, stack.project)
    if found is None:
        return current
    running = read_project(connection, place, found, paths, model)
    fact = replace(fact, manifest=running.manifest, model=running.model)
    return replace(current, running=running, stack=fact)


def _nothing_to_adopt(stack: Stack, current: CurrentState, host: str) -> TowlineError:
    if current.stack.current:
        return TowlineError(
            f"{stack.name}: release {current.stack.current} runs on {host}, so there is nothing to adopt"
        )
    others = find_projects(current.inventory.containers)
    running = comma_list(f"{name} (from {found.origin.folder})" for name, found in others.items()) or "none"
    hint = f"there: {running}; the name is that of the folder, or `name:` in the compose file"
    return TowlineError(f"{stack.name}: no project {stack.project} runs on {host}", hint)


def _release(tree: WorkingTree, model: Model) -> Release:
    texts = {path: tree.text(path) for path in build_texts(model, tree.manifest)}
    return Release(model, tree.manifest, texts, tree.variables)


def _moved(current: CurrentState, stack: Stack) -> tuple[str, ...]:
    return moved_images(stack.project, current.drift, current.inventory) if stack.images_may_move else ()


def _drift(plan: Plan, current: CurrentState, stack: Stack) -> tuple[Drift, ...]:
    """What was changed there since the live release was deployed; nothing after an interrupted deploy, which is told as such."""
    model, last = current.stack.model, current.stack.last_run
    if model is None or not current.stack.current or (last and last.outcome in ("cut", "running")):
        return ()
    project = model.project or plan.project
    may_move = stack.images_may_move
    return find_drift(project, model.services, current.drift, current.inventory, images_may_move=may_move)


def prepare_rollback(connection: Connection, stack: Stack, to: str, options: Options, view: ProgressView) -> Plan:
    """The plan for going back: one session for the current state, one for what the release holds.

    Raises LockHeld, TowlineError.
    """
    current = _read_unlocked(connection, stack, options, view)
    if not current.stack.current and not current.zero_interrupted:
        current = replace(current, running=find_project(current.inventory.containers, stack.project))
    release = find_rollback_release(stack, current.stack, to)
    files = read_release(connection, StackPaths(connection.host.root, stack.name), release)
    if files.manifest is None and release != RELEASE_ZERO:  # that of what runs elsewhere is empty
        raise TowlineError(
            f"{stack.name}: release {release} cannot be run again: its manifest is empty or broken on {connection.host.name}",
            f"`inv releases --stack={stack.name}` lists the others",
        )
    return plan_rollback(stack, current, RollbackTarget(release, _release_of(files)), options)


def _release_of(files: ReleaseFiles) -> Release | None:
    return Release(files.model, files.manifest or Manifest()) if files.model else None


def _read_unlocked(
    connection: Connection, stack: Stack, options: Options, view: ProgressView, images: tuple[str, ...] = ()
) -> CurrentState:
    """The current state of a stack that nobody has locked. Raises LockHeld."""
    current = read_current_state(connection, stack, images)
    fact = current.stack
    if current.untried:
        view.note(f"{connection.host.name}: {current.untried}")
    note_interrupted(fact, stack.name, view.note)
    if fact.held:
        raise locked(stack.name, fact.held)
    if fact.holder and fact.running and not options.lock_wait:
        raise locked(stack.name, f"{fact.holder} at {fact.running.step!r}")
    return current


def note_interrupted(fact: StackFact, stack: str, note: Callable[[str], None]) -> None:
    """Say so when the last run ended without a result: killed, or the server went down under it; and what else it left broken."""
    for sentence in fact.broken:
        note(f"{stack}: {sentence}")
    if fact.last_run and fact.last_run.outcome == "cut":
        note(interrupted.sentence(stack, fact.last_run.id, fact.last_run.step))
