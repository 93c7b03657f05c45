"""What deploy, deploy-all, rollback, plan, attach and demo do: the progress view, the gate, --dry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from towline.bundle.secret_texts import SecretTexts, pick_secret_texts, read_secret_texts
from towline.bundle.working_tree import WorkingTree
from towline.cli.options import (
    CommitFlags,
    DeployFlags,
    PlanFlags,
    RunFlags,
    ServiceFlags,
    chosen_services,
    deploy_options,
    required_stack,
)
from towline.cli.output import hide, say, show_json
from towline.deploy.deploy import attach, deploy, deploy_in_order, rollback
from towline.deploy.planning.plan import Options, Plan
from towline.deploy.prepare import prepare, prepare_rollback
from towline.errors import ChangesPending, ComposeRejected, DeployedInPart, UsageError
from towline.facts.file_texts import read_texts
from towline.project.stack import Stack
from towline.remote.paths import StackPaths
from towline.report import plans
from towline.report.deploy_view import DeployView
from towline.report.diffs import unified_diffs
from towline.report.secrets import Redact, redactor
from towline.workspace import Workspace

NO_STACKS = "no stacks here: a stack is a folder with a compose file in infrastructure/ or stacks/"


@dataclass(frozen=True)
class Deployer:
    """Deploys stacks of a workspace, as the options and flags say. dry: only makes the plan and shows it."""

    workspace: Workspace
    options: Options
    flags: DeployFlags
    dry: bool = False

    def deploy(self, tree: WorkingTree) -> None:
        """Deploy one stack; with --gate between two checks. Raises as deploy.deploy.deploy and gate.deploy_with_gate do."""
        connection = self.workspace.connection(tree.stack)
        with view_of(tree.secrets, self.flags, yes=self.flags.yes) as view:
            if self.dry:
                view.planned(prepare(connection, tree, self.options, view))
            elif self.flags.gate:
                self._deploy_with_gate(tree, view)
            else:
                deploy(connection, tree, self.options, view)

    def _deploy_with_gate(self, tree: WorkingTree, view: DeployView) -> None:
        from towline.cli.checking import make_check
        from towline.cli.gate import deploy_with_gate

        connection = self.workspace.connection(tree.stack)
        deploy_with_gate(
            make_check(self.workspace, tree.stack.name),
            lambda: deploy(connection, tree, self.options, view),
            lambda release: rollback(connection, tree.stack, release, self.options, view),
            say,
        )


def view_of(secrets: SecretTexts, flags: RunFlags, *, yes: bool = False) -> DeployView:
    """The progress view of a deploy, which shows none of the secrets. yes: it asks for no confirmation."""
    return DeployView(hide(redactor(secrets)), verbose=flags.verbose, yes=yes)


def deploy_one(workspace: Workspace, stack: str, flags: ServiceFlags, *, max_downtime: str, dry: bool) -> None:
    """Deploy the stack of that name. Options and working tree are checked before any connection: raises UsageError, StackError."""
    options = deploy_options(flags, workspace.settings.defaults, cache=flags.cache, max_downtime=max_downtime)
    found = required_stack(workspace, stack)
    options = replace(options, pull=flags.pull, services=chosen_services(found, flags.service))
    tree = workspace.working_tree(found)
    Deployer(workspace, options, flags, dry).deploy(tree)


def deploy_every_stack(workspace: Workspace, flags: CommitFlags, *, dry: bool) -> None:
    """Deploy all stacks in order; all of them are read before any connection. Raises DeployedInPart when some failed."""
    options = replace(deploy_options(flags, workspace.settings.defaults, cache=flags.cache), pull=flags.pull)
    deployer, catalog = Deployer(workspace, options, flags, dry), workspace.catalog
    if not catalog.stacks:
        say(NO_STACKS)
    stacks = catalog.deployed_together()
    trees = {stack.name: workspace.working_tree(stack) for stack in stacks}
    errors = deploy_in_order(stacks, catalog.needs_of, lambda stack: deployer.deploy(trees[stack.name]))
    failed = [error for error in errors.values() if error]
    if failed:
        raise DeployedInPart(failed, of=len(errors))


def roll_back(workspace: Workspace, stack: Stack, release: str, flags: RunFlags, *, dry: bool) -> None:
    """Run a release of the stack again; '' for the last good one before the live release. Raises as deploy.deploy.rollback does."""
    options, connection = deploy_options(flags, workspace.settings.defaults, cache=True), workspace.connection(stack)
    with view_of(read_secret_texts(stack), flags) as view:
        if dry:
            view.planned(prepare_rollback(connection, stack, release, options, view))
        else:
            rollback(connection, stack, release, options, view)


def follow(workspace: Workspace, stack: Stack, *, verbose: bool) -> None:
    """Show the stack's running deploy, or the last one, from its start to its end. Raises its error."""
    with view_of(read_secret_texts(stack), RunFlags(verbose=verbose)) as view:
        attach(workspace.connection(stack), stack, view)


def plan_stacks(workspace: Workspace, stacks: Sequence[Stack], flags: PlanFlags) -> None:
    """Show the plan of each stack; with diff the changed text, too.

    With check it raises ChangesPending when a plan is not empty. Raises ComposeRejected, or DeployedInPart for several stacks,
    after the plans of the others.
    """
    options = replace(deploy_options(RunFlags(), workspace.settings.defaults), pull=flags.pull)
    if flags.service:
        if len(stacks) != 1:
            raise UsageError("--service needs --stack=NAME: its services are meant")
        options = replace(options, services=chosen_services(stacks[0], flags.service))
    made: dict[Stack, tuple[Plan, Redact]] = {}
    rejected: list[ComposeRejected] = []
    for stack in stacks:
        try:
            made[stack] = _plan(workspace, stack, options, shown=flags.format == "table", diff=flags.diff)
        except ComposeRejected as error:
            rejected.append(error)
    if flags.format == "json":
        show_json([plans.row(plan, workspace.host(stack).name, redact) for stack, (plan, redact) in made.items()])
    if rejected:
        raise DeployedInPart(rejected, of=len(stacks), did="have no plan") if len(stacks) > 1 else rejected[0]
    pending = [plan.stack for plan, _ in made.values() if not plan.empty]
    if flags.check and pending:
        raise ChangesPending(f"there are changes: {', '.join(pending)}")


def _plan(workspace: Workspace, stack: Stack, options: Options, *, shown: bool, diff: bool) -> tuple[Plan, Redact]:
    """The plan, and what blots out the secrets in it."""
    connection, tree = workspace.connection(stack), workspace.working_tree(stack)
    redact = hide(redactor(tree.secrets))
    with DeployView(redact) as view:
        plan = prepare(connection, tree, options, view)
        if shown:
            view.planned(plan)
            paths = StackPaths(connection.host.root, stack.name)
            before = read_texts(connection, paths, plan.base, plan.changes.changed)
            redact_both = redactor(tree.secrets, pick_secret_texts(stack, before))
            view.details(plan, unified_diffs(before, tree.texts(before)), redact=redact_both, diff=diff)
    return plan, redact
