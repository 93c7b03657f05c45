"""What somebody runs, in the ways that people run it, is what runs again after a first deploy that fails."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e import faults
from tests.e2e.conftest import BASE, Project, Ran, docker

BAD = '    healthcheck: {test: ["CMD", "false"], interval: 1s, retries: 1, start_period: 1s}\n'
NEW = "    environment: [N=new]\n"
DATA = '    volumes: ["./data:/data"]\n'
CONF = '    volumes: ["./conf:/conf:ro"]\n'


def service(name: str, more: str = "", image: str = BASE) -> str:
    return f'  {name}:\n    image: "{image}"\n    init: true\n    command: sleep 600\n{more}'


def compose(
    project: Project, folder: Path, *words: str, files: dict[str, str], up: tuple[str, ...] = ("--wait",)
) -> None:
    """What a person does there, with these files."""
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    command = ("docker", "compose", "--project-name", project.name("web"), *words, "up", "--detach", *up)
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def write(project: Project, *services: str, strategy: str = "recreate", more: str = "", **files: str) -> None:
    folder = project.folder / "stacks" / project.name("web")
    shutil.rmtree(folder, ignore_errors=True)
    text = f"services:\n{''.join(services)}{more}x-towline: {{strategy: {strategy}, watch: 0}}\n"
    project.write("web", {"compose.yaml": text, **files})


def tow(project: Project, task: str, *words: str) -> Ran:
    return project.tow(task, f"--stack={project.name('web')}", "--yes", *words)


def fails(project: Project) -> str:
    ran = tow(project, "deploy", "--timeout=15", "--cache")
    assert ran.code == 5, ran.err
    return ran.err


def seen(project: Project) -> list[str]:
    """Service, state, image and networks of each container; what has ended may be there without ever having been started again.

    `docker ps` gives the networks of one container in any order.
    """
    label = ("--filter", f"label=com.docker.compose.project={project.name('web')}")
    form = '{{.Label "com.docker.compose.service"}} {{.State}} {{.Image}} {{.Networks}}'
    rows = [line.rsplit(" ", 1) for line in docker("ps", "-a", *label, "--format", form).splitlines()]
    return sorted(
        f"{what} {','.join(sorted(networks.split(',')))}".replace(" created ", " exited ") for what, networks in rows
    )


def inside(project: Project, file: str, name: str = "web") -> str:
    return docker("exec", project.containers()[name], "cat", file, check=False)


# --- made again ---------------------------------------------------------------------------------------------------------


def paused_and_stopped(project: Project) -> None:
    text = f"services:\n{''.join(map(service, ('web', 'idle', 'off')))}  job: {{image: {BASE}, command: 'true'}}\n"
    compose(project, project.live(), files={"compose.yaml": text}, up=())
    docker("pause", project.containers()["idle"])
    docker("stop", "--time", "1", project.containers()["off"])


def orphan(project: Project) -> None:
    compose(project, project.live(), files={"compose.yaml": f"services:\n{service('web')}{service('old')}"})
    (project.live() / "compose.yaml").write_text(f"services:\n{service('web')}")


def two_folders(project: Project) -> None:
    one, other = project.root / "a" / "app", project.root / "b" / "app"
    compose(project, one, files={"compose.yaml": f"services:\n{service('web')}{service('two')}"})
    compose(project, other, files={"compose.yaml": f"services:\n{service('third')}"})


def network_by_hand(project: Project) -> None:
    compose(project, project.live(), files={"compose.yaml": f"services:\n{service('web')}"})
    docker("network", "create", "--label", f"com.docker.compose.project={project.name('net')}", project.name("net"))
    docker("network", "connect", "--alias", "alpha", project.name("net"), project.containers()["web"])


def from_stdin(project: Project) -> None:
    project.live().mkdir()
    words = ("docker", "compose", "--project-name", project.name("web"), "--file", "-", "up", "--detach")
    text = f"services:\n{service('web')}"
    subprocess.run(words, cwd=project.live(), input=text, text=True, check=True, capture_output=True)


def scaled_with_names(project: Project) -> None:
    text = f"services:\n{service('web', '    depends_on: [db]' + chr(10))}{service('db', '    container_name: NAME' + chr(10))}"
    text += service("side", "    network_mode: service:db\n")
    compose(
        project, project.live(), files={"compose.yaml": text.replace("NAME", project.name("db"))}, up=("--scale=web=3",)
    )


@pytest.mark.parametrize("strategy", ["recreate", "update"])
@pytest.mark.parametrize(
    "start", [paused_and_stopped, orphan, two_folders, network_by_hand, from_stdin, scaled_with_names]
)
def test_it_runs_again_as_it_was(project: Project, start: Callable[[Project], None], strategy: str) -> None:
    try:
        start(project)
        was = seen(project)
        write(project, service("web", NEW + BAD), strategy=strategy)
        fails(project)
        assert seen(project) == was
    finally:
        project.clear()
        docker("network", "rm", project.name("net"), check=False)


def test_two_images_under_one_name_and_short_ids_come_back(project: Project) -> None:
    tag, label = f"{project.name('img')}:1", f"FROM {BASE}\nLABEL x={project.prefix}\n"
    other = subprocess.run(
        ["docker", "build", "-q", "-"], input=label, capture_output=True, text=True, check=True
    ).stdout
    short = docker("images", "--quiet", BASE)
    docker("tag", BASE, tag)
    text = f"services:\n{service('awe', image=tag)}{service('web', image=tag)}{service('id', image=short)}"
    compose(project, project.live(), files={"compose.yaml": text})
    docker("tag", other.strip(), tag)
    compose(project, project.live(), files={}, up=("--force-recreate", "--no-deps", "web"))

    def images() -> dict[str, str]:
        return {
            name: docker("inspect", "--format", "{{.Image}}", found) for name, found in project.containers().items()
        }

    was = images()
    assert len(set(was.values())) == 2
    write(project, service("awe", NEW), service("web", NEW + BAD))
    fails(project)
    assert images() == was
    assert docker("images", "--quiet", f"{short}:latest") == ""
    project.clear()
    docker("rmi", "--force", tag, other.strip(), check=False)


def test_anonymous_volumes_health_and_addresses_come_back(project: Project) -> None:
    """Of what needs the other's health, lives in its network, and has an address of its own; with odd texts in its settings."""
    healthy = '    healthcheck: {test: ["CMD", "true"], interval: 1s}\n    volumes: [/anon]\n'
    needs = "    network_mode: service:web\n    depends_on: {web: {condition: service_healthy}}\n"
    second = next(number for number in range(20, 250) if f"10.{number}.77.0/24" not in taken_subnets())
    addressed = f"    networks: {{two: {{ipv4_address: 10.{second}.77.9}}}}\n    environment: ['X=a \"b\" $$c \\d']\n"
    text = f"services:\n{service('web', healthy)}{service('side', needs)}{service('own', addressed)}"
    text += f"networks: {{two: {{ipam: {{config: [{{subnet: 10.{second}.77.0/24}}]}}}}}}\n"
    compose(project, project.live(), files={"compose.yaml": text})
    docker("exec", project.containers()["web"], "sh", "-c", "echo kept >/anon/x")

    def told() -> list[str]:
        form = "{{json .Config.Env}} {{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}{{.State.Status}}"
        return [docker("inspect", "--format", form, project.containers()["own"]), inside(project, "/anon/x")]

    was = told()
    write(project, service("web", NEW + BAD))
    fails(project)
    assert told() == was


