"""A YAML file → plain values, and a checked struct; every error names file, key, and what was found.

Knows YAML as Compose reads it, and nothing of what the keys mean.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import msgspec

from towline.errors import SettingsError, UsageError, closest

T = TypeVar("T", bound=msgspec.Struct)


@dataclass(frozen=True)
class Place:
    """Where in a file we are, so that an error can say it: `towline.yaml: hosts.prod.root: …`."""

    file: str
    path: str = ""
    error: type[UsageError] = SettingsError

    def at(self, key: object) -> Place:
        """The place one key (or, for an int, one list item) further in."""
        step = f"[{key}]" if isinstance(key, int) else f".{key}" if self.path else str(key)
        return replace(self, path=self.path + step)

    def wrong(self, text: str) -> UsageError:
        """The error to raise about this place: one line whatever `text` holds."""
        return self.error(" ".join(": ".join(filter(None, (self.file, self.path, text))).split()))


@dataclass(frozen=True)
class Tagged:
    """A YAML value under Compose's `!reset` or `!override`."""

    tag: str
    value: object


# ---------------------------------------------------------------------------------------------- file → values


def load_yaml(path: Path, error: type[UsageError] = SettingsError, shown: str = "") -> object:
    """What a YAML file holds (None when it is empty), as plain dicts, lists and scalars.

    YAML 1.2's scalars, as Compose reads them: `on` and `22:22` are text, dates too. Compose's `!reset`
    and `!override` become Tagged. Raises `error`, with `shown` (the file) and the line, for a file that
    cannot be read, is not UTF-8 or not YAML, or has a key twice.
    """
    name = shown or path.name
    return parse_yaml(_read_text(path, error, name), name, error)


def parse_yaml(text: str, name: str, error: type[UsageError] = SettingsError) -> object:
    """What the text of the YAML file `name` holds, as `load_yaml` gives it; raises `error` like it."""
    import yaml

    loader = None
    try:
        loader = _loader()(text)
        node = loader.get_single_node()
        _refuse_twins(node, set())
        return loader.construct_document(node) if node else None
    except yaml.MarkedYAMLError as e:
        raise error(_yaml_line(name, e)) from None
    except (yaml.YAMLError, ValueError, RecursionError) as e:
        problem = "nested too deeply" if isinstance(e, RecursionError) else str(e)
        raise error(f"{name}: broken YAML: {' '.join(problem.split())}") from None
    finally:
        if loader is not None:
            loader.dispose()


def _yaml_line(name: str, e: Any) -> str:
    mark = e.problem_mark or e.context_mark
    line = f":{mark.line + 1}" if mark else ""
    context = f" ({e.context})" if e.context else ""
    return " ".join(f"{name}{line}: broken YAML: {e.problem}{context}".split())


def _read_text(path: Path, error: type[UsageError], name: str) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as e:
        raise error(f"{name}: cannot be read: {e.strerror}") from None
    except UnicodeDecodeError as e:
        raise error(f"{name}: is not UTF-8 text (byte {e.start})") from None


def _refuse_twins(node: Any, seen: set[int]) -> None:
    """Raise ConstructorError for a key that a mapping has twice.

    Looked for before anything is built: building merges `<<` into the nodes, which makes honest twins.
    """
    import yaml

    if not isinstance(node, yaml.CollectionNode) or id(node) in seen:
        return
    seen.add(id(node))
    lines: dict[tuple[str, str], int] = {}
    for item in node.value:
        key, value = item if isinstance(node, yaml.MappingNode) else (None, item)
        if isinstance(key, yaml.ScalarNode):
            same = (key.tag, key.value)
            if same in lines:
                problem = f"duplicate key {key.value!r}, first on line {lines[same]}"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            lines[same] = key.start_mark.line + 1
        _refuse_twins(value, seen)


