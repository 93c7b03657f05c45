"""Traefik's settings as a tree, whichever way they are written: labels, flags, variables, a YAML or TOML file.

Names are compared without case, as Traefik does (traefik/paerser): `EntryPoints` is `entrypoints`. What Traefik itself
would refuse raises InvalidSettings.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from towline.errors import SettingsError
from towline.project.yaml_file import parse_yaml

DEEPEST = 20  # names in one another; Traefik's own go to eight
MOST = 10_000  # values in one file: YAML's aliases can make billions of a few lines

Path = tuple[str, ...]


class InvalidSettings(ValueError):
    """Settings that Traefik does not take; the message is a sentence without a full stop."""


@dataclass
class Node:
    """One name, as it was first written; its value, '' when it has none; and what is below it, by name in lower case."""

    name: str = ""
    value: str = ""
    children: dict[str, Node] = field(default_factory=dict)

    def at(self, *names: str) -> Node:
        """The branch that the names lead to, an empty one when there is none."""
        found = self
        for name in names:
            found = found.children.get(name.lower(), _NOTHING)
        return found

    def has(self, *names: str) -> bool:
        return self.at(*names) is not _NOTHING

    @property
    def enabled(self) -> bool:
        """Whether a part that may stand alone is there: `tls=true`, `tls.options=x`, but not `tls=false`."""
        return self is not _NOTHING and self.value.lower() in ("", "true")

    @property
    def as_list(self) -> tuple[str, ...]:
        """The value as a list: `web, websecure`."""
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
        """The value of `name` as a whole number, 0 when it is not there. Raises InvalidSettings for anything else."""
        value = self.at(name).value or ("" if self.has(name) else "0")
        if not re.fullmatch(r"[+-]?[0-9]{1,19}", value):
            raise InvalidSettings(f"{self.name or 'traefik'}.{name}: expected a whole number, found {value[:40]!r}")
        return int(value)


_NOTHING = Node()
_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")


def tree(pairs: Iterable[tuple[Path, str]]) -> Node:
    """The pairs as one tree; of two that differ in case only, the later one's value stays."""
    root = Node()
    for path, value in pairs:
        node = root
        for name in path:
            node = node.children.setdefault(name.lower(), Node(name))
        node.value = value
    return root


# ---------------------------------------------------------------------------------------------------------- labels


def parse_labels(labels: Mapping[str, str], *prefixes: str) -> Node:
    """Those labels that begin with one of `prefixes` (`traefik.http`), without their first name. Raises InvalidSettings."""
    ours = sorted(key for key in labels if key.lower().startswith(prefixes))
    return tree((_path(key), labels[key]) for key in ours)


def _path(key: str) -> Path:
    """A label's key in parts: `traefik.a.domains[0].main` is a, domains, [0], main."""
    root, *names = key.split(".")
    if root != "traefik":
        raise InvalidSettings(f"label {key[:60]}: Traefik wants `traefik` in lower case")
    if len(names) > DEEPEST:
        raise InvalidSettings(f"label {key[:60]}…: is too deep")
    parts: list[str] = []
    for name in names:
        if not name or name.startswith("[") or (name.endswith("]") and "[" not in name):
            raise InvalidSettings(f"label {key[:60]}: {name[:40]!r} is no name")
        stem, bracket, index = name.partition("[") if name.endswith("]") else (name, "", "")
        parts += [stem, bracket + index] if bracket else [stem]
    return tuple(parts)


# ----------------------------------------------------------------------------------------------------------- files


def parse_file(text: str, name: str) -> Node:
    """The text of a file, TOML when its name ends so, else YAML. Raises InvalidSettings with the file's name."""
    try:
        raw = tomllib.loads(text) if name.lower().endswith(".toml") else parse_yaml(text, name)
    except SettingsError as e:
        raise InvalidSettings(e.message) from None
    except (tomllib.TOMLDecodeError, RecursionError) as e:
        problem = "nested too deeply" if isinstance(e, RecursionError) else str(e)
        raise InvalidSettings(f"{name}: broken TOML: {problem}") from None
    if not isinstance(raw, dict) or not raw:
        raise InvalidSettings(f"{name}: there is nothing in it")
    return tree(_flat(raw, name))


def _flat(raw: object, name: str) -> Iterator[tuple[Path, str]]:
    """Every value and every empty mapping with the names that lead to it; nothing (`docker:`) is left out, as Traefik does."""
    waiting: list[tuple[Path, object]] = [((), raw)]
    for _ in range(MOST):
        if not waiting:
            return
        path, one = waiting.pop()
        inner = _inside(one)
        if inner is None or len(path) > DEEPEST:
            yield path, _text(one)
        else:
            waiting += [((*path, key), value) for key, value in reversed(inner) if value is not None]
    raise InvalidSettings(f"{name}: is too large")


def _inside(value: object) -> list[tuple[str, object]] | None:
    """What is in a mapping or in a list of mappings, when there is anything."""
    if isinstance(value, dict):
        return [(str(key), one) for key, one in value.items()] or None
    if isinstance(value, list) and any(isinstance(one, dict) for one in value):
        return [(f"[{i}]", one) for i, one in enumerate(value)]
    return None


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ",".join(_text(one) for one in value if not isinstance(one, (dict, list)))
    return "" if value is None or isinstance(value, dict) else str(value)
