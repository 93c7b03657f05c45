"""How often `docker` is started on the server: on a small one that costs more than what is asked of it."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import BASE
from tests.e2e.conftest import DOCKERFILE, Project, free_port

COMPOSE = """
services:
  web:
    build: .
    init: true
    command: httpd -f -p 8080 -h /www
    ports: ["127.0.0.1:{port}:8080"]
    volumes: ["./conf:/conf:ro"]
    healthcheck:
      test: ["CMD", "wget", "-qO-", "http://127.0.0.1:8080/"]
      interval: 2s
      start_period: 30s
      start_interval: 200ms
  one: {{image: {base}, init: true, command: sleep 600}}
  two: {{image: {base}, init: true, command: sleep 600}}
x-towline: {{strategy: {strategy}, watch: 0}}
"""
# A wait for health may take some looks more.
MOST = {
    "first": 27,
    "recreate": 33,
    "update": 31,
    "nothing": 34,
    "plan": 11,
    "test-infra": 3,
    "get-containers": 1,
}


class Counter:
    """A `docker` that notes each start."""

    def __init__(self, folder: Path) -> None:
        self.log, self.program = folder / "starts", folder / "docker"
        self.program.write_text(
            f"#!/bin/sh\nprintf '%s\\n' \"$(printf '%s ' \"$@\" | tr '\\n' ' ')\" >>'{self.log}'\nexec docker \"$@\"\n"
        )
        self.program.chmod(0o755)

    def take(self) -> list[str]:
        text = self.log.read_text() if self.log.exists() else ""
        self.log.unlink(missing_ok=True)
        return text.splitlines()


def write(project: Project, text: str, strategy: str) -> str:
    port = project.ports.setdefault("web", free_port())
    compose = COMPOSE.format(port=port, base=BASE, strategy=strategy)
    project.write("web", {"compose.yaml": compose, "Dockerfile": DOCKERFILE, "index.html": "page\n", "conf/a": text})
    return f"--stack={project.name('web')}"


def test_docker_is_started_no_more_often_than_this(project: Project, tmp_path: Path) -> None:
    counter, counted = Counter(tmp_path), {}
    project.settings(docker=[str(counter.program)])
    for name, text, strategy, task in (
        ("first", "1", "recreate", "deploy"),
        ("recreate", "2", "recreate", "deploy"),
        ("update", "3", "update", "deploy"),
        ("nothing", "3", "update", "deploy"),
        ("plan", "3", "update", "plan"),
        ("test-infra", "3", "update", "test-infra"),
        ("get-containers", "3", "update", "get-containers"),
    ):
        stack = write(project, text, strategy)
        ran = project.tow(task, *([] if task == "get-containers" else [stack]))
        assert ran.code == 0, ran.err + ran.out
        starts = counter.take()
        print("\n    ".join((f"{name}: {len(starts)}", *(start[:150] for start in starts))))
        counted[name] = len(starts)
    assert {name: count for name, count in counted.items() if count > MOST[name]} == {}
