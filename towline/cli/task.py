"""What makes a function a task: the options of every task, help texts, errors in one line, the ledger's line at the end."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

from invoke.context import Context
from invoke.exceptions import Exit
from invoke.parser.argument import Argument
from invoke.tasks import Task

from towline.cli.options import check_values
from towline.cli.output import say
from towline.workspace import Workspace, shared_connections

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
    "from": "`here`: ask the routes from this machine too",
    "junit": "write the findings to this file, as JUnit XML",
    "json": "write the findings to this file, as JSON",
    "html": "write the findings to this file, as one page that needs nothing else",
    "gate": "check the stack before and after; new failures put the release before back",
}
NO_HELP: Mapping[str, str] = MappingProxyType({})


class TowlineTask(Task[Any]):
    """A task whose --verbose is -v too. No other option gets a letter: --host's would shadow inv's own -h."""

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
    A parameter `dry` without a default is no option: it tells whether `inv --dry` was typed. help: option → text, beside HELP.
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
            auto_shortflags=False,
            help={name: text for name, text in (HELP | dict(help)).items() if name in names},
        )

    return wrap


def _options(body: Callable[..., None], flags: type[Any] | None) -> list[inspect.Parameter]:
    """Those of the function itself, then those of the dataclass."""
    own = [option for option in inspect.signature(body).parameters.values() if option.default is not option.empty]
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    shared = [inspect.Parameter(field.name, kind, default=field.default) for field in fields(flags)] if flags else []
    return [*own, *shared]


@contextmanager
def _one_line_errors(ledger: str) -> Iterator[None]:
    """A TowlineError becomes its line and its exit code. At the end of each task: the ledger's line, or the error's before it."""
    from towline.errors import TowlineError

    try:
        yield
    except TowlineError as error:
        say(f"error: {error}")
        raise Exit(code=error.exit_code) from None
    except KeyboardInterrupt:
        raise Exit("interrupted", code=130) from None
    finally:
        _tell_ledgers(ledger)


def _tell_ledgers(file: str) -> None:
    """A line for each host that was logged in to, and the file that --ledger names. Nothing where nothing could connect."""
    if "towline.ssh.connection" not in sys.modules:
        return
    ledgers = shared_connections().ledgers
    for ledger in ledgers:
        say(ledger.line())
    if file:
        Path(file).write_text("".join(ledger.json_lines() for ledger in ledgers))
