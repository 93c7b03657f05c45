"""A login that reaches Docker by sudo only."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import BASE, running_box
from tests.e2e import faults
from tests.e2e.conftest import Project, free_port, new_project
from towline import sandbox
from towline.sandbox.wait import wait_until

pytestmark = pytest.mark.skipif(
    not shutil.which("sudo"), reason="there is no sudo on this machine; .ci/run installs it"
)

COMPOSE = """
services:
  web:
    build: .
    init: true
    command: httpd -f -p 8080 -h /www
    ports: ["127.0.0.1:{port}:8080"]
    environment: {{MODE: "${{MODE}}"}}
    volumes: ["./conf:/conf:ro"]
    healthcheck: {{test: {test}, interval: 2s, retries: 1, start_period: 1s, start_interval: 200ms}}
"""
GOOD, BAD = '["CMD", "wget", "-qO-", "http://127.0.0.1:8080/"]', '["CMD", "false"]'
DOCKER = ["sudo", "-n", "docker"]


def write(project: Project, text: str, test: str = GOOD, build: str = "true") -> str:
    port = project.ports.setdefault("web", free_port())
    dockerfile = f"FROM {BASE}\nRUN {build}\nCOPY index.html /www/index.html\n"
    files = {"compose.yaml": COMPOSE.format(port=port, test=test), "Dockerfile": dockerfile, "index.html": text}
    project.write("web", {**files, ".env": "MODE=theirs\n", "conf/a": text})
    return f"--stack={project.name('web')}"


@pytest.fixture
def login(request: pytest.FixtureRequest) -> Iterator[str]:
    """A user of this machine, who may run what sudoers says and nothing else of Docker; gone afterwards."""
    name, rule = f"tow{os.getpid():x}", getattr(request, "param", "NOPASSWD:SETENV: {docker}, {kill}")
    programs = {"docker": shutil.which("docker"), "kill": shutil.which("kill")}
    subprocess.run(["useradd", "--create-home", "--shell", "/bin/sh", "--password", "*", name], check=True)
    sudoers = Path("/etc/sudoers.d") / name
    sudoers.touch(mode=0o440)
    sudoers.write_text(f"{name} ALL=(root) {rule.format(**programs)}\n")
    try:
        yield name
    finally:
        sudoers.unlink()
        wait_until(lambda: subprocess.run(["pkill", "-KILL", "-u", name], check=False).returncode == 1, 10)
        subprocess.run(["userdel", "--force", "--remove", name], capture_output=True, check=True)


def allow(box: sandbox.Sandbox, name: str) -> None:
    config = box.log.parent / "sshd_config"
    config.write_text(config.read_text().replace("AllowUsers ", f"AllowUsers {name} "))
    before = box.log.read_text().count("Server listening")
    os.kill(box.pid, signal.SIGHUP)
    assert wait_until(lambda: box.log.read_text().count("Server listening") > before, 5)


@pytest.fixture
def project(engine: None, login: str, tmp_path: Path) -> Iterator[Project]:
    with tempfile.TemporaryDirectory(prefix="towline-sudo-") as folder:
        Path(folder).chmod(0o755)  # sshd reads the keys as the login
        with running_box(Path(folder)) as box:
            allow(box, login)
            made = new_project(box, tmp_path, Project)
            made.root = Path(pwd.getpwnam(login).pw_dir) / "stacks"
            made.settings(ssh=f"{login}@127.0.0.1:{box.port}", root="stacks", docker=DOCKER)
            yield made
            made.clear()


def root_s(word: str) -> bool:
    """Whether a process of root's has the word in its command line."""
    found = subprocess.run(["pgrep", "-u", "root", "-f", word], capture_output=True, check=False)
    return found.returncode == 0


