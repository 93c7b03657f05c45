"""Which files of a stack Compose itself reads to render its model."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase

from towline.bundle.manifest import Entry
from towline.bundle.working_tree import WorkingTree
from towline.errors import StackError
from towline.project.variables import interpolate
from towline.project.yaml_file import Tagged, parse_yaml


def compose_inputs(tree: WorkingTree) -> tuple[Entry, ...]:
    """The entries that Compose reads: compose files and what they include or extend, .env, env files and label files.

    Rather one too many: a name is tried relative to every file that may have it. The symlinks that lead there are among
    them. Raises StackError for broken YAML.
    """
    names = _FileNames(tree)
    documents: set[str] = set()
    while new := names.paths(names.documents) - documents:
        documents |= new
        for path in sorted(new):
            names.add(path, _load(tree, path))
    manifest = tree.manifest
    trails = {step for path in documents | names.paths(names.plain) for step in manifest.trail(path)}
    return tuple(entry for entry in manifest.entries if entry.path in trails)


def is_yaml(path: str) -> bool:
    return path.endswith((".yaml", ".yml"))


def _load(tree: WorkingTree, path: str) -> object:
    shown = f"{tree.stack.label}/{path}"
    try:
        text = tree.content(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise StackError(f"{shown}: is not UTF-8 text (byte {error.start})") from None
    return parse_yaml(text, shown, StackError)


class _FileNames:
    """The names of files that YAML documents have, and the folders that these may be relative to."""

    def __init__(self, tree: WorkingTree) -> None:
        self.manifest = tree.manifest
        self.variables = tree.variables or {}
        self.documents = set(tree.stack.compose_files)
        self.plain = {".env"}
        self.folders = {""}

    def add(self, path: str, document: object) -> None:
        """Those in the document at `path`."""
        self.folders.add(posixpath.dirname(path))
        for key, name in _named_files(document, ""):
            filled = interpolate(name, self.variables)
            (self.documents if key in ("include", "extends") else self.plain).add(filled)
            if key == "include":  # a file, or the project_directory that its paths are relative to
                self.folders |= {filled, posixpath.dirname(filled)}

    def paths(self, names: set[str]) -> set[str]:
        """The paths of the manifest's files that the names may mean."""
        # a variable that only the server knows may be anything
        tries = {re.sub(r"\$\{[^}]*\}|\$\w+", "*", posixpath.join(f, name)) for f in self.folders for name in names}
        paths = {posixpath.normpath(path) for path in tries}
        known = {path for path in paths if posixpath.basename(path) and self.manifest.file(path)}
        patterns = [path for path in paths if "*" in path]
        loose = {e.path for e in self.manifest.entries for p in patterns if fnmatchcase(e.path, p) and e.kind == "f"}
        return known | {path for path in loose if names is self.plain or is_yaml(path)}


def _named_files(node: object, key: str) -> Iterator[tuple[str, str]]:
    """(key, text) of every text below a key that names files for Compose to read."""
    node = node.value if isinstance(node, Tagged) else node
    if isinstance(node, str) and key:
        yield key, node
    elif isinstance(node, list):
        for item in node:
            yield from _named_files(item, key)
    elif isinstance(node, dict):
        for name, value in node.items():
            if name == "extends":  # text alone is a service of the same file
                value = value.get("file") if isinstance(value, dict) else None  # noqa: PLW2901
            inner = name if name in ("include", "extends", "env_file", "label_file") else key
            yield from _named_files(value, inner)
