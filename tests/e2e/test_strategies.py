"""`strategy: update` on a real engine: only what must change is changed, the plan said so, and what fails goes back."""

from __future__ import annotations

import functools
import json
import re
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.conftest import Ran
from tests.e2e.conftest import BASE, Project, docker, free_port
from towline.sandbox.wait import wait_until

HEALTH = """
x-health: &health
  test: [CMD, test, -e, /bin/sh]
  interval: 2s
  retries: 3
  start_period: 30s
  start_interval: 200ms
x-idle: &idle
  init: true
  command: sleep 600
  healthcheck: *health
  stop_grace_period: 1s
"""

# A service for each kind of input, or two.
GROUP = """
  web{n}:
    <<: *idle
    build: app{n}
  pages{n}:
    <<: *idle
    image: busybox:1.37
    volumes: ["./conf{n}/pages.conf:/etc/pages.conf:ro", "./pages{n}:/www:ro"]
  words{n}:
    <<: *idle
    image: busybox:1.37
    env_file: words{n}.env
  dot{n}:
    <<: *idle
    image: busybox:1.37
    environment: {{WORD: "${{WORD{n}}}"}}
  keys{n}:
    <<: *idle
    image: busybox:1.37
    configs: [settings{n}]
    secrets: [token{n}]
  plain{n}:
    <<: *idle
    image: {image}
    labels: {{meaning: "{label}"}}
"""
END = """
configs: {settings1: {file: ./conf1/settings.ini}, settings2: {file: ./conf2/settings.ini}}
secrets: {token1: {file: ./conf1/token}, token2: {file: ./conf2/token}}
x-towline: {strategy: update}
"""


def twelve(image: str = BASE, label: str = "old") -> str:
    """The compose file: six services, and the same six again, which nothing here changes."""
    first, second = GROUP.format(n=1, image=image, label=label), GROUP.format(n=2, image=BASE, label="old")
    return f"{HEALTH}services:{first}{second}{END}"


def files(n: int) -> dict[str, str]:
    return {
        f"app{n}/Dockerfile": f"FROM {BASE}\nCOPY index.html /www/\n",
        f"app{n}/index.html": "v1\n",
        f"app{n}/README.md": "one\n",
        f"conf{n}/pages.conf": "one\n",
        f"pages{n}/deep/a.html": "one\n",
        f"words{n}.env": "COLOUR=red\n",
        f"conf{n}/settings.ini": "one\n",
        f"conf{n}/token": "token-one\n",
    }


FILES: dict[str, str] = {**files(1), **files(2), ".env": "WORD1=one\nWORD2=one\n"}
DOCKERFILE = f"FROM {BASE}\nCOPY index.html /www/\nENV MORE=1\n"
Changes = Mapping[str, tuple[Mapping[str, str], Mapping[str, list[str]]]]

# What is changed → the files that do it, and whom it concerns, why. Kinds at once are of services that share nothing.
CHANGES: Changes = {
    "source, env_file, label": (
        {"app1/index.html": "v2\n", "words1.env": "COLOUR=blue\n", "compose.yaml": twelve(label="new")},
        {"web1": ["app1/index.html"], "words1": ["environment: COLOUR"], "plain1": ["labels: meaning"]},
    ),
    "Dockerfile, a value of .env, a file that no COPY takes": (
        {"app1/Dockerfile": DOCKERFILE, ".env": "WORD1=two\nWORD2=one\n", "app2/README.md": "two\n"},
        {"web1": ["app1/Dockerfile"], "dot1": ["environment: WORD"]},
    ),
    "bind file, config": (
        {"conf1/pages.conf": "two\n", "conf1/settings.ini": "two\n"},
        {"pages1": ["conf1/pages.conf"], "keys1": ["conf1/settings.ini"]},
    ),
    "bind folder, secret, image tag": (
        {"pages1/deep/a.html": "two\n", "conf1/token": "token-two\n", "compose.yaml": twelve("{retagged}", "new")},
        {"pages1": ["pages1/deep/a.html"], "keys1": ["conf1/token"], "plain1": [f"image {BASE} → {{retagged}}"]},
    ),
}
# What a container sees at the end: a new id alone does not tell that it has the new content.
SEEN = {
    "web1": ("cat /www/index.html; echo $MORE", "v2\n1"),
    "pages1": ("cat /etc/pages.conf /www/deep/a.html", "two\ntwo"),
    "words1": ("echo $COLOUR", "blue"),
    "dot1": ("echo $WORD", "two"),
    "keys1": ("cat /settings1 /run/secrets/token1", "two\ntoken-two"),
}

