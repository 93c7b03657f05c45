"""What the tests share: the command line run as its user runs it, and a sandbox of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

TOP = Path(__file__).parent.parent
CONSOLE = [sys.executable, "-c", "from towline.console import main; main()"]


@dataclass(frozen=True)
class Ran:
    """A finished command line."""

    code: int
    out: str
    err: str


def run_towline(folder: Path, *words: str, home: Path, timeout: float = 180, **env: str) -> Ran:
    """`towline WORDS` in `folder`, with an environment of its own."""
    done = subprocess.run(
        [*CONSOLE, *words],
        cwd=folder,
        env=clean_environment(home) | env,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def clean_environment(home: Path) -> dict[str, str]:
    """No key, agent or setting of whoever runs the tests gets in."""
    return {
        "HOME": str(home),
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(TOP),
        "PYTHONDONTWRITEBYTECODE": "1",
        "LANG": "C.UTF-8",
        "COLUMNS": "200",
    }
