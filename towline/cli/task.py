"""What makes a function a task: the options of every task, help texts, errors in one line, the ledger's line at the end."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from types import MappingProxyType
from typing import Any

from invoke.context import Context
from invoke.exceptions import Exit
from invoke.parser.argument import Argument
from invoke.tasks import Task

from towline.cli.options import check_values
from towline.cli.output import say, say_error
from towline.terminal import tell_lost
from towline.workspace import Workspace, shared_connections

HELP = {
    "stack": "name of the stack, as `inv list-stacks` shows it",
    "service": "only this service of the stack; may be given several times",
    "pull": "take newer images under the same tags",
    "ref": "commit, branch or tag to take the stacks from, in place of the working tree",
    "host": "host of towline.yaml; default: the stack's own, else default_host",
    "config": "settings file to use in place of towline.yaml",
    "ledger": "write the whole ledger of the connections to this file, as JSON lines",
    "format": "table or json",
    "timeout": "seconds to wait for the services to become healthy",
    "cache": "use the build cache in the rehearsal of the build",
    "verbose": "show all output of the commands",
    "lock-wait": "seconds to wait for another deploy of the stack to end",
    "to": "release to run; default: the last good one before the live release",
    "message": "why the stack is locked; shown to whoever tries to deploy it",
    "yes": "do not ask for confirmation when something is at risk",
    "max-downtime": "seconds; when a service is down for longer, the deploy fails and the previous release is restored",
    "diff": "show the changed text of files, with secrets redacted",
    "check": "exit with code 10 when there are changes",
    "fail-fast": "stop at the first failure",
    "watch": "check again every so many seconds, until Ctrl-C",
    "wait": "check again until nothing fails, for so many seconds at most",
    "from": "`here`: also request the routes from this machine",
    "junit": "write the findings to this file, as JUnit XML",
    "json": "write the findings to this file, as JSON",
    "html": "write the findings to this file, as one self-contained HTML page",
    "gate": "check the stack before and after; on new failures restore the previous release",
}
CHECK_HELP = {
    "only": "only findings whose id matches this pattern, such as 'stack.web.*'",
    "verbose": "list every finding, also those that passed",
}
ADOPT_HELP = {
    "from": "the folder on the host that it was started from; default: the one that its containers tell",
    "move": "move its data in place of copying it",
}
NO_HELP: Mapping[str, str] = MappingProxyType({})


class TowlineTask(Task[Any]):
    """A task whose --verbose can be written -v. No other option has a short form: --host's would hide inv's own -h."""

    def get_arguments(self, ignore_unknown_help: bool | None = None) -> list[Argument]:
        arguments = super().get_arguments(ignore_unknown_help)
        for argument in arguments:
            if argument.name == "verbose":
                argument.names = ("verbose", "v")
        return arguments


def towline_task(
    *aliases: str, flags: type[Any] | None = None, help: Mapping[str, str] = NO_HELP
) -> Callable[[Callable[..., None]], Task[Any]]:
    """A task from a function that takes (workspace), or (workspace, flags) where `flags` is a dataclass of options.

    The task's options are the fields of `flags`, every parameter with a default, and --host, --config and --ledger.
    A parameter `dry` without a default is no option: it is true under `inv --dry`. help: option → text, in place of HELP's.
    """

    def wrap(body: Callable[..., None]) -> Task[Any]:
        shared = [field.name for field in fields(flags)] if flags else []
        takes_dry = "dry" in inspect.signature(body).parameters

        def run(c: Context, host: str = "", config: str = "", ledger: str = "", **values: Any) -> None:
            workspace = Workspace(host=host, config=config)
            with _one_line_errors(ledger):
                check_values({"ledger": ledger, **values})
                given = {name: values.pop(name) for name in shared}
                dry = {"dry": c.config.run.dry} if takes_dry else {}
                body(workspace, *([flags(**given)] if flags else []), **values, **dry)

        context, *common = list(inspect.signature(run).parameters.values())[:-1]
        options = [*_options(body, flags), *common]
        functools.update_wrapper(run, body)
        run.__signature__ = inspect.Signature([context, *options])  # type: ignore[attr-defined]
        names = {option.name.strip("_").replace("_", "-") for option in options}
        # Without positional=[] `inv deploy --help` would run the task.
        return TowlineTask(
            run,
            aliases=aliases,
            positional=[],
            iterable=[option.name for option in options if option.default == []],
            auto_shortflags=False,
            help={name: text for name, text in (HELP | dict(help)).items() if name in names},
        )

    return wrap


def _options(body: Callable[..., None], flags: type[Any] | None) -> list[inspect.Parameter]:
    """The function's own options, then the dataclass's. One whose default is a list may be given several times."""
    own = [option for option in inspect.signature(body).parameters.values() if option.default is not option.empty]
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    defaults: dict[str, Any] = (
        {field.name: [] if field.default == () else field.default for field in fields(flags)} if flags else {}
    )
    shared = [inspect.Parameter(name, kind, default=default) for name, default in defaults.items()]
    return [*own, *shared]


@contextmanager
def _one_line_errors(ledger: str) -> Iterator[None]:
    """A TowlineError becomes its line and its exit code. At the end, also after an error, come the ledgers' lines."""
    from towline.errors import TowlineError

    try:
        yield
    except TowlineError as error:
        say_error(error)
        _show_ledgers(ledger)
        raise Exit(code=error.exit_code) from None
    except KeyboardInterrupt:
        say("interrupted")
        _show_ledgers(ledger)
        raise Exit(code=130) from None
    except BaseException:
        _show_ledgers(ledger)
        raise
    written = _show_ledgers(ledger)
    if tell_lost() or not written:
        raise Exit(code=TowlineError.exit_code)


def _show_ledgers(file: str) -> bool:
    """A line for each host that was logged in to, and the file that --ledger names. Nothing for a task that needs no SSH at all.

    False, and an error's line, when the file could not be written.
    """
    if "towline.ssh.connection" not in sys.modules:
        return True
    ledgers = shared_connections().ledgers
    for ledger in ledgers:
        say(ledger.line())
    if not file:
        return True
    from towline.report.files import write_file

    problem = write_file("--ledger", file, lambda: "".join(ledger.json_lines() for ledger in ledgers).encode())
    if problem:
        say(f"error: {problem}")
    return not problem