ALONE = """
services:
  web:
    <<: *idle
    build: app1
    image: {image}
    labels: {{meaning: "{label}"}}
    env_file: words1.env
    environment: {{WORD: "${{WORD1}}"}}
    volumes: ["./conf1/pages.conf:/etc/pages.conf:ro", "./pages1:/www2:ro"]
    configs: [settings]
    secrets: [token]
configs: {{settings: {{file: ./conf1/settings.ini}}}}
secrets: {{token: {{file: ./conf1/token}}}}
x-towline: {{strategy: update}}
"""


def alone(image: str, label: str = "old") -> str:
    return HEALTH + ALONE.format(image=image, label=label)


CHANGES_ALONE: Changes = {
    "source, Dockerfile": (
        {"app1/index.html": "v2\n", "app1/Dockerfile": DOCKERFILE},
        {"web": ["app1/Dockerfile", "app1/index.html"]},
    ),
    "bind file, bind folder, config, secret": (
        dict.fromkeys(("conf1/pages.conf", "pages1/deep/a.html", "conf1/settings.ini", "conf1/token"), "two\n"),
        {"web": ["conf1/pages.conf", "pages1/deep/a.html", "conf1/settings.ini", "conf1/token"]},
    ),
    "env_file, a value of .env, label, image tag": (
        {"words1.env": "COLOUR=blue\n", ".env": "WORD1=two\n", "compose.yaml": alone("{built}-2", "new")},
        {"web": ["image {built} → {built}-2", "environment: COLOUR, WORD", "labels: meaning"]},
    ),
}


@pytest.fixture
def retagged(project: Project) -> Iterator[str]:
    """A local name of the tests' image."""
    name = f"{project.name('busybox')}:2"
    docker("tag", BASE, name)
    yield name
    project.clear()
    docker("rmi", name, check=False)


def acting(ran: Ran) -> dict[str, str]:
    """Service → action, of the plan's services that something happens to."""
    (plan,) = json.loads(ran.out)
    return {one["name"]: one["action"] for one in plan["services"] if one["action"] != "unchanged"}


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def deploy_change(
    project: Project, what: str, files: Mapping[str, str], expected: dict[str, str]
) -> dict[str, list[str]]:
    """Plan, deploy and plan again: the plan has these actions, only what it replaces is new after it, and then it is empty.

    Answers with the plan's reasons.
    """
    stack = f"--stack={project.name('web')}"
    before = project.containers()
    project.write("web", dict(files))
    ran = project.tow("plan", stack, "--format=json", "deploy", stack, "plan", stack, "--check")
    assert ran.code == 0, (what, ran.err)
    assert acting(ran) == expected, what
    (plan,) = json.loads(ran.out)
    assert not plan["empty"], what
    replaced = {name for name, action in expected.items() if action in ("rebuild", "recreate")}
    assert changed(before, project.containers()) == replaced, what
    return {one["name"]: one["reasons"] for one in plan["services"] if one["reasons"]}


def deploy_changes(project: Project, changes: Changes, builds: str, **names: str) -> None:
    """Each of them in turn; names: what stands in braces in the files and reasons."""

    def filled(text: str) -> str:
        return functools.reduce(lambda done, name: done.replace(f"{{{name}}}", names[name]), names, text)

    for what, (files, concerns) in changes.items():
        reasons = {name: list(map(filled, texts)) for name, texts in concerns.items()}
        built = {name for name in concerns if name == builds and re.search(r"app1/|→", str(reasons[name]))}
        expected = {name: "rebuild" if name in built else "recreate" for name in concerns}
        said = deploy_change(project, what, {path: filled(text) for path, text in files.items()}, expected)
        assert said == reasons, what


