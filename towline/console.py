"""The console command `towline`: the same tasks as `inv`, in any folder that has stacks/ or infrastructure/."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from invoke import Program

from towline import __version__


def main() -> None:
    """Run the tasks that the command line names; exits with the code of the error tree."""
    program = Program(name="towline", version=__version__, namespace=load_tasks().namespace)
    program.run()


def load_tasks() -> ModuleType:
    """tasks.py: the wheel carries it inside the package, a checkout beside it."""
    package = Path(__file__).parent
    file = next(path for path in (package / "tasks.py", package.parent / "tasks.py") if path.is_file())
    spec = importlib.util.spec_from_file_location("towline_tasks", file)
    assert spec and spec.loader  # noqa: S101
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
