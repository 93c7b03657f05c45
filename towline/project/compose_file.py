"""A stack's compose files → its services and networks, read as far as the catalogue needs and no further.

Compose itself stays the judge of everything else in them. Everything wrong is a StackError of one line.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any

from towline.errors import StackError
from towline.project.compose_paths import NamedFiles, Paths
from towline.project.env_file import read_env
from towline.project.yaml_file import Place, Tagged, found, list_at, load_yaml, mapping_at, text_at

COMPOSE_FILES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
OVERRIDE_FILES = tuple(f"{stem}.override.{end}" for stem in ("compose", "docker-compose") for end in ("yml", "yaml"))


@dataclass(frozen=True)
class Service:
    """One service of a compose file; `image` None: it is built, or comes by `extends`."""

    name: str
    image: str | None = None
    builds: bool = False
    profiles: tuple[str, ...] = ()


@dataclass(frozen=True)
class Networks:
    """A stack's networks, real names: those it declares, of these the ones in use, and the external ones."""

    declared: frozenset[str]
    used: frozenset[str]
    external: frozenset[str]


def compose_files(folder: Path) -> tuple[str, ...]:
    """The compose file that Compose itself would take, and its override; empty when there is none."""
    try:
        names = {file.name for file in folder.iterdir()}
    except OSError as e:
        raise StackError(f"{folder.parent.name}/{folder.name}: cannot be read: {e.strerror}") from None
    main = next((name for name in COMPOSE_FILES if name in names), None)
    override = next((name for name in OVERRIDE_FILES if name in names), None)
    return tuple(name for name in (main, override) if name) if main else ()


# --------------------------------------------------------------------------------------- files → one document


def load_compose(
    folder: Path, files: tuple[str, ...], label: str, named: NamedFiles, *, root_env: bool
) -> dict[Any, Any]:
    """The compose `files` of a stack's `folder` as the one document that Compose makes of them; fills `named`.

    `root_env`: the stack gets the repository's .env, so its own need not be there. Raises StackError for
    what is broken, and for paths that only this machine has.
    """
    source = _Source(folder, label, root_env, named)
    documents = [document for name in files for document in source.load(folder / name)]
    return mapping_at(_plain(reduce(_merge, documents, {})), Place(f"{label}/{files[0]}", "", StackError))


@dataclass
class _Source:
    """Reads a stack's compose files one by one; each is checked by itself, so that the error names it."""

    folder: Path
    label: str
    root_env: bool
    named: NamedFiles
    seen: set[Path] = field(default_factory=set)

    def load(self, path: Path, base: Path | None = None) -> list[dict[Any, Any]]:
        """What `path` and the files that it includes hold, the included ones first."""
        if path in self.seen:
            return []
        self.seen.add(path)
        place = Place(f"{self.label}/{os.path.relpath(path, self.folder)}", "", StackError)
        raw = load_yaml(path, StackError, place.file)
        keys = mapping_at(_plain(raw), place)
        paths = Paths(self.folder, base or path.parent, self.root_env, self.named)
        paths.check(keys, place)
        included = [doc for p, home in paths.includes(keys, place) for doc in self.load(p, home)]
        own = {k: v for k, v in mapping_at(raw, place).items() if k != "include"}
        return [*included, own]


def _merge(under: Any, over: Any) -> Any:
    """`over` laid on `under` as Compose does it: mappings key by key, lists end to end."""
    if isinstance(over, Tagged):
        return over
    if isinstance(under, Tagged):
        return under if over is None else over
    if isinstance(under, dict) and isinstance(over, dict):
        both = {key: _merge(under[key], over[key]) for key in under.keys() & over.keys()}
        return {**under, **over, **both}
    if isinstance(under, list) and isinstance(over, list):
        return under + over
    return under if over is None else over


def _plain(value: Any) -> Any:
    """`value` without Compose's tags: what is under `!reset` is gone, `!override` is just its value."""
    if isinstance(value, Tagged):
        return _plain(value.value) if value.tag == "!override" else None
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items() if getattr(v, "tag", "") != "!reset"}
    return [_plain(item) for item in value] if isinstance(value, list) else value