def taken_subnets() -> str:
    return docker(
        "network", "inspect", "--format", "{{json .IPAM.Config}}", *docker("network", "ls", "--quiet").split()
    )


def test_project_directory_elsewhere_than_its_file(project: Project) -> None:
    folder, etc = project.root / "srv" / "site", project.root / "etc"
    etc.mkdir()
    (etc / "site.yml").write_text(f"services:\n{service('web', DATA)}")
    words = ("--project-directory", str(folder), "--file", str(etc / "site.yml"))
    compose(project, folder, *words, files={"data/db": "kept"})
    write(project, service("web", NEW + BAD))
    fails(project)
    assert inside(project, "/data/db") == "kept"


def test_image_of_what_does_not_run_may_be_gone(project: Project) -> None:
    tag, label = project.name("gone"), f"FROM {BASE}\nLABEL x={project.prefix}\n"
    subprocess.run(["docker", "build", "-q", "-t", tag, "-"], input=label, text=True, check=True, capture_output=True)
    compose(project, project.live(), files={"compose.yaml": f"services:\n{service('web')}{service('old', image=tag)}"})
    docker("stop", "--time", "1", project.containers()["old"])
    docker("rmi", "--force", tag)
    write(project, service("web", NEW))
    ran = tow(project, "deploy")
    assert ran.code == 0, ran.err


