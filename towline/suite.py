"""towline's own tests, run by `inv test`: what they need is installed and started first."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from towline.errors import TowlineError, UsageError

if TYPE_CHECKING:
    from towline.sandbox import packages

WORKERS = 2

# program → Debian's package; beside sshd and the engine, which the sandbox installs
TOOLS = {
    "busybox": "busybox-static",
    "git": "git",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "ps": "procps",
    "ssh": "openssh-client",
}


def run(top: Path, only: str, say: Callable[[str], None]) -> int:
    """pytest's exit code. only: one of the folders below tests/, or a test's name as pytest takes it; '' for all.

    Raises UsageError outside of a checkout, TowlineError with the lines to run when something cannot be installed.
    """
    if not (top / "tests" / "conftest.py").is_file():
        raise UsageError(f"{top}: no tests here: `inv test` runs in a checkout of towline")
    if not (importlib.util.find_spec("pytest") and importlib.util.find_spec("xdist")):
        _install_packages(top)
    _prepare_machine(say)
    target = f"tests/{only}" if only and (top / "tests" / only).exists() else only
    command = [sys.executable, "-m", "pytest", "-n", str(WORKERS), "--dist", "loadgroup"]
    return subprocess.run([*command, *([target] if target else [])], cwd=top, check=False).returncode


def _install_packages(top: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    # --group came with pip 25.1; the one that venv brings along can be older
    for words in (["--upgrade", "pip>=25.1"], ["--group", f"{top}/pyproject.toml:dev"]):
        if subprocess.run([*pip, *words], check=False).returncode:
            raise TowlineError("the test tools could not be installed", f"{' '.join(pip)} --group dev")


def _prepare_machine(say: Callable[[str], None]) -> None:
    from towline import sandbox
    from towline.sandbox import engine, packages, sshd

    recipes = [sshd.missing(), engine.missing(), _missing_tools()]
    packages.install([recipe for recipe in recipes if recipe], say)
    folder = sandbox.default_folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    engine.ensure(folder, say)


def _missing_tools() -> packages.Recipe | None:
    from towline.sandbox import packages

    missing = sorted({package for tool, package in TOOLS.items() if not packages.find_program(tool)})
    if not missing:
        return None
    commands = (packages.UPDATE, (*packages.INSTALL, *missing))
    return packages.Recipe(", ".join(missing), commands=commands)
