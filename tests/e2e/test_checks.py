"""test-infra on a real server: all is well with what was deployed, and each thing that breaks gives the finding that names it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.conftest import TOP, running_box
from tests.e2e.conftest import BASE, Project, docker, free_port, new_project
from tests.e2e.faults import wait_for
from towline.bundle.working_tree import load_working_tree
from towline.checks.baseline import baseline_of
from towline.checks.finding import Finding, Report
from towline.checks.run import run_checks
from towline.checks.scope import Scope
from towline.project.catalog import load_catalog
from towline.project.settings import load_settings
from towline.sandbox import images
from towline.ssh.connection import Connection

pytestmark = pytest.mark.xdist_group("checks")

SHOP = """
x-quick: &quick {{interval: 500ms, timeout: 2s, retries: 2, start_period: 20s, start_interval: 200ms}}
x-base: &base {{image: "{base}", init: true, stop_grace_period: 1s, restart: "no"}}
services:
  web:
    <<: *base
    build: .
    image: {name}-web
    command: httpd -f -p 8080 -h /www
    ports: ["127.0.0.1:{web}:8080"]
    networks: [default, proxy]
    volumes: ["./www:/www:ro", "./site.conf:/etc/site.conf:ro"]
    healthcheck: {{<<: *quick, test: [CMD, wget, -qO-, "http://127.0.0.1:8080/"]}}
    labels:
      traefik.enable: "true"
      traefik.http.routers.{name}.rule: Host(`{name}.localhost`)
      traefik.http.routers.{name}.service: {name}
      traefik.http.services.{name}.loadbalancer.server.port: "8080"
  api:      # no health check: what it serves may die without a word
    <<: *base
    command: ["sh", "-c", "httpd -f -p 9000 -h /etc & while :; do sleep 60; done"]
    networks: [proxy]
    labels:
      traefik.enable: "true"
      traefik.http.routers.{name}-api.rule: Host(`{name}.localhost`) && PathPrefix(`/hostname`)
      traefik.http.services.{name}-api.loadbalancer.server.port: "9000"
  raw:
    <<: *base
    command: ["sh", "-c", "httpd -f -p 9100 -h /etc & while :; do sleep 60; done"]
    ports: ["127.0.0.1:{raw}:9100"]
  db:
    <<: *base
    command: ["sh", "-c", "touch /tmp/ok; while :; do sleep 60; done"]
    volumes: ["data:/data"]
    healthcheck: {{<<: *quick, test: [CMD, test, -e, /tmp/ok]}}
  worker:
    <<: *base
    restart: always
    mem_limit: 24m
    command: ["sh", "-c", "while [ ! -e /state/crash ]; do sleep 0.1; done; exit 3"]
    environment: {{TOKEN: "${{TOKEN}}"}}
    networks: [side]
    volumes: ["state:/state", "./disk:/disk"]
  once:
    <<: *base
    command: "true"
volumes: {{data: {{}}, state: {{}}}}
networks: {{side: {{}}, proxy: {{external: true, name: {network}}}}}
x-towline:
  needs: [{edge}]
  strategy: update
  checks:
    - {{http: /, name: page, contains: hello}}
    - {{http: "http://web:8080/", name: inside, status: 200, retry: 1}}
    - {{tcp: "web:8080", name: open}}
    - {{dns: localhost, name: resolves}}
    - {{command: "cat flag", name: flag, contains: up}}
    - {{command: [cat, /etc/site.conf], service: web, name: conf}}
    - {{file: "backup/*.gz", name: backup, max_age: 1d, mode: "0600", min_bytes: 3}}
    - {{file: maintenance, name: open-for-business, exists: false}}
