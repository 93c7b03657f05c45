"""The main job on a real engine behind a real sshd."""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path

import pytest

from tests.e2e.conftest import Project, docker


def test_a_deploy_ends_with_the_page_served(project: Project) -> None:
    project.write_page(text="hello\n")
    ran = project.tow("deploy", f"--stack={project.name('web')}")
    assert ran.code == 0, ran.err
    assert project.page() == "hello\n"
    assert "1 login · 4 sessions, peak 1" in ran.err


def test_on_a_terminal_a_live_line_is_shown_and_every_step_once(project: Project) -> None:
    project.write_page()
    code, written = project.tow_on_terminal("deploy", f"--stack={project.name('web')}")
    assert code == 0, written
    lines = [line.rpartition("\x1b[2K")[2] for line in re.sub(r"\x1b\[[0-9;?]*[mhlA]", "", written).split("\r\n")]
    assert [line.split()[1] for line in lines if "✓" in line].count("up") == 1
    assert "rehearse …" in written
    assert "1 login · 4 sessions" in written


@pytest.mark.parametrize("kind", ["project", "tight_project"])
def test_four_tasks_in_one_line_log_in_once_and_never_hold_two_sessions(
    kind: str, request: pytest.FixtureRequest
) -> None:
    project: Project = request.getfixturevalue(kind)
    for short in ("one", "two"):
        project.write_page(short)
    since = project.box.log.stat().st_size
    one, two = (f"--stack={project.name(short)}" for short in ("one", "two"))
    ran = project.tow("list-stacks", "deploy", one, "deploy", two, "get-containers", "--format=json")
    assert ran.code == 0, ran.err
    counts = project.counts(since)
    assert (counts.logins, counts.connections, counts.peak, counts.dropped) == (1, 1, 1, 0)
    containers = json.loads(ran.out[ran.out.index("[") :])
    assert {(row["stack"], row["state"], row["health"]) for row in containers} == {
        (project.name("one"), "running", "healthy"),
        (project.name("two"), "running", "healthy"),
    }
    assert list(containers[0]) == ["host", "stack", "service", "name", "image", "state", "health", "status", "ports"]


def test_the_ledger_file_agrees_with_the_log_of_sshd(project: Project, tmp_path: Path) -> None:
    project.write_page()
    since, ledger = project.box.log.stat().st_size, tmp_path / "ledger"
    assert project.tow("deploy", f"--stack={project.name('web')}", f"--ledger={ledger}").code == 0
    *entries, summary = [json.loads(line) for line in ledger.read_text().splitlines()]
    counts = project.counts(since)
    keys = "at event host logins sessions peak refused reconnects commands bytes_up bytes_down seconds"
    assert list(summary) == keys.split()
    assert (summary["logins"], summary["sessions"]) == (counts.logins, counts.sessions)
    assert summary["refused"] == counts.refused
    assert all(entry["at"] and entry["host"] == "prod" for entry in entries)


@pytest.mark.parametrize("words", [["--list"], ["deploy", "--help"], ["--help", "deploy"], ["list-stacks"]])
def test_looking_does_not_connect(project: Project, words: list[str]) -> None:
    project.write_page()
    since = project.box.log.stat().st_size
    assert project.tow(*words).code == 0
    assert project.counts(since).connections == 0


def test_dry_says_what_it_would_do_and_changes_nothing(project: Project) -> None:
    project.write_page()
    ran = project.tow("--dry", "deploy", f"--stack={project.name('web')}")
    assert ran.code == 0, ran.err
    assert "3 added" in ran.err
    assert list(project.root.iterdir()) == []
    assert project.containers() == {}


def test_env_is_0600_there_and_the_roots_env_stands_in(project: Project) -> None:
    (project.folder / ".env").write_text("WORD=from-root\n")
    compose = """
        services:
          web:
            image: busybox:1.37
            init: true
            command: sleep 600
            environment: {WORD: "${WORD}"}
        """
    project.write("web", {"compose.yaml": compose})
    assert project.tow("deploy", f"--stack={project.name('web')}").code == 0
    env = project.live() / ".env"
    assert stat.S_IMODE(env.stat().st_mode) == 0o600
    assert docker("exec", project.containers()["web"], "sh", "-c", "echo $WORD") == "from-root"


def test_no_secret_of_env_is_shown(project: Project) -> None:
    secret = "hunter2-correct-horse"
    files = {".env": f"DB_PASSWORD={secret}\n", "Dockerfile": "FROM busybox:1.37\nARG P\nRUN echo said $P && false\n"}
    project.write_page(**files)
    compose = project.folder / "stacks" / project.name("web") / "compose.yaml"
    compose.write_text(compose.read_text().replace("build: .", "build: {context: ., args: {P: '${DB_PASSWORD}'}}"))
    ran = project.tow("deploy", f"--stack={project.name('web')}", "--verbose")
    assert ran.code == 6
    assert "said [secret]" in ran.err
    assert secret not in ran.err + ran.out


