"""A service writes beside its compose file, and the stack has been run here, too: each keeps its own data."""

from __future__ import annotations

from tests.conftest import BASE
from tests.e2e.conftest import Project, docker

COMPOSE = f"""
services:
  app:
    image: {BASE}
    init: true
    command: ["sh", "-c", "{{command}}"]
    volumes: ["./data:/data"]
    healthcheck: {{{{test: [CMD, test, -e, /data/db], interval: 1s, start_period: 20s, start_interval: 200ms}}}}
"""
WRITES = "test -e /data/db || echo production >/data/db; sleep 600"


def sees(project: Project, path: str) -> str:
    return docker("exec", project.containers("app")["app"], "cat", path)


def test_data_of_the_service_there_is_neither_replaced_nor_mixed_with_that_of_here(project: Project) -> None:
    stack = f"--stack={project.name('app')}"
    project.write("app", {"compose.yaml": COMPOSE.format(command=WRITES), "data/start.sql": "v1"})
    assert project.tow("deploy", stack).code == 0
    assert sees(project, "/data/start.sql") == "v1"  # nothing was there

    project.write("app", {"data/db": "laptop", "data/db-wal": "laptop", "data/start.sql": "v2"})
    ran = project.tow("deploy", stack)
    assert ran.code == 0, ran.err
    assert "not sent: data/db, data/db-wal: services keep their data there, and the server has its own" in ran.err
    assert sees(project, "/data/db") == "production"
    assert sees(project, "/data/start.sql") == "v2"  # what was sent, and nobody changed
    assert sorted(path.name for path in project.live("app").glob("data/*")) == ["db", "start.sql"]
    assert project.tow("plan", stack, "--check").code == 0
    ran = project.tow("test-infra", stack)
    assert ran.code == 0, ran.out

    docker("exec", project.containers("app")["app"], "sh", "-c", "echo changed >/data/start.sql")
    project.write("app", {"data/start.sql": "v3"})
    ran = project.tow("plan", stack, "--check")
    assert ran.code == 0, ran.err
    assert "not sent: data/start.sql: a service has changed what was sent, and it stays" in ran.err

    project.write("app", {"compose.yaml": COMPOSE.format(command="exit 3")})
    assert project.tow("deploy", stack, "--timeout=3").code == 5
    assert (sees(project, "/data/db"), sees(project, "/data/start.sql")) == ("production", "changed")
    ran = project.tow("rollback", stack)
    assert ran.code == 0, ran.err
    assert (sees(project, "/data/db"), sees(project, "/data/start.sql")) == ("production", "changed")
