"""What a client sees of a deploy: nothing of `rolling` behind Traefik, and of the others as much as they report."""

from __future__ import annotations

import collections
import http.client
import itertools
import json
import re
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from tests.conftest import TOP
from tests.e2e.conftest import BASE, DOCKERFILE, PAGE, Project, clear_project, docker, free_port, new_project
from towline import sandbox
from towline.sandbox import images
from towline.sandbox.wait import wait_until

pytestmark = pytest.mark.xdist_group("rolling")

RATE = 50  # requests a second
AGREES = 0.5  # seconds between the gap that a client sees and the downtime that is reported, or a quarter of the gap


@dataclass(frozen=True)
class Answer:
    """began and ended: monotonic seconds. wrong: '' for a good one, else what came in place of the page."""

    began: float
    ended: float
    text: str
    wrong: str = ""


@dataclass
class Client:
    """Asks 127.0.0.1 for a page, RATE times a second, each time on a new connection, until it is told to stop."""

    port: int
    host: str = "127.0.0.1"
    patience: float = 10  # slow is not failed
    answers: list[Answer] = field(default_factory=list)

    def __enter__(self) -> Client:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask_on)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.answers.sort(key=lambda answer: answer.ended)

    def _ask_on(self) -> None:
        begun = time.monotonic()
        with ThreadPoolExecutor(16) as pool:
            for number in itertools.count():
                if self._stop.wait(max(0.0, begun + number / RATE - time.monotonic())):
                    return
                pool.submit(self._ask)

    def _ask(self) -> None:
        began, text, wrong = time.monotonic(), "", ""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=self.patience)
        try:
            connection.request("GET", "/", headers={"Host": self.host, "Connection": "close"})
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace")
            wrong = "" if answer.status == 200 else f"{answer.status} {answer.reason}"
        except (OSError, http.client.HTTPException) as error:
            wrong = f"{type(error).__name__}: {error}"
        finally:
            connection.close()
        self.answers.append(Answer(began, time.monotonic(), text, wrong))

    @property
    def failed(self) -> list[str]:
        return [answer.wrong for answer in self.answers if answer.wrong]

    @property
    def gap(self) -> float:
        """The longest time between one good answer and the next, 0 when none failed."""
        good = sorted(answer.ended for answer in self.answers if not answer.wrong)
        return max(after - before for before, after in itertools.pairwise(good)) if self.failed else 0.0


@dataclass
class PageAddress:
    """Traefik on a port of the test's own, and the name that it routes to the stack `web` by."""

    project: Project
    port: int

    @property
    def host(self) -> str:
        return f"{self.project.prefix}.localhost"

    @property
    def network(self) -> str:
        return self.project.name("proxy")

    def client(self) -> Client:
        return Client(self.port, self.host)

    def page(self) -> str:
        once = Client(self.port, self.host)
        once._ask()
        return once.answers[0].text if not once.failed else ""

    def write(
        self,
        text: str,
        *,
        command: str = "httpd -f -p 8080 -h /www",
        more: str = "",
        strategy: str = "rolling",
    ) -> None:
        """The page's stack: no host port, and no retry, so that a request which fails is seen."""
        prefix, router = self.project.prefix, f"traefik.http.routers.{self.project.prefix}"
        compose = re.sub(r"\n +ports: .*", "", PAGE).replace("httpd -f -p 8080 -h /www", command)
        compose += f"""
    networks: [proxy]
    labels:
      traefik.enable: "true"
      {router}.rule: Host(`{self.host}`)
      traefik.http.services.{prefix}.loadbalancer.server.port: "8080"
{more}
networks: {{proxy: {{external: true, name: {self.network}}}}}
x-towline: {{strategy: {strategy}, needs: [{self.project.name("traefik")}]}}
"""
        self.project.write("web", {"compose.yaml": compose, "Dockerfile": DOCKERFILE, "index.html": text})

    def start(self) -> None:
        """The shipped Traefik, under a name, a network and a port of the test's own."""
        folder = self.project.write("traefik", {}, kind="infrastructure")
        shutil.copytree(TOP / "infrastructure/traefik", folder, ignore=shutil.ignore_patterns(".env"))
        text = (folder / "compose.yaml").read_text()
        text = text.replace("name: proxy", f"name: {self.network}").replace("network=proxy", f"network={self.network}")
        (folder / "compose.yaml").write_text(text)
        ports = {"HTTP_PORT": self.port, "HTTPS_PORT": free_port(), "DASHBOARD_PORT": free_port(), "BIND": "127.0.0.1"}
        (folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in ports.items()))
        ran = self.project.tow("deploy", f"--stack={self.project.name('traefik')}", "--cache")
        assert ran.code == 0, ran.err


