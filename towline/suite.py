"""towline's own tests, run by `inv test`: what they need is installed first."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

from towline.errors import TowlineError, UsageError

WORKERS = 2


def run(top: Path, only: str = "") -> int:
    """pytest's exit code. only: one of the folders below tests/, or a test's name as pytest takes it.

    Raises UsageError outside of a checkout, TowlineError when the packages cannot be installed.
    """
    if not (top / "tests" / "conftest.py").is_file():
        raise UsageError(f"{top}: no tests here: `inv test` runs in a checkout of towline")
    if not importlib.util.find_spec("pytest"):
        _install(top)
    target = f"tests/{only}" if only and (top / "tests" / only).exists() else only
    command = [sys.executable, "-m", "pytest", "-n", str(WORKERS), "--dist", "loadgroup", *([target] if target else [])]
    return subprocess.run(command, cwd=top, check=False).returncode


def _install(top: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    # --group came with pip 25.1; the one that venv brings along can be older
    for words in (["--upgrade", "pip>=25.1"], ["--group", f"{top}/pyproject.toml:dev"]):
        if subprocess.run([*pip, *words], check=False).returncode:
            raise TowlineError("the test tools could not be installed", f"{' '.join(pip)} --group dev")