"""


@dataclass
class Yard:
    """Two stacks on the real engine, behind a real Traefik, and a connection that looks at them."""

    project: Project
    connection: Connection
    scope: Scope
    ports: dict[str, int]
    known: dict[str, str] = field(default_factory=dict)

    @property
    def shop(self) -> str:
        return self.project.name("shop")

    @property
    def edge(self) -> str:
        return self.project.name("edge")

    @property
    def live(self) -> Path:
        return self.project.live("shop")

    def container(self, service: str, stack: str = "shop") -> str:
        return f"{self.project.name(stack)}-{service}-1"

    def look(self) -> Report:
        return run_checks(self.connection, self.scope)[0]

    def failing(self) -> list[str]:
        """The ids of what fails, with the stacks' own names taken out."""
        return [self.plain(one.id) for one in self.look().findings if one.result == "fail"]

    def plain(self, name: str) -> str:
        return name.replace(str(self.live), "LIVE").replace(self.shop, "shop").replace(self.edge, "edge")

    def compose(self, *words: str) -> None:
        """Compose as the deploy called it."""
        release = (self.project.state("shop") / "current").read_text().strip()
        files = f"compose.yaml:{self.project.state('shop') / 'releases' / release / 'override.json'}"
        env = os.environ | {"COMPOSE_FILE": files}
        subprocess.run(
            ["docker", "compose", "-p", self.shop, *words], cwd=self.live, env=env, check=True, capture_output=True
        )

    def finding(self, name: str) -> Finding:
        return next(one for one in self.look().findings if self.plain(one.id) == name)