def test_deploy_all_keeps_the_order_and_makes_a_network_that_nobody_creates(project: Project) -> None:
    network = project.name("outer")
    service = "services: {web: {image: 'busybox:1.37', init: true, command: sleep 600, networks: [n]}}\n"
    project.write(
        "a", {"compose.yaml": service + f"networks: {{n: {{name: {project.name('net')}, external: true}}}}\n"}
    )
    project.write("z", {"compose.yaml": service + f"networks: {{n: {{name: {project.name('net')}}}}}\n"})
    project.write("b", {"compose.yaml": service + f"networks: {{n: {{name: {network}, external: true}}}}\n"})
    try:
        ran = project.tow("deploy-all")
        assert ran.code == 0, ran.err
        order = [line.split(" ")[0] for line in ran.err.splitlines() if " · recreate · " in line]
        assert order == [project.name("b"), project.name("z"), project.name("a")]
        assert f"no stack creates the external network {network}: created it" in ran.err
    finally:
        for short in "abz":
            docker("rm", "-f", *project.containers(short).values(), check=False)
        docker("network", "rm", network, check=False)


def test_deploy_all_stops_what_needs_a_failed_stack_and_not_the_others(project: Project) -> None:
    broken = {"Dockerfile": "FROM busybox:1.37\nRUN false\n"}
    project.write_page("base", **broken)
    project.write_page("free")
    needing = project.write_page("needing")
    with (needing / "compose.yaml").open("a") as compose:
        compose.write(f"x-towline: {{needs: [{project.name('base')}]}}\n")
    ran = project.tow("deploy-all")
    assert ran.code == 6
    assert project.page("free") == "v1\n"
    assert f"{project.name('needing')}: not deployed, since {project.name('base')} failed" in ran.err
    assert project.containers("needing") == {}


def test_a_build_that_fails_leaves_the_old_release_untouched(project: Project) -> None:
    project.write_page(text="old\n")
    stack = f"--stack={project.name('web')}"
    assert project.tow("deploy", stack).code == 0
    before = project.containers()
    project.write_page(text="new\n", Dockerfile="FROM busybox:1.37\nRUN echo it broke here && false\n")
    ran = project.tow("deploy", stack)
    assert ran.code == 5
    assert "failed at 'rehearse'" in ran.err
    assert "it broke here" in ran.err
    assert project.containers() == before
    assert project.page() == "old\n"


def test_a_release_that_never_gets_healthy_is_put_back_and_its_last_log_lines_shown(project: Project) -> None:
    project.write_page(text="old\n")
    stack = f"--stack={project.name('web')}"
    assert project.tow("deploy", stack).code == 0
    folder = project.write_page(text="new\n")
    compose = (folder / "compose.yaml").read_text()
    (folder / "compose.yaml").write_text(
        compose.replace("command: httpd -f -p 8080 -h /www", "command: sh -c 'echo cannot start; exit 3'")
    )
    ran = project.tow("deploy", stack)
    assert ran.code == 5
    assert "cannot start" in ran.err
    assert "exited with code 3" in ran.err
    assert project.page() == "old\n"


def test_a_first_deploy_that_fails_leaves_nothing_running(project: Project) -> None:
    compose = "services: {web: {image: 'busybox:1.37', command: sh -c 'echo oh no; exit 1'}}\n"
    project.write("web", {"compose.yaml": compose})
    ran = project.tow("deploy", f"--stack={project.name('web')}")
    assert ran.code == 6
    assert "oh no" in ran.err
    assert project.containers() == {}


def test_a_one_shot_service_may_exit_with_0(project: Project) -> None:
    compose = """
        services:
          job: {image: "busybox:1.37", command: "true"}
          web:
            image: busybox:1.37
            init: true
            command: sleep 600
            depends_on: {job: {condition: service_completed_successfully}}
        """
    project.write("web", {"compose.yaml": compose})
    ran = project.tow("deploy", f"--stack={project.name('web')}")
    assert ran.code == 0, ran.err


def test_a_service_that_does_not_get_healthy_in_time_fails_the_deploy(project: Project) -> None:
    compose = """
        services:
          web:
            image: busybox:1.37
            init: true
            command: sleep 600
            healthcheck: {test: ["CMD", "false"], interval: 1s, retries: 2}
        """
    project.write("web", {"compose.yaml": compose})
    ran = project.tow("deploy", f"--stack={project.name('web')}", "--timeout=3")
    assert ran.code == 6
    assert "web: unhealthy" in ran.err


def test_connectivity_finds_the_session_limit(project: Project) -> None:
    ran = project.tow("test-connectivity")
    assert ran.code == 0, ran.err
    for word in ("127.0.0.1:", "publickey", "SHA256:", "OpenSSH", " ms", "2 at once", "engine ", "compose "):
        assert word in ran.out


def test_connectivity_hints_at_what_is_wrong(project: Project) -> None:
    project.settings(max_sessions=5)
    ran = project.tow("test-connectivity")
    assert ran.code == 1
    assert "set max_sessions: 2 for this host in towline.yaml" in ran.out