def test_somebody_s_file_comes_back_with_its_owner(project: Project) -> None:
    text = f"services:\n{service('web', CONF)}"
    compose(project, project.live(), files={"compose.yaml": text, "conf/key": "theirs"})
    file = project.live() / "conf/key"
    os.chown(file, 1000, 1000)
    file.chmod(0o600)
    was = file.stat()
    write(project, service("web", CONF + BAD), **{"conf/key": "ours"})
    fails(project)
    assert (file.stat().st_uid, file.stat().st_mode, file.read_text()) == (1000, was.st_mode, "theirs")
    assert inside(project, "/conf/key") == "theirs"


@pytest.mark.parametrize("strategy", ["recreate", "update"])
def test_file_that_only_the_second_release_replaced_comes_back(project: Project, strategy: str) -> None:
    text = f"services:\n{service('web', CONF)}"
    compose(project, project.live(), files={"docker-compose.yml": text, "conf/x": "theirs"})
    for files in ({}, {"conf/x": "ours"}):
        write(project, service("web", CONF + NEW), strategy=strategy, **files)
        ran = tow(project, "deploy")
        assert ran.code == 0, ran.err
    ran = tow_back(project)
    assert (ran.code, inside(project, "/conf/x")) == (0, "theirs"), ran.err


def tow_back(project: Project) -> Ran:
    return project.tow("rollback", f"--stack={project.name('web')}", "--to=0")


def test_going_back_to_what_mounts_a_folder_that_is_gone_is_refused_before_anything_stops(project: Project) -> None:
    folder, other = project.root / "apps" / "site", project.root / "media"
    other.mkdir(parents=True)
    compose(
        project,
        folder,
        files={"compose.yaml": f"services:\n{service('web', f'    volumes: [{other}:/media]' + chr(10))}"},
    )
    write(project, service("web", NEW))
    assert tow(project, "deploy").code == 0
    was = project.containers()
    shutil.rmtree(other)
    ran = tow_back(project)
    assert (ran.code, project.containers()) == (5, was), ran.err
    assert f"{other}, which ran before mounts, is gone" in ran.err


# --- after a runner that was killed ---------------------------------------------------------------------------------------


def kill_at(project: Project, step: str) -> None:
    client, run = faults.start_and_reach(project, step)
    faults.kill_runner(run)
    client.communicate(timeout=90)
    faults.wait_for(lambda: faults.lock_is_free(project), "the lock", 30)


def test_build_that_fails_after_a_killed_run_brings_back_what_ran(project: Project) -> None:
    compose(project, project.live(), files={"compose.yaml": f"services:\n{service('web')}{service('two')}"})
    was = seen(project)
    write(project, service("web", NEW), service("two", NEW))
    kill_at(project, "apply")
    project.write("web", {"compose.yaml": "services: {web: {build: .}}\n", "Dockerfile": f"FROM {BASE}\nRUN false\n"})
    assert "what ran before was restored and runs" in fails(project)
    assert seen(project) == was


def test_build_that_fails_after_a_killed_run_brings_back_the_release(project: Project) -> None:
    project.write_page(text="v1\n")
    assert tow(project, "deploy", "--cache").code == 0
    project.write_page(text="v2\n")
    kill_at(project, "apply")
    project.write("web", {"Dockerfile": f"FROM {BASE}\nRUN false\n"})
    fails(project)
    assert project.page() == "v1\n"


