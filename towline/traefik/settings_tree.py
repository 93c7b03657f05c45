"""Traefik's settings as a tree, in whichever form they are written: labels, flags, variables, a YAML or TOML file.

Names are compared without case, as Traefik does (traefik/paerser): `EntryPoints` is `entrypoints`. What Traefik would refuse
raises InvalidSettings.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from towline.errors import SettingsError
from towline.project.yaml_file import parse_yaml

DEEPEST = 20  # levels of names; Traefik's own settings have eight
MOST = 10_000  # values in one file: a few lines with YAML's aliases can stand for billions

Path = tuple[str, ...]


class InvalidSettings(ValueError):
    """Settings that Traefik does not take; the message is a sentence without a full stop."""


@dataclass
class Node:
    """A name as it was first written; its value, '' for none; and its children by their names in lower case."""

    name: str = ""
    value: str = ""
    children: dict[str, Node] = field(default_factory=dict)

    def at(self, *names: str) -> Node:
        """The node that the names lead to, an empty one when there is none."""
        node = self
        for name in names:
            node = node.children.get(name.lower(), _NOTHING)
        return node

    def has(self, *names: str) -> bool:
        return self.at(*names) is not _NOTHING

    @property
    def enabled(self) -> bool:
        """Whether a section that may stand alone is on: `tls=true` and `tls.options=x`, but not `tls=false`."""
        return self is not _NOTHING and self.value.lower() in ("", "true")

    @property
    def as_list(self) -> tuple[str, ...]:
        """The value split at its commas: `web, websecure`."""
        return tuple(word.strip() for word in self.value.split(",")) if self.value else ()

    def boolean(self, name: str, default: bool) -> bool:
        """The value of `name` as Go reads a bool. Raises InvalidSettings for anything else."""
        if not self.has(name):
            return default
        value = self.at(name).value
        if value not in (*_TRUE, *_FALSE):
            raise InvalidSettings(f"{self.name or 'traefik'}.{name}: expected true or false, found {value[:40]!r}")
        return value in _TRUE

    def integer(self, name: str) -> int:
        """The value of `name` as a whole number, 0 when there is none. Raises InvalidSettings for anything else."""
        value = self.at(name).value or ("" if self.has(name) else "0")
        if not re.fullmatch(r"[+-]?[0-9]{1,19}", value):
            raise InvalidSettings(f"{self.name or 'traefik'}.{name}: expected a whole number, found {value[:40]!r}")
        return int(value)


_NOTHING = Node()
_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")


def tree(pairs: Iterable[tuple[Path, str]]) -> Node:
    """The pairs as one tree; of two that differ only in case, the later value stays."""
    root = Node()
    for path, value in pairs:
        node = root
        for name in path:
            node = node.children.setdefault(name.lower(), Node(name))
        node.value = value
    return root


# ---------------------------------------------------------------------------------------------------------- labels


def parse_labels(labels: Mapping[str, str], *prefixes: str) -> Node:
    """The labels that begin with one of `prefixes` (`traefik.http`), without their first name. Raises InvalidSettings."""
    keys = sorted(key for key in labels if key.lower().startswith(prefixes))
    return tree((_path(key), labels[key]) for key in keys)


def _path(key: str) -> Path:
    """The names in a label's key: of `traefik.a.domains[0].main` they are a, domains, [0], main."""
    root, *names = key.split(".")
    if root != "traefik":
        raise InvalidSettings(f"label {key[:60]}: Traefik wants `traefik` in lower case")
    if len(names) > DEEPEST:
        raise InvalidSettings(f"label {key[:60]}…: is nested too deeply")
    path: list[str] = []
    for name in names:
        if not name or name.startswith("[") or (name.endswith("]") and "[" not in name):
            raise InvalidSettings(f"label {key[:60]}: {name[:40]!r} is not a name")
        stem, bracket, index = name.partition("[") if name.endswith("]") else (name, "", "")
        path += [stem, bracket + index] if bracket else [stem]
    return tuple(path)


# ----------------------------------------------------------------------------------------------------------- files


def parse_file(text: str, name: str) -> Node:
    """The settings in the text of a file: TOML when its name ends so, else YAML. Raises InvalidSettings with the file's name."""
    try:
        raw = tomllib.loads(text) if name.lower().endswith(".toml") else parse_yaml(text, name)
    except SettingsError as e:
        raise InvalidSettings(e.message) from None
    except (tomllib.TOMLDecodeError, RecursionError) as e:
        problem = "nested too deeply" if isinstance(e, RecursionError) else str(e)
        raise InvalidSettings(f"{name}: broken TOML: {problem}") from None
    if not isinstance(raw, dict) or not raw:
        raise InvalidSettings(f"{name}: holds no settings")
    return tree(_flat(raw, name))


def _flat(raw: object, name: str) -> Iterator[tuple[Path, str]]:
    """Every value and every empty mapping with the names that lead to it; without nulls (`docker:`), which Traefik ignores."""
    waiting: list[tuple[Path, object]] = [((), raw)]
    for _ in range(MOST):
        if not waiting:
            return
        path, value = waiting.pop()
        children = _children(value)
        if children is None or len(path) > DEEPEST:
            yield path, _text(value)
        else:
            waiting += [((*path, name), child) for name, child in reversed(children) if child is not None]
    raise InvalidSettings(f"{name}: is too large")


def _children(value: object) -> list[tuple[str, object]] | None:
    """The entries of a mapping that is not empty, or of a list with mappings in it; None for anything else."""
    if isinstance(value, dict):
        return [(str(key), child) for key, child in value.items()] or None
    if isinstance(value, list) and any(isinstance(child, dict) for child in value):
        return [(f"[{i}]", child) for i, child in enumerate(value)]
    return None


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ",".join(_text(entry) for entry in value if not isinstance(entry, (dict, list)))
    return "" if value is None or isinstance(value, dict) else str(value)
