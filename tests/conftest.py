"""Shared by all tests: the command line, run as a user runs it, and sandboxes."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from towline import sandbox
from towline.sandbox import Sandbox, images
from towline.sandbox.sshd import Limits
from towline.sandbox.wait import wait_until

STEPS = ["rehearse", "pull", "stage", "down", "apply", "build", "up", "health", "keep"]
BASE = "busybox:1.37"
TOP = Path(__file__).parent.parent
CONSOLE = [sys.executable, "-c", "from towline.cli.console import main; main()"]


@dataclass(frozen=True)
class Ran:
    """A finished command line."""

    code: int
    out: str
    err: str


def run_towline(folder: Path, *words: str, home: Path, timeout: float = 180, **env: str) -> Ran:
    """Run `towline WORDS` in `folder`, with a clean environment."""
    return _run([*CONSOLE, *words], folder, clean_environment(home) | env, timeout)


def run_pytest(folder: Path, *words: str, home: Path, installed: Path, timeout: float = 120, **env: str) -> Ran:
    """Run `pytest WORDS` in `folder`, with a clean environment in which towline's plugin is `installed`."""
    own = clean_environment(home) | {"PYTHONPATH": os.pathsep.join((str(installed), str(TOP)))}
    return _run([sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *words], folder, own | env, timeout)


def _run(command: list[str], folder: Path, env: dict[str, str], timeout: float) -> Ran:
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=timeout, check=False)
    return Ran(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="session")
def engine() -> None:
    """The engine runs and has the images that the tests start from."""
    with Path(tempfile.gettempdir(), "towline-tests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = Path(tempfile.gettempdir(), "towline-tests-engine")
        folder.mkdir(exist_ok=True)
        from towline.sandbox import engine as engines

        engines.ensure(folder, print)
        images.ensure([BASE])


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The metadata that `pip install` writes for pyproject.toml's entry points: also where towline is not installed."""
    points = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]["entry-points"]
    folder = tmp_path_factory.mktemp("installed") / "towline-0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: towline\nVersion: 0\n")
    lines = [f"[{group}]\n{name} = {value}\n" for group, entries in points.items() for name, value in entries.items()]
    (folder / "entry_points.txt").write_text("".join(lines))
    return folder.parent


def clean_environment(home: Path) -> dict[str, str]:
    """An environment without the keys, agent and settings of the user who runs the tests."""
    return {
        "HOME": str(home),
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(TOP),
        "PYTHONDONTWRITEBYTECODE": "1",
        "LANG": "C.UTF-8",
        "COLUMNS": "200",
    }


@contextmanager
def running_box(folder: Path, **limits: Any) -> Iterator[Sandbox]:
    """A sandbox without an engine; `limits` as in sshd.Limits. Its bash reads no .bashrc (SHLVL): some take 0.1 s a session."""
    box = sandbox.up(folder=folder, engine=False, limits=Limits(**limits), say=lambda _: None)
    try:
        config = folder / "sshd_config"
        text = config.read_text()
        merged = text.replace("SetEnv ", "SetEnv SHLVL=5 ") if "SetEnv " in text else f"{text}SetEnv SHLVL=5\n"
        config.write_text(merged)  # sshd uses the first SetEnv only
        os.kill(box.pid, signal.SIGHUP)
        assert wait_until(lambda: box.log.read_text().count("Server listening") >= 2, 5)
        yield box
    finally:
        sandbox.down(folder)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table of the fault tests: the page that was served after each fault at each step."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.getreports(kind)]
    results = [value for report in reports for name, value in getattr(report, "user_properties", []) if name == "fault"]
    if not results:
        return
    table = {(fault, step): end for fault, step, end in results}
    steps = [step for step in STEPS if any(step == name for _, name in table)]
    terminalreporter.section("fault × step → the page that is served at the end")
    terminalreporter.write_line(f"{'':<18}" + "".join(f"{step:<10}" for step in steps))
    for fault in dict.fromkeys(fault for fault, _ in table):
        row = "".join(f"{table.get((fault, step), '-'):<10}" for step in steps)
        terminalreporter.write_line(f"{fault:<18}{row}")
