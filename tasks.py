"""towline's tasks. Each one parses, calls one function and shows; `inv --list` names them all.

Imports of what is slow to load stand inside the tasks: `inv --list` stays instant.
"""

from __future__ import annotations

import atexit
import functools
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invoke.collection import Collection
from invoke.context import Context
from invoke.exceptions import Exit
from invoke.parser.argument import Argument
from invoke.tasks import Task

if TYPE_CHECKING:
    from towline.bundle.secret_texts import SecretTexts
    from towline.bundle.working_tree import WorkingTree
    from towline.checks.finding import Report
    from towline.deploy.planning.plan import Options, Plan
    from towline.project.catalog import Stack
    from towline.report.deploy_view import DeployView
    from towline.ssh.connection import Connections
    from towline.workspace import Work

HELP = {
    "stack": "name of the stack, as `inv list-stacks` shows it",
    "host": "host of towline.yaml; default: the stack's own, else default_host",
    "config": "settings file in place of towline.yaml",
    "ledger": "write the whole ledger of the connections to this file, as JSON lines",
    "format": "table or json",
    "timeout": "seconds that the services have to become healthy",
    "cache": "let the rehearsal of the build use the build cache",
    "verbose": "show all output of the commands; of checks: list every one",
    "lock-wait": "seconds to wait while somebody else deploys the stack",
    "to": "release to go back to; default: the good one before the live one",
    "message": "why the stack is locked; whoever tries to deploy it reads this",
    "yes": "do not ask when something is at risk",
    "max-downtime": "seconds; a service that is down for longer fails the deploy, and the release before is put back",
    "diff": "show the text that changed in files, secrets blotted out",
    "check": "exit code 10 when there are changes",
    "only": "of `inv test`: one folder of tests/, or a test's name; of checks: a pattern of ids, such as 'stack.web.*'",
    "fail-fast": "nothing after the first failure",
    "watch": "look again every so many seconds, until Ctrl-C",
    "wait": "seconds to wait until nothing fails",
    "from-where": "`here`: ask the routes from this machine too",
    "junit": "write the findings to this file, as JUnit XML",
    "json": "write the findings to this file, as JSON",
    "html": "write the findings to this file, as one page that needs nothing else",
    "gate": "check the stack before and after; new failures put the release before back",
}


# --- what all tasks share ---------------------------------------------------------------------------------------------


@functools.cache
def _connections() -> Connections:
    """The one holder of connections: in c.config it would be copied per task, and each task would log in anew."""
    from towline.ssh.connection import Connections

    holder = Connections(note=_say)
    atexit.register(holder.close)
    return holder


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class TowlineTask(Task[Any]):
    """A task whose --verbose is -v too, and whose from_where is --from.

    No other option gets a letter: --host's would shadow inv's own -h.
    """

    def get_arguments(self, ignore_unknown_help: bool | None = None) -> list[Argument]:
        arguments = super().get_arguments(ignore_unknown_help)
        for argument in arguments:
            if argument.name == "verbose":
                argument.names = ("verbose", "v")
            if argument.name == "from_where":  # `from` is Python's own word
                argument.names, argument.attr_name = ("from",), None
        return arguments


def towline_task(*aliases: str) -> Callable[[Callable[..., None]], Task[Any]]:
    """A task whose body takes (work, …): gives it --host, --config and --ledger, the ledger's line, and errors in one line."""

    def wrap(body: Callable[..., None]) -> Task[Any]:
        def run(c: Context, host: str = "", config: str = "", ledger: str = "", **options: Any) -> None:
            options = {{"from": "from_where"}.get(name, name): value for name, value in options.items()}
            from towline.workspace import Work

            work = Work(_connections, _say, host=host, config=config, ledger=ledger, dry=c.config.run.dry)
            with _errors_in_one_line(work):
                work.check(**options)
                body(work, **options)

        own = list(inspect.signature(body).parameters.values())[1:]
        shared = list(inspect.signature(run).parameters.values())[:-1]
        functools.update_wrapper(run, body)
        run.__signature__ = inspect.Signature([*shared[:1], *own, *shared[1:]])  # type: ignore[attr-defined]
        names = {parameter.name.replace("_", "-") for parameter in (*own, *shared[1:])}
        # Without positional=[] `inv deploy --help` would run the task.
        return TowlineTask(
            run,
            aliases=aliases,
            positional=[],
            auto_shortflags=False,
            help={name: text for name, text in HELP.items() if name in names},
        )

    return wrap


class _errors_in_one_line:  # noqa: N801  # reads as a statement
    """On the way out: the ledger's line; a TowlineError becomes its line and its exit code."""

    def __init__(self, work: Work) -> None:
        self._work = work

    def __enter__(self) -> None: ...

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        from towline.errors import TowlineError

        if isinstance(error, TowlineError):
            _say(f"error: {error}")
        self._work.end()
        if isinstance(error, TowlineError):
            raise Exit(code=error.exit_code) from None
        if isinstance(error, KeyboardInterrupt):
            raise Exit("interrupted", code=130) from None