@pytest.fixture(scope="module")
def traefik(box: sandbox.Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageAddress]:
    """One for all tests: it takes longer to come up than what stands behind it."""
    images.ensure(["traefik:v3.7"])
    project = new_project(box, tmp_path_factory.mktemp("front"), Project)
    made = PageAddress(project, free_port())
    made.start()
    yield made
    project.clear()


@pytest.fixture
def front(traefik: PageAddress) -> Iterator[PageAddress]:
    """Nothing stands behind it yet."""
    yield traefik
    clear_project(traefik.project.name("web"))
    for folder in (traefik.project.live(), traefik.project.state()):
        shutil.rmtree(folder)


@contextmanager
def neighbours() -> Iterator[None]:
    """Containers that come and go beside it: each time Traefik reads anew which of them there are."""
    over = threading.Event()

    def come_and_go() -> None:
        while not over.wait(1):
            docker("run", "--rm", "--network=none", BASE, "true")

    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(come_and_go)
        try:
            yield
        finally:
            over.set()
        coming.result()


def test_no_request_fails_while_a_service_behind_traefik_is_rolled_ten_times(front: PageAddress) -> None:
    project, stack = front.project, f"--stack={front.project.name('web')}"
    front.write("page 0\n")
    assert project.tow("deploy", stack).code == 0
    assert wait_until(lambda: front.page() == "page 0\n", 15)
    with neighbours(), front.client() as client:
        for number in range(1, 11):
            before = project.containers()
            front.write(f"page {number}\n")
            ran = project.tow("deploy", stack)
            assert ran.code == 0, ran.err
            assert "✓ roll web" in ran.err
            assert "down:" not in ran.err
            after = project.containers()
            assert after.keys() == {"web"}
            assert after != before
        assert wait_until(lambda: front.page() == "page 10\n", 5)
        assert project.tow("plan", stack, "--check").code == 0
        ran = project.tow("rollback", stack)
        assert ran.code == 0, ran.err
        assert "✓ roll web" in ran.err
        assert "down:" not in ran.err
        assert wait_until(lambda: client.answers[-1].text == "page 9\n", 5)
    assert client.failed == [], collections.Counter(client.failed)
    assert len(client.answers) > 500
    assert {answer.text for answer in client.answers} == {f"page {number}\n" for number in range(11)}
    assert client.answers[-1].text == "page 9\n"


SICK = {"unhealthy": "sh -c 'echo I serve nothing; sleep 600'", "crashing": "sh -c 'echo I serve nothing; exit 3'"}


def test_a_roll_that_never_gets_healthy_touches_nothing_of_the_old(front: PageAddress) -> None:
    project, stack = front.project, f"--stack={front.project.name('web')}"
    front.write("old\n")
    assert project.tow("deploy", stack).code == 0
    before = project.containers()
    assert wait_until(lambda: front.page() == "old\n", 15)
    with front.client() as client:
        for kind, command in SICK.items():
            front.write("new\n", command=command)
            ran = project.tow("deploy", stack, "--timeout=3")
            assert ran.code == 5, (kind, ran.err)
            assert "failed at 'roll web'" in ran.err
            assert "web │ I serve nothing" in ran.err, kind
            assert project.containers() == before, kind
    assert client.failed == [], collections.Counter(client.failed)
    assert {answer.text for answer in client.answers} == {"old\n"}
    assert front.page() == "old\n"


