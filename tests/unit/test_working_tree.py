"""A stack's folder is read once: what is needed of it later is what was hashed, whatever becomes of the files."""

from __future__ import annotations

import os
import shutil
import tracemalloc
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.test_compose_model import Socket
from towline.bundle import working_tree
from towline.bundle.compose_inputs import compose_inputs
from towline.bundle.hashing import BIG_FILE
from towline.bundle.walk import list_files
from towline.bundle.working_tree import MOST_TEXT, WorkingTree, load_working_tree
from towline.deploy.planning.inputs import build_texts, built_from, inputs_of
from towline.deploy.planning.situation import Release
from towline.errors import StackError
from towline.facts.compose_model import Model, read_model
from towline.project.compose_file import Service
from towline.project.stack import Stack
from towline.ssh.session import Result

COMPOSE = "services: {web: {image: 'web:${TAG}', env_file: conf/web.env}}"


def write(folder: Path, files: Mapping[str, str | bytes]) -> Stack:
    for path, content in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    services = (Service("web", "web:${TAG}"), Service("own", "own:1", builds=True), Service("far", "far:${HOSTNAME}"))
    return Stack("web", "web", "stack", folder, folder.parent, ("compose.yaml",), services)


def load(folder: Path, files: Mapping[str, str | bytes], **stack: Any) -> WorkingTree:
    return load_working_tree(replace(write(folder, {"compose.yaml": COMPOSE, **files}), **stack))


# ------------------------------------------------------------------------------------------------- what is kept


@pytest.mark.parametrize(
    "path",
    [
        *(".env", ".env.example", "sub/.env.prod", "app.env", "compose.yaml", "conf/a.yml", "b.TOML"),
        *(
            "Dockerfile",
            "app/prod.Dockerfile",
            "Dockerfile.dev",
            "Containerfile",
            "app/.dockerignore",
            "x.dockerignore",
        ),
    ],
)
def test_what_may_be_needed_as_text_is_kept_by_its_name(tmp_path: Path, path: str) -> None:
    assert load(tmp_path, {path: "A=1"}).kept[path] == b"A=1"


@pytest.mark.parametrize("path", ["index.html", "env", "my.environment", "yaml", "sub.yaml/x", ".env/x", "data.json"])
def test_other_files_are_not_kept(tmp_path: Path, path: str) -> None:
    assert set(load(tmp_path, {path: "A=1"}).kept) == {"compose.yaml"}


def test_what_a_compose_file_names_is_kept(tmp_path: Path) -> None:
    files = dict.fromkeys(("conf/prod", "token", "build/x", "conf/sub/y", "other"), "A=1")
    tree = load(
        tmp_path, files, env_files=("conf/${STAGE:-dev}",), secret_files=("token", "gone"), text_files=("build/$KIND",)
    )
    assert {"conf/prod", "token", "build/x"} <= set(tree.kept)
    assert "other" not in tree.kept


def test_large_files_are_not_kept(tmp_path: Path) -> None:
    tree = load(tmp_path, {"a.yaml": bytes(MOST_TEXT), "b.yaml": bytes(MOST_TEXT + 1)})
    assert set(tree.kept) == {"a.yaml", "compose.yaml"}