def test_each_kind_of_change_recreates_exactly_the_services_concerned_of_twelve(
    project: Project, retagged: str
) -> None:
    project.write("web", FILES | {"compose.yaml": twelve()})
    ran = project.tow("deploy", f"--stack={project.name('web')}", "plan", f"--stack={project.name('web')}", "--check")
    assert ran.code == 0, ran.err
    assert len(project.containers()) == 12
    deploy_changes(project, CHANGES, "web1", retagged=retagged)
    containers = project.containers()
    seen = {name: docker("exec", containers[name], "sh", "-c", command) for name, (command, _) in SEEN.items()}
    assert seen == {name: text for name, (_, text) in SEEN.items()}


def test_each_kind_of_change_recreates_the_service_of_a_stack_of_one(project: Project) -> None:
    built = f"{project.name('web')}-own:1"  # of a name that is cleared away
    project.write("web", files(1) | {".env": "WORD1=one\n", "compose.yaml": alone(built)})
    assert project.tow("deploy", f"--stack={project.name('web')}").code == 0
    deploy_changes(project, CHANGES_ALONE, "web", built=built)


TIED = (
    HEALTH
    + """
services:
  base:
    <<: *idle
    image: busybox:1.37
    labels: {{meaning: "{label}"}}
  waits:
    <<: *idle
    image: busybox:1.37
    networks: [side]
    depends_on: {{base: {{condition: service_started, restart: true}}}}
  lives:
    <<: *idle
    image: busybox:1.37
    network_mode: service:waits
  keys:
    <<: *idle
    image: busybox:1.37
    network_mode: none
    secrets: [token]
    volumes: ["./conf:/conf:ro"]
networks: {{side: {{labels: {{meaning: "{network}"}}}}}}
secrets: {{token: {{environment: TOKEN}}}}
x-towline: {{strategy: update{reload}}}
"""
)


def tied(label: str = "1", network: str = "1", reload: str = "") -> dict[str, str]:
    return {"compose.yaml": TIED.format(label=label, network=network, reload=reload)}


def started(project: Project) -> dict[str, str]:
    """Service → when its container was started, without the Z: texts in the order of time."""
    found = project.containers()
    return {name: docker("inspect", "-f", "{{.State.StartedAt}}", container)[:-1] for name, container in found.items()}


def test_what_is_tied_to_others_is_restarted_or_left_alone_as_the_plan_says(project: Project) -> None:
    project.write("web", {**tied(), ".env": "TOKEN=one\n", "conf/x": "one\n"})
    assert project.tow("deploy", f"--stack={project.name('web')}").code == 0

    actions = {"base": "recreate", "waits": "restart", "lives": "restart"}
    first = started(project)
    deploy_change(project, "what is depended on", tied(label="2"), actions)
    second = started(project)
    assert second["base"] < second["waits"] < second["lives"]
    assert {name for name in first if first[name] != second[name]} == actions.keys()

    both = {**tied("2", "2"), ".env": "TOKEN=one\nMORE=1\n"}
    deploy_change(project, "a network, and a variable that nobody has", both, {"waits": "restart", "lives": "restart"})
    third = started(project)
    assert second["waits"] < third["waits"] < third["lives"]
    assert third["base"] == second["base"]
    assert "eth0" in docker("exec", project.containers()["lives"], "cat", "/proc/net/dev")

    deploy_change(project, "a secret's variable", {".env": "TOKEN=two\nMORE=1\n"}, {"keys": "recreate"})
    assert docker("exec", project.containers()["keys"], "cat", "/run/secrets/token") == "two"
    deploy_change(project, "reload", tied("2", "2", ", reload: {keys: HUP}"), {"keys": "recreate"})


