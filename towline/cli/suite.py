"""`inv test`: installs and starts what towline's own tests need, then runs them."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from ctypes.util import find_library
from pathlib import Path
from typing import TYPE_CHECKING

from towline.errors import TowlineError, UsageError

if TYPE_CHECKING:
    from towline.sandbox import packages

WORKERS = 2

# Any of these serves for the tests of the HTML report
BROWSERS = ("chromium-headless-shell", "chromium", "google-chrome")
TEST_PACKAGES = ("pytest", "xdist", "testinfra", "playwright")

# program → Debian package; sshd and the engine are installed by the sandbox
TOOLS = {
    "busybox": "busybox-static",
    "git": "git",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "ps": "procps",
    "ssh": "openssh-client",
}


def run(top: Path, only: str, say: Callable[[str], None]) -> int:
    """pytest's exit code. only: a folder of tests/, or the name of a test as pytest takes it; '' for all tests.

    Raises UsageError outside a checkout, TowlineError with the commands to run when something cannot be installed.
    """
    if not (top / "tests" / "conftest.py").is_file():
        raise UsageError(f"{top}: no tests here: `inv test` runs in a checkout of towline")
    if not all(map(importlib.util.find_spec, TEST_PACKAGES)):
        _install_packages(top)
    _prepare_machine(say)
    target = f"tests/{only}" if only and (top / "tests" / only).exists() else only
    command = [sys.executable, "-m", "pytest", "-n", str(WORKERS), "--dist", "loadgroup"]
    return subprocess.run([*command, *([target] if target else [])], cwd=top, check=False).returncode


def _install_packages(top: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    # --group came with pip 25.1; the pip that venv installs can be older
    for words in (["--upgrade", "pip>=25.1"], ["--group", f"{top}/pyproject.toml:dev"]):
        if subprocess.run([*pip, *words], check=False).returncode:
            raise TowlineError("the test tools could not be installed", f"{' '.join(pip)} --group dev")


def _prepare_machine(say: Callable[[str], None]) -> None:
    from towline import sandbox
    from towline.sandbox import engine, packages, sshd

    recipes = [sshd.missing(), engine.missing(), _missing_tools(), missing_browser()]
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


def find_browser() -> str | None:
    """The path of a Chromium on this machine."""
    from towline.sandbox import packages

    return next(filter(None, map(packages.find_program, BROWSERS)), None)


def missing_browser() -> packages.Recipe | None:
    """How to install a Chromium that needs no display; None when nothing is missing.

    Debian's headless package is two thirds the size of the full browser. Ubuntu has Chromium only as a snap: there the driver
    installs its own.
    """
    from towline.sandbox import packages

    libraries = [] if find_library("atomic") else ["libatomic1"]  # for the driver's own Node.js (playwright 1.65)
    browser = find_browser()
    ubuntu = packages.read_system().id == "ubuntu"
    missing = libraries if browser or ubuntu else [BROWSERS[0], *libraries]
    commands: tuple[tuple[str, ...], ...] = (packages.UPDATE, (*packages.INSTALL, *missing)) if missing else ()
    if ubuntu and not browser:
        commands += ((sys.executable, "-m", "playwright", "install", "--with-deps", "--only-shell", "chromium"),)
    name = ", ".join(missing) or "Chromium's headless shell"
    return packages.Recipe(name, commands=commands) if commands else None
