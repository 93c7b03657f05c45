"""Below folders that services mount writable: what the server has of its own stays, and what is left here is said."""

from __future__ import annotations

import dataclasses
import os
from hashlib import sha256
from pathlib import Path

import pytest

from tests.unit.test_bundle import git, stack, write
from towline.bundle.manifest import Entry, Manifest, path_order
from towline.bundle.working_tree import WorkingTree, load_working_tree
from towline.deploy.planning.container_data import known_entries, question_of, without_own_data
from towline.facts.container_data import DataFact, Question, parse
from towline.facts.drift import DriftFact
from towline.project.stack import Stack
from towline.ssh.session import Result

STACK = Stack(
    "web", "web", "stack", Path("/p"), Path("/p"), ("compose.yaml",), (), env_files=("data/${STAGE}.env",),
    mounts={"data": True, "conf": False, "file": True},
)  # fmt: skip


def file(path: str, content: str = "") -> Entry:
    return Entry("f", 0o644, len(content), sha256(content.encode()).hexdigest(), path)


def manifest(*entries: Entry) -> Manifest:
    return Manifest(tuple(sorted(entries, key=path_order)))


def tree(*paths: str, tracked: frozenset[str] = frozenset(), **changes: object) -> WorkingTree:
    found = manifest(*(file(path, "here") for path in paths))
    return WorkingTree(dataclasses.replace(STACK, **changes), found, tracked=tracked)  # type: ignore[arg-type]


def sent(made: WorkingTree) -> list[str]:
    return [entry.path for entry in made.manifest.entries]


def test_data_is_what_lies_below_a_folder_that_a_service_may_write_to() -> None:
    paths = ("compose.yaml", "conf/a", "data/a", "data/b/c", "data/prod.env", "database", "file")
    assert tree(*paths).data == {"data/a", "data/b/c"}
    assert tree(*paths, tracked=frozenset({"data/a"})).data == {"data/b/c"}
    whole = tree(*paths, ".env", mounts={".": True})
    assert whole.data == {"conf/a", "data/a", "data/b/c", "database", "file"}


def test_only_what_no_release_brought_is_asked_for() -> None:
    here = tree("compose.yaml", "data/a", "data/b/c", "data/b/d")
    assert question_of(here, here.manifest) is None
    assert question_of(tree("compose.yaml", "conf/a"), Manifest()) is None
    assert question_of(here, manifest(file("data/b/c"), file("x"))) == Question(
        ["data/a", "data/b/d"], ["data", "data/b"], ["data/b", "data/b/c"]
    )
    assert question_of(here, Manifest()) == Question(["data/a", "data/b/c", "data/b/d"], ["data", "data/b"], [])


def test_without_a_release_only_git_tells_data_from_files() -> None:
    here = tree("data/a")
    assert question_of(here, Manifest(), released=False) is None
    assert without_own_data(here, Manifest(), None, DriftFact(), ("data",)) == (here, ())
    tracked = tree("data/a", tracked=frozenset({"compose.yaml"}))
    assert question_of(tracked, Manifest(), released=False) == Question(["data/a"], ["data"], [])


def test_folder_of_the_mount_itself_is_asked_for() -> None:
    question = question_of(tree("data/a"), manifest(file("data/z/y")))
    assert question == Question(["data/a"], ["data"], ["data/z"])
    assert question.rows == "path\tdata/a\nfolder\tdata\nknown\tdata/z\n"


@pytest.mark.parametrize(
    ("fact", "brought", "stays"),
    [
        (DataFact(), (), []),
        (DataFact(folders={"data": False}), (), []),
        (DataFact(frozenset({"data/a"}), {"data": False}), (), ["data/a"]),
        (DataFact(folders={"data": True}), (), ["data/a", "data/b/c"]),
        (DataFact(folders={"data": True, "data/b": False}), (), ["data/a"]),
        (DataFact(), ("data/b",), ["data/b/c"]),
    ],
)
def test_what_the_server_has_of_its_own_is_not_sent(fact: DataFact, brought: tuple[str, ...], stays: list[str]) -> None:
    here = tree("compose.yaml", "data/a", "data/b/c")
    made, said = without_own_data(here, Manifest(), fact, DriftFact(), brought)
    assert sent(made) == [path for path in sent(here) if path not in stays]
    why = "services keep their data there, and the server has its own"
    assert said == ((f"not sent: {', '.join(stays)}: {why}",) if stays else ())


