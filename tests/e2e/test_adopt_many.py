"""A project of many services that somebody runs behind Traefik, under requests: taken over, and whatever breaks then.

How many services, TOWLINE_TEST_SERVICES says; the machine decides how long that takes.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import faults
from tests.e2e.conftest import BASE, Project, clear_project
from tests.e2e.test_release_zero import running, start_by_hand, texts
from tests.e2e.test_rolling import PageAddress, traefik  # noqa: F401 - a fixture
from towline.sandbox.wait import wait_until

pytestmark = pytest.mark.xdist_group("rolling")

COUNT = int(os.environ.get("TOWLINE_TEST_SERVICES", "10"))
HEALTHY = '["CMD", "wget", "-qO-", "http://127.0.0.1:8080/"]'
WEB = """
  web:
    image: {base}
    init: true
    restart: unless-stopped
    command: httpd -f -p 8080 -h /www
    volumes: ["./www:/www:ro", "./data:/data"]
    depends_on: {{db: {{condition: service_healthy}}}}
    healthcheck: {{test: {test}, interval: 2s, retries: 1, start_period: 1s, start_interval: 200ms}}
    networks: [default, proxy]
    labels:
      traefik.enable: "true"
      traefik.http.routers.{prefix}.rule: Host(`{host}`)
      traefik.http.services.{prefix}.loadbalancer.server.port: "8080"
  db:
    image: {base}
    init: true
    restart: unless-stopped
    command: sh -c 'echo row >>/var/db/rows; exec sleep 600'
    volumes: ["db:/var/db"]
    healthcheck: {{test: ["CMD", "test", "-s", "/var/db/rows"], interval: 2s, start_period: 10s, start_interval: 200ms}}
  seed: {{image: {base}, command: [cp, /www/index.html, /data/seed], volumes: ["./www:/www:ro", "./data:/data"]}}
"""
MORE = """
  worker{number}:
    image: {base}
    init: true
    restart: unless-stopped
    command: sleep 600
    environment: {{NUMBER: "{number}", MODE: "${{MODE}}"}}
    volumes: ["./conf/{number}:/conf:ro"]
"""


class Town:
    """The project, behind the test's Traefik. `elsewhere` is where somebody started it."""

    def __init__(self, front: PageAddress, elsewhere: Path) -> None:
        self.front, self.project, self.elsewhere = front, front.project, elsewhere
        self.stack = f"--stack={self.project.name('web')}"

    def compose(self, test: str = HEALTHY, more: str = "") -> str:
        words = {"base": BASE, "prefix": self.project.prefix, "host": self.front.host, "test": test}
        workers = "".join(MORE.format(number=number, base=BASE) for number in range(COUNT - 3))
        end = f"networks: {{proxy: {{external: true, name: {self.front.network}}}}}\nvolumes: {{db: {{}}}}\n"
        return f"services:{WEB.format(**words)}{workers}{end}{more}"

    def files(self, text: str) -> dict[str, str]:
        return {"www/index.html": text, ".env": "MODE=theirs\n"} | {
            f"conf/{number}/settings": f"{number}\n" for number in range(COUNT - 3)
        }

    def start(self) -> None:
        start_by_hand(self.project, self.elsewhere, {"compose.yaml": self.compose(), **self.files("old\n")}, wait=False)
        assert wait_until(lambda: self.front.page() == "old\n", 30)
        assert wait_until((self.elsewhere / "data/seed").exists, 15)
        (self.elsewhere / "data/upload").write_bytes(os.urandom(1 << 20))

    def write(self, text: str = "old\n", **changes: str) -> None:
        self.project.write("web", {"compose.yaml": self.compose(**changes), **self.files(text)})

    def tow(self, task: str, *words: str) -> tuple[int, str]:
        ran = self.project.tow(task, self.stack, *words)
        return ran.code, ran.err

    def rows(self) -> str:
        return self.project.docker("exec", self.project.containers()["db"], "cat", "/var/db/rows")


@pytest.fixture
def town(traefik: PageAddress, tmp_path: Path) -> Iterator[Town]:  # noqa: F811
    made = Town(traefik, tmp_path / "apps" / "town")
    yield made
    project = made.project
    clear_project(project.name("web"))
    for folder in (project.live(), project.state(), project.folder / "stacks" / project.name("web")):
        shutil.rmtree(folder, ignore_errors=True)


