"""--service: only the chosen services change; what is due for others waits for another deploy."""

from __future__ import annotations

from tests.conftest import BASE
from tests.e2e.conftest import Project, docker

COMPOSE = f"""
services:
  one: {{image: {BASE}, init: true, command: [sleep, "600"], environment: [A=VALUE], volumes: ["./one:/conf:ro"]}}
  two: {{image: {BASE}, init: true, command: [sleep, "600"], environment: [A=VALUE], volumes: ["./two:/conf:ro"]}}
  own: {{build: own, init: true, command: [sleep, "600"]}}
  old: {{image: {BASE}, init: true, command: [sleep, "600"]}}
x-towline: {{watch: 0, strategy: STRATEGY}}
"""


def write(project: Project, value: str, strategy: str = "recreate", without: str = "") -> None:
    text = COMPOSE.replace("VALUE", value).replace("STRATEGY", strategy)
    text = "".join(line for line in text.splitlines(keepends=True) if not without or f"  {without}:" not in line)
    files = {"one/a": value, "two/a": value, "own/Dockerfile": f"FROM {BASE}\nCOPY a /a\n", "own/a": value}
    project.write("web", {"compose.yaml": text, **files})


def seen(project: Project) -> dict[str, str]:
    """Service → the value that its environment or image has, and the one in its mounted file."""
    asked = {"one": "echo $A; cat /conf/a", "two": "echo $A; cat /conf/a", "own": "cat /a"}
    found = project.containers()
    return {name: docker("exec", found[name], "sh", "-c", text).replace("\n", " ") for name, text in asked.items()}


def test_only_the_chosen_services_and_their_files_change(project: Project) -> None:
    stack = f"--stack={project.name('web')}"
    write(project, "v1")
    ran = project.tow("deploy", stack, "--service=one")
    assert ran.code == 1
    assert "no release is live, so no service can be deployed alone" in ran.err
    assert project.tow("deploy", stack).code == 0
    before = project.containers()

    write(project, "v2", without="old")
    ran = project.tow("plan", stack, "--service=one", "--service=own")
    assert (ran.code, "left for another deploy: two (recreate), old (remove)" in ran.err) == (0, True), ran.err
    ran = project.tow("deploy", stack, "--service=one", "--service=own")
    assert ran.code == 0, ran.err
    assert "left for another deploy: two (recreate), old (remove)" in ran.err
    assert seen(project) == {"one": "v2 v2", "two": "v1 v1", "own": "v2"}
    after = project.containers()
    assert {name for name in after if after[name] != before.get(name)} == {"one", "own"}
    assert after.keys() == before.keys()

    ran = project.tow("deploy", stack, "--service=twoo")
    assert ran.code == 2
    assert ran.err == f"error: --service=twoo: {project.name('web')} has no such service; did you mean two?\n"
    ran = project.tow("plan", stack)
    assert "two" in ran.err
    assert project.tow("plan", stack, "--check").code == 10
    write(project, "v2", strategy="update", without="old")
    ran = project.tow("deploy", stack)
    assert ran.code == 0, ran.err
    assert seen(project) == {"one": "v2 v2", "two": "v2 v2", "own": "v2"}
    assert project.containers().keys() == {"one", "two", "own"}
    assert project.containers()["one"] == after["one"]


def test_a_chosen_service_that_fails_is_put_back_and_the_others_are_not_touched(project: Project) -> None:
    stack = f"--stack={project.name('web')}"
    write(project, "v1")
    assert project.tow("deploy", stack).code == 0
    before = project.containers()
    write(project, "v2")
    file = project.folder / "stacks" / project.name("web") / "compose.yaml"
    file.write_text(file.read_text().replace('command: [sleep, "600"]', "command: [nowhere]", 1))
    ran = project.tow("deploy", stack, "--service=one", "--timeout=3")
    assert ran.code == 5, ran.err
    assert seen(project) == {"one": "v1 v1", "two": "v1 v1", "own": "v1"}
    after = project.containers()
    assert {name: after[name] for name in ("two", "own", "old")} == {
        name: before[name] for name in ("two", "own", "old")
    }


def test_service_whose_profile_is_off_is_not_deployed_in_silence(project: Project) -> None:
    off = f"  dbg: {{image: {BASE}, profiles: [debug], command: [sleep, '600']}}\n"
    write(project, "v1")
    project.write(
        "web", {"compose.yaml": COMPOSE.replace("STRATEGY", "recreate").replace("x-towline", f"{off}x-towline")}
    )
    assert project.tow("deploy", f"--stack={project.name('web')}").code == 0
    ran = project.tow("deploy", f"--stack={project.name('web')}", "--service=dbg")
    assert ran.code != 0
    assert "dbg: its profile is not active (debug)" in ran.err
