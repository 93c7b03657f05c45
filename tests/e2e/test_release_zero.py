"""What somebody started before the first deploy is never lost: it runs again when the deploy fails, and later by a rollback."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e import faults
from tests.e2e.conftest import BASE, PAGE, Project, docker, free_port

# Serves ./www of wherever it runs; the probe waits for no file, so that only the text tells one version from another
SITE = f"""
services:
  web:
    image: {BASE}
    init: true
    command: httpd -f -p 8080 -h /www
    ports: ["127.0.0.1:{{port}}:8080"]
    volumes: ["./www:/www", "./data:/data"]
    environment: {{{{MODE: "${{{{MODE:-none}}}}"}}}}
    healthcheck:
      test: ["CMD", "wget", "-qO-", "http://127.0.0.1:8080/"]
      interval: 2s
      start_period: 30s
      start_interval: 200ms
  worker: {{{{image: {BASE}, init: true, command: sleep 600, deploy: {{{{replicas: 2}}}}}}}}
  idle: {{{{image: {BASE}, command: "true", profiles: [manual]}}}}
"""
STRATEGIES = ["recreate", "update"]


def start_by_hand(project: Project, folder: Path, files: dict[str, str], *, wait: bool = True) -> None:
    """The project of the stack `web`, as a person starts it in a folder of the server. wait: until it is healthy."""
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    words = ("--project-directory", str(folder), "--project-name", project.name("web"), "up", "--detach")
    project.docker("compose", *words, *(["--wait"] if wait else []))


def running(project: Project) -> list[str]:
    """`SERVICE FOLDER` of each container that runs."""
    label = f"label=com.docker.compose.project={project.name('web')}"
    form = '{{.Label "com.docker.compose.service"}} {{.Label "com.docker.compose.project.working_dir"}}'
    return sorted(project.docker("ps", "--filter", label, "--format", form).splitlines())


def environment(project: Project) -> str:
    return project.docker("inspect", "--format", "{{.Config.Env}}", project.containers()["web"])


def texts(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def site(project: Project) -> str:
    return SITE.format(port=project.ports.setdefault("web", free_port()))


def old_files(project: Project) -> dict[str, str]:
    return {
        "docker-compose.yml": site(project),
        "www/index.html": "old\n",
        "data/db": "kept\n",
        ".env": "MODE=theirs\n",
    }


def write_stack(project: Project, strategy: str = "recreate") -> None:
    compose = f"{site(project)}x-towline: {{strategy: {strategy}}}\n"
    project.write("web", {"compose.yaml": compose, "www/index.html": "new\n"})


def deploy(project: Project, *words: str) -> tuple[int, str]:
    ran = project.tow("deploy", f"--stack={project.name('web')}", *words)
    return ran.code, ran.err


def break_health(project: Project, strategy: str) -> None:
    """The stack with a check that never passes, and a file of its own where somebody has one."""
    write_stack(project, strategy)
    file = project.folder / "stacks" / project.name("web") / "compose.yaml"
    text = file.read_text().replace('"wget", "-qO-", "http://127.0.0.1:8080/"', '"false"')
    file.write_text(text.replace("start_period: 30s", "retries: 1\n      start_period: 1s"))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_what_ran_in_the_live_folder_runs_again_when_the_first_deploy_fails(project: Project, strategy: str) -> None:
    start_by_hand(project, project.live(), old_files(project))
    before, was = texts(project.live()), running(project)
    break_health(project, strategy)
    code, said = deploy(project, "--timeout=20")
    assert code == 5, said
    assert f"{project.name('web')}: failed at 'health'; what ran before was restored and runs" in said
    assert f"runs already, not deployed by towline, from {project.live()} by docker-compose.yml: 3 containers" in said
    assert (project.page(), running(project), texts(project.live())) == ("old\n", was, before)
    assert "MODE=theirs" in environment(project)
    assert not (project.state() / "current").exists()
    # and the next one, which is right, goes in
    write_stack(project, strategy)
    code, said = deploy(project)
    assert (code, project.page()) == (0, "new\n"), said
    assert (project.live() / "data/db").read_text() == "kept\n"


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_what_ran_in_another_folder_runs_there_again_when_the_first_deploy_fails(
    project: Project, tmp_path: Path, strategy: str
) -> None:
    elsewhere = tmp_path / "apps" / "site"
    start_by_hand(project, elsewhere, old_files(project))
    (elsewhere / "data" / "db").unlink()
    before, was = texts(elsewhere), running(project)
    break_health(project, strategy)
    code, said = deploy(project, "--timeout=20", "--yes")
    assert code == 5, said
    assert f"runs-elsewhere: {project.name('web')} runs already, from {elsewhere}" in said
    assert (project.page(), running(project), texts(elsewhere)) == ("old\n", was, before)


def test_data_in_another_folder_stops_the_deploy_before_anything_is_touched(project: Project, tmp_path: Path) -> None:
    elsewhere = tmp_path / "apps" / "site"
    start_by_hand(project, elsewhere, old_files(project))
    was = project.containers()
    write_stack(project)
    ran = project.tow("plan", f"--stack={project.name('web')}", "--format=json")
    (plan,) = json.loads(ran.out)
    assert plan["running"] == {
        "folder": str(elsewhere),
        "files": [f"{elsewhere}/docker-compose.yml"],
        "in_place": False,
        "services": ["web", "worker"],
        "data": [{"source": f"{elsewhere}/data", "path": "data"}],
    }
    code, said = deploy(project, "--yes")
    assert code == 1, said
    assert f"would not find what is in ./data (now {elsewhere}/data)" in said
    assert project.containers() == was


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_rollback_goes_back_to_what_ran_before_the_first_deploy(project: Project, strategy: str) -> None:
    start_by_hand(project, project.live(), old_files(project))
    was = running(project)
    write_stack(project, strategy)
    code, said = deploy(project)
    assert (code, project.page()) == (0, "new\n"), said
    ran = project.tow("rollback", f"--stack={project.name('web')}", "--to=0")
    assert (ran.code, project.page(), running(project)) == (0, "old\n", was), ran.err
    assert texts(project.live())["www/index.html"] == "old\n"
    code, said = deploy(project)
    assert (code, project.page()) == (0, "new\n"), said
    ran = project.tow("rollback", f"--stack={project.name('web')}")
    assert (ran.code, project.page()) == (0, "old\n"), ran.err


def test_a_failed_build_leaves_the_very_containers(project: Project) -> None:
    start_by_hand(project, project.live(), old_files(project))
    was = project.containers()
    project.write(
        "web", {"compose.yaml": PAGE.format(port=project.ports["web"]), "Dockerfile": f"FROM {BASE}\nRUN false\n"}
    )
    code, said = deploy(project)
    assert code == 5, said
    assert "what ran before runs on, it was never touched" in said
    assert "service-removed: would be removed, since the compose files here do not have it: worker" in said
    assert project.containers() == was


# --- adopt ----------------------------------------------------------------------------------------------------------------


def adopt(project: Project, *words: str) -> tuple[int, str]:
    ran = project.tow("adopt", f"--stack={project.name('web')}", "--yes", *words)
    return ran.code, ran.err


def same_site(project: Project) -> None:
    """The stack as somebody started it, here."""
    project.write("web", {"compose.yaml": site(project), ".env": "MODE=theirs\n", "www/index.html": "old\n"})


def test_adopting_in_the_same_folder_restarts_nothing_that_does_not_change(project: Project) -> None:
    start_by_hand(project, project.live(), old_files(project))
    was = docker("ps", "--no-trunc", "--format", "{{.ID}}", *project._label("web"))
    same_site(project)
    code, said = adopt(project)
    assert code == 0, said
    assert docker("ps", "--no-trunc", "--format", "{{.ID}}", *project._label("web")) == was
    assert (project.page(), (project.live() / "data/db").read_text()) == ("old\n", "kept\n")
    code, said = adopt(project)
    assert (code, "so there is nothing to adopt" in said) == (1, True), said
    ran = project.tow("plan", f"--stack={project.name('web')}", "--check")
    assert ran.code == 0, ran.err


@pytest.mark.parametrize("move", [False, True])
def test_adopting_from_another_folder_brings_its_data_along(project: Project, tmp_path: Path, move: bool) -> None:
    elsewhere = tmp_path / "apps" / "site"
    start_by_hand(project, elsewhere, old_files(project))
    same_site(project)
    code, said = adopt(project, *(["--move"] if move else []))
    assert code == 0, said
    assert f"./data is {'moved' if move else 'copied'} from {elsewhere}/data" in said
    assert ((project.live() / "data/db").read_text(), (elsewhere / "data/db").exists()) == ("kept\n", not move)
    assert docker("exec", project.containers()["web"], "cat", "/data/db") == "kept"
    assert project.page() == "old\n"
    ran = project.tow("rollback", f"--stack={project.name('web')}", "--to=0")
    assert (ran.code, project.page(), running(project)[0]) == (0, "old\n", f"web {elsewhere}"), ran.err
    assert docker("exec", project.containers()["web"], "cat", "/data/db") == "kept"


@pytest.mark.parametrize("move", [False, True])
def test_adopting_that_fails_leaves_the_data_where_it_was(project: Project, tmp_path: Path, move: bool) -> None:
    elsewhere = tmp_path / "apps" / "site"
    start_by_hand(project, elsewhere, old_files(project))
    before, was = texts(elsewhere), running(project)
    break_health(project, "update")
    code, said = adopt(project, "--timeout=20", *(["--move"] if move else []))
    assert code == 5, said
    assert (texts(elsewhere), running(project), project.page()) == (before, was, "old\n")
    assert not (project.live() / "data").exists()


def kill_adopt(project: Project, step: str, *words: str) -> None:
    """`adopt`, whose runner is killed when the step begins."""
    client = project.start("adopt", f"--stack={project.name('web')}", "--yes", *words)
    faults.wait_for(lambda: faults.last_run(project), "a run")
    run = faults.last_run(project)
    assert run
    faults.wait_for(
        lambda: any((event.get("name"), event.get("state")) == (step, "begin") for event in faults.events(run)), step
    )
    faults.kill_runner(run)
    _, err = client.communicate(timeout=90)
    assert client.returncode == 6, err
    faults.wait_for(lambda: faults.lock_is_free(project), "the lock", 30)


@pytest.mark.parametrize(("step", "move"), [("stage", False), ("data", True), ("up", True), ("up", False)])
def test_data_is_never_out_of_sight_after_an_adopt_that_was_killed(
    project: Project, tmp_path: Path, step: str, move: bool
) -> None:
    elsewhere, words = tmp_path / "apps" / "site", (["--move"] if move else [])
    start_by_hand(project, elsewhere, old_files(project))
    before, was = texts(elsewhere), running(project)
    write_stack(project)
    kill_adopt(project, step, *words)
    code, said = deploy(project, "--yes")
    if code:  # the data is where it was: the deploy is stopped, as before the one that was killed
        assert f"would not find what is in ./data (now {elsewhere}/data)" in said
        ran = project.tow("adopt", f"--stack={project.name('web')}", "--yes", *words)
        assert ran.code == 0, ran.err
    assert (project.page(), (project.live() / "data/db").read_text()) == ("new\n", "kept\n")
    ran = project.tow("rollback", f"--stack={project.name('web')}", "--to=0")
    assert ran.code == 0, ran.err
    assert (project.page(), running(project), texts(elsewhere)) == ("old\n", was, before)
    # what runs there goes on, and is adopted again as it is then
    (elsewhere / "data/db").write_text("newer\n")
    ran = project.tow("adopt", f"--stack={project.name('web')}", "--yes", *words)
    assert ran.code == 0, ran.err
    assert (project.live() / "data/db").read_text() == "newer\n"


@pytest.mark.parametrize("step", ["stage", "up"])
def test_what_ran_before_runs_again_when_the_deploy_after_a_killed_one_fails(project: Project, step: str) -> None:
    start_by_hand(project, project.live(), old_files(project))
    before, was = texts(project.live()), running(project)
    write_stack(project)
    client, run = faults.start_and_reach(project, step)
    faults.kill_runner(run)
    _, err = client.communicate(timeout=90)
    assert client.returncode == 6, err
    faults.wait_for(lambda: faults.lock_is_free(project), "the lock", 30)
    break_health(project, "recreate")
    code, said = deploy(project, "--timeout=20")
    assert code == 5, said
    assert "an interrupted deploy has kept it as release 0" in said
    assert (project.page(), running(project), texts(project.live())) == ("old\n", was, before)


def test_a_project_without_a_stack_here_is_fetched_and_adopted(project: Project, tmp_path: Path) -> None:
    elsewhere = tmp_path / "apps" / "site"
    start_by_hand(project, elsewhere, old_files(project))
    code, said = adopt(project)
    assert code == 0, said
    folder = project.folder / "stacks" / project.name("web")
    assert texts(folder) == {"docker-compose.yml": site(project), ".env": "MODE=theirs\n"}
    assert (folder / ".env").stat().st_mode & 0o777 == 0o600
    assert (project.page(), (project.live() / "data/db").read_text()) == ("old\n", "kept\n")


def test_another_project_name_is_told_before_anything_is_touched(project: Project, tmp_path: Path) -> None:
    elsewhere = tmp_path / "apps" / "site"
    start_by_hand(project, elsewhere, old_files(project))
    was = project.containers()
    other = project.write("other", {"compose.yaml": site(project)})
    ran = project.tow("adopt", f"--stack={other.name}", f"--from={elsewhere}", "--yes")
    assert ran.code == 1
    assert f"is called {project.name('web')} there, and {other.name} here" in ran.err
    assert project.containers() == was


def test_env_file_that_only_the_server_has_is_read_before_and_after_going_back(project: Project) -> None:
    start_by_hand(project, project.live(), old_files(project))
    own = (project.live() / ".env").read_text()
    for _ in range(2):
        write_stack(project, "update")
        code, said = deploy(project)
        assert (code, project.page()) == (0, "new\n"), said
        assert f"the .env in {project.live()} on the server is used" in said
        assert (project.live() / ".env").read_text() == own
        ran = project.tow("rollback", f"--stack={project.name('web')}", "--to=0")
        assert (ran.code, project.page()) == (0, "old\n"), ran.err
        assert (project.live() / ".env").read_text() == own
