"""towline.workspace in tasks of one's own, as the guide shows it: a real sshd, Invoke's own command line."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import TOP, clean_environment
from tests.integration.conftest import serving
from tests.integration.test_ssh_manager import SETTINGS
from towline.sandbox import Sandbox, sshd
from towline.sandbox.wait import wait_until


def example() -> str:
    """The tasks.py out of the guide."""
    blocks = re.findall(r"^```python\n(.*?)^```$", (TOP / "docs" / "guide.md").read_text(), re.DOTALL | re.MULTILINE)
    (found,) = [block for block in blocks if "towline.workspace" in block]
    return found


@pytest.fixture
def project(tight: Sandbox, tmp_path: Path) -> Path:
    """Its host has MaxSessions 1 and MaxStartups 1; its tasks.py is the guide's."""
    assert wait_until(lambda: serving(tight) == [], 10)
    folder = tmp_path / "project"
    for name in ("web", "shop"):
        (folder / "stacks" / name).mkdir(parents=True)
        (folder / "stacks" / name / "compose.yaml").write_text("services: {web: {image: nginx}}\n")
    text = SETTINGS.format(user=tight.user, port=tight.port, identity=tight.identity, known_hosts=tight.known_hosts)
    (folder / "towline.yaml").write_text(text)
    (folder / "tasks.py").write_text(example())
    return folder


def inv(folder: Path, home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "invoke", *words]
    return subprocess.run(
        command, cwd=folder, env=clean_environment(home), capture_output=True, text=True, timeout=60, check=False
    )


def test_tasks_of_ones_own_share_one_login(project: Path, home: Path, tight: Sandbox) -> None:
    since = tight.log.stat().st_size
    done = inv(project, home, "uptime", "--stack=web", "uptime", "--stack=shop")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("load average") == 2
    assert done.stderr == ""
    counts = sshd.count(tight.log, since)
    assert (counts.connections, counts.logins, counts.sessions, counts.peak) == (1, 1, 2, 1)


def test_nothing_is_connected_to_for_an_unknown_stack(project: Path, home: Path, tight: Sandbox) -> None:
    since = tight.log.stat().st_size
    done = inv(project, home, "uptime", "--stack=wep")
    assert "towline.errors.StackError: no stack 'wep'; did you mean web?" in done.stderr
    assert sshd.count(tight.log, since).connections == 0