RELOADING = (
    HEALTH
    + """
services:
  web:
    <<: *idle
    image: busybox:1.37
    command: ["sh", "-c", "trap 'cat /conf/x >> /data/got' HUP; while :; do sleep 600 & wait; done"]
    volumes: ["./conf:/conf:ro", "./data:/data"]
  other:
    <<: *idle
    image: busybox:1.37
x-towline: {strategy: update, reload: {web: HUP}}
"""
)


def test_a_service_that_reloads_gets_its_signal_on_every_way_and_one_that_is_taken_out_goes(project: Project) -> None:
    stack = f"--stack={project.name('web')}"
    project.write("web", {"compose.yaml": RELOADING, "conf/x": "one\n"})
    assert project.tow("deploy", stack).code == 0
    before, got = project.containers(), project.live() / "data/got"

    def has_read(text: str) -> bool:
        return wait_until(lambda: got.exists() and got.read_text() == text, 5)

    project.write("web", {"conf/x": "two\n"})
    planned = project.tow("plan", stack, "--format=json", "--check")
    assert (planned.code, acting(planned)) == (10, {"web": "reload"})
    ran = project.tow("deploy", stack, "plan", stack, "--check")
    assert ran.code == 0, ran.err
    assert project.containers() == before
    assert has_read("two\n"), got.read_text()

    # put back: what was told of the new file is told of the old one
    second = "  other:\n    <<: *idle\n"
    assert second in RELOADING
    sick = RELOADING.replace(second, f"{second}    command: sh -c 'exit 3'\n")
    project.write("web", {"conf/x": "three\n", "compose.yaml": sick})
    ran = project.tow("deploy", stack)
    assert ran.code == 5, ran.err
    assert has_read("two\nthree\ntwo\n"), got.read_text()
    assert project.containers()["web"] == before["web"]

    ran = project.tow("rollback", stack)
    assert ran.code == 0, ran.err
    assert has_read("two\nthree\ntwo\none\n"), got.read_text()
    assert project.containers()["web"] == before["web"]

    compose = RELOADING.replace(f"{second}    image: busybox:1.37\n", "")
    project.write("web", {"conf/x": "one\n", "compose.yaml": compose})
    planned = project.tow("plan", stack, "--format=json", "--check")
    assert (planned.code, acting(planned)) == (10, {"other": "remove"})
    ran = project.tow("deploy", stack, "plan", stack, "--check")
    assert ran.code == 0, ran.err
    assert project.containers() == {"web": before["web"]}


BESIDE = """
  beside:
    image: busybox:1.37
    init: true
    command: sleep 600
x-towline: {strategy: update}
"""


def write_beside(project: Project, text: str, old: str = "", new: str = "", **more: str) -> Path:
    """The page's stack with a service beside it, under `update`; with `new` for `old` in its compose file."""
    folder = project.write_page(text=text, **more)
    compose = (folder / "compose.yaml").read_text() + BESIDE.lstrip("\n")
    assert old in compose
    (folder / "compose.yaml").write_text(compose.replace(old, new) if old else compose)
    return folder


SICK = {
    "unhealthy": (
        "command: httpd -f -p 8080 -h /www",
        "command: sh -c 'echo I serve nothing; sleep 600'",
        "I serve nothing",
    ),
    "crashing": ("command: httpd -f -p 8080 -h /www", "command: sh -c 'echo cannot start; exit 3'", "cannot start"),
}


@pytest.mark.parametrize("kind", SICK)
def test_an_update_that_never_gets_healthy_is_put_back_and_others_are_not_touched(project: Project, kind: str) -> None:
    stack = f"--stack={project.name('web')}"
    write_beside(project, "old\n")
    assert project.tow("deploy", stack).code == 0
    before = project.containers()
    old, new, said = SICK[kind]
    write_beside(project, "new\n", old, new)
    ran = project.tow("deploy", stack, "--timeout=3")
    assert ran.code == 5, ran.err
    assert f"web │ {said}" in ran.err
    assert project.page() == "old\n"
    assert project.containers()["beside"] == before["beside"]
    assert project.tow("plan", stack, "--check").code == 10