def test_what_a_person_started_after_a_killed_run_is_what_ran(project: Project) -> None:
    old = "services:\n" + service("web", "    environment: [V=1]\n")
    compose(project, project.live(), files={"compose.yaml": old})
    write(project, service("web", NEW))
    kill_at(project, "apply")
    compose(project, project.live(), files={"compose.yaml": old.replace("V=1", "V=2")})
    write(project, service("web", NEW + BAD))
    fails(project)
    assert "V=2" in docker("inspect", "--format", "{{.Config.Env}}", project.containers()["web"])
    assert "V=2" in (project.live() / "compose.yaml").read_text()


# --- its data -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [
        (DATA, DATA, "app"),
        (DATA, DATA.replace(":/data", ":/srv/data"), "web"),
        ('    volumes: ["./data/db:/db"]\n', DATA, "web"),
        ('    volumes: [".:/app"]\n', '    volumes: [".:/app"]\n', "web"),
    ],
    ids=["service renamed", "another target", "its folder", "the whole folder"],
)
def test_data_that_would_be_left_behind_stops_the_deploy(project: Project, old: str, new: str, name: str) -> None:
    elsewhere = project.root / "apps" / "site"
    compose(project, elsewhere, files={"compose.yaml": f"services:\n{service('web', old)}", "data/db": "kept"})
    was = seen(project)
    write(project, service(name, new + NEW))
    ran = tow(project, "deploy")
    assert (ran.code, seen(project)) == (1, was), ran.err
    assert "would not find what is in" in ran.err
    ran = tow(project, "adopt")
    assert ran.code == 0, ran.err
    assert (project.live() / "data/db").read_text() == "kept"


def test_what_the_new_containers_wrote_to_copied_data_is_set_aside(project: Project) -> None:
    elsewhere = project.root / "apps" / "site"
    compose(project, elsewhere, files={"compose.yaml": f"services:\n{service('web', DATA)}", "data/db": "kept"})
    writes = service("web", DATA + BAD).replace("sleep 600", "sh -c 'echo order >/data/order; exec sleep 600'")
    write(project, writes)
    ran = tow(project, "adopt", "--timeout=15")
    assert ran.code == 5, ran.err
    assert [path.read_text() for path in project.live().rglob("order")] == ["order\n"]
    assert "data.before-" in ran.err
    assert inside(project, "/data/db") == "kept"


def test_volume_is_no_folder_to_be_moved(project: Project) -> None:
    text = f"services:\n{service('web', DATA.replace('./data', 'vol'))}volumes: {{vol: {{}}}}\n"
    compose(project, project.root / "apps" / "site", files={"compose.yaml": text})
    docker("exec", project.containers()["web"], "sh", "-c", "echo kept >/data/db")
    write(project, service("web", DATA + NEW))
    tow(project, "adopt", "--move")
    volume = f"{project.name('web')}_vol"
    assert docker("run", "--rm", "--volume", f"{volume}:/v", BASE, "cat", "/v/db") == "kept"


@pytest.mark.parametrize("move", [False, True])
def test_data_comes_into_a_folder_that_is_there_with_owners_and_odd_names(project: Project, move: bool) -> None:
    elsewhere, live = project.root / "apps" / "site", project.live()
    files = {"data/db": "kept", "data/sub/x": "1", "data/a\\b c": "2"}
    compose(project, elsewhere, files={"compose.yaml": f"services:\n{service('web', DATA)}", **files})
    os.chown(elsewhere / "data/db", 999, 999)
    (elsewhere / "data/sub").chmod(0o700)
    (elsewhere / "data/empty").mkdir()
    (live / "data").mkdir(parents=True)
    (live / "data/other").write_text("somebody's")
    write(project, service("web", DATA + NEW))
    ran = tow(project, "adopt", *(["--move"] if move else []))
    assert ran.code == 0, ran.err
    assert ((live / "data/db").stat().st_uid, (live / "data/sub").stat().st_mode & 0o777) == (999, 0o700)
    assert (live / "data/empty").is_dir()
    assert (live / "data/a\\b c").read_text() == "2"


