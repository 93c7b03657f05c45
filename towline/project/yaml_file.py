"""Reads a YAML file, as Compose does, into plain values and checked structs; every error names file, key and what was found.

Knows nothing of what the keys mean.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import msgspec

from towline.errors import SettingsError, UsageError, closest

T = TypeVar("T", bound=msgspec.Struct)


@dataclass(frozen=True)
class Place:
    """A place in a file, for error messages: `towline.yaml: hosts.prod.root: …`. error: the type of the errors."""

    file: str
    path: str = ""
    error: type[UsageError] = SettingsError

    def at(self, key: object) -> Place:
        """The place of `key` (for an int: of that list item) in this one."""
        step = f"[{key}]" if isinstance(key, int) else f".{key}" if self.path else str(key)
        return replace(self, path=self.path + step)

    def wrong(self, text: str) -> UsageError:
        """The error to raise about this place; one line, whatever `text` contains."""
        return self.error(" ".join(": ".join(filter(None, (self.file, self.path, text))).split()))


@dataclass(frozen=True)
class Tagged:
    """A YAML value under Compose's `!reset` or `!override`."""

    tag: str
    value: object


# --------------------------------------------------------------------------------------------- file to values


def load_yaml(path: Path, error: type[UsageError] = SettingsError, name: str = "") -> object:
    """The content of a YAML file (None when it is empty), as plain dicts, lists and scalars.

    Scalars are those of YAML 1.2, as Compose reads them: `on` and `22:22` are text, dates too. Compose's `!reset` and
    `!override` become Tagged. Raises `error`, with `name` (by default the file's) and the line, for a file that cannot
    be read, is not UTF-8 or not YAML, or has a duplicate key.
    """
    name = name or path.name
    return parse_yaml(_read_text(path, error, name), name, error)


def parse_yaml(text: str, name: str, error: type[UsageError] = SettingsError) -> object:
    """The content of the YAML `text` of the file `name`; as load_yaml."""
    import yaml

    loader = None
    try:
        loader = _loader()(text)
        node = loader.get_single_node()
        _refuse_duplicate_keys(node, set())
        return loader.construct_document(node) if node else None
    except yaml.MarkedYAMLError as e:
        raise error(_yaml_message(name, e)) from None
    except (yaml.YAMLError, ValueError, RecursionError) as e:
        problem = "nested too deeply" if isinstance(e, RecursionError) else str(e)
        raise error(f"{name}: broken YAML: {' '.join(problem.split())}") from None
    finally:
        if loader is not None:
            loader.dispose()


def line_of(text: str, keys: Sequence[str]) -> int:
    """The line of the mapping key that the path `keys` leads to, or as far as it is there beyond the first; 0 without that.

    >>> line_of("a:\\n  b:\\n    c: 1\\n", ["a", "b", "x"])
    2
    """
    import yaml

    try:
        node = yaml.compose(text, Loader=_loader())
    except yaml.YAMLError:
        return 0
    line = 0
    for depth, wanted in enumerate(keys):
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        found = next(((key, value) for key, value in pairs if key.value == wanted), None)
        if found is None:
            break
        line, node = (found[0].start_mark.line + 1 if depth else 0), found[1]
    return line


def _yaml_message(name: str, e: Any) -> str:
    mark = e.problem_mark or e.context_mark
    line = f":{mark.line + 1}" if mark else ""
    context = f" ({e.context})" if e.context else ""
    return " ".join(f"{name}{line}: broken YAML: {e.problem}{context}".split())


def _read_text(path: Path, error: type[UsageError], name: str) -> str:
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):  # a pipe would be waited for
            raise error(f"{name}: is not a file")
        return path.read_bytes().decode("utf-8-sig")
    except OSError as e:
        raise error(f"{name}: cannot be read: {e.strerror}") from None
    except UnicodeDecodeError as e:
        raise error(f"{name}: is not UTF-8 text (byte {e.start})") from None


def _refuse_duplicate_keys(node: Any, seen: set[int]) -> None:
    """Raise ConstructorError for a key that a mapping has twice.

    To be called before construction, which merges `<<` into the nodes: that makes legitimate duplicates.
    """
    import yaml

    if not isinstance(node, yaml.CollectionNode) or id(node) in seen:
        return
    seen.add(id(node))
    lines: dict[tuple[str, str], int] = {}
    for item in node.value:
        key, value = item if isinstance(node, yaml.MappingNode) else (None, item)
        if isinstance(key, yaml.ScalarNode):
            identity = (key.tag, key.value)
            if identity in lines:
                problem = f"duplicate key {key.value!r}, first on line {lines[identity]}"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            lines[identity] = key.start_mark.line + 1
        _refuse_duplicate_keys(value, seen)


