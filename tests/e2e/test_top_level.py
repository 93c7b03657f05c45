"""A compose file at the repository's top, beside a stack that shares its files, deployed as they are."""

from __future__ import annotations

from tests.conftest import BASE
from tests.e2e.conftest import Project, clear_project, docker

TOP = """
name: PREFIX-top
include: [extra/compose.yaml]
services:
  app:
    build: .
    init: true
    command: [sleep, "600"]
    environment: [WHO, STAGE]
    volumes: ["./conf:/conf:ro"]
"""
EXTRA = f"services: {{extra: {{image: {BASE}, init: true, command: [sleep, '600'], env_file: extra.env}}}}\n"
BASED = """
services:
  job:
    build: {context: ../.., dockerfile: stacks/PREFIX-job/Dockerfile}
    init: true
    command: [sleep, "600"]
    environment: [WHO]
    volumes: ["../../conf:/conf:ro"]
x-towline: {base: ../.., watch: 0}
"""


def test_stacks_that_share_the_repositorys_files_are_deployed_as_they_are(project: Project) -> None:
    folder, prefix = project.folder, project.prefix
    files = {
        "compose.yaml": TOP,
        "compose.prod.yaml": "services: {app: {environment: {STAGE: prod}}}\nx-towline: {watch: 0}\n",
        ".env": "COMPOSE_FILE=compose.yaml:compose.prod.yaml\nWHO=top\n",
        "Dockerfile": f"FROM {BASE}\nCOPY src /srv\n",
        "src/a": "one",
        "conf/c": "shared",
        "extra/compose.yaml": EXTRA,
        "extra/extra.env": "WHO=extra\n",
        "unused/x": "",
        f"stacks/{prefix}-job/compose.yaml": BASED,
        f"stacks/{prefix}-job/Dockerfile": f"FROM {BASE}\nCOPY src /job\n",
        f"stacks/{prefix}-job/.env": "WHO=job\n",
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text.replace("PREFIX", prefix))
    try:
        ran = project.tow("deploy-all")
        assert ran.code == 0, ran.err
        app, job = project.containers("top"), project.containers("job")
        assert app.keys() == {"app", "extra"}
        assert docker("exec", app["app"], "sh", "-c", "echo $WHO $STAGE; cat /srv/a /conf/c") == "top prod\noneshared"
        assert docker("exec", app["extra"], "sh", "-c", "echo $WHO") == "extra"
        assert docker("exec", job["job"], "sh", "-c", "echo $WHO; cat /job/a /conf/c") == "job\noneshared"
        assert not (project.live("top") / "unused").exists()
        ran = project.tow("plan", "--check")
        assert ran.code == 0, ran.err
        ran = project.tow("test-infra")
        assert ran.code == 0, ran.out

        (folder / "src/a").write_text("two")
        ran = project.tow("deploy-all", "--yes")
        assert ran.code == 0, ran.err
        assert docker("exec", project.containers("job")["job"], "cat", "/job/a") == "two"
        ran = project.tow("rollback", f"--stack={prefix}-job")
        assert ran.code == 0, ran.err
        assert docker("exec", project.containers("job")["job"], "cat", "/job/a") == "one"
    finally:
        clear_project(f"{prefix}-top")
