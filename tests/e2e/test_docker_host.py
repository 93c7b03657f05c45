"""A host whose settings name another engine than the login's own."""

from __future__ import annotations

import pytest

from tests.conftest import BASE
from tests.e2e.conftest import OwnEngine, Project

COMPOSE = f"""
services:
  app: {{image: {BASE}, init: true, command: [sleep, "600"], volumes: ["./conf:/conf:ro"]}}
x-towline: {{watch: 0}}
"""


@pytest.mark.xdist_group("own-engine")
def test_everything_is_done_on_the_engine_that_the_settings_name(project: Project, own_engine: OwnEngine) -> None:
    stack, label = f"--stack={project.name('app')}", f"label=com.docker.compose.project={project.name('app')}"
    project.settings(docker_host=own_engine.address)
    project.write("app", {"compose.yaml": COMPOSE, "conf/a": "one"})
    try:
        ran = project.tow("deploy", stack)
        assert ran.code == 0, ran.err
        assert own_engine.docker("ps", "-q", "--filter", label)
        assert project.containers("app") == {}
        project.write("app", {"conf/a": "two"})
        for words in (("deploy", stack), ("plan", stack, "--check"), ("rollback", stack), ("test-connectivity",)):
            ran = project.tow(*words)
            assert ran.code == 0, ran.err
        ran = project.tow("test-infra", stack)
        assert ran.code == 0, ran.out
        assert project.name("app") in project.tow("get-containers").out
        project.settings(docker_host=f"{own_engine.address}-gone")
        ran = project.tow("deploy", stack)
        assert ran.code == 1
        assert "the Docker Engine does not answer" in ran.err
    finally:
        for container in own_engine.docker("ps", "-aq", "--filter", label).split():
            own_engine.docker("rm", "-f", "-v", container)
