"""Which files compose is sent so that it can render a stack's model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.test_compose_model import bundle, tree
from towline.bundle.compose_inputs import compose_inputs
from towline.errors import StackError


def paths_read(tmp_path: Path, files: dict[str, str], links: dict[str, str] | None = None) -> list[str]:
    return [entry.path for entry in compose_inputs(tree(tmp_path, files, links))]


def test_only_what_compose_reads_is_sent(tmp_path: Path) -> None:
    files = {
        "compose.yaml": """
            services:
              a: {build: app, env_file: [a.env, {path: ./env/b.env, required: false}], label_file: l.env}
              b: {extends: {file: common/base.yml, service: x}, volumes: ["./conf:/c"], env_file: gone.env}
              c: {extends: a, env_file: !override [c.env]}
            include: [more/compose.yaml, {path: [other/o.yaml], project_directory: home, env_file: other.env}]
            secrets: {s: {file: s.txt}}
        """,
        "common/base.yml": "services: {x: {image: x, env_file: x.env}}",
        "more/compose.yaml": "services: {m: {image: m, env_file: m.env}}",
        "other/o.yaml": "services: {o: {image: o, env_file: h.env}}",
        **dict.fromkeys((".env", "a.env", "env/b.env", "l.env", "c.env", "common/x.env", "other.env"), "A=1"),
        **dict.fromkeys(("more/m.env", "more/.env", "home/h.env", "home/.env"), "A=1"),
        **dict.fromkeys(("app/Dockerfile", "conf/c", "s.txt", "unused.env", "a", "env/z.env"), "big"),
    }

    wanted = {"compose.yaml", "common/base.yml", "more/compose.yaml", "other/o.yaml"}
    wanted |= {path for path, text in files.items() if text == "A=1"}
    assert paths_read(tmp_path, files) == sorted(wanted)


def test_a_variable_in_a_name_is_filled_in_or_may_be_anything(tmp_path: Path) -> None:
    files = {
        "compose.yaml": "services: {a: {image: a, env_file: ['${STAGE}.env', 'on/${HOSTNAME}.env']}}",
        **{".env": "STAGE=prod", "prod.env": "", "test.env": "", "on/x.env": "", "on/y.env": "", "on/z": ""},
    }

    assert paths_read(tmp_path, files) == [".env", "compose.yaml", "on/x.env", "on/y.env", "prod.env"]


def test_a_symlinked_file_comes_with_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "now").symlink_to("v2")
    files = {"compose.yaml": "services: {a: {image: a, env_file: now/a.env}}", "v2/a.env": "A=1", "v1/a.env": "A=1"}

    assert [*bundle(tmp_path, files, {"now": "v2"}).trail("now/a.env")] == ["now", "v2/a.env"]
    assert paths_read(tmp_path, files, {"now": "v2"}) == ["compose.yaml", "now", "v2/a.env"]


@pytest.mark.parametrize(
    ("extended", "says"),
    [(b"a: \xff", r"common/base.yml: is not UTF-8 text \(byte 3\)$"), (b"a: [", "common/base.yml:2: broken YAML: ")],
)
def test_broken_yaml_is_named(tmp_path: Path, extended: bytes, says: str) -> None:
    text = "services: {a: {extends: {file: common/base.yml, service: x}}}"
    made = tree(tmp_path, {"compose.yaml": text, "common/base.yml": ""})
    with pytest.raises(StackError, match=says):
        compose_inputs(replace(made, kept={"common/base.yml": extended}))