@cache
def _loader() -> Any:
    """libyaml's safe loader where it is available (ten times as fast), with the scalars of YAML 1.2."""
    import yaml

    loader: Any = type("Loader", (getattr(yaml, "CSafeLoader", yaml.SafeLoader),), {})
    replaced = {f"tag:yaml.org,2002:{kind}" for kind in ("bool", "int", "float", "timestamp", "value")}
    loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in rules if tag not in replaced]
        for first, rules in loader.yaml_implicit_resolvers.items()
    }
    for kind, pattern, first in _SCALARS:
        loader.add_implicit_resolver(f"tag:yaml.org,2002:{kind}", re.compile(pattern), list(first))
    for tag in ("!reset", "!override"):
        loader.add_constructor(tag, _construct_tagged)
    return loader


_SCALARS = (
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("int", r"^[-+]?(?:0|[1-9][0-9]*|0o[0-7]+|0x[0-9a-fA-F]+)$", "-+0123456789"),
    ("float", r"^[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$", "-+.0123456789"),
)


def _construct_tagged(loader: Any, node: Any) -> Tagged:
    kinds = {
        "mapping": lambda n: loader.construct_mapping(n, deep=True),
        "sequence": lambda n: loader.construct_sequence(n, deep=True),
    }
    return Tagged(node.tag, kinds.get(node.id, loader.construct_scalar)(node))


# -------------------------------------------------------------------------------------------- values to types


def parse_keys(raw: object, shape: type[T], place: Place) -> T:
    """The mapping `raw` as a `shape` (a msgspec Struct); None counts as an empty mapping.

    Raises the place's error for an unknown key (suggesting the most similar one), a missing key, or a value of the wrong
    type or range.
    """
    given = mapping_at(raw, place)
    fields = {info.name: info for info in msgspec.structs.fields(shape)}
    for key in given:
        if key not in fields:
            raise place.wrong(f"unknown key {key!r}; {closest(str(key), fields)}")
    for name, info in fields.items():
        if info.required and given.get(name) is None:
            raise place.at(name).wrong("is missing")
    values = {key: value for key, value in given.items() if value is not None}  # `key:` without a value: not given
    return shape(**{key: _convert(value, fields[key].type, place.at(key)) for key, value in values.items()})


def mapping_at(raw: object, place: Place) -> dict[Any, Any]:
    """`raw` as a mapping, empty for None; raises the place's error for anything else."""
    if raw is not None and not isinstance(raw, dict):
        raise place.wrong(f"expected a mapping, got {describe(raw)}")
    return raw or {}


def list_at(raw: object, place: Place) -> list[Any]:
    """`raw` as a list, empty for None; raises the place's error for anything else."""
    if raw is not None and not isinstance(raw, list):
        raise place.wrong(f"expected a list, got {describe(raw)}")
    return raw or []


def text_at(raw: object, place: Place) -> str | None:
    """`raw` as text, or None; raises the place's error for anything else."""
    if raw is not None and not isinstance(raw, str):
        raise place.wrong(f"expected text, got {describe(raw)}")
    return raw


def _convert(value: object, kind: Any, place: Place) -> object:
    allowed = _literals(kind)
    if allowed and value not in allowed:
        raise place.wrong(f"expected {', '.join(allowed[:-1])} or {allowed[-1]}, got {describe(value)}")
    try:
        return msgspec.convert(value, kind)
    except (msgspec.ValidationError, RecursionError) as e:
        raise _type_error(value, str(e), place) from None


def _literals(kind: Any) -> tuple[str, ...]:
    """The texts that a Literal (or `Literal | None`) allows; empty for any other type."""
    literal = next((k for k in (kind, *get_args(kind)) if get_origin(k) is Literal), None)
    return get_args(literal)


def _type_error(value: object, message: str, place: Place) -> UsageError:
    """The error for msgspec's ``Expected `int`, got `str` - at `$[1]` ``, in YAML's words and with the value."""
    item = re.search(r"`\$\[(\d+)\]`$", message)
    if item and isinstance(value, list):
        place, value = place.at(int(item[1])), value[int(item[1])]
    expected = re.sub(r"(, got .*)?( - at .*)?$", "", message).replace("`", "").replace(" | null", "")
    expected = expected.replace("array", "list").replace("object", "mapping")
    return place.wrong(f"{expected[:1].lower()}{expected[1:]}, got {describe(value)}")


def describe(value: object) -> str:
    """`value` for an error message, at most 60 characters."""
    if isinstance(value, (dict, list)):
        return "a mapping" if isinstance(value, dict) else "a list"
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