def _show(rows: list[dict[str, object]], columns: list[str], format: str) -> None:
    from towline.report.tables import as_json, as_table

    print(as_json(rows) if format == "json" else as_table(rows, columns), flush=True)


# --- looking ------------------------------------------------------------------------------------------------------------


@towline_task()
def list_stacks(work: Work, format: str = "table") -> None:
    """List the stacks of this folder, in the order in which deploy-all takes them."""
    rows: list[dict[str, object]] = [
        {
            "name": stack.name,
            "kind": stack.kind,
            "folder": str(stack.folder.relative_to(stack.top)),
            "hosts": [work.host_name(stack)],
            "services": [service.name for service in stack.services],
            "needs": sorted(work.catalog.needs_of(stack)),
        }
        for stack in work.catalog.order()
    ]
    _show(rows, ["name", "kind", "folder", "hosts", "services", "needs"], format)


@towline_task()
def get_containers(work: Work, format: str = "table") -> None:
    """List the stacks' containers on their hosts: state, health, image, ports."""
    from towline.facts.container_list import read_containers

    rows = [row for host in work.hosts() for row in read_containers(work.to(host), work.catalog, _say)]
    _show(rows, ["host", "stack", "service", "name", "state", "health", "status", "ports"], format)


@towline_task()
def test_connectivity(work: Work) -> None:
    """Log in and say what was found: user, host key, round trip, session limit, Docker."""
    from towline.errors import TowlineError
    from towline.facts.connectivity import read_connectivity
    from towline.report import connectivity

    found = connectivity.lines(read_connectivity(work.connection()), work.host())
    print(connectivity.text(found), flush=True)
    wrong = [line.name for line in found if line.result == "fail"]
    if wrong:
        raise TowlineError(f"{work.host().name}: not as it should be: {', '.join(wrong)}")


@towline_task()
def plan(work: Work, stack: str = "", format: str = "table", check: bool = False, diff: bool = False) -> None:
    """Say what a deploy would do and why, for one stack or all, and change nothing. --check: exit code 10 for changes."""
    from towline.bundle.secret_texts import pick_secret_texts
    from towline.deploy.prepare import prepare
    from towline.errors import ChangesPending
    from towline.report import plans
    from towline.report.diffs import unified_diffs
    from towline.report.secrets import redactor
    from towline.report.tables import as_json

    options = work.options(timeout="", cache=False, lock_wait="0")
    chosen = work.stacks(stack)
    made = []
    for one in chosen:
        tree = work.working_tree(one.name)
        with _view(tree.secrets) as view:
            made.append(prepare(work.connection(one), tree, options, view))
            if format == "table":
                view.planned(made[-1])
                before = _texts(work, one, made[-1])
                redact = redactor(tree.secrets, pick_secret_texts(one, before))
                view.details(made[-1], unified_diffs(before, tree.texts(before)), redact=redact, diff=diff)
    if format == "json":
        print(as_json([plans.row(one, work.host(two).name) for one, two in zip(made, chosen, strict=True)]), flush=True)
    pending = [one.stack for one in made if not one.empty]
    if check and pending:
        raise ChangesPending(f"there are changes: {', '.join(pending)}")


def _texts(work: Work, stack: Stack, plan: Plan) -> dict[str, str]:
    from towline.facts.file_texts import read_texts
    from towline.remote.paths import StackPaths

    connection = work.connection(stack)
    return read_texts(connection, StackPaths(connection.host.root, stack.name), plan.previous, plan.changes.changed)


# --- deploying ------------------------------------------------------------------------------------------------------------


def _view(secrets: SecretTexts, *, verbose: bool = False, yes: bool = False) -> DeployView:
    from towline.report.deploy_view import DeployView
    from towline.report.secrets import redactor

    return DeployView(redactor(secrets), verbose=verbose, yes=yes)


def _deploy_one(
    work: Work, tree: WorkingTree, options: Options, *, verbose: bool = False, yes: bool = False, gate: bool = False
) -> None:
    from towline.deploy.deploy import deploy, rollback
    from towline.deploy.prepare import prepare

    connection = work.connection(tree.stack)
    with _view(tree.secrets, verbose=verbose, yes=yes) as view:
        if work.dry:
            view.planned(prepare(connection, tree, options, view))
        elif gate:
            from towline.cli.gate import pass_through

            pass_through(
                work.looker(tree.stack.name),
                lambda: deploy(connection, tree, options, view),
                lambda to: rollback(connection, tree.stack, to, options, view),
                _say,
            )
        else:
            deploy(connection, tree, options, view)


