"""When a stack counts as healthy, on a real engine: whose fault what is bad is, how long things may take, which image runs."""

from __future__ import annotations

import json

import pytest

from tests.e2e.conftest import BASE, Project, docker
from towline.sandbox.wait import wait_until

IDLE = """
x-idle: &idle
  image: busybox:1.37
  init: true
  command: sleep 600
  stop_grace_period: 1s
"""
TOGETHER = (
    IDLE
    + """
services:
  web: {{<<: *idle, {more}environment: {{N: "{n}"}}, depends_on: {{db: {{condition: service_healthy}}}}}}
  db:
    <<: *idle
    command: sh -c "touch /tmp/good; exec sleep 600"
    healthcheck: {{test: [CMD, test, -e, /tmp/good], interval: 1s, retries: 2, start_period: 1s}}
  other: {{<<: *idle, depends_on: {{db: {{condition: service_healthy}}}}}}
x-towline: {{strategy: update, watch: 1}}
"""
)


def environment(container: str) -> str:
    return docker("inspect", "--format", "{{.Config.Env}}", container)


def health_of(container: str) -> str:
    return docker("inspect", "--format", "{{.State.Health.Status}}", container)


def test_a_service_that_was_bad_before_and_does_not_change_blocks_nothing(project: Project) -> None:
    stack = f"--stack={project.name('web')}"

    def write(n: int, more: str = "") -> None:
        project.write("web", {"compose.yaml": TOGETHER.format(n=n, more=more)})

    write(1)
    assert project.tow("deploy", stack).code == 0
    db = project.containers()["db"]
    docker("exec", db, "rm", "/tmp/good")
    assert wait_until(lambda: health_of(db) == "unhealthy", 20)
    write(2)
    ran = project.tow("deploy", stack)
    assert ran.code == 0, ran.err
    assert "db was bad before and this does not change it" in ran.err
    assert "as bad as before: db" in ran.err
    assert "N=2" in environment(project.containers()["web"])
    write(3, 'command: sh -c "exit 4", ')
    ran = project.tow("deploy", stack)
    assert ran.code == 5, ran.err
    assert "was restored and runs" in ran.err
    assert "N=2" in environment(project.containers()["web"])
    assert project.containers()["db"] == db


def test_a_service_without_a_health_check_that_ends_some_seconds_later_is_caught(project: Project) -> None:
    compose = IDLE + "services: {app: {<<: *idle, restart: always, command: %s}}\n"
    stack = f"--stack={project.name('web')}"
    project.write("web", {"compose.yaml": compose % "sleep 600"})
    ran = project.tow("deploy", stack)
    assert ran.code == 0, ran.err
    assert "app: no health check; all that is known is that it did not end within 5 s" in ran.err
    project.write("web", {"compose.yaml": compose % "sh -c 'sleep 3; exit 1'"})
    ran = project.tow("deploy", stack)
    assert ran.code == 5, ran.err
    assert "app: restarts over and over, exit code" in ran.err


def test_nothing_runs_where_no_replicas_are_wanted(project: Project) -> None:
    compose = IDLE + "services: {app: {<<: *idle, deploy: {replicas: %d}}}\nx-towline: {watch: 0}\n"
    stack = f"--stack={project.name('web')}"
    for replicas in (0, 1, 0):
        project.write("web", {"compose.yaml": compose % replicas})
        ran = project.tow("deploy", stack)
        assert ran.code == 0, ran.err
        assert len(project.containers()) == replicas


MOUNTED = (
    IDLE
    + """
services:
  app:
    <<: *idle
    environment: {{N: "{n}"}}
    volumes: ["./conf:/conf:ro"]
    healthcheck: {{test: [CMD, test, -e, /conf/a], interval: 1s, retries: 2, start_period: 1s}}
  other: {{<<: *idle, environment: {{N: "{n}"}}}}
x-towline: {{strategy: update, watch: 1}}
"""
)


def test_a_mounted_folder_that_was_deleted_is_put_back_and_its_service_made_anew(project: Project) -> None:
    stack = f"--stack={project.name('web')}"
    project.write("web", {"compose.yaml": MOUNTED.format(n=1), "conf/a": "a\n"})
    assert project.tow("deploy", stack).code == 0
    (project.live() / "conf/a").unlink()
    (project.live() / "conf").rmdir()
    project.write("web", {"compose.yaml": MOUNTED.format(n=1).replace('N: "1"}}', 'N: "2"}}')})
    ran = project.tow("deploy", stack)
    assert ran.code == 0, ran.err
    assert "app still saw old content of a mounted file: recreated" in ran.err
    assert docker("exec", project.containers()["app"], "cat", "/conf/a") == "a"


BEFORE = (
    IDLE
    + """
services:
  app: {{<<: *idle, build: ., image: {name}-app, volumes: ["./data:/data"]}}
x-towline:
  strategy: update
  watch: 0
  before: [{{service: app, command: [sh, -c, "{command}"], timeout: {timeout}}}]
"""
)