def test_a_deploy_that_is_down_for_longer_than_allowed_is_put_back(project: Project) -> None:
    stack = f"--stack={project.name('web')}"
    project.write_page(text="old\n")
    assert project.tow("deploy", stack, "--max-downtime=0").code == 0
    project.write_page(text="new\n")
    ran = project.tow("deploy", stack, "--max-downtime=0", "--cache", "--verbose")
    assert ran.code == 5, ran.err
    assert "failed at 'downtime'" in ran.err
    assert "web was down for " in ran.err
    assert project.page() == "old\n"


def refused_for_its_port(project: Project, port: int) -> str:
    """What a deploy says that wants a port which is taken: it has put nothing and started nothing."""
    project.ports["web"] = port
    project.write_page()
    ledger = project.folder.parent / "ledger"
    ran = project.tow("deploy", f"--stack={project.name('web')}", f"--ledger={ledger}")
    assert ran.code == 1, ran.err
    names = [entry.get("name") for entry in map(json.loads, ledger.read_text().splitlines())]
    assert "upload" not in names
    assert "run" not in names
    assert not project.live().exists()
    assert not (project.state() / "releases").exists()
    assert project.containers() == {}
    return ran.err


def test_a_port_of_another_container_stops_the_deploy_before_anything_is_touched(project: Project) -> None:
    port, name = free_port(), project.name("holder")
    docker("run", "-d", "--init", "--name", name, "-p", f"127.0.0.1:{port}:80", BASE, "sleep", "60")
    try:
        said = refused_for_its_port(project, port)
        assert f"web: port 127.0.0.1:{port}/tcp is taken by container {name}" in said
        assert "nothing has been touched" in said
        assert docker("inspect", "-f", "{{.State.Running}}", name) == "true"
    finally:
        docker("rm", "-f", name, check=False)


def test_a_port_of_another_program_stops_the_deploy_and_a_running_release_stays(project: Project) -> None:
    with socket.create_server(("127.0.0.1", 0)) as program:
        said = refused_for_its_port(project, program.getsockname()[1])
        assert "is taken by another program" in said
    stack = f"--stack={project.name('web')}"
    assert project.tow("deploy", stack).code == 0
    before, releases = project.containers(), sorted((project.state() / "releases").iterdir())
    with socket.create_server(("127.0.0.1", 0)) as program:
        taken = program.getsockname()[1]
        folder = project.write_page(text="new\n")
        compose = (folder / "compose.yaml").read_text()
        (folder / "compose.yaml").write_text(compose.replace(str(project.ports["web"]), str(taken)))
        ran = project.tow("deploy", stack)
    assert ran.code == 1
    assert (project.containers(), project.page()) == (before, "v1\n")
    assert sorted((project.state() / "releases").iterdir()) == releases


def test_a_plan_s_diff_shows_neither_the_secrets_of_here_nor_those_of_there(project: Project) -> None:
    compose = """
        services:
          web: {image: "busybox:1.37", init: true, command: sleep 600, env_file: web.env, secrets: [token]}
        secrets: {token: {file: ./token}}
        """
    stack, secret = f"--stack={project.name('web')}", "correct-horse"
    texts = {".env": "A_PASSWORD={}-a\n", "web.env": "WEB_KEY={}-b\nLEVEL={}\n", "token": "{}-c\n"}

    def write(word: str) -> None:
        filled = {path: text.replace("{}-", f"{word}-{secret}-").replace("{}", word) for path, text in texts.items()}
        project.write("web", {"compose.yaml": compose, **filled})

    write("old")
    assert project.tow("deploy", stack).code == 0
    write("new")
    ran = project.tow("plan", stack, "--diff")
    assert ran.code == 0, ran.err
    for line in ("-A_PASSWORD=[secret]", "+WEB_KEY=[secret]", "-LEVEL=old", "+LEVEL=new", "+[secret]"):
        assert line in ran.err
    assert ran.err.count("[secret]") == 6
    assert secret not in ran.err + ran.out
