"""The baseline that the checks compare a server with."""

from __future__ import annotations

from pathlib import Path

import pytest

from towline.bundle.working_tree import MOST_TEXT, load_working_tree
from towline.checks.baseline import Baseline, baseline_of
from towline.errors import StackError
from towline.project.compose_file import parse_services
from towline.project.stack import Stack
from towline.project.yaml_file import Place, load_yaml

COMPOSE = """
services:
  web:
    image: "nginx:${TAG:-1}"
    command: ["${TOKEN}", "$MODE", "$$PLAIN"]
  db: {image: redis}
  bare:
    image: "x:${VERSION:?set it}"
"""


def here(folder: Path, files: dict[str, str | bytes]) -> Baseline:
    place = folder / "stacks" / "web"
    for name, text in {"compose.yaml": COMPOSE, **files}.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    services = parse_services(load_yaml(place / "compose.yaml")["services"], Place("compose.yaml"))  # type: ignore[index]
    return baseline_of(load_working_tree(Stack("web", "web", "stack", place, folder, ("compose.yaml",), services)))


def test_variables_without_a_default_are_their_service_s(tmp_path: Path) -> None:
    assert here(tmp_path, {}).variables == {"web": frozenset({"TOKEN", "MODE"})}


def test_names_of_the_example_are_read_set_or_not(tmp_path: Path) -> None:
    assert here(tmp_path, {".env.example": "# A=1\nB=\nC=change-me\nexport D=1\n"}).example == {"B", "C", "D"}
    assert here(tmp_path / "other", {}).example == frozenset()


def test_example_that_is_no_text_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(StackError, match=r"^stacks/web/.env.example: is not UTF-8 text$"):
        here(tmp_path, {".env.example": b"A=\xff\n"})


def test_small_configuration_files_are_kept_as_text(tmp_path: Path) -> None:
    files = {
        "conf/a.yml": "a: 1",
        "b.toml": "b = 1",
        "c.txt": "c",
        "large.yaml": "#" * (MOST_TEXT + 1),
        "odd.yaml": b"\xff",
    }
    texts = here(tmp_path, files).texts
    assert set(texts) == {"compose.yaml", "conf/a.yml", "b.toml", "odd.yaml"}
    assert texts["conf/a.yml"] == "a: 1"


def test_digest_is_of_every_file(tmp_path: Path) -> None:
    one, other = here(tmp_path / "1", {"x": "1"}), here(tmp_path / "2", {"x": "2"})
    assert one.digest != other.digest
    assert one.digest == here(tmp_path / "3", {"x": "1"}).digest
