"""Planning takes values and texts, and gives values: no module of these folders reads a file, a clock or a host."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.unit.test_layers import PACKAGE, imports

FOLDERS = ("deploy/planning", "engines")
MODULES = [file for folder in FOLDERS for file in sorted((PACKAGE / folder).rglob("*.py"))]

IMPURE = {"os", "pathlib", "io", "sys", "glob", "subprocess", "socket", "ssl", "tempfile", "shutil", "urllib", "http"}
IMPURE |= {"threading", "multiprocessing", "concurrent", "asyncio", "time", "random", "logging", "fabric", "paramiko"}
IMPURE |= {"towline.ssh", "towline.remote", "towline.sandbox", "towline.workspace"}
FUNCTIONS = {"open", "print", "input", "exec", "eval", "__import__"}
METHODS = {
    "open",
    "read_text",
    "read_bytes",
    "write_text",
    "write_bytes",
    "stat",
    "lstat",
    "exists",
    "is_file",
    "is_dir",
}
METHODS |= {"is_symlink", "iterdir", "glob", "rglob", "readlink", "mkdir", "unlink", "touch", "chmod"}
METHODS |= {"now", "today", "utcnow", "content", "text", "texts"}  # the clock's, and those of a working tree


def impurities(module: str, file: Path) -> list[str]:
    """The imports and calls in a module that do or may do I/O, wherever in it they are."""
    names = {name for name in imports(module, file) - {"urllib.parse"} if _is_impure(name)}
    calls = [node.func for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    names |= {f"{call.id}()" for call in calls if isinstance(call, ast.Name) and call.id in FUNCTIONS}
    names |= {f".{call.attr}()" for call in calls if isinstance(call, ast.Attribute) and call.attr in METHODS}
    return sorted(names)


def _is_impure(name: str) -> bool:
    words = name.split(".")
    return any(".".join(words[:length]) in IMPURE for length in range(1, len(words) + 1))


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_planning_does_no_io(file: Path) -> None:
    module = ".".join(("towline", *file.relative_to(PACKAGE).with_suffix("").parts))
    assert impurities(module, file) == []


def test_both_folders_are_looked_into() -> None:
    assert {"plan.py", "risks.py", "inputs.py", "services.py", "compose.py"} <= {file.name for file in MODULES}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import os.path", ["os.path"]),
        ("def f():\n    from pathlib import Path\n", ["pathlib"]),
        ("from urllib import request", ["urllib"]),
        ("from urllib.parse import quote", []),
        ("from towline.ssh.ledger import Ledger", ["towline.ssh.ledger"]),
        ("from towline import remote", ["towline.remote"]),
        ("import timeit", []),
        ("text = open('x').read()", ["open()"]),
        ("text = entry.source.read_text()", [".read_text()"]),
        ("size = lambda e: e.source.stat().st_size", [".stat()"]),
    ],
)
def test_what_does_io_is_seen(tmp_path: Path, text: str, expected: list[str]) -> None:
    file = tmp_path / "module.py"
    file.write_text(text)
    assert impurities("towline.deploy.planning.module", file) == expected