def test_adopting_in_place_under_requests_restarts_nothing(town: Town) -> None:
    town.elsewhere = town.project.live()
    town.start()
    was = town.project.containers()
    town.write()
    with town.front.client() as client:
        code, said = town.tow("adopt", "--yes")
        assert code == 0, said
        assert town.project.containers() == was
        code, said = town.tow("plan", "--check")
        assert code == 0, said
    assert client.failed == []


BROKEN = {
    "build": {"more": "x-towline: {strategy: update}\n", "build": "RUN false"},
    "before": {"more": 'x-towline: {strategy: update, before: [{service: web, command: "false"}]}\n'},
    "before recreate": {"more": 'x-towline: {before: [{service: web, command: "false"}]}\n'},
    "health": {"test": '["CMD", "false"]', "more": "x-towline: {strategy: update}\n"},
    "health recreate": {"test": '["CMD", "false"]'},
    "up": {"more": "x-towline: {strategy: update}\n", "command": "/no/such/program"},
    "up recreate": {"command": "/no/such/program"},
}


def test_whatever_breaks_in_a_first_deploy_what_ran_runs_again(town: Town) -> None:
    """One after the other, over the same running project: an undo that leaves something behind breaks the next."""
    town.elsewhere = town.project.live()
    town.start()
    project, was, before = town.project, running(town.project), texts_but_data(town)
    upload, folder = (town.elsewhere / "data/upload").read_bytes(), project.folder / "stacks" / project.name("web")
    for step, changes in BROKEN.items():
        shutil.rmtree(folder, ignore_errors=True)
        ids = project.containers()
        town.write("new\n", **{key: changes[key] for key in ("test", "more") if key in changes})
        text = (folder / "compose.yaml").read_text()
        if "command" in changes:
            text = text.replace("httpd -f -p 8080 -h /www", changes["command"])
        if "build" in changes:
            text = text.replace(f"web:\n    image: {BASE}", "web:\n    build: .")
            (folder / "Dockerfile").write_text(f"FROM {BASE}\n{changes['build']}\n")
        (folder / "compose.yaml").write_text(text)
        code, said = town.tow("deploy", "--timeout=15", "--yes")
        assert code == 5, f"{step}: {said}"
        assert wait_until(lambda: town.front.page() == "old\n", 20), f"{step}: {said}"
        assert running(project) == was, step
        if step in ("build", "before", "before recreate"):
            assert project.containers() == ids, step
        assert texts_but_data(town) == before, step
        assert (town.elsewhere / "data/upload").read_bytes() == upload
        assert town.rows().startswith("row")
        assert faults.stray_files(project) == [], step
    town.write("new\n")
    code, said = town.tow("deploy")
    assert (code, wait_until(lambda: town.front.page() == "new\n", 20)) == (0, True), said
    assert (town.elsewhere / "data/upload").read_bytes() == upload


def texts_but_data(town: Town) -> dict[str, str]:
    folder = town.elsewhere
    return {path: text for path, text in texts_of(folder).items() if not path.startswith("data/")}


def texts_of(folder: Path) -> dict[str, str]:
    kept = folder.parent / "kept"
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(folder, kept, ignore=shutil.ignore_patterns("upload"))
    try:
        return texts(kept)
    finally:
        shutil.rmtree(kept)


@pytest.mark.parametrize("move", [False, True])
def test_adopting_from_another_folder_brings_all_data(town: Town, move: bool) -> None:
    town.start()
    project, upload = town.project, (town.elsewhere / "data/upload").read_bytes()
    job = project.docker("run", "--detach", "--rm", *job_labels(project), BASE, "sleep", "600")
    town.write(test='["CMD", "false"]')
    code, said = town.tow("adopt", "--yes", "--timeout=15", *(["--move"] if move else []))
    assert code == 5, said
    assert (town.elsewhere / "data/upload").read_bytes() == upload
    assert wait_until(lambda: town.front.page() == "old\n", 20)
    town.write()
    code, said = town.tow("adopt", "--yes", *(["--move"] if move else []))
    assert code == 0, said
    assert (town.project.live() / "data/upload").read_bytes() == upload
    assert (town.elsewhere / "data/upload").exists() is not move
    assert wait_until(lambda: town.front.page() == "old\n", 20)
    assert town.rows().startswith("row")
    project.docker("rm", "--force", job)


def job_labels(project: Project) -> list[str]:
    """As `docker compose run` labels the container of a job."""
    prefix = "com.docker.compose"
    labels = {"project": project.name("web"), "service": "seed", "oneoff": "True"}
    return [word for name, value in labels.items() for word in ("--label", f"{prefix}.{name}={value}")]