@cache
def _loader() -> Any:
    """libyaml's safe loader where there is one (ten times as fast), with YAML 1.2's scalars."""
    import yaml

    loader: Any = type("Loader", (getattr(yaml, "CSafeLoader", yaml.SafeLoader),), {})
    replaced = {f"tag:yaml.org,2002:{kind}" for kind in ("bool", "int", "float", "timestamp")}
    loader.yaml_implicit_resolvers = {
        first: [(tag, rx) for tag, rx in rules if tag not in replaced]
        for first, rules in loader.yaml_implicit_resolvers.items()
    }
    for kind, rx, first in _SCALARS:
        loader.add_implicit_resolver(f"tag:yaml.org,2002:{kind}", re.compile(rx), list(first))
    for tag in ("!reset", "!override"):
        loader.add_constructor(tag, _tagged)
    return loader


_SCALARS = (
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("int", r"^[-+]?(?:0|[1-9][0-9]*|0o[0-7]+|0x[0-9a-fA-F]+)$", "-+0123456789"),
    ("float", r"^[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$", "-+.0123456789"),
)


def _tagged(loader: Any, node: Any) -> Tagged:
    kinds = {
        "mapping": lambda n: loader.construct_mapping(n, deep=True),
        "sequence": lambda n: loader.construct_sequence(n, deep=True),
    }
    return Tagged(node.tag, kinds.get(node.id, loader.construct_scalar)(node))


# --------------------------------------------------------------------------------------------- values → types


def parse_keys(raw: object, shape: type[T], place: Place) -> T:
    """A mapping from a file as a `shape` (a msgspec Struct); None is an empty mapping.

    Raises the place's error for an unknown key (with the closest known one), a missing one, or a value
    of the wrong type or range.
    """
    given = mapping_at(raw, place)
    fields = {f.name: f for f in msgspec.structs.fields(shape)}
    for key in given:
        if key not in fields:
            raise place.wrong(f"unknown key {key!r}; {closest(str(key), fields)}")
    for name, info in fields.items():
        if info.required and given.get(name) is None:
            raise place.at(name).wrong("is missing")
    # `key:` with nothing after it is a key that was not given
    return shape(**{k: _typed(v, fields[k].type, place.at(k)) for k, v in given.items() if v is not None})


def mapping_at(raw: object, place: Place) -> dict[Any, Any]:
    """`raw` as a mapping, nothing as an empty one; raises the place's error for anything else."""
    if raw is not None and not isinstance(raw, dict):
        raise place.wrong(f"expected a mapping, got {found(raw)}")
    return raw or {}


def list_at(raw: object, place: Place) -> list[Any]:
    """`raw` as a list, nothing as an empty one; raises the place's error for anything else."""
    if raw is not None and not isinstance(raw, list):
        raise place.wrong(f"expected a list, got {found(raw)}")
    return raw or []


def text_at(raw: object, place: Place) -> str | None:
    """`raw` as text, or None when there is nothing; raises the place's error for anything else."""
    if raw is not None and not isinstance(raw, str):
        raise place.wrong(f"expected text, got {found(raw)}")
    return raw


def _typed(value: object, kind: Any, place: Place) -> object:
    words = _words(kind)
    if words and value not in words:
        raise place.wrong(f"expected {', '.join(words[:-1])} or {words[-1]}, got {found(value)}")
    try:
        return msgspec.convert(value, kind)
    except (msgspec.ValidationError, RecursionError) as e:
        raise _mistyped(value, str(e), place) from None


def _words(kind: Any) -> tuple[str, ...]:
    """The words that a Literal (or `Literal | None`) allows; empty for any other type."""
    literal = next((k for k in (kind, *get_args(kind)) if get_origin(k) is Literal), None)
    return get_args(literal)


def _mistyped(value: object, message: str, place: Place) -> UsageError:
    """msgspec's ``Expected `int`, got `str` - at `$[1]` `` in our words, with the value that was found."""
    item = re.search(r"`\$\[(\d+)\]`$", message)
    if item and isinstance(value, list):
        place, value = place.at(int(item[1])), value[int(item[1])]
    expected = re.sub(r"(, got .*)?( - at .*)?$", "", message).replace("`", "").replace(" | null", "")
    expected = expected.replace("array", "list").replace("object", "mapping")
    return place.wrong(f"{expected[:1].lower()}{expected[1:]}, got {found(value)}")


def found(value: object) -> str:
    """What was found, short enough for an error line."""
    if isinstance(value, (dict, list)):
        return "a mapping" if isinstance(value, dict) else "a list"
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
