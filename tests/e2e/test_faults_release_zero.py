"""Whatever goes wrong during a first deploy, at whichever step: what ran before towline came runs again, with its files.

The deploy itself is a broken one, except where the step `keep` is to be reached; then a rollback goes back. All steps are tried
with TOWLINE_TEST_ALL_STEPS=1 in the environment, which takes some ten minutes; else some of each fault.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator

import pytest

from tests.conftest import STEPS
from tests.e2e import faults
from tests.e2e.conftest import BASE, OwnEngine, Project, free_port, new_project, own_project
from tests.e2e.test_release_zero import running, start_by_hand, texts
from towline import sandbox

MANY = 150  # files that change, so that `stage` and `apply` take long enough to be hit
SITE = """
services:
  web:
    {image}
    init: true
    restart: unless-stopped
    command: httpd -f -p 8080 -h /www
    ports: ["127.0.0.1:{port}:8080"]
    volumes: ["./www:/www:ro", "./data:/data"]
    environment: {{MODE: "${{MODE:-none}}"}}
    healthcheck: {{test: {test}, interval: 2s, retries: 1, start_period: 1s, start_interval: 200ms}}
  worker: {{image: {base}, init: true, restart: unless-stopped, command: sleep 600}}
"""
GOOD, BAD = '["CMD", "wget", "-qO-", "http://127.0.0.1:8080/"]', '["CMD", "false"]'


def pages(text: str) -> dict[str, str]:
    return {"www/index.html": text} | {f"www/many/{number}": f"{number} {text}" for number in range(MANY)}


def site(project: Project, image: str, test: str) -> str:
    return SITE.format(image=image, port=project.ports.setdefault("web", free_port()), base=BASE, test=test)


def stand(project: Project) -> dict[str, str]:
    """What a person started there, from the live folder. Answers with its files."""
    files = {".env": "MODE=theirs\n", "data/db": "kept\n", "www/notes": "mine\n", **pages("old\n")}
    start_by_hand(project, project.live(), {"docker-compose.yml": site(project, f"image: {BASE}", GOOD), **files})
    return texts(project.live())


def write(project: Project, test: str) -> None:
    folder = project.folder / "stacks" / project.name("web")
    shutil.rmtree(folder, ignore_errors=True)
    dockerfile = f"FROM {BASE}\nRUN sleep 0.5\n"
    project.write("web", {"compose.yaml": site(project, "build: .", test), "Dockerfile": dockerfile, **pages("new\n")})


def clear(project: Project) -> None:
    """Nothing of the project runs, or is kept."""
    faults.wait_for(lambda: not project.state().exists() or faults.lock_is_free(project), "the lock", 90)
    project.docker("compose", "--project-name", project.name("web"), "down", "--timeout=0")
    shutil.rmtree(project.live(), ignore_errors=True)
    shutil.rmtree(project.state(), ignore_errors=True)


def cut_line(project: Project, step: str) -> None:
    client, run = faults.start_and_reach(project, step)
    faults.cut_line(project)
    _, err = client.communicate(timeout=120)
    assert client.returncode == (0 if step == "keep" else 5), err
    faults.wait_for_end(run)


def kill_client(project: Project, step: str) -> None:
    client, run = faults.start_and_reach(project, step)
    faults.kill_client(client)
    faults.wait_for_end(run)


def kill_runner(project: Project, step: str, meanwhile: Callable[[], None] = lambda: None) -> None:
    client, run = faults.start_and_reach(project, step)
    faults.kill_runner(run)
    meanwhile()
    _, err = client.communicate(timeout=180)
    assert client.returncode == 6, err
    faults.wait_for(lambda: faults.lock_is_free(project), "the lock", 90)
    ran = project.tow("deploy", f"--stack={project.name('web')}", "--cache")
    assert ran.code == (0 if step == "keep" else 5), ran.err


ALL = bool(os.environ.get("TOWLINE_TEST_ALL_STEPS"))
FAULTS: dict[str, Callable[[Project, str], None]] = {
    "line cut": cut_line,
    "client killed": kill_client,
    "runner killed": kill_runner,
}


def check(project: Project, step: str, was: list[str], files: dict[str, str]) -> None:
    if step == "keep":
        faults.wait_for(lambda: project.page() == "new\n", "the new page", 30)
        ran = project.tow("rollback", f"--stack={project.name('web')}", "--to=0")
        assert ran.code == 0, ran.err
    faults.wait_for(lambda: project.page() == "old\n", "the old page", 30)
    assert running(project) == was
    there = texts(project.live())
    assert {path: there.get(path) for path in files} == files
    if step != "keep":  # the deploy that went through has set aside what it replaced
        assert there == files
        assert faults.stray_files(project) == []
    faults.wait_for(lambda: faults.lock_is_free(project), "the lock", 30)


@pytest.fixture(scope="module")
def held(box: sandbox.Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    made = new_project(box, tmp_path_factory.mktemp("held"), Project)
    yield made
    made.clear()


@pytest.fixture(scope="module")
def own_held(own_engine: OwnEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    with own_project(own_engine, tmp_path_factory.mktemp("own-held")) as made:
        yield made


CASES = {"line cut": ["stage", "up"], "client killed": ["down", "keep"], "runner killed": ["apply", "up"]}


@pytest.mark.parametrize(
    ("fault", "step"), [(fault, step) for fault in FAULTS for step in (STEPS if ALL else CASES[fault])]
)
def test_what_ran_before_runs_again(held: Project, fault: str, step: str, record_property: Callable[..., None]) -> None:
    clear(held)
    files = stand(held)
    was = running(held)
    write(held, GOOD if step == "keep" else BAD)
    FAULTS[fault](held, step)
    check(held, step, was, files)
    record_property("fault", (f"zero: {fault}", step, "old"))


# Whether the runner, and what it started, ends as well: as when the power is cut. The engine comes back, nobody else does.
ENGINE = {"engine": ["down", "health"], "power cut": ["apply", "up"]}


@pytest.mark.xdist_group("own-engine")
@pytest.mark.parametrize(
    ("fault", "step"), [(fault, step) for fault in ENGINE for step in (STEPS if ALL else ENGINE[fault])]
)
def test_what_ran_before_runs_again_after_the_engine_was_away(
    own_engine: OwnEngine, own_held: Project, fault: str, step: str, record_property: Callable[..., None]
) -> None:
    clear(own_held)
    files = stand(own_held)
    was = running(own_held)
    write(own_held, GOOD if step == "keep" else BAD)
    if fault == "power cut":
        kill_runner(own_held, step, meanwhile=own_engine.restart)
    else:
        client, run = faults.start_and_reach(own_held, step)
        own_engine.restart()
        _, err = client.communicate(timeout=180)
        faults.wait_for_end(run)
        assert client.returncode == (0 if step == "keep" else 5), err
    check(own_held, step, was, files)
    record_property("fault", (f"zero: {fault}", step, "old"))
