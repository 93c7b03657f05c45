"""What the checks hold the server against: the stack as it lies here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from towline.bundle.manifest import Entry
from towline.bundle.walk import load_manifest
from towline.errors import StackError
from towline.project.catalog import Stack
from towline.project.compose_file import load_compose
from towline.project.compose_paths import SecretFiles
from towline.project.env_file import read_env
from towline.project.variables import variables_in

MOST_TEXT = 1 << 17


@dataclass(frozen=True)
class Baseline:
    """digest: of the stack's files. variables: service → those it uses that have no default.

    example: the names in .env.example that the compose files do not speak of: containers get them by their env_file.
    texts: path → text of the small YAML and TOML files beside the compose files: Traefik's own configuration is among them.
    """

    digest: str = ""
    variables: Mapping[str, frozenset[str]] = field(default_factory=dict)
    example: frozenset[str] = frozenset()
    texts: Mapping[str, str] = field(default_factory=dict)


def read_baseline(stack: Stack) -> Baseline:
    """Reads every file of the stack. Raises StackError."""
    keys = load_compose(
        stack.folder, stack.compose_files, stack.label, SecretFiles(), root_env=stack.root_env is not None
    )
    used = {str(name): variables_in(service) for name, service in (keys.get("services") or {}).items()}
    manifest = load_manifest(stack)
    return Baseline(
        digest=manifest.digest,
        variables={name: names for name, names in used.items() if names},
        example=_names(stack.folder / ".env.example", stack.label) - _spoken_of(stack),
        texts={e.path: e.source.read_text(encoding="utf-8", errors="replace") for e in manifest.entries if _is_text(e)},
    )


def _names(example: Path, label: str) -> frozenset[str]:
    try:
        return frozenset(read_env(example.read_bytes())) if example.is_file() else frozenset()
    except UnicodeDecodeError:
        raise StackError(f"{label}/{example.name}: is not UTF-8 text") from None


def _spoken_of(stack: Stack) -> frozenset[str]:
    """The variables that the compose files name anywhere, with defaults and in comments too."""
    texts = ((stack.folder / name).read_text(encoding="utf-8", errors="replace") for name in stack.compose_files)
    return frozenset(name for text in texts for name in re.findall(r"\$\{?([A-Za-z_]\w*)", text))


def _is_text(entry: Entry) -> bool:
    return entry.kind == "f" and entry.size < MOST_TEXT and entry.path.endswith((".yml", ".yaml", ".toml"))