def test_memory_stays_flat(tmp_path: Path) -> None:
    stack = write(tmp_path, {"compose.yaml": COMPOSE})
    (tmp_path / "data").mkdir()
    for number in range(200):
        (tmp_path / "data" / f"{number}.bin").write_bytes(bytes(BIG_FILE // 8))
    entries = list_files(stack).entries
    tracemalloc.start()
    try:
        tree = load_working_tree(stack)
        assert tracemalloc.get_traced_memory()[1] < 2 * 1024 * 1024
    finally:
        tracemalloc.stop()
    assert len(tree.manifest.entries) == len(entries) == 201


def test_nothing_of_the_content_shows(tmp_path: Path) -> None:
    assert "hunter22" not in repr(load(tmp_path, {".env": "TOKEN=hunter22\n"}))


# ------------------------------------------------------------------------------------------------ content, text


def test_what_was_kept_is_what_was_hashed(tmp_path: Path) -> None:
    tree = load(tmp_path, {".env": "TAG=1\n"})
    (tmp_path / ".env").write_text("TAG=2\n")
    (tmp_path / "compose.yaml").unlink()
    assert (tree.content(".env"), tree.text("compose.yaml"), tree.variables) == (b"TAG=1\n", COMPOSE, {"TAG": "1"})


@pytest.mark.parametrize("size", [3, BIG_FILE])
def test_what_was_not_kept_is_read_again(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    assert load(tmp_path, {"data": content}).content("data") == content


@pytest.mark.parametrize("size", [3, BIG_FILE])
@pytest.mark.parametrize("change", [b"", b"more"], ids=["same size", "longer"])
def test_what_has_changed_since_is_not_given(tmp_path: Path, size: int, change: bytes) -> None:
    tree = load(tmp_path / "web", {"data": bytes(size)})
    (tmp_path / "web" / "data").write_bytes(b"x" * size + change)
    with pytest.raises(StackError, match=r"^web/data: changed while it was being read; try again$"):
        tree.content("data")


def test_what_is_gone_since_is_named(tmp_path: Path) -> None:
    tree = load(tmp_path / "web", {"data": "x"})
    (tmp_path / "web" / "data").unlink()
    with pytest.raises(StackError, match=r"^web/data: cannot be read: No such file or directory$"):
        tree.content("data")


def test_symlinks_are_followed(tmp_path: Path) -> None:
    write(tmp_path, {"v1/a.yaml": "a: 1"})
    (tmp_path / "now").symlink_to("v1")
    tree = load(tmp_path, {})
    assert tree.text("now/a.yaml") == "a: 1"
    assert (tree.content("now"), tree.content("gone")) == (b"", b"")


@pytest.mark.parametrize(
    ("content", "text"),
    [(b"\xef\xbb\xbfa\r\nb\rc\n", "a\nb\nc\n"), (b"caf\xe9", "caf\ufffd"), (b"caf\xc3\xa9", "café")],
)
def test_text_is_read_as_from_a_file_of_text(tmp_path: Path, content: bytes, text: str) -> None:
    assert load(tmp_path, {"a.yaml": content}).text("a.yaml") == text


def test_texts_are_exact_and_of_text_files_alone(tmp_path: Path) -> None:
    tree = load(tmp_path, {"a": "1\r\n", "b": b"\0", "c": b"\xff"})
    assert tree.texts(("a", "b", "c")) == {"a": "1\r\n"}


# --------------------------------------------------------------------------------------------- variables, images


def test_variables_are_those_of_env(tmp_path: Path) -> None:
    assert load(tmp_path / "1", {}).variables == {}
    assert load(tmp_path / "2", {".env": "A=${B}\n"}).variables == {"A": "${B}"}
    assert load(tmp_path / "3", {".env": b"A=\xff\n"}).variables is None
    (tmp_path / ".env").write_text("A=1\n")
    assert load(tmp_path / "4", {}, root_env=tmp_path / ".env").variables == {"A": "1"}


def test_images_are_those_that_are_pulled_under_names_known_here(tmp_path: Path) -> None:
    assert load(tmp_path, {".env": "TAG=7\n"}).images == ("web:7",)


# ------------------------------------------------------------------------------------------------------- secrets


def test_secrets_are_those_of_the_folder_ignored_or_not(tmp_path: Path) -> None:
    """A person may have put an ignored .env on the server by hand."""
    files = {".env": "A_TOKEN=1\n", "web.env": "B_TOKEN=2\n", "token": "3", "large": bytes(300_000)}
    ignored = {**files, ".towlineignore": ".env\ntoken\n"}
    for name, content in (("all", files), ("some", ignored)):
        tree = load(tmp_path / name, content, env_files=("web.env",), secret_files=("token", "large"))
        assert sorted(tree.secrets.env) == ["A_TOKEN=1\n", "B_TOKEN=2\n"]
        assert tree.secrets.files == ("3",)


def test_secrets_of_the_repositorys_env_are_among_them(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A_TOKEN=1\n")
    assert load(tmp_path / "web", {}, root_env=tmp_path / ".env").secrets.env == ("A_TOKEN=1\n",)


# ------------------------------------------------------------------------------------------------ nothing is read


def test_compose_is_sent_what_was_hashed(tmp_path: Path) -> None:
    tree = load(tmp_path / "web", {".env": "TAG=7\n", "conf/web.env": "A=1\n", "static/x": "x"})
    shutil.rmtree(tmp_path / "web")
    connection: Any = Socket(Result(0, b'/tmp/x\n{"services": {}}'))

    read_model(connection, tree)
    assert connection.sent == [".env", "compose.yaml", "conf/web.env"]
    assert [entry.path for entry in compose_inputs(tree)] == connection.sent


def test_each_file_is_opened_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {".env": "TAG=1\n", "conf/web.env": "TOKEN=2\n", "token": "hunter22", "Dockerfile": "FROM x\n"}
    stack = replace(write(tmp_path, {"compose.yaml": COMPOSE, **files}), secret_files=("token",))
    opened: list[str] = []
    real = os.open

    def watched(path: Any, *words: Any) -> int:
        opened.append(str(Path(path).relative_to(tmp_path)))
        return real(path, *words)

    monkeypatch.setattr(os, "open", watched)
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail(f"{path} was read again"))
    tree = working_tree.load_working_tree(stack)
    texts = [tree.text(path) for path in files], tree.variables, tree.images, compose_inputs(tree)
    assert all(texts)
    assert sorted(opened) == sorted(["compose.yaml", *files])


def test_a_release_is_planned_from_what_was_hashed(tmp_path: Path) -> None:
    """As `prepare` does it, when the folder has changed since."""
    model = Model({"web": {"build": {"context": "./app"}}})
    tree = load(tmp_path, {".env": "A=1", "app/Dockerfile": "FROM x\nCOPY a /", "app/.dockerignore": "b", "app/a": "1"})
    shutil.rmtree(tmp_path)

    assert build_texts(model, tree.manifest) == {"app/Dockerfile", "app/.dockerignore"}
    release = Release(model, tree.manifest, {path: tree.text(path) for path in build_texts(model, tree.manifest)})
    service = model.services["web"]
    counts = built_from(service, inputs_of(service, model), release)
    assert [path for path in ("app/Dockerfile", "app/a", "app/b", "app/c") if counts(path)] == [
        "app/Dockerfile",
        "app/a",
    ]
