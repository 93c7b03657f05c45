"""The shipped stacks, read by the real Compose."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
STACKS = [file.parent for kind in ("infrastructure", "stacks") for file in sorted(TOP.glob(f"{kind}/*/compose.yaml"))]


@pytest.mark.parametrize("stack", STACKS, ids=lambda stack: stack.name)
@pytest.mark.parametrize("settings", ["/dev/null", ".env.example"])
def test_compose_accepts_the_stack(stack: Path, settings: str) -> None:
    if not (stack / settings).exists():
        settings = "/dev/null"
    answer = subprocess.run(
        ["docker", "compose", "--env-file", settings, "config", "-q"],
        cwd=stack,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (answer.returncode, answer.stderr) == (0, "")
