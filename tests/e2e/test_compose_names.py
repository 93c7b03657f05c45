"""What Compose takes and Docker's tags, volumes and networks do not take in the same way."""

from __future__ import annotations

from tests.e2e.conftest import BASE, Project, docker

APP = """
services:
  API:
    image: {name}-api
    build: .
    init: true
    command: sleep {seconds}
    volumes: ["./data:/app/data", "share:/share"]
    networks: [net]
volumes: {share: {driver_opts: {type: none, o: bind, device: "{share}"}}}
networks: {net: {name: "{name}-net", labels: {step: "{step}"}}}
x-towline: {watch: 0}
"""
DOCKERFILE = f"FROM {BASE}\nWORKDIR /app\nCOPY . .\n"
USER = f"""
services: {{web: {{image: {BASE}, init: true, command: sleep 600, networks: [net]}}}}
networks: {{net: {{name: "{{name}}-net", external: true}}}}
x-towline: {{watch: 0}}
"""


def fill(text: str, **values: str) -> str:
    for key, value in values.items():
        text = text.replace("{" + key + "}", value)
    return text


def write(project: Project, seconds: str = "600", share: str = "one", step: str = "1") -> None:
    values = {"name": project.name("web"), "seconds": seconds, "share": f"{project.root}/{share}", "step": step}
    project.write("web", {"compose.yaml": fill(APP, **values), "Dockerfile": DOCKERFILE, "app.sh": f"# {seconds}\n"})


def test_a_service_in_capitals_is_built_once_kept_and_gone_back_to(project: Project) -> None:
    stack, user = f"--stack={project.name('web')}", f"--stack={project.name('user')}"
    for name in ("one", "two"):
        (project.root / name).mkdir()
    write(project)
    ran = project.tow("deploy", stack)
    assert ran.code == 0, ran.err
    # the container's data, which this login could not even read, is no part of the second build
    docker("exec", project.containers()["API"], "sh", "-c", "echo secret >data/db; chmod 0 data/db")
    write(project, seconds="601")
    ran = project.tow("deploy", stack)
    assert ran.code == 0, ran.err
    image = f"{project.name('web')}-api"
    assert docker("run", "--rm", image, "ls").split() == ["Dockerfile", "app.sh", "compose.yaml"]
    ran = project.tow("rollback", stack)
    assert ran.code == 0, ran.err
    assert docker("inspect", "--format", "{{.Config.Cmd}}", project.containers()["API"]) == "[sleep 600]"
    # other options: named before anything stops
    project.write("user", {"compose.yaml": fill(USER, name=project.name("web"))})
    ran = project.tow("deploy", user)
    assert ran.code == 0, ran.err
    write(project, share="two", step="2")
    ran = project.tow("deploy", stack, "--yes")
    assert ran.code == 1, ran.err
    assert f"volume-options: the volume {project.name('web')}_share keeps its old options" in ran.err
    assert f"nothing has been touched: the network {project.name('web')}-net gets other options (labels)" in ran.err
    assert f"{project.name('user')}-web-1" in ran.err