@towline_task("deploy-via-ssh")
def deploy(
    work: Work,
    stack: str = "",
    timeout: str = "",
    cache: bool = False,
    verbose: bool = False,
    yes: bool = False,
    lock_wait: str = "0",
    max_downtime: str = "",
    gate: bool = False,
) -> None:
    """Deploy one stack: put its files, rehearse the build, then down, build, up, and wait until it is healthy."""
    options = work.options(timeout=timeout, cache=cache, lock_wait=lock_wait, max_downtime=max_downtime)
    _deploy_one(work, work.working_tree(stack), options, verbose=verbose, yes=yes, gate=gate)


@towline_task("deploy-all-services")
def deploy_all(
    work: Work,
    timeout: str = "",
    cache: bool = False,
    verbose: bool = False,
    yes: bool = False,
    lock_wait: str = "0",
    gate: bool = False,
) -> None:
    """Deploy every stack, infrastructure first; one that fails stops only those that need it."""
    from towline.deploy.deploy import deploy_in_order
    from towline.errors import DeployedInPart

    options = work.options(timeout=timeout, cache=cache, lock_wait=lock_wait)
    catalog = work.catalog
    if not catalog.stacks:
        _say("no stacks here: a stack is a folder with a compose file in infrastructure/ or stacks/")
    trees = {stack.name: work.working_tree(stack.name) for stack in catalog.order()}
    ended = deploy_in_order(
        catalog.order(),
        catalog.needs_of,
        lambda stack: _deploy_one(work, trees[stack.name], options, verbose=verbose, yes=yes, gate=gate),
    )
    failed = [error for error in ended.values() if error]
    if failed:
        raise DeployedInPart(failed, of=len(ended))


# --- checking -------------------------------------------------------------------------------------------------------------


@towline_task("test-infrastructure")
def test_infra(
    work: Work,
    stack: str = "",
    only: str = "",
    fail_fast: bool = False,
    watch: str = "",
    wait: str = "",
    verbose: bool = False,
    junit: str = "",
    json: str = "",
    html: str = "",
) -> None:
    """Check all that should be so on the server: host, engine, stacks, services, routes. Exit code 1 when something fails."""
    look = work.looker(stack, only=only, fail_fast=fail_fast)
    _tell(look, watch=watch, wait=wait, verbose=verbose, files={"junit": junit, "json": json, "html": html})


@towline_task("test-all-services")
def test_services(
    work: Work,
    stack: str = "",
    only: str = "",
    from_where: str = "",
    fail_fast: bool = False,
    watch: str = "",
    wait: str = "",
    verbose: bool = False,
    junit: str = "",
    json: str = "",
    html: str = "",
) -> None:
    """Ask every route and declared check from the server; --from=here asks from this machine too. Exit code 1 for a failure."""
    from towline.errors import UsageError

    if from_where not in ("", "here", "server"):
        raise UsageError(f"--from={from_where}: known: here, server")
    look = work.looker(stack, only=only, fail_fast=fail_fast, services_only=True, from_here=from_where == "here")
    _tell(look, watch=watch, wait=wait, verbose=verbose, files={"junit": junit, "json": json, "html": html})


def _tell(look: Callable[[], Report], *, watch: str, wait: str, verbose: bool, files: dict[str, str]) -> None:
    from datetime import UTC, datetime

    from towline.checks.run import until_good
    from towline.errors import UsageError
    from towline.report import findings
    from towline.report.files import write
    from towline.workspace import seconds

    if watch:
        if any(files.values()) or wait:
            raise UsageError("--watch only shows: leave out --wait, --junit, --json and --html")
        findings.watch(look, seconds("--watch", watch, least=1), verbose=verbose)
        return
    at = datetime.now(UTC)
    report = until_good(look, seconds("--wait", wait, least=0) if wait else 0)
    findings.show(report, verbose=verbose)
    write(report, at, **files)
    if report.count("fail"):
        raise Exit(code=1)


# --- releases -----------------------------------------------------------------------------------------------------------


@towline_task()
def rollback(
    work: Work, stack: str = "", to: str = "", timeout: str = "", verbose: bool = False, lock_wait: str = "0"
) -> None:
    """Go back to the last good release of a stack, or to the one that --to names, with the images it had."""
    from towline.bundle.secret_texts import read_secret_texts
    from towline.deploy.deploy import rollback
    from towline.deploy.prepare import prepare_rollback

    chosen, options = work.stack(stack), work.options(timeout=timeout, cache=True, lock_wait=lock_wait)
    with _view(read_secret_texts(chosen), verbose=verbose) as view:
        if work.dry:
            view.planned(prepare_rollback(work.connection(chosen), chosen, to, options, view))
        else:
            rollback(work.connection(chosen), chosen, to, options, view)


