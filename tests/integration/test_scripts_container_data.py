"""container_data.sh and what live.sh makes of container data: nothing that a service wrote is replaced or removed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.conftest import Server, Shell, write_tree
from tests.integration.test_scripts_live import asides, undone
from towline.deploy.planning.plan import Plan
from towline.facts import drift
from towline.facts.container_data import DataFact, Question, command, parse

TREE = {"compose.yaml": "services: {}\n", "data/seed": "sent"}


def look(shell: Shell, live: Path, question: Question) -> DataFact:
    return parse(shell.command(command(str(live)), question.rows.encode()))


def test_what_is_there_and_what_is_used_is_told(shell: Shell, tmp_path: Path) -> None:
    live = tmp_path / "the live"
    write_tree(
        live,
        {"data/a b": "", "data/link": Path("nowhere"), "ours/x": "", "mixed/x": "", "mixed/-n": "", "data/deep/x": "", "e": None},
    )  # fmt: skip
    question = Question(
        paths=["data/a b", "data/link", "data/none", "none/x", "data/deep"],
        folders=["data", "data/deep", "data/none", "ours", "mixed", "e"],
        known=["ours/x", "mixed/x", "data/deep"],
    )
    assert look(shell, live, question) == DataFact(
        frozenset({"data/a b", "data/link", "data/deep"}),
        {"data": True, "data/deep": True, "ours": False, "mixed": True, "e": False},
    )
    assert look(shell, tmp_path / "nowhere", question) == DataFact()
    assert look(shell, live, Question(["e"], [], [])) == DataFact(frozenset({"e"}))


def send(server: Server, tree: dict[str, str], *, live: bool = True) -> Plan:
    """A release whose `data/…` are container data."""
    plan = server.send(tree, live=live)
    names = "".join(f"{path}\n" for path in tree if path.startswith("data/"))
    (server.files(plan.release).parent / "data").write_text(names)
    return plan


def test_data_that_a_service_changed_survives_a_release_that_has_other(server: Server) -> None:
    server.apply(send(server, TREE).release)
    (server.live / "data/seed").write_text("of the service")
    run = server.apply(send(server, TREE | {"data/seed": "new"}).release)
    assert (server.live / "data/seed").read_text() == "of the service"
    assert asides(run) == {}


def test_data_that_nobody_changed_is_replaced_and_removed_with_its_release(server: Server) -> None:
    server.apply(send(server, TREE | {"data/other": "x"}).release)
    server.apply(send(server, TREE | {"data/seed": "new"}).release)
    assert (server.live / "data/seed").read_text() == "new"
    assert not (server.live / "data/other").exists()


@pytest.mark.parametrize("first", [True, False])
def test_data_of_a_service_stays_when_the_release_that_brought_it_goes(server: Server, first: bool) -> None:
    old = None if first else server.send({"compose.yaml": "old"})
    if old:
        server.apply(old.release)
    new = send(server, TREE, live=False)
    run = undone(server, new.release, old.release if old else "", "printf of-the-service >data/seed")
    assert run.result == "restored", run.output()
    assert (server.live / "data/seed").read_text() == "of-the-service"
    assert asides(run) == {}


def test_going_back_leaves_the_data_of_now(server: Server) -> None:
    old = send(server, TREE)
    server.apply(old.release)
    server.apply(send(server, TREE | {"compose.yaml": "new"}).release)
    (server.live / "data/seed").write_text("of the service")
    server.apply(old.release)
    assert (server.live / "data/seed").read_text() == "of the service"
    assert (server.live / "compose.yaml").read_text() == TREE["compose.yaml"]


def test_data_that_changed_is_no_drift(server: Server, tmp_path: Path) -> None:
    server.apply(send(server, TREE | {"data/gone": "x", "conf": "x"}).release)
    (server.live / "data/seed").write_text("of the service")
    (server.live / "data/gone").unlink()
    (server.live / "conf").write_text("edited")
    docker = tmp_path / "answers" / "docker"
    docker.parent.mkdir()
    docker.write_text("#!/bin/sh\n")
    docker.chmod(0o755)
    shell = Shell(server.shell.name, server.shell.sh, f"{docker.parent}:{server.shell.path}", server.shell.asked_docker)
    fact = drift.parse(shell.command(drift.command(str(server.root), "web", "web")))
    assert (fact.edited, fact.missing, fact.data) == (("conf",), (), ("data/seed",))
