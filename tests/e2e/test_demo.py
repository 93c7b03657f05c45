"""The README's first command, on this checkout's own stacks: real Traefik in front, the page fetched by its name."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import TOP, Ran, run_towline
from tests.e2e.conftest import clear_project, docker, free_port
from towline import sandbox
from towline.sandbox import page, sshd

# One sandbox for all: these run on one worker, one after the other.
pytestmark = pytest.mark.xdist_group("shipped-stacks")


@dataclass(frozen=True)
class Shipped:
    """A copy of the shipped stacks under names and ports of the test's own: a demo that runs here is left alone."""

    folder: Path
    home: Path
    prefix: str
    http_port: int

    def tow(self, *words: str) -> Ran:
        return run_towline(self.folder, *words, home=self.home, timeout=300)

    @property
    def sandbox(self) -> Path:
        return self.home / ".local/state/towline/sandbox"


def rename(compose: Path, prefix: str) -> None:
    """Projects, network and routers, each with the prefix."""
    text = compose.read_text()
    text = text.replace("name: proxy", f"name: {prefix}-proxy").replace("network=proxy", f"network={prefix}-proxy")
    text = text.replace("  proxy:\n    external: true", f"  proxy:\n    external: true\n    name: {prefix}-proxy")
    text = re.sub(r"traefik\.http\.(routers|services)\.", rf"traefik.http.\1.{prefix}", text)
    compose.write_text(f"name: {prefix}-{compose.parent.name}\n{text}")


@pytest.fixture(scope="module")
def shipped(engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shipped]:
    folder, home, prefix = tmp_path_factory.mktemp("shipped"), tmp_path_factory.mktemp("home"), f"d{os.getpid():x}"
    names = {"HTTP_PORT": free_port(), "HTTPS_PORT": free_port(), "DASHBOARD_PORT": free_port(), "BIND": "127.0.0.1"}
    hosts = {"WHOAMI_HOST": f"{prefix}-whoami.localhost", "GUESTBOOK_HOST": f"{prefix}-guestbook.localhost"}
    (folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in (names | hosts).items()))
    shutil.copy(TOP / "towline.yaml", folder)
    for kind in ("infrastructure", "stacks"):
        shutil.copytree(TOP / kind, folder / kind, ignore=shutil.ignore_patterns(".env"))
    for compose in folder.glob("*/*/compose.yaml"):
        rename(compose, prefix)
    made = Shipped(folder, home, prefix, int(names["HTTP_PORT"]))
    yield made
    for name in ("guestbook", "whoami", "traefik"):
        clear_project(f"{prefix}-{name}")
    sandbox.down(made.sandbox)


def test_the_demo_shows_the_whoami_page_through_traefik(shipped: Shipped) -> None:
    ran = shipped.tow("demo")
    assert ran.code == 0, ran.err
    assert f"Host: {shipped.prefix}-whoami.localhost" in ran.out
    assert "X-Forwarded-Server" in ran.out
    assert "1 login · 8 sessions, peak 1" in ran.err
    counts = sshd.count(shipped.sandbox / "sshd.log")
    assert (counts.logins, counts.peak) == (1, 1)


def test_deploy_all_brings_every_shipped_stack_up(shipped: Shipped) -> None:
    ran = shipped.tow("deploy-all")
    assert ran.code == 0, ran.err
    containers = json.loads(shipped.tow("get-containers", "--format=json").out)
    assert {row["stack"] for row in containers} == {"traefik", "whoami", "guestbook"}
    assert all(row["state"] == "running" and row["health"] in ("healthy", "") for row in containers)
    assert "<title>" in page.fetch(page.PageAddress(f"{shipped.prefix}-guestbook.localhost", shipped.http_port))


def test_the_dashboard_is_published_on_127_0_0_1_only(shipped: Shipped) -> None:
    published = docker("port", f"{shipped.prefix}-traefik-traefik-1", "8080").splitlines()
    assert [line.rpartition(":")[0] for line in published] == ["127.0.0.1"]