@towline_task()
def releases(work: Work, stack: str = "", format: str = "table") -> None:
    """List a stack's releases on its host: when, by whom, from which commit, how each ended, which is live."""
    from towline.deploy.prepare import note_interrupted, read_current_state
    from towline.report.releases import rows

    chosen = work.stack(stack)
    fact = read_current_state(work.connection(chosen), chosen).stack
    note_interrupted(fact, chosen.name, _say)
    columns = ["id", "at", "by", "git", "strategy", "outcome", "seconds", "live"]
    _show(rows(chosen.name, work.host(chosen).name, fact), columns, format)


@towline_task()
def attach(work: Work, stack: str = "", verbose: bool = False) -> None:
    """Follow the running deploy of a stack from anywhere, or see how the last one went."""
    from towline.bundle.secret_texts import read_secret_texts
    from towline.deploy.deploy import attach as follow

    chosen = work.stack(stack)
    with _view(read_secret_texts(chosen), verbose=verbose) as view:
        follow(work.connection(chosen), chosen, view)


@towline_task()
def lock(work: Work, stack: str = "", message: str = "") -> None:
    """Keep everybody from deploying a stack until `unlock`; they read the message."""
    from towline.deploy.lock import lock

    chosen = work.stack(stack)
    if work.dry:
        print(f"{chosen.name}: would lock it on {work.host(chosen).name}")
    else:
        print(f"{chosen.name}: locked: {lock(work.connection(chosen), chosen.name, message, _say)}")


@towline_task()
def unlock(work: Work, stack: str = "") -> None:
    """Take a person's lock off a stack again. A running deploy's own lock goes with that deploy."""
    from towline.deploy.lock import unlock

    chosen = work.stack(stack)
    if work.dry:
        print(f"{chosen.name}: would unlock it on {work.host(chosen).name}")
        return
    was = unlock(work.connection(chosen), chosen.name, _say)
    print(f"{chosen.name}: unlocked, was: {was}" if was else f"{chosen.name}: was not locked")


@towline_task()
def prune(work: Work, stack: str = "") -> None:
    """Free disk on the host: releases that going back does not need, their images, and the build cache (--dry tells only)."""
    from towline.deploy.prune import prune
    from towline.report.prune import sentence

    chosen = work.stacks(stack)
    for host in {host.name: host for host in map(work.host, chosen)}.values():
        here = [stack for stack in chosen if work.host(stack).name == host.name]
        print(sentence(host.name, prune(work.to(host), here, really=not work.dry), really=not work.dry))


# --- the sandbox ------------------------------------------------------------------------------------------------------------


@towline_task()
def up(work: Work) -> None:
    """Start a local server to try towline on: a real sshd with MaxSessions 2 and a real Docker Engine."""
    start_sandbox(work.settings.top)


@towline_task()
def down(work: Work) -> None:  # noqa: ARG001
    """Stop the sandbox's sshd; its files and the Docker Engine stay."""
    from towline import sandbox

    print("sandbox: stopped" if sandbox.down() else "sandbox: was not running")


@towline_task()
def status(work: Work) -> None:  # noqa: ARG001
    """Say whether the sandbox runs, and where."""
    from towline import sandbox

    running = sandbox.read_status()
    print(
        f"sandbox: {running.user}@127.0.0.1:{running.port}, log {running.log}"
        if running
        else "sandbox: not running; `inv sandbox.up` starts it"
    )


@towline_task()
def demo(work: Work) -> None:
    """Bring the sandbox up, deploy Traefik and whoami to it, and fetch the whoami page through Traefik."""
    from towline.deploy.planning.plan import Options
    from towline.sandbox import page

    start_sandbox(work.settings.top)
    work.use_host("sandbox")
    for name in ("traefik", "whoami"):
        _deploy_one(work, work.working_tree(name), Options(), yes=True)
    front = page.page_address(work.catalog.stack("traefik"), work.catalog.stack("whoami"))
    _say(f"{front}, fetched through Traefik:")
    print(page.fetch(front).strip(), flush=True)


def start_sandbox(top: Path) -> None:
    from towline import sandbox
    from towline.sandbox import images

    running = sandbox.up(images=images.shipped_images(top), say=_say)
    _say(f"sandbox: {running.user}@127.0.0.1:{running.port}, stacks below {running.root}")


# --- the project's own ------------------------------------------------------------------------------------------------------


@towline_task()
def test(work: Work, only: str = "") -> None:
    """Run towline's own test suite; installs what it needs first. --only=unit takes one of its folders."""
    from towline.cli import suite

    code = suite.run(work.settings.top, only, _say)
    if code:
        raise Exit(code=code)


namespace = Collection(
    list_stacks, get_containers, test_connectivity, test_infra, test_services, deploy, deploy_all, demo, test
)
for each in (plan, rollback, releases, attach, lock, unlock, prune):
    namespace.add_task(each)
namespace.add_collection(Collection("sandbox", up, down, status))