def certificate(days: float) -> bytes:
    """A self-signed certificate that ends in so many days, with its key behind it, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "shop.test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=90))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("shop.test")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made.public_bytes(serialization.Encoding.PEM) + secret


def write_stacks(project: Project, ports: dict[str, int]) -> None:
    folder = project.write("edge", {}, kind="infrastructure")
    shutil.copytree(TOP / "infrastructure/traefik", folder, ignore=shutil.ignore_patterns(".env"), dirs_exist_ok=True)
    network = project.name("proxy")
    text = (folder / "compose.yaml").read_text()
    text = text.replace("name: proxy", f"name: {network}").replace("network=proxy", f"network={network}")
    (folder / "compose.yaml").write_text(text)
    env = {"HTTP_PORT": ports["http"], "HTTPS_PORT": ports["https"], "DASHBOARD_PORT": ports["board"]}
    (folder / ".env").write_text("BIND=127.0.0.1\n" + "".join(f"{name}={value}\n" for name, value in env.items()))
    words = {"base": BASE, "name": project.name("shop"), "edge": project.name("edge"), "network": network}
    project.write(
        "shop",
        {
            "compose.yaml": SHOP.format(**words, **ports),
            "Dockerfile": f"FROM {BASE}\nRUN echo a build of its own >/built\n",
            ".env": "TOKEN=not-a-real-one\n",
            ".env.example": "TOKEN=\n",
            "site.conf": "one\n",
            "README": "read me\n",
            "www/index.html": "hello\n",
        },
    )


@pytest.fixture(scope="module")
def yard(engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    images.ensure(["traefik:v3.7"])
    with running_box(tmp_path_factory.mktemp("yard-box")) as box:
        yield from standing(new_project(box, tmp_path_factory.mktemp("yard"), Project))


def standing(project: Project) -> Iterator[Yard]:
    ports = {name: free_port() for name in ("web", "raw", "http", "https", "board")}
    write_stacks(project, ports)
    ran = project.tow("deploy-all", "--yes", "--cache")
    assert ran.code == 0, ran.err
    live = project.live("shop")
    write_data(live)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=64", "towline-test", live / "disk"], check=True)
    docker("restart", "-t", "0", f"{project.name('shop')}-worker-1")  # it mounts what is there now
    settings = load_settings(project.folder)
    catalog = load_catalog(settings)
    connection = Connection(settings.host(), print)
    scope = Scope(catalog.order(), {stack.name: baseline_of(load_working_tree(stack)) for stack in catalog.stacks})
    yield Yard(project, connection, scope, ports)
    connection.close()
    project.clear()
    subprocess.run(["umount", "-l", live / "disk"], check=True)


def write_data(live: Path) -> None:
    """What stands in the live folder and no release brought: a backup, a flag, a certificate."""
    (live / "flag").write_text("up\n")
    for folder in ("backup", "certs", "disk"):
        (live / folder).mkdir(exist_ok=True)
    (live / "backup/old.gz").write_text("old")
    os.utime(live / "backup/old.gz", (1, 1))
    (live / "backup/new.gz").write_text("new")
    (live / "backup/new.gz").chmod(0o600)
    (live / "certs/site.pem").write_bytes(certificate(90))


# ---------------------------------------------------------------------------------------------------- all is well

BUSY = {"host.load", "host.memory"}  # warns of what else the machine does while the tests run


def test_all_is_well_with_what_was_deployed(yard: Yard) -> None:
    report = yard.look()
    assert [one for one in report.findings if one.result in ("fail", "warn") and one.id not in BUSY] == []
    assert len(report.findings) >= 56
    assert len({one.id for one in report.findings}) == len(report.findings)
    assert yard.finding("stack.shop.service.once.running").sentence == "it did its work and ended"
    assert not any("not-a-real-one" in f"{one}" for one in report.findings)


def test_the_whole_look_takes_one_login_and_one_session(yard: Yard, tmp_path: Path) -> None:
    since = yard.project.box.log.stat().st_size
    files = {kind: tmp_path / f"report.{kind}" for kind in ("json", "junit", "html")}
    ran = yard.project.tow("test-infra", *(f"--{kind}={file}" for kind, file in files.items()))
    assert ran.code == 0, ran.out + ran.err
    counts = yard.project.counts(since)
    assert (counts.logins, counts.sessions, counts.peak) == (1, 1, 1)
    told = json.loads(files["json"].read_text())
    assert len(told["findings"]) >= 56
    assert ran.out.splitlines()[-1].startswith(f"{len(told['findings'])} checks: {told['summary']['pass']} passed")
    assert files["html"].read_text().startswith("<!doctype html>")


# -------------------------------------------------------------------------------------------------- 25 breakages

Breakage = Callable[[Yard], AbstractContextManager[None]]
BREAKAGES: list[tuple[str, Breakage]] = []


def breaks(*ids: str) -> Callable[[Callable[[Yard], Iterator[None]]], None]:
    """Registers a breakage: broken up to its `yield`, mended behind it. ids: the findings that it gives, no other."""

    def register(body: Callable[[Yard], Iterator[None]]) -> None:
        BREAKAGES.append((" ".join(ids), contextmanager(body)))
        body_names.append(body.__name__)

    return register


body_names: list[str] = []


@breaks("stack.shop.service.worker.running")
def a_container_is_stopped(yard: Yard) -> Iterator[None]:
    docker("stop", "-t", "0", yard.container("worker"))
    yield
    docker("start", yard.container("worker"))


@breaks("stack.shop.service.db.running")
def a_container_is_paused(yard: Yard) -> Iterator[None]:
    docker("pause", yard.container("db"))
    yield
    docker("unpause", yard.container("db"))
    healthy(yard, "db")


@breaks("stack.shop.service.raw.containers")
def a_container_is_removed(yard: Yard) -> Iterator[None]:
    docker("rm", "-f", yard.container("raw"))
    yield
    yard.compose("up", "-d", "--no-deps", "raw")


@breaks("stack.shop.service.worker.containers")
def a_service_has_one_container_too_many(yard: Yard) -> Iterator[None]:
    yard.compose("up", "-d", "--no-deps", "--no-recreate", "--scale", "worker=2", "worker")
    yield
    docker("rm", "-f", f"{yard.shop}-worker-2")


@breaks("stack.shop.orphans")
def a_container_belongs_to_no_service(yard: Yard) -> Iterator[None]:
    labels = {"project": yard.shop, "service": "ghost", "oneoff": "False"}
    words = [word for key, value in labels.items() for word in ("--label", f"com.docker.compose.{key}={value}")]
    docker("run", "-d", "--init", "--name", f"{yard.shop}-ghost", *words, BASE, "sleep", "600")
    yield
    docker("rm", "-f", f"{yard.shop}-ghost")


@breaks("stack.shop.service.db.healthy")
def a_health_check_fails(yard: Yard) -> Iterator[None]:
    docker("exec", yard.container("db"), "rm", "/tmp/ok")
    wait_for(lambda: health(yard, "db") == "unhealthy", "db to be unhealthy")
    yield
    docker("exec", yard.container("db"), "touch", "/tmp/ok")
    healthy(yard, "db")


@breaks("stack.shop.service.worker.restarts")
def a_container_restarts_in_a_loop(yard: Yard) -> Iterator[None]:
    name = yard.container("worker")
    docker("exec", name, "touch", "/state/crash")
    wait_for(lambda: int(docker("inspect", "-f", "{{.RestartCount}}", name)) >= 3, "the third restart")
    yield
    docker("run", "--rm", "-v", f"{yard.shop}_state:/state", BASE, "rm", "/state/crash")
    yard.compose("up", "-d", "--no-deps", "--force-recreate", "worker")


@breaks("stack.shop.service.worker.memory")
def a_container_is_killed_for_its_memory(yard: Yard) -> Iterator[None]:
    subprocess.run(["docker", "exec", yard.container("worker"), "tail", "/dev/zero"], capture_output=True, check=False)
    wait_for(lambda: oom(yard), "the kernel to kill it")
    yield
    yard.compose("up", "-d", "--no-deps", "--force-recreate", "worker")


@breaks("stack.shop.service.web.image")
def an_image_is_retagged(yard: Yard) -> Iterator[None]:
    name = f"{yard.shop}-web"
    was = docker("inspect", "-f", "{{.Image}}", yard.container("web"))
    docker("tag", BASE, f"{name}:latest")
    yield
    docker("tag", was, f"{name}:latest")


@breaks("stack.shop.service.db.configuration")
def a_container_is_made_anew_with_other_settings(yard: Yard) -> Iterator[None]:
    other = yard.project.folder / "other.yaml"
    other.write_text("services: {db: {environment: {DEBUG: '1'}}}\n")
    yard.compose("-f", "compose.yaml", "-f", str(other), "up", "-d", "--no-deps", "db")
    healthy(yard, "db")
    yield
    yard.compose("up", "-d", "--no-deps", "db")
    healthy(yard, "db")


@breaks("stack.shop.files")
def a_live_file_is_edited(yard: Yard) -> Iterator[None]:
    (yard.live / "README").write_text("edited\n")
    yield
    (yard.live / "README").write_text("read me\n")


@breaks("stack.shop.files")
def a_live_file_is_removed(yard: Yard) -> Iterator[None]:
    (yard.live / "README").unlink()
    yield
    (yard.live / "README").write_text("read me\n")


@breaks("stack.shop.files")
def a_mounted_file_is_changed_in_place(yard: Yard) -> Iterator[None]:
    with (yard.live / "site.conf").open("a") as file:
        file.write("two\n")
    yield
    with (yard.live / "site.conf").open("r+") as file:
        file.truncate(4)


@breaks("stack.shop.files")
def a_mounted_file_is_replaced_by_an_editor(yard: Yard) -> Iterator[None]:
    subprocess.run(["sed", "-i", "s/one/two/", yard.live / "site.conf"], check=True)
    yield
    subprocess.run(["sed", "-i", "s/two/one/", yard.live / "site.conf"], check=True)


@breaks("stack.shop.service.web.mounts")
def a_mounted_folder_is_made_anew(yard: Yard) -> Iterator[None]:
    shutil.copytree(yard.live / "www", yard.live / "copy")
    shutil.rmtree(yard.live / "www")
    (yard.live / "copy").rename(yard.live / "www")
    yield
    yard.compose("up", "-d", "--no-deps", "--force-recreate", "web")
    healthy(yard, "web")


@breaks("stack.shop.files")
def the_env_file_loses_a_value(yard: Yard) -> Iterator[None]:
    (yard.live / ".env").write_text("TOKEN=\n")
    yield
    (yard.live / ".env").write_text("TOKEN=not-a-real-one\n")


@breaks("stack.shop.service.web.networks")
def a_network_is_cut(yard: Yard) -> Iterator[None]:
    docker("network", "disconnect", yard.project.name("proxy"), yard.container("web"))
    yield
    yard.compose("up", "-d", "--no-deps", "--force-recreate", "web")
    healthy(yard, "web")


def _side(yard: Yard) -> str:
    return f"{yard.shop}_side"


@breaks("stack.shop.network.shop_side")
def a_network_is_removed(yard: Yard) -> Iterator[None]:
    docker("network", "disconnect", "-f", _side(yard), yard.container("worker"))
    docker("network", "rm", _side(yard))
    yield
    yard.compose("up", "-d", "--no-deps", "--force-recreate", "worker")


@breaks("stack.shop.service.raw.port.127.0.0.1:RAW/tcp")
def a_port_is_taken_by_another_program(yard: Yard) -> Iterator[None]:
    docker("stop", "-t", "0", yard.container("raw"))
    with closing(socket.create_server(("127.0.0.1", yard.ports["raw"]))):
        yield
    docker("start", yard.container("raw"))


@breaks("stack.shop.service.raw.port.127.0.0.1:RAW/tcp")
def nothing_listens_behind_a_published_port(yard: Yard) -> Iterator[None]:
    docker("exec", yard.container("raw"), "killall", "httpd")
    yield
    docker("restart", "-t", "0", yard.container("raw"))


@breaks("stack.shop.route.shop-api.web.answers", "stack.shop.route.shop-api.websecure.answers")
def a_service_behind_traefik_serves_nothing(yard: Yard) -> Iterator[None]:
    docker("exec", yard.container("api"), "killall", "httpd")
    yield
    docker("restart", "-t", "0", yard.container("api"))
    wait_for(lambda: not yard.failing(), "the api to answer again")


@breaks("stack.edge.service.traefik.running")
def traefik_is_stopped(yard: Yard) -> Iterator[None]:
    docker("stop", "-t", "0", yard.container("traefik", "edge"))
    yield
    docker("start", yard.container("traefik", "edge"))
    wait_for(lambda: not yard.failing(), "Traefik to route again", 20)


@breaks("stack.shop.certificate.certs/site.pem")
def a_certificate_expires(yard: Yard) -> Iterator[None]:
    (yard.live / "certs/site.pem").write_bytes(certificate(-1))
    yield
    (yard.live / "certs/site.pem").write_bytes(certificate(90))


@breaks("host.disk.LIVE/disk")
def a_small_disk_is_full(yard: Yard) -> Iterator[None]:
    (yard.live / "disk/big").write_bytes(b"x" * 1020 * 1024)
    yield
    (yard.live / "disk/big").unlink()


@breaks("host.inodes.LIVE/disk")
def a_small_disk_has_no_inodes(yard: Yard) -> Iterator[None]:
    names = [yard.live / "disk" / str(number) for number in range(62)]
    for name in names:
        name.touch()
    yield
    for name in names:
        name.unlink()


@breaks("stack.shop.check.backup")
def the_newest_backup_is_old(yard: Yard) -> Iterator[None]:
    then = time.time() - 2 * 86400
    os.utime(yard.live / "backup/new.gz", (then, then))
    yield
    os.utime(yard.live / "backup/new.gz")


@breaks("stack.shop.check.backup")
def a_backup_can_be_read_by_everybody(yard: Yard) -> Iterator[None]:
    (yard.live / "backup/new.gz").chmod(0o644)
    yield
    (yard.live / "backup/new.gz").chmod(0o600)


@breaks("stack.shop.check.flag")
def a_command_says_something_else(yard: Yard) -> Iterator[None]:
    (yard.live / "flag").write_text("down\n")
    yield
    (yard.live / "flag").write_text("up\n")


@breaks("stack.shop.check.open-for-business")
def a_file_is_there_that_should_not_be(yard: Yard) -> Iterator[None]:
    (yard.live / "maintenance").touch()
    yield
    (yard.live / "maintenance").unlink()


@breaks("stack.shop.whole")
def a_deploy_was_cut(yard: Yard) -> Iterator[None]:
    run = yard.project.state("shop") / "run/99991231-000000"
    run.mkdir()
    (run / "pid").write_text("999999\n")
    yield
    shutil.rmtree(run)


@pytest.mark.parametrize(("expected", "breakage"), BREAKAGES, ids=body_names)
def test_a_breakage_gives_exactly_the_finding_that_names_it(yard: Yard, expected: str, breakage: Breakage) -> None:
    wanted = expected.replace("RAW", str(yard.ports["raw"])).split()
    with breakage(yard):
        found = yard.failing()
    assert found == wanted


def test_all_is_well_when_everything_is_mended(yard: Yard) -> None:
    wait_for(lambda: not yard.failing(), "all to be well again", 20)


def health(yard: Yard, service: str) -> str:
    return docker("inspect", "-f", "{{.State.Health.Status}}", yard.container(service))


def healthy(yard: Yard, service: str) -> None:
    wait_for(lambda: health(yard, service) == "healthy", f"{service} to be healthy")


def oom(yard: Yard) -> bool:
    return docker("inspect", "-f", "{{.State.OOMKilled}}", yard.container("worker")) == "true"
