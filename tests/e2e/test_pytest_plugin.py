"""The pytest plugin's stacks, on containers of a real engine; pytest runs in a project of its own."""

from __future__ import annotations

import textwrap
from pathlib import Path

from tests.conftest import run_pytest
from tests.e2e.conftest import BASE, Project, docker

MORE = f"""
  pair:
    image: {BASE}
    init: true
    command: sleep 600
    scale: 2
    stop_grace_period: 1s
  once:
    image: {BASE}
    command: "true"
"""
TESTS = """
import pytest
from towline.errors import RemoteFailed


@pytest.fixture
def web(towline_stack):
    return towline_stack("{name}").service("web")


def test_up(web):
    assert web.running
    assert web.healthy
    assert repr(web).startswith("<service web of {name} on prod: {name}-web-1 Up ")
    assert repr(web).endswith(" (healthy)>")


def test_all_containers_of_the_stack(towline_stack):
    facts = towline_stack("{name}").containers()
    assert [(fact.service, fact.state, fact.health) for fact in facts] == [
        ("once", "exited", ""),
        ("pair", "running", ""),
        ("pair", "running", ""),
        ("web", "running", "healthy"),
    ]


def test_without_a_health_check(towline_stack):
    pair = towline_stack("{name}").service("pair")
    assert len(pair.containers()) == 2
    assert pair.running
    assert not pair.healthy
    assert repr(pair).count(", no health check") == 2


def test_exec(web):
    assert web.exec("cat", "/www/index.html").out == "v1\\n"
    assert web.exec(["printf", "%s|", "a  b", "$HOME", "it's"]).out == "a  b|$HOME|it's|"
    result = web.exec("wget -qO- http://127.0.0.1:8080/ | tr v w; echo no >&2; exit 3")
    assert (result.ok, result.code, result.out, result.err) == (False, 3, "w1\\n", "no\\n")
    assert web.exec("no-such-program", "-x").code == 127
    assert web.exec("sleep 60", timeout=1).code == 124


def test_exec_where_nothing_runs(towline_stack):
    with pytest.raises(RemoteFailed, match=r"once-1 Exited \\(0\\).*: no container runs"):
        towline_stack("{name}").service("once").exec("true")


def test_live_file(towline_stack):
    assert towline_stack("{name}").read_file("index.html") == "v1\\n"


def test_not_deployed(towline_stack):
    assert towline_stack("{name}-2").containers() == ()
    assert towline_stack("{name}-2").service("web").running


def test_stopped(web, towline_host):
    assert towline_host.run(["docker", "stop", "--timeout=1", "{name}-web-1"]).ok
    assert web.running
"""
SESSIONS = 2 + 1 + 3 + 5 + 1 + 1 + 2 + 2


def write_tests(project: Project, name: str) -> Path:
    file = project.folder / "tests" / "test_server.py"
    file.parent.mkdir()
    file.write_text(textwrap.dedent(TESTS).replace("{name}", name))
    return file


def test_stacks_services_and_commands_in_them_over_one_login(tight_project: Project, installed: Path) -> None:
    project, name = tight_project, tight_project.name("web")
    compose = project.write_page() / "compose.yaml"
    compose.write_text(compose.read_text() + MORE)
    project.write("web-2", {"compose.yaml": f"services: {{web: {{image: '{BASE}'}}}}"})
    ran = project.tow("deploy", f"--stack={name}")
    assert ran.code == 0, ran.err
    write_tests(project, name)
    newest = docker("run", "--detach", "--label", f"com.docker.compose.project={name}-x", BASE, "sleep", "600")
    try:
        before = project.box.log.stat().st_size
        done = run_pytest(project.folder, home=project.home, installed=installed)
    finally:
        docker("rm", "-f", newest)
    assert "2 failed, 6 passed" in done.out, done.out
    said = [line[1:].strip() for line in done.out.splitlines() if line.startswith("E  ")]
    assert f"+  where False = <service web of {name}-2 on prod: no container>.running" in said
    stopped = next(line for line in said if f"of {name} on" in line)
    assert stopped.startswith(f"+  where False = <service web of {name} on prod: {name}-web-1 Exited (")
    counts = project.counts(before)
    assert (counts.connections, counts.logins, counts.sessions, counts.peak) == (1, 1, SESSIONS, 1)
