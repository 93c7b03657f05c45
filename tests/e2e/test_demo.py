"""The README's first command, on this checkout's own stacks: real Traefik in front, the page fetched by its name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import TOP, run_towline
from tests.e2e.conftest import clear_project, docker
from towline import sandbox
from towline.sandbox import page, sshd

STACKS = ["guestbook", "whoami", "traefik"]

# One engine, one port 80: these run on one worker, one after the other.
pytestmark = pytest.mark.xdist_group("shipped-stacks")


@pytest.fixture(scope="module")
def home(engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    running = [name for name in STACKS if docker("ps", "-q", "--filter", f"label=com.docker.compose.project={name}")]
    assert not running, f"the shipped stacks run on this engine, which these tests would take down: {running}"
    home = tmp_path_factory.mktemp("home")
    yield home
    for name in STACKS:
        clear_project(name)
    sandbox.down(home / ".local/state/towline/sandbox")


def test_the_demo_shows_the_whoami_page_through_traefik(home: Path) -> None:
    ran = run_towline(TOP, "demo", home=home, timeout=300)
    assert ran.code == 0, ran.err
    assert "Host: whoami.localhost" in ran.out
    assert "X-Forwarded-Server" in ran.out
    assert "1 login · 6 sessions, peak 1" in ran.err
    counts = sshd.count(home / ".local/state/towline/sandbox/sshd.log")
    assert (counts.logins, counts.peak) == (1, 1)


def test_deploy_all_brings_every_shipped_stack_up(home: Path) -> None:
    ran = run_towline(TOP, "deploy-all", home=home, timeout=300)
    assert ran.code == 0, ran.err
    listed = run_towline(TOP, "get-containers", "--format=json", home=home)
    containers = json.loads(listed.out)
    assert {row["stack"] for row in containers} == set(STACKS)
    assert all(row["state"] == "running" and row["health"] in ("healthy", "") for row in containers)
    assert "<title>" in page.fetch("guestbook.localhost")


def test_the_dashboard_is_not_open_to_the_world(home: Path) -> None:
    published = docker("port", "traefik-traefik-1").splitlines()
    assert [line for line in published if line.startswith("8080/")] == ["8080/tcp -> 127.0.0.1:8080"]
