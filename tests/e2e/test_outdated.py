"""Newer images under the same tags: told by `outdated`, taken by --pull, given back by a rollback."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import BASE
from tests.e2e.conftest import Project, docker
from tests.e2e.registry import Registry, running_registry

COMPOSE = """
services:
  app: {{image: "{app}", init: true, command: [sleep, "600"]}}
  same: {{image: "{same}", init: true, command: [sleep, "600"]}}
  pinned: {{image: "{pinned}", init: true, command: [sleep, "600"]}}
x-towline: {{watch: 0, strategy: {strategy}}}
"""


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    folder = tmp_path / "registry"
    folder.mkdir()
    with running_registry(folder) as made:
        yield made
        for image in docker("images", "--format", "{{.Repository}}:{{.Tag}}", f"127.0.0.1:{made.port}/*").splitlines():
            docker("rmi", "-f", image, check=False)


def publish(registry: Registry, tag: str, text: str) -> str:
    """An image whose /text is that, under the tag in the registry and not on the engine; its digest."""
    name = registry.name(tag)
    build = f"FROM {BASE}\nRUN echo {text} >/text\n"
    subprocess.run(["docker", "build", "-q", "-t", name, "-"], input=build.encode(), check=True, capture_output=True)
    digest = registry.push(name, tag)
    docker("rmi", "-f", name)
    return digest


def text(project: Project, service: str = "app") -> str:
    return docker("exec", project.containers()[service], "cat", "/text")


@pytest.mark.parametrize("strategy", ["update", "recreate"])
def test_newer_images_are_told_taken_and_given_back(project: Project, registry: Registry, strategy: str) -> None:
    stack = f"--stack={project.name('web')}"
    old = publish(registry, "app:1", "old")
    same = publish(registry, "same:1", "same")
    names = {"app": registry.name("app:1"), "same": registry.name("same:1"), "pinned": registry.name(f"same@{same}")}
    project.write("web", {"compose.yaml": COMPOSE.format(strategy=strategy, **names)})
    assert project.tow("deploy", stack).code == 0
    assert project.tow("outdated", stack, "--check").code == 0
    before = project.containers()

    new = publish_without_pulling(registry, "app:1", "new")
    ran = project.tow("outdated", stack, "--check", "--format=json")
    assert ran.code == 10, ran.err
    rows = {row["service"]: row for row in json.loads(ran.out)}
    assert rows.keys() == {"app", "same"}
    assert (rows["app"]["here"], rows["app"]["registry"], rows["app"]["outdated"]) == (old[7:19], new[7:19], True)
    assert (rows["same"]["outdated"], rows["same"]["why"]) == (False, "")
    change = f"{names['app']}: {old[7:19]} → {new[7:19]}"
    assert change in project.tow("plan", stack, "--pull").err
    assert project.tow("plan", stack, "--check").code == 0  # without --pull nothing is asked for

    ran = project.tow("deploy", stack, "--pull")
    assert ran.code == 0, ran.err
    assert f"app     recreate ({change})" in ran.err
    assert text(project) == "new"
    assert strategy == "recreate" or project.containers()["same"] == before["same"]
    assert project.tow("plan", stack, "--pull", "--check").code == 0
    assert project.tow("rollback", stack).code == 0
    assert text(project) == "old"


def publish_without_pulling(registry: Registry, tag: str, text: str) -> str:
    """As publish; the engine keeps the image that it has under the tag."""
    beside = tag.replace(":", "-next:")
    digest = publish(registry, beside, text)
    registry.tags[tag] = registry.tags.pop(beside)
    return digest


def test_registry_that_does_not_tell_stops_a_pull_before_anything_is_touched(
    project: Project, registry: Registry
) -> None:
    stack = f"--stack={project.name('web')}"
    publish(registry, "app:1", "old")
    name = registry.name("app:1")
    project.write("web", {"compose.yaml": COMPOSE.format(strategy="update", app=name, same=name, pinned=name)})
    assert project.tow("deploy", stack).code == 0
    before = project.containers()
    registry.tags.clear()
    ran = project.tow("deploy", stack, "--pull")
    assert ran.code == 1
    assert f"--pull: {name}: the registry has no such image" in ran.err
    assert project.containers() == before
    assert "the registry has no such image" in project.tow("outdated", stack).out
