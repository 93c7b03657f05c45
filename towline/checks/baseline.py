"""The baseline that the checks compare a server with: the stack as it is in the working tree. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from towline.bundle.working_tree import WorkingTree
from towline.errors import StackError
from towline.project.env_file import read_env

EXAMPLE = ".env.example"


@dataclass(frozen=True)
class Baseline:
    """digest: of the stack's files, but for those that may differ. variables: service → those it uses that have no default.

    example: the names in .env.example that the compose files do not mention: containers get them by their env_file.
    texts: path → text of the small YAML and TOML files; Traefik's own configuration is among them.
    """

    digest: str = ""
    variables: Mapping[str, frozenset[str]] = field(default_factory=dict)
    example: frozenset[str] = frozenset()
    texts: Mapping[str, str] = field(default_factory=dict)


def baseline_of(tree: WorkingTree) -> Baseline:
    """Raises StackError for a .env.example that is no text."""
    configuration = [path for path in tree.kept if path.endswith((".yml", ".yaml", ".toml"))]
    return Baseline(
        digest=tree.manifest.without(tree.unsettled).digest,
        variables={service.name: service.variables for service in tree.stack.services if service.variables},
        example=_example_names(tree) - frozenset(_mentioned(tree)),
        texts={path: tree.text(path) for path in configuration},
    )


def _example_names(tree: WorkingTree) -> frozenset[str]:
    try:
        return frozenset(read_env(tree.content(EXAMPLE)))
    except UnicodeDecodeError:
        raise StackError(f"{tree.stack.label}/{EXAMPLE}: is not UTF-8 text") from None


def _mentioned(tree: WorkingTree) -> Iterator[str]:
    """The variables that the compose files name anywhere, with defaults and in comments too."""
    for name in tree.stack.compose_files:
        yield from re.findall(r"\$\{?([A-Za-z_]\w*)", tree.text(name))
