"""The names of kept images: what Docker takes, and no two services the same."""

from __future__ import annotations

import re
import subprocess

import pytest

from towline.remote import script

COMPONENT = re.compile(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*")
NAMES = [
    "web",
    "a.b",
    "a-b",
    "a--b",
    "a_b",
    "a__b",
    "API",
    "api",
    "name__415049",
    "_x",
    "x-",
    "a.-b",
    "a..b",
    "a-_b",
    "Ab_",
    "9",
]


@pytest.mark.parametrize("shell", ["dash", "bash", "busybox sh"])
def test_every_service_has_a_name_of_its_own_that_docker_takes(shell: str) -> None:
    text = script("kept_images") + 'for name; do kept_image Shop "$name" r1; done'
    done = subprocess.run([*shell.split(), "-c", text, "x", *NAMES], capture_output=True, text=True, check=True)
    parts = [line.removeprefix("towline/").removesuffix(":r1").split("/") for line in done.stdout.splitlines()]
    assert all(COMPONENT.fullmatch(part) for pair in parts for part in pair), done.stdout
    assert len({service for _, service in parts}) == len(NAMES)
    assert [service for _, service in parts[:5]] == NAMES[:5]