def test_seed_is_sent_where_it_is_not_there() -> None:
    here = tree("data/a", "data/seed/x", "data/seed/y", seed=("data/seed/",))
    fact = DataFact(frozenset({"data/seed/y"}), {"data": True, "data/seed": True})
    made, _ = without_own_data(here, Manifest(), fact, DriftFact())
    assert sent(made) == ["data/seed/x"]


def test_what_a_service_changed_stays_as_its_release_has_it_and_the_rest_is_sent() -> None:
    here = tree("conf/a", "data/a", "data/b", "data/same")
    known = manifest(file("conf/a"), file("data/a"), file("data/b"), file("data/same", "here"), file("data/gone"))
    drift = DriftFact(edited=("conf/a", "data/a"), data=("data/same", "data/gone"))
    made, said = without_own_data(here, known, DataFact(), drift)
    assert made.manifest == manifest(
        file("conf/a", "here"), file("data/a"), file("data/b", "here"), file("data/same", "here")
    )
    assert said == ("not sent: data/a: a service has changed what was sent, and it stays",)


def test_data_that_cannot_be_read_here_stays_as_it_was_sent() -> None:
    here = dataclasses.replace(tree("compose.yaml"), unsendable=("data/db",))
    known = manifest(file("compose.yaml"), file("data/db/x"), file("data/dbs"))
    made, said = without_own_data(here, known, DataFact(), DriftFact())
    assert made.manifest == manifest(file("compose.yaml", "here"), file("data/db/x"))
    assert said == ("not sent: data/db: cannot be sent from here, and services keep their data there",)


def test_without_a_release_what_is_there_as_it_is_here_counts_as_sent() -> None:
    here, there = tree("data/a", "data/b"), manifest(file("data/a", "here"), file("data/b", "other"))
    assert known_entries(here, there, released=False) == manifest(file("data/a", "here"))
    assert known_entries(here, there, released=True) == there
    assert known_entries(here, None, released=False) == Manifest()


def test_answer_is_read() -> None:
    out = b"there\tdata/a b\nfolder\tdata\nfolder\tdata/b\nused\tdata/b\n"
    assert parse(Result(0, out, b"")) == DataFact(frozenset({"data/a b"}), {"data": False, "data/b": True})


# --- of a real folder -------------------------------------------------------------------------------------------------


def test_what_cannot_be_read_is_data_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    what = dataclasses.replace(stack(tmp_path), mounts={"data": True})
    write(tmp_path, "data/open", "data/db/x", "data/file", "other/x")
    closed: set[str] = {"data/db", "data/file"}
    unreadable(monkeypatch, tmp_path, closed)
    found = load_working_tree(what)
    assert sent(found) == ["compose.yaml", "data/open", "other/x"]
    assert sorted(found.unsendable) == ["data/db", "data/file"]
    closed.add("other")
    with pytest.raises(Exception, match="other/: cannot be read"):
        load_working_tree(what)
    closed.remove("other")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-f", "data/file")
    with pytest.raises(Exception, match="data/file: cannot be read"):
        load_working_tree(what)


def unreadable(monkeypatch: pytest.MonkeyPatch, folder: Path, closed: set[str]) -> None:
    """Those paths of the folder cannot be read: the tests may run as root, who can read everything."""
    from towline.bundle import hashing, walk

    def is_closed(path: object) -> bool:
        return str(path).removeprefix(f"{folder}/") in closed

    scan, read = walk.os.scandir, hashing._hash_file

    def scandir(path: str) -> object:
        if is_closed(path):
            raise PermissionError(13, "Permission denied")
        return scan(path)

    def hash_file(path: Path, size: int) -> object:
        if is_closed(path):
            raise PermissionError(13, "Permission denied")
        return read(path, size)

    monkeypatch.setattr(walk.os, "scandir", scandir)
    monkeypatch.setattr(hashing, "_hash_file", hash_file)


def test_what_can_never_be_sent_stops_nothing_where_services_keep_their_data(tmp_path: Path) -> None:
    what = dataclasses.replace(stack(tmp_path), mounts={"data": True})
    write(tmp_path, "data/open", "data/a\\b")
    os.mkfifo(tmp_path / "data/pipe")
    (tmp_path / "data/link").symlink_to("/var/lib")
    found = load_working_tree(what)
    assert sent(found) == ["compose.yaml", "data/open"]
    assert found.unsendable == ("data/a\\b", "data/link", "data/pipe")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(Exception, match="pipe: is a fifo"):
        load_working_tree(what)
