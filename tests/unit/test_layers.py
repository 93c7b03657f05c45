"""Who may import whom, as DESIGN.md says: read from the imports themselves."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
PACKAGE = TOP / "towline"

# From the bottom up; those in one row may lean on each other.
LAYERS = (
    ("errors", "text", "terminal"),
    ("project",),
    ("bundle", "commands"),
    ("ssh",),
    ("remote",),
    ("sandbox",),
    ("facts", "traefik"),
    ("deploy", "engines", "checks"),
    ("report",),
    ("workspace",),
    ("ssh_manager", "testing"),
    ("pytest_plugin", "cli"),
    ("tasks",),
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}


def modules() -> Iterator[tuple[str, Path]]:
    for file in sorted(PACKAGE.rglob("*.py")):
        if "stand_ins" not in file.parts:  # what is built into images runs there, on its own
            yield ".".join(("towline", *file.relative_to(PACKAGE).with_suffix("").parts)), file
    yield "tasks", TOP / "tasks.py"


def imports(module: str, file: Path) -> set[str]:
    """Every module that the file imports, wherever in it, by its full name."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(module.split(".")[: -node.level]) if node.level else ""
            if node.level and module.endswith("__init__"):
                base = ".".join(module.split(".")[: -node.level])
            name = ".".join(part for part in (base, node.module or "") if part)
            found |= {name} if node.module and name != "towline" else {f"{name}.{alias.name}" for alias in node.names}
    return found


IMPORTS = {module: imports(module, file) for module, file in modules()}


def part(module: str) -> str:
    """The layer's name: towline.ssh.batch → ssh, tasks → tasks."""
    words = module.split(".")
    return words[1] if words[0] == "towline" and len(words) > 1 else words[0]


def importing(*packages: str) -> set[str]:
    return {part(module) for module, found in IMPORTS.items() if any(name.split(".")[0] in packages for name in found)}


def test_every_module_has_its_layer() -> None:
    unknown = {part(module) for module in IMPORTS} - set(RANK) - {"__init__"}
    assert not unknown, f"put these into LAYERS: {unknown}"


@pytest.mark.parametrize("module", sorted(IMPORTS))
def test_no_module_leans_on_a_higher_layer(module: str) -> None:
    own = part(module)
    if own == "__init__":
        return
    above = [
        name
        for name in IMPORTS[module]
        if name.startswith("towline.") and part(name) in RANK and RANK[part(name)] > RANK[own]
    ]
    assert above == []


def test_only_ssh_imports_fabric_and_paramiko() -> None:
    assert importing("fabric", "paramiko") == {"ssh"}


def test_only_the_tasks_and_the_command_line_import_invoke() -> None:
    assert importing("invoke") == {"tasks", "cli"}


def test_the_workspace_knows_settings_stacks_hosts_and_connections_alone() -> None:
    known = {part(name) for name in IMPORTS["towline.workspace"] if name.startswith("towline.")}
    assert known == {"bundle", "errors", "project", "sandbox", "ssh", "terminal"}


def test_what_is_given_a_connection_looks_none_up() -> None:
    users = {part(module) for module, names in IMPORTS.items() if "towline.workspace" in names}
    assert users == {"tasks", "cli", "ssh_manager", "testing", "pytest_plugin"}


def test_only_the_plugin_imports_pytest() -> None:
    """It is no requirement of towline: pytest itself imports the plugin."""
    assert importing("pytest") == {"pytest_plugin"}


def test_only_keys_and_certificates_need_cryptography() -> None:
    assert importing("cryptography") == {"sandbox", "facts", "ssh"}


def test_deploy_and_checks_never_import_each_other() -> None:
    for one, other in (("deploy", "checks"), ("checks", "deploy")):
        assert [
            m for m, found in IMPORTS.items() if part(m) == one and any(part(name) == other for name in found)
        ] == []


@pytest.mark.parametrize(
    ("lower", "upper"), [("deploy", "report"), ("facts", "deploy"), ("ssh", "deploy"), ("engines", "deploy")]
)
def test_lower_part_never_imports_the_upper_one(lower: str, upper: str) -> None:
    found = {name for module, names in IMPORTS.items() if part(module) == lower for name in names}
    assert [name for name in found if name.startswith(f"towline.{upper}")] == []


PURE = ["towline.commands.", "towline.engines.", "towline.deploy.planning.", "towline.deploy.outcome", "towline.text"]
PURE += [f"towline.bundle.{name}" for name in ("manifest", "dockerfile", "dockerignore")]
PURE += ["towline.project.variables"]
PURE += ["towline.traefik."]
PURE += [f"towline.checks.{name}" for name in ("engine", "finding", "host", "service", "stack", "waivers")]
PURE += [f"towline.checks.{name}" for name in ("certificate", "proxy", "ports", "route")]
PURE += [f"towline.checks.{name}" for name in ("declared_probes", "declared_commands")]
IO = {
    "subprocess",
    "socket",
    "os",
    "shutil",
    "tempfile",
    "io",
    "urllib",
    "http",
    "threading",
    "time",
    "fabric",
    "paramiko",
}


@pytest.mark.parametrize("module", [m for m in IMPORTS if m.startswith(tuple(PURE))])
def test_what_is_pure_imports_nothing_that_does_io(module: str) -> None:
    paths = set() if module in ("towline.bundle.manifest",) else {"pathlib"}
    assert {name.split(".")[0] for name in IMPORTS[module] - {"urllib.parse"}} & (IO | paths) == set()


def test_tasks_load_without_what_is_slow() -> None:
    """Invoke itself loads yaml; nothing else may come with the tasks."""
    slow = ("fabric", "paramiko", "rich", "yaml", "msgspec", "tenacity", "isal", "pathspec", "cryptography", "dotenv")
    slow += ("jinja2", "junitparser")
    text = f"import sys, invoke; own = set(sys.modules); import tasks; print(*set({slow!r}) & (set(sys.modules) - own))"
    done = subprocess.run((sys.executable, "-c", text), cwd=TOP, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
