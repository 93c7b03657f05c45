"""prune.sh: which releases go, and who is told that it has the lock."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.integration.conftest import Run, Server
from towline.engines.steps import Step
from towline.remote import script
from towline.sandbox.wait import wait_until
from towline.ssh.session import Result

TREE = {"compose.yaml": "services: {}\n"}


def words(server: Server, answer: str) -> tuple[str, ...]:
    text = script("runs", "lock", "current", "prune")
    return ("sh", "-c", text, "towline", str(server.root), "web", "web", answer, "ann@laptop")


def prune(server: Server, answer: str = "yes") -> Result:
    return server.shell.command(words(server, answer))


def hold(server: Server, gate: Path, release: str) -> Run:
    os.mkfifo(gate)
    run = server.start(release, [Step("hold", ("cat", str(gate)))])
    assert wait_until(lambda: run.at("hold"), 10)
    return run


@pytest.fixture
def releases(server: Server) -> list[str]:
    """Four releases of which the third is live, the second the one before it; the fourth never ran."""
    names = [server.send(TREE | {"x": str(number)}).release for number in range(3)]
    (server.home / "before").write_text(f"{names[1]}\n")
    return [*names, server.send(TREE | {"x": "3"}, live=False).release]


def test_releases_that_going_back_does_not_need_are_removed(server: Server, releases: list[str]) -> None:
    told = prune(server, "no")
    assert told.out.split()[:2] == ["release", releases[0]]
    assert len(list((server.home / "releases").iterdir())) == 4
    assert prune(server).out == told.out
    assert sorted(path.name for path in (server.home / "releases").iterdir()) == releases[1:]
    assert server.fact().holder == ""


def test_prune_is_told_which_run_has_the_lock(server: Server, releases: list[str], tmp_path: Path) -> None:
    run = hold(server, tmp_path / "gate", releases[2])
    refused = prune(server)
    assert refused.code == 4
    assert f"locked: run {run.folder.name} by " in refused.err
    assert refused.err.endswith(" at 'hold'\n")
    assert prune(server, "no").ok  # it only looks


def test_run_is_told_that_a_prune_has_the_lock(server: Server, releases: list[str], tmp_path: Path) -> None:
    """Not that of a run that was killed, at a step of which nothing is left."""
    (server.home / "holder").write_text("run 20250101-000000\nby bob\n")
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    (Path(server.shell.path.split(":")[0]) / "docker").write_text(f"#!/bin/sh\ncat {gate}\n")
    (server.home / "releases" / releases[0] / "images").write_text("web\tweb:1\tsha256:0\t0\n")
    pruning = subprocess.Popen((*server.shell.sh, *words(server, "yes")[1:]), env=server.shell.env())
    assert wait_until(lambda: "prune" in (server.home / "holder").read_text(), 10)
    run = server.run(releases[2], [Step("never", ("false",))])
    assert run.result == "locked"
    holder = str(run.events("locked")[0]["holder"])
    assert holder.startswith("prune by ann@laptop since ")
    assert " at '" not in holder
    gate.write_text("")
    assert pruning.wait(20) == 0