def test_release_commands_run_with_the_new_image_before_anything_stops(project: Project) -> None:
    stack, name = f"--stack={project.name('web')}", project.name("web")

    def write(version: str, command: str, timeout: int = 60) -> None:
        compose = BEFORE.format(name=name, command=command, timeout=timeout)
        project.write("web", {"compose.yaml": compose, "Dockerfile": f"FROM {BASE}\nRUN echo {version} >/version\n"})

    write("one", "cat /version >>/data/log")
    ran = project.tow("deploy", stack)
    assert ran.code == 0, ran.err
    assert "after `up`, since nothing runs yet, app runs" in ran.err
    write("two", "cat /version >>/data/log")
    assert "before anything stops, app runs" in project.tow("plan", stack).err
    assert json.loads(project.tow("plan", stack, "--format=json").out)[0]["before"][0]["service"] == "app"
    ran = project.tow("deploy", stack)
    assert ran.code == 0, ran.err
    assert (project.live() / "data/log").read_text() == "one\ntwo\n"
    before = project.containers()
    for command, timeout, said in (
        ("echo no way; exit 3", 60, "no way"),
        ("sleep 60", 2, "app was cut half-way, after"),
    ):
        write("three", command, timeout)
        ran = project.tow("deploy", stack)
        assert ran.code == 5, ran.err
        assert "never touched" in ran.err
        assert said in ran.err
        assert project.containers() == before
    assert docker("image", "inspect", "--format", "{{.Id}}", f"{name}-app") == docker(
        "inspect", "--format", "{{.Image}}", before["app"]
    )


@pytest.mark.parametrize("strategy", ["recreate", "update"])
def test_a_rollback_gives_back_the_image_whatever_its_name_became(project: Project, strategy: str) -> None:
    stack, name = f"--stack={project.name('web')}", project.name("web")
    tag = f"{name}-pulled:1"
    compose = IDLE + "services: {app: {<<: *idle, image: '%s', environment: {N: %d}, pull_policy: %s}}\n"
    towline = f"x-towline: {{strategy: {strategy}, watch: 0}}\n"

    def image(text: str) -> str:
        folder = project.write(
            "image", {"Dockerfile": f"FROM {BASE}\nRUN echo {text} of {tag} >/version\n"}, kind="images"
        )
        docker("build", "-q", "-t", tag, str(folder))
        return docker("image", "inspect", "--format", "{{.Id}}", tag)

    first = image("one")
    project.write("web", {"compose.yaml": compose % (tag, 1, "never") + towline})
    assert project.tow("deploy", stack).code == 0
    release = (project.state() / "current").read_text().strip()
    image("two")
    project.write("web", {"compose.yaml": compose % (tag, 2, "never") + towline})
    assert project.tow("deploy", stack).code == 0
    image("three")
    ran = project.tow("rollback", stack)
    assert ran.code == 0, ran.err
    assert docker("inspect", "--format", "{{.Image}}", project.containers()["app"]) == first
    assert docker("image", "inspect", "--format", "{{.Id}}", f"towline/{name}/app:{release}") == first
    # the image is gone: it cannot be made again, and what runs stays
    assert project.tow("rollback", stack).code == 0
    docker("rmi", "-f", first)
    before = project.containers()
    ran = project.tow("rollback", stack)
    assert ran.code == 5, ran.err
    assert "is gone, here and in its registry" in ran.err
    assert project.containers() == before


JOB = (
    IDLE
    + """
services:
  migrate: {{<<: *idle, environment: {{N: "{n}"}}, command: sh -c "sleep {seconds}; echo migrated"}}
  app: {{<<: *idle, environment: {{N: "{n}"}}, depends_on: {{migrate: {{condition: service_completed_successfully}}}}}}
x-towline: {{strategy: update, watch: 0, timeout: {limit}}}
"""
)


def test_a_one_shot_comes_to_its_end_or_is_named_where_it_is_cut(project: Project) -> None:
    stack = f"--stack={project.name('web')}"
    project.write("web", {"compose.yaml": JOB.format(n=1, seconds=7, limit=2)})
    ran = project.tow("deploy", stack)
    assert ran.code == 0, ran.err
    assert "migrate is at work" in ran.err
    project.write("web", {"compose.yaml": JOB.format(n=2, seconds=60, limit="{migrate: 5}")})
    ran = project.tow("deploy", stack, "--timeout=2")
    assert ran.code == 5, ran.err
    assert "migrate was cut half-way, after" in ran.err
    assert "is not put back, only files, images and containers are" in ran.err


LOUD = """
services:
  web:
    <<: *idle
    environment: {{N: "{n}"}}
    healthcheck: {{test: [CMD, test, -e, /tmp/x], interval: 1s, retries: 30}}
    command: &later sh -c "sleep 7; touch /tmp/x; exec sleep 600"
  loud:
    <<: *idle
    command: *later
    healthcheck: {{test: [CMD, test, -e, /tmp/x], interval: 1s, start_period: 30s, start_interval: 20ms}}
"""


def test_downtime_is_measured_through_more_events_than_docker_keeps(project: Project) -> None:
    stack = f"--stack={project.name('web')}"
    project.write("web", {"compose.yaml": IDLE + LOUD.format(n=1)})
    assert project.tow("deploy", stack).code == 0
    project.write("web", {"compose.yaml": IDLE + LOUD.format(n=2)})
    ran = project.tow("deploy", stack, "--max-downtime=5")
    assert ran.code == 5, ran.err
    assert "web was down for" in ran.err