@pytest.mark.parametrize("when", ["bring", "undo"])
def test_symlink_in_the_data_leads_nobody_to_the_host_s_files(project: Project, tmp_path: Path, when: str) -> None:
    elsewhere, victim = project.root / "apps" / "site", tmp_path / "victim"
    victim.mkdir()
    (victim / "passwd").write_text("the host's own")
    files = {"data/sub/passwd": "site's", "data/db": "kept"}
    compose(project, elsewhere, files={"compose.yaml": f"services:\n{service('web', DATA)}", **files})
    (project.live() / "data").mkdir(parents=True)
    (project.live() / "data/other").write_text("x")
    web = service("web", DATA + NEW)
    if when == "bring":
        (project.live() / "data/sub").symlink_to(victim)
    else:
        web = service("web", DATA + BAD).replace(
            "sleep 600", f"sh -c 'rm -rf /data/sub; ln -s {victim} /data/sub; sleep 600'"
        )
    write(project, web)
    ran = tow(project, "adopt", "--timeout=15")
    assert ran.code == 5, ran.err
    assert (victim / "passwd").read_text() == "the host's own"


def test_folder_that_is_a_disk_s_stays_where_it_is(project: Project) -> None:
    elsewhere = project.root / "apps" / "site"
    (elsewhere / "data").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "towline", elsewhere / "data"], check=True)
    try:
        compose(project, elsewhere, files={"compose.yaml": f"services:\n{service('web', DATA)}", "data/db": "kept"})
        write(project, service("web", DATA + NEW))
        ran = tow(project, "adopt", "--move", "--timeout=15")
        assert (ran.code, inside(project, "/data/db")) == (0, "kept"), ran.err
    finally:
        project.clear()
        subprocess.run(["umount", "--lazy", elsewhere / "data"], check=True)


def test_secret_file_comes_along(project: Project) -> None:
    secret, top = "    secrets: [s]\n", "secrets: {s: {file: ./s.txt}}\n"
    elsewhere = project.root / "apps" / "site"
    compose(project, elsewhere, files={"compose.yaml": f"services:\n{service('web', secret)}{top}", "s.txt": "kept"})
    write(project, service("web", secret + NEW), more=top)
    ran = tow(project, "adopt")
    assert (ran.code, inside(project, "/run/secrets/s")) == (0, "kept"), ran.err


@pytest.mark.parametrize("how", ["files", "env file"])
def test_fetched_project_is_the_one_that_ran(project: Project, how: str) -> None:
    """With several compose files, or an --env-file."""
    text = "services:\n" + service("web", '    environment: ["MODE=${MODE:-none}"]\n')
    files = {
        "compose.yaml": text,
        "prod.yaml": "services: {web: {environment: [MODE=prod]}}\n",
        "prod.env": "MODE=prod\n",
    }
    words = {"files": ("--file", "compose.yaml", "--file", "prod.yaml"), "env file": ("--env-file", "prod.env")}
    compose(project, project.root / "apps" / "site", *words[how], files=files)
    ran = tow(project, "adopt")
    assert ran.code == 0, ran.err
    assert "MODE=prod" in docker("inspect", "--format", "{{.Config.Env}}", project.containers()["web"])


def test_values_of_the_env_file_there_are_told_to_nobody(project: Project) -> None:
    files = {"compose.yaml": f"services:\n{service('web')}", ".env": "TOKEN=hunter2hunter2\n"}
    compose(project, project.live(), files=files)
    (project.live() / "compose.yaml").write_text("services:\n" + service("web", '    mem_limit: "${TOKEN}"\n'))
    write(project, service("web", NEW))
    for ran in (project.tow("plan", f"--stack={project.name('web')}", "--diff"), tow(project, "deploy")):
        assert ran.code == 0, ran.err
        assert "hunter2hunter2" not in ran.err + ran.out
