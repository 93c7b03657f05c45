"""The command line with streams that are closed, full, gone or of another encoding, and with foreign bytes in files' names."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import clean_environment

MAIN = "from towline.cli.console import main; main()"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Its one stack is wrong to deploy and right to list."""
    top = tmp_path / "project"
    (top / "stacks" / "web").mkdir(parents=True)
    (top / "towline.yaml").write_text("hosts: {prod: {ssh: nobody@127.0.0.1}}\n")
    (top / "stacks" / "web" / "compose.yaml").write_text("services: {web: {image: nginx}}\n")
    return top


def towline(project: Path, words: str, redirect: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    """The words in a shell, with redirections."""
    line = f'"$1" -c "$2" {words} {redirect}'
    return subprocess.run(
        ("bash", "-o", "pipefail", "-c", line, "bash", sys.executable, MAIN),
        cwd=project,
        env=clean_environment(project) | env,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=20,
        check=False,
    )


@pytest.mark.parametrize("words", ["list-stacks", "list-stacks --format=json", "--list", "--help", "deploy --help"])
@pytest.mark.parametrize(
    ("redirect", "code", "error"),
    [
        (">/dev/full", 1, "error: the output could not be written: No space left on device\n"),
        (">&-", 0, ""),
        (">&- 2>&- <&-", 0, ""),
        ("| true", 0, ""),
    ],
)
def test_output_that_nobody_takes_is_no_traceback(
    project: Path, words: str, redirect: str, code: int, error: str
) -> None:
    done = towline(project, words, redirect)
    assert (done.returncode, done.stderr) == (code, error)


@pytest.mark.parametrize("redirect", ["2>&-", "2>/dev/full", "<&-"])
def test_exit_code_is_right_without_a_stderr(project: Path, redirect: str) -> None:
    assert towline(project, "deploy --stack=wbe", redirect).returncode == 2


@pytest.mark.parametrize(
    "env", [{"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1"}, {"LANG": "C", "LC_ALL": "C"}]
)
def test_other_encodings_end_nothing(project: Path, env: dict[str, str]) -> None:
    for name in ("bücher-✓", "漢"):
        (project / "stacks" / name).mkdir()
    done = towline(project, "deploy --stack=bücher-✓", **env)
    assert done.returncode == 2
    assert done.stderr.startswith("error: stacks/b")
    (project / "stacks" / "web" / "compose.yaml").write_text(
        "services: {web: {image: nginx}}\nx-towline: {needs: []}\n"
    )
    rows = json.loads(towline(project, "list-stacks --format=json", **env).stdout)
    assert [row["name"] for row in rows] == ["web"]


@pytest.mark.parametrize("name", [b"b\xffd", b"b\x1b[2Jd", "b\u202ed".encode(), b"b\x9b2Jd", b"b\nerror: forged"])
def test_names_of_folders_reach_the_terminal_printable(project: Path, name: bytes) -> None:
    folder = bytes(project / "stacks") + b"/" + name
    subprocess.run((b"cp", b"-r", bytes(project / "stacks" / "web"), folder), check=True)
    done = towline(project, "list-stacks")
    assert done.returncode == 2
    assert (done.stderr.endswith("\n") and done.stderr[:-1].isprintable()) or "\n" in name.decode(errors="replace")
    assert "\x1b" not in done.stderr


def test_user_without_a_home_lists_stacks(project: Path) -> None:
    done = subprocess.run(
        (sys.executable, "-c", f"import os, pwd; os.environ.pop('HOME'); {MAIN}", "list-stacks"),
        cwd=project,
        env=clean_environment(project),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