def test_everything_is_done_by_sudo(project: Project) -> None:
    stack = write(project, "old\n")
    ran = project.tow("deploy", stack)
    assert (ran.code, project.page()) == (0, "old\n"), ran.err
    assert "MODE=theirs" in project.docker("inspect", "--format", "{{.Config.Env}}", project.containers()["web"])
    write(project, "new\n")
    for words in (("deploy", stack), ("plan", stack, "--check"), ("test-connectivity",), ("test-infra", stack)):
        ran = project.tow(*words)
        assert ran.code == 0, ran.err + ran.out
    assert project.name("web") in project.tow("get-containers").out
    assert project.page() == "new\n"
    write(project, "bad\n", BAD)
    ran = project.tow("deploy", stack, "--timeout=10")
    assert (ran.code, project.page()) == (5, "new\n"), ran.err
    ran = project.tow("rollback", stack)
    assert (ran.code, project.page()) == (0, "old\n"), ran.err


def test_ctrl_c_ends_what_runs_as_root(project: Project) -> None:
    stack = write(project, "old\n")
    ran = project.tow("deploy", stack)
    assert ran.code == 0, ran.err
    write(project, "new\n", build=f"sleep 613 && : {project.prefix}")
    client, run = faults.start_and_reach(project, "rehearse")
    building = f"compose --project-name {project.name('web')} build"
    faults.wait_for(lambda: root_s(building), "the build", 30)
    client.send_signal(signal.SIGINT)
    _, err = client.communicate(timeout=60)
    assert (client.returncode, "cancelled" in err) == (5, True), err
    assert (run / "result").read_text() == "kept\n"
    faults.wait_for(lambda: not root_s(building), "the build to end", 10)
    assert project.page() == "old\n"


@pytest.mark.parametrize("login", ["NOPASSWD: {docker}", "{docker}"], indirect=True)
def test_what_sudo_refuses_is_one_line_before_anything_is_touched(project: Project) -> None:
    stack = write(project, "old\n")
    ran = project.tow("deploy", stack)
    assert ran.code in (1, 2), ran.err
    assert "sudo: " in ran.err
    assert "Traceback" not in ran.err
    assert project.containers() == {}


def test_sudo_that_would_ask_for_a_password_is_named(project: Project) -> None:
    project.settings(docker="sudo docker")
    ran = project.tow("list-stacks")
    assert (ran.code, "nobody is there to type a password" in ran.err) == (2, True), ran.err


def test_owners_are_set_by_a_container_where_the_login_may_not(project: Project) -> None:
    stack, file = write(project, "old\n"), project.live() / "conf/a"
    compose = project.folder / "stacks" / project.name("web") / "compose.yaml"

    def own(modes: str) -> None:
        compose.write_text(compose.read_text().split("x-towline")[0] + f"x-towline: {{modes: {modes}}}\n")

    def seen() -> tuple[str, str, str]:
        state = file.stat()
        return file.read_text(), oct(state.st_mode & 0o777), f"{state.st_uid}:{state.st_gid}"

    own('{"conf/*": "0600 4999:4998"}')
    ran = project.tow("deploy", stack)
    assert (ran.code, seen()) == (0, ("old\n", "0o600", "4999:4998")), ran.err
    assert project.tow("plan", stack, "--check").code == 0
    write(project, "new\n")
    own('{"conf/*": "0640 4997:4998"}')
    ran = project.tow("deploy", stack)
    assert (ran.code, seen()) == (0, ("new\n", "0o640", "4997:4998")), ran.err
    own('{"conf/*": "0600 4997:4998"}')  # the same content: its mode is changed where it is
    ran = project.tow("deploy", stack)
    assert (ran.code, seen()) == (0, ("new\n", "0o600", "4997:4998")), ran.err
    write(project, "bad\n", BAD)
    ran = project.tow("deploy", stack, "--timeout=10")
    assert (ran.code, seen()) == (5, ("new\n", "0o600", "4997:4998")), ran.err
    own('{"conf/*": "0600 4997:4998"}')
    ran = project.tow("rollback", stack)
    assert (ran.code, seen()) == (0, ("new\n", "0o640", "4997:4998")), ran.err
    assert not list(project.live().rglob("*.before-*"))