# -------------------------------------------------------------------------------------- services and networks


def parse_services(raw: object, place: Place) -> tuple[Service, ...]:
    if not mapping_at(raw, place):
        raise place.wrong("there are none; expected at least one service with an image or a build")
    return tuple(_service(name, value, place) for name, value in mapping_at(raw, place).items())


def _service(name: object, raw: object, place: Place) -> Service:
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9._-]+", name):
        raise place.wrong(f"service name {name!r}: expected letters, digits and ._- only (in quotes if a number)")
    place = place.at(name)
    keys = mapping_at(raw, place)
    image = text_at(keys.get("image"), place.at("image"))
    profiles = list_at(keys.get("profiles") or None, place.at("profiles"))
    builds = keys.get("build") is not None
    if not (image or builds or keys.get("extends") or keys.get("provider")):
        raise place.wrong("has neither image nor build")
    return Service(name, image, builds, tuple(str(p) for p in profiles))


def parse_networks(keys: Mapping[str, Any], project: str, env_file: Path, place: Place) -> Networks:
    """The networks of a compose document, variables in their names filled in from `env_file`."""
    declared = dict(mapping_at(keys.get("networks"), place.at("networks")))
    used = _used_networks(keys["services"], place.at("services"))
    if "default" in used:
        declared.setdefault("default", None)
    real: dict[str, str] = {}
    external: set[str] = set()
    for key, raw in declared.items():
        name, outside = _network(str(key), raw, project, place.at("networks").at(key))
        name = interpolated(name, env_file)
        if "$" in name:  # only the server's shell knows it: no order can be told from it
            continue
        external.update({name} if outside else ())
        real.update({} if outside else {str(key): name})
    in_use = frozenset(name for key, name in real.items() if key in used)
    return Networks(frozenset(real.values()), in_use, frozenset(external))


def _network(key: str, raw: object, project: str, place: Place) -> tuple[str, bool]:
    """(real name, whether it is external). The old form is `external: {name: …}`."""
    keys = mapping_at(raw, place)
    external = keys.get("external")
    old = external.get("name") if isinstance(external, dict) else None
    outside = external is not None and external is not False
    name = keys.get("name") or old or (key if outside else f"{project}_{key}")
    if not isinstance(name, str):
        raise place.at("name").wrong(f"expected text, got {found(name)}")
    return name, outside


def _used_networks(services: Mapping[str, Any], place: Place) -> set[str]:
    used: set[str] = set()
    for service, keys in services.items():
        names = keys.get("networks") or ([] if keys.get("network_mode") else ["default"])
        if not isinstance(names, (dict, list)):
            raise place.at(service).at("networks").wrong(f"expected a list, got {found(names)}")
        used.update(str(name) for name in names)
    return used


def filled(value: object, env_file: Path) -> Any:
    """A plain value with its texts as Compose fills them in: variables out of a .env, and `$$` for a dollar."""
    if isinstance(value, str):
        return "$".join(interpolated(part, env_file) for part in value.split("$$"))
    if isinstance(value, dict):
        return {key: filled(item, env_file) for key, item in value.items()}
    return [filled(item, env_file) for item in value] if isinstance(value, list) else value


def interpolated(text: str, env_file: Path) -> str:
    """`text` with `$X`, `${X}`, `${X:-default}` filled in from a .env; what is not known stays as it is."""
    if "$" not in text:
        return text
    try:
        return interpolate(text, read_env(env_file.read_bytes()))
    except (OSError, UnicodeDecodeError):
        return interpolate(text, {})


def interpolate(text: str, variables: Mapping[str, str]) -> str:
    """`text` with `$X`, `${X}`, `${X:-default}` filled in from the variables of a .env; others stay as they are."""

    def value(match: re.Match[str]) -> str:
        default = match[3] if match[2] else match[0]
        return variables.get(match[1] or match[4]) or default

    return re.sub(r"\$(?:\{(\w+)(?:(:?-)([^}]*))?\}|([A-Za-z_]\w*))", value, text)
