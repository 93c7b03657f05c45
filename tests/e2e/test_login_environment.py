"""A login whose environment would make Compose, tar and `cd` do something else."""

from __future__ import annotations

import os
import signal

import pytest

from tests.conftest import BASE
from tests.e2e.conftest import Project
from towline.sandbox.wait import wait_until

COMPOSE = f"""
services:
  app: {{image: {BASE}, init: true, command: [sleep, "600"], volumes: ["./conf:/conf:ro"]}}
  made: {{build: ., init: true, command: [sleep, "600"]}}
x-towline: {{watch: 0, strategy: STRATEGY}}
"""
MISLEADING = "COMPOSE_IGNORE_ORPHANS=1 COMPOSE_COMPATIBILITY=1 CDPATH=.:/tmp TAR_OPTIONS=--verbose"


@pytest.mark.parametrize("strategy", ["recreate", "update"])
def test_stack_is_deployed_as_by_any_other_login(tight_project: Project, strategy: str) -> None:
    project, stack = tight_project, f"--stack={tight_project.name('app')}"
    config = project.box.folder / "sshd_config"
    config.write_text(config.read_text().replace("SetEnv ", f"SetEnv {MISLEADING} "))
    os.kill(project.box.pid, signal.SIGHUP)
    assert wait_until(lambda: project.box.log.read_text().count("Server listening") >= 3, 5)
    files = {
        "compose.yaml": COMPOSE.replace("STRATEGY", strategy),
        "Dockerfile": f"FROM {BASE}\nCOPY conf /x\n",
        "conf/a": "one",
    }
    project.write("app", files)
    for text in ("one", "two"):
        project.write("app", {"conf/a": text})
        ran = project.tow("deploy", stack)
        assert ran.code == 0, ran.err
        assert project.tow("plan", stack, "--check").code == 0
    assert set(project.containers("app")) == {"app", "made"}
    assert project.tow("rollback", stack).code == 0