BESIDE = """  last:
    build: .
    init: true
    depends_on: [web]
    command: {command}
    healthcheck: {{test: [CMD, test, -e, /tmp/well], interval: 2s, start_period: 30s, start_interval: 200ms}}
"""


def test_what_was_rolled_is_rolled_back_when_the_next_service_fails(front: PageAddress) -> None:
    project, stack = front.project, f"--stack={front.project.name('web')}"
    front.write("old\n", more=BESIDE.format(command="sh -c 'touch /tmp/well; sleep 600'"))
    assert project.tow("deploy", stack).code == 0
    before = project.containers()
    assert wait_until(lambda: front.page() == "old\n", 15)
    with front.client() as client:
        front.write("new\n", more=BESIDE.format(command="sleep 600"))
        ran = project.tow("deploy", stack, "--timeout=3")
        assert ran.code == 5, ran.err
        assert "✓ roll web" in ran.err
        assert "failed at 'roll last'" in ran.err
        assert "✓ ↩ roll web" in ran.err
        after = project.containers()
        assert after.keys() == {"web", "last"}
        assert after["last"] == before["last"]
        assert wait_until(lambda: front.page() == "old\n", 15)
    assert client.failed == [], collections.Counter(client.failed)
    assert {answer.text for answer in client.answers} == {"old\n", "new\n"}


def test_a_service_that_cannot_roll_is_named_with_its_reason_and_updated(front: PageAddress) -> None:
    project, stack = front.project, f"--stack={front.project.name('web')}"
    named = f"    container_name: {project.name('single')}\n"
    front.write("one\n", more=named)
    assert project.tow("deploy", stack).code == 0
    before = project.containers()
    front.write("two\n", more=named)
    ran = project.tow("deploy", stack)
    assert ran.code == 0, ran.err
    assert "web cannot be rolled, so it is updated: its container_name can be had once" in ran.err
    assert "roll web" not in ran.err
    assert project.containers() != before
    assert wait_until(lambda: front.page() == "two\n", 15)


@pytest.mark.parametrize("strategy", ["update", "recreate"])
def test_the_downtime_that_is_reported_is_what_a_client_sees(front: PageAddress, strategy: str) -> None:
    project, name = front.project, front.project.name("web")
    front.write("page 0\n", strategy=strategy)
    assert project.tow("deploy", f"--stack={name}").code == 0
    assert wait_until(lambda: front.page() == "page 0\n", 15)
    pairs = []
    for number in (1, 2, 3):  # on a busy machine the client itself is late now and then
        gap, reported = seen_and_reported(front, number, strategy)
        pairs.append((gap, reported))
        if abs(gap - reported) < max(AGREES, gap / 4):
            break
    else:
        pytest.fail(f"seen and reported seconds: {pairs}")
    rows = json.loads(project.tow("releases", f"--stack={name}", "--format=json").out)
    (live,) = (row for row in rows if row["live"])
    if live["downtime"]:  # filled from the same file
        assert live["downtime"] == {"web": reported}


def seen_and_reported(front: PageAddress, number: int, strategy: str) -> tuple[float, float]:
    """The gap that a client sees of a deploy of page `number`, and the downtime that is kept of it; it is told in the output."""
    project, page = front.project, f"page {number}\n"
    front.write(page, strategy=strategy)
    with front.client() as client:
        assert wait_until(lambda: len(client.answers) > 10, 10)
        ran = project.tow("deploy", f"--stack={front.project.name('web')}")
        assert wait_until(lambda: front.page() == page, 15)
    assert ran.code == 0, ran.err
    assert [answer.text for answer in (client.answers[0], client.answers[-1])] == [f"page {number - 1}\n", page]
    assert client.gap > 0
    kept = (project.state() / "releases").glob("*/downtime")
    measured = float(dict(line.split("\t") for line in max(kept).read_text().splitlines())["web"])
    said = re.search(r"; down: web (\d+\.\d) s", ran.err)
    assert abs(measured - (float(said[1]) if said else 0.0)) <= 0.051
    return client.gap, measured
