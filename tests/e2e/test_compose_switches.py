"""Compose's own switches: which files, project and profiles count is what `docker compose` in the stack's folder would take."""

from __future__ import annotations

import subprocess

from tests.e2e.conftest import BASE, Project, docker

BASIC = f"""
name: ${{STACK:-nobody}}
services:
  web: {{image: {BASE}, init: true, command: sleep 600, environment: {{MODE: dev}}, volumes: ["data:/data"]}}
  worker: {{image: {BASE}, init: true, command: sleep 600, profiles: [jobs]}}
volumes: {{data: {{}}}}
x-towline: {{strategy: update, watch: 0}}
"""
OVER = "services: {web: {environment: {MODE: {mode}}}}\n"


def environment(project: Project) -> str:
    return docker("inspect", "--format", "{{.Config.Env}}", project.containers()["web"])


def write(project: Project, profiles: str, mode: str) -> None:
    name = project.name("web")
    env = f"STACK={name}\nCOMPOSE_PATH_SEPARATOR=,\nCOMPOSE_FILE=base.yaml,prod.yaml\nCOMPOSE_PROFILES={profiles}\n"
    project.write("web", {"base.yaml": BASIC, "prod.yaml": OVER.replace("{mode}", mode), ".env": env})


def test_switches_of_the_env_count_as_for_compose_itself(project: Project) -> None:
    write(project, "jobs", "prod")
    stack = f"--stack={project.name('web')}"
    # somebody ran it before by Compose alone: the same project, so the same volume
    by_hand = ("docker", "compose", "up", "--detach", "web")
    subprocess.run(by_hand, cwd=project.folder / "stacks" / project.name("web"), check=True, capture_output=True)
    subprocess.run(["docker", "exec", project.containers()["web"], "touch", "/data/kept"], check=True)
    ran = project.tow("deploy", stack, "--yes")
    assert ran.code == 0, ran.err
    assert sorted(project.containers()) == ["web", "worker"]
    assert "MODE=prod" in environment(project)
    assert docker("exec", project.containers()["web"], "ls", "/data") == "kept"
    # an edit of the second file counts, and the profile that is gone takes its container along
    write(project, "", "prod2")
    ran = project.tow("plan", stack)
    assert "web     recreate (environment: MODE)" in ran.err
    ran = project.tow("deploy", stack)
    assert ran.code == 0, ran.err
    assert "✓ remove worker" in ran.err
    assert list(project.containers()) == ["web"]
    assert "MODE=prod2" in environment(project)
    # and it comes back with the release that had it
    ran = project.tow("rollback", stack)
    assert ran.code == 0, ran.err
    assert sorted(project.containers()) == ["web", "worker"]


def test_a_plan_goes_on_after_a_stack_that_compose_rejects(project: Project) -> None:
    project.write("bad", {"compose.yaml": f"services:\n  web:\n    image: {BASE}\n    memlimit: 1\n"})
    project.write("good", {"compose.yaml": f"services: {{web: {{image: {BASE}}}}}\n"})
    ran = project.tow("plan")
    assert ran.code == 2
    assert f"{project.name('good')} · recreate" in ran.err
    assert (
        f"1 of 2 stacks have no plan:\n  stacks/{project.name('bad')}/compose.yaml:2: docker compose config: "
        in ran.err
    )


def test_env_file_that_is_only_on_the_server_is_used(project: Project) -> None:
    keys = f"image: {BASE}, init: true, command: sleep 600, environment: {{PASS: '${{PASS:?}}'}}, env_file: .env"
    text = f"services: {{web: {{{keys}}}}}\n"
    project.write("web", {"compose.yaml": text + "x-towline: {watch: 0}\n"})
    there = project.root / project.name("web")
    there.mkdir()
    (there / ".env").write_text("PASS=only-there\nMORE=too\n")
    for _ in range(2):
        ran = project.tow("deploy", f"--stack={project.name('web')}", "--yes")
        assert ran.code == 0, ran.err
        assert f"the .env in {there} on the server is used" in ran.err
        project.write("web", {"compose.yaml": text.replace("600", "601") + "x-towline: {watch: 0}\n"})
    assert "MORE=too" in environment(project)
    ran = project.tow("rollback", f"--stack={project.name('web')}")
    assert ran.code == 0, ran.err
    assert "PASS=only-there" in environment(project)
    assert (there / ".env").read_text() == "PASS=only-there\nMORE=too\n"
