"""The command `towline`: the tasks of `inv`, in any folder that has stacks/ or infrastructure/."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from invoke.exceptions import Exit, ParseError
from invoke.program import Program

from towline import __version__
from towline.errors import TowlineError, UsageError
from towline.terminal import STDOUT, say, tell_lost


def main() -> None:
    """Run the tasks that the command line names. Exits with a code of towline.errors."""
    OneLineErrors(name="towline", version=__version__, namespace=load_tasks().namespace).run()


class OneLineErrors(Program):
    """Invoke's Program, but a command line that cannot be parsed is one `error:` line and exit code 2."""

    def run(self, argv: list[str] | None = None, exit: bool = True) -> None:
        """Also where Invoke's own lists and help texts cannot be written."""
        code: object = 0
        try:
            super().run(argv, exit)
        except SystemExit as end:
            code = end.code
        except OSError as error:
            STDOUT.lose(error)
        STDOUT.flush()
        if tell_lost():
            code = code or TowlineError.exit_code
        if exit or code:
            raise SystemExit(code)

    def parse_core(self, argv: list[str] | None) -> None:
        with _usage_errors():
            super().parse_core(argv)

    def parse_tasks(self) -> None:
        with _usage_errors():
            super().parse_tasks()


@contextmanager
def _usage_errors() -> Iterator[None]:
    try:
        yield
    except ParseError as error:
        say(f"error: {error}")
        raise Exit(code=UsageError.exit_code) from None


def load_tasks() -> ModuleType:
    """The module tasks.py, which a wheel has inside the package and a checkout beside it."""
    package = Path(__file__).parents[1]
    file = next(path for path in (package / "tasks.py", package.parent / "tasks.py") if path.is_file())
    spec = importlib.util.spec_from_file_location("towline_tasks", file)
    assert spec and spec.loader  # noqa: S101
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
