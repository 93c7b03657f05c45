"""A stack's compose files: its services and networks, as far as the catalog needs them.

Everything else in them is left for Compose itself to judge. Every error is a StackError of one line.
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
from towline.project.compose_paths import NamedFiles, PathChecker
from towline.project.env_file import interpolate_from
from towline.project.ignore_file import Ignore
from towline.project.variables import variables_in
from towline.project.yaml_file import Place, Tagged, describe, list_at, load_yaml, mapping_at, text_at

COMPOSE_FILES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
OVERRIDE_FILES = tuple(f"{stem}.override.{end}" for stem in ("compose", "docker-compose") for end in ("yml", "yaml"))


@dataclass(frozen=True)
class Service:
    """One service of a compose file. image None: it is built, or comes from `extends`. builds: has a `build`.

    variables: those that it uses and that have no default. labelled: has a label_file.
    """

    name: str
    image: str | None = None
    builds: bool = False
    profiles: tuple[str, ...] = ()
    variables: frozenset[str] = frozenset()
    labelled: bool = False


@dataclass(frozen=True)
class Networks:
    """A stack's networks, by their names on the engine. declared: not external; used: those of them that a service uses."""

    declared: frozenset[str]
    used: frozenset[str]
    external: frozenset[str]


def compose_files(folder: Path, ignored: Ignore = lambda _: False) -> tuple[str, ...]:
    """The compose file that Compose itself would choose, and its override file; empty when there is none.

    Not those that are ignored: they are not sent.
    """
    try:
        names = {file.name for file in folder.iterdir() if not ignored(file.name)}
    except OSError as e:
        raise StackError(f"{folder.parent.name}/{folder.name}: cannot be read: {e.strerror}") from None
    main = next((name for name in COMPOSE_FILES if name in names), None)
    override = next((name for name in OVERRIDE_FILES if name in names), None)
    return tuple(name for name in (main, override) if name) if main else ()


# ------------------------------------------------------------------------------------- files to one document


@dataclass(frozen=True)
class Surroundings:
    """What Compose reads beside the files. env_file: the .env that the stack gets, its own or the repository's.

    profiles: the active ones.
    """

    env_file: Path
    profiles: frozenset[str] = frozenset({"*"})


def load_compose(
    folder: Path, files: tuple[str, ...], label: str, named: NamedFiles, around: Surroundings
) -> dict[Any, Any]:
    """The compose `files` of a stack's `folder`, merged into one document as Compose does; adds to `named`.

    Their paths are relative to the folder of the first. label: the folder in error messages. Raises StackError for broken files,
    and for paths that exist only on this machine.
    """
    reader = _Reader(folder, label, named, around)
    base = (folder / files[0]).parent
    later: object = {}
    taken_back: dict[str, object] = {}
    for name in reversed(files):
        taken_back[name] = later
        later = _merge(reader.content(folder / name), later)
    documents = [document for name in files for document in reader.read(folder / name, base, taken_back[name])]
    return mapping_at(_without_tags(reduce(_merge, documents, {})), Place(f"{label}/{files[0]}", "", StackError))


@dataclass
class _Reader:
    """Reads a stack's compose files one by one; each is checked by itself, so that an error names the file."""

    folder: Path
    label: str
    named: NamedFiles
    around: Surroundings
    seen: set[Path] = field(default_factory=set)
    extended: set[tuple[Path, str]] = field(default_factory=set)

    def content(self, path: Path) -> object:
        return load_yaml(path, StackError, self._place(path).file)

    def _place(self, path: Path) -> Place:
        return Place(f"{self.label}/{os.path.relpath(path, self.folder)}", "", StackError)

    def read(self, path: Path, base: Path | None = None, later: object = None) -> list[dict[Any, Any]]:
        """The documents of `path` and of the files that it includes, the included ones first.

        base: the folder that its paths are relative to, by default its own. A file that was read before gives none.
        later: what comes over it, whose tags take back what it says.
        """
        if path in self.seen:
            return []
        self.seen.add(path)
        place, raw = self._place(path), self.content(path)
        keys = mapping_at(_not_taken_back(_without_tags(raw), later), place)
        paths = PathChecker(self.folder, base or path.parent, self.around.env_file, self.named, self.around.profiles)
        paths.check(keys, place)
        given: dict[Any, Any] = {}
        for name, service in mapping_at(keys.get("services"), place.at("services")).items():
            networks = self._check_extended(paths, service, place.at("services").at(str(name)))
            if networks:
                given[name] = {"networks": _merge(networks, service.get("networks"))}
        included = [doc for file, folder in paths.included_files(keys, place) for doc in self.read(file, folder)]
        own = {key: value for key, value in mapping_at(raw, place).items() if key != "include"}
        if given:
            own = _merge({"services": given}, own)
        return [*included, own]

    def _check_extended(self, paths: PathChecker, service: Any, place: Place, own: Path | None = None) -> Any:
        """The paths of what a service extends from another file, and of what that extends: they are relative to their file.

        own: that file, where the service itself is in one that is extended. Comes back with the networks that it gets by that.
        """
        networks: Any = None
        for file, name in paths.extended(service, place, own):
            if (file, name) in self.extended:  # it extends itself, and Compose says so
                continue
            self.extended.add((file, name))
            there = self._place(file)
            keys = mapping_at(_without_tags(self.content(file)), there)
            services = mapping_at(keys.get("services"), there.at("services"))
            checker = PathChecker(self.folder, file.parent, self.around.env_file, self.named)
            found = mapping_at(services.get(name), there.at("services").at(name))
            checker.check_service(found, there.at("services").at(name))
            inner = self._check_extended(checker, found, there.at("services").at(name), file)
            networks = _merge(_merge(inner, found.get("networks")), networks)
            self.extended.discard((file, name))
        return networks


def _merge(base: Any, override: Any) -> Any:
    """`override` merged into `base` as Compose does: mappings by key, lists appended."""
    if isinstance(override, Tagged):
        return override
    if isinstance(base, Tagged):
        return base if override is None else override
    if isinstance(base, dict) and isinstance(override, dict):
        both = {key: _merge(base[key], override[key]) for key in base.keys() & override.keys()}
        return {**base, **override, **both}
    if isinstance(base, list) and isinstance(override, list):
        return base + override
    if isinstance(base, dict) and isinstance(override, list):
        return _merge(base, _as_mapping(override))
    if isinstance(base, list) and isinstance(override, dict):
        return _merge(_as_mapping(base), override)
    return base if override is None else override


def _as_mapping(items: list[Any]) -> dict[Any, Any]:
    """The other way of writing environment, labels, networks and depends_on."""
    pairs = (item.partition("=") if isinstance(item, str) else (str(item), "", "") for item in items)
    return {name: value if equals else None for name, equals, value in pairs}


def _not_taken_back(value: Any, later: object) -> Any:
    """`value` without what a tag in the document that comes over it takes back."""
    if not isinstance(value, dict) or not isinstance(later, dict):
        return value
    return {
        key: _not_taken_back(item, later.get(key))
        for key, item in value.items()
        if not isinstance(later.get(key), Tagged)
    }


def _without_tags(value: Any) -> Any:
    """`value` without Compose's tags: what is tagged `!reset` is left out, `!override` becomes its value."""
    if isinstance(value, Tagged):
        return _without_tags(value.value) if value.tag == "!override" else None
    if isinstance(value, dict):
        return {key: _without_tags(item) for key, item in value.items() if getattr(item, "tag", "") != "!reset"}
    return [_without_tags(item) for item in value] if isinstance(value, list) else value


# -------------------------------------------------------------------------------------- services and networks


def parse_services(raw: object, place: Place) -> tuple[Service, ...]:
    """The services of a compose document. Raises the place's error, also when there are none."""
    if not mapping_at(raw, place):
        raise place.wrong("there are none; expected at least one service with an image or a build")
    return tuple(_parse_service(name, value, place) for name, value in mapping_at(raw, place).items())


def _parse_service(name: object, raw: object, place: Place) -> Service:
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9._-]+", name):
        raise place.wrong(f"service name {name!r}: expected letters, digits and ._- only (in quotes if a number)")
    place = place.at(name)
    keys = mapping_at(raw, place)
    image = text_at(keys.get("image"), place.at("image"))
    profiles = list_at(keys.get("profiles") or None, place.at("profiles"))
    builds = keys.get("build") is not None
    if not (image or builds or keys.get("extends") or keys.get("provider")):
        raise place.wrong("has neither image nor build")
    return Service(name, image, builds, tuple(map(str, profiles)), variables_in(keys), bool(keys.get("label_file")))


def parse_networks(keys: Mapping[str, Any], project: str, env_file: Path, place: Place) -> Networks:
    """The networks of a compose document; variables in their names are interpolated from `env_file`."""
    declared = dict(mapping_at(keys.get("networks"), place.at("networks")))
    used = _used_networks(keys["services"], place.at("services"))
    if "default" in used:
        declared.setdefault("default", None)
    own: dict[str, str] = {}
    external: set[str] = set()
    for key, raw in declared.items():
        name, is_external = _parse_network(str(key), raw, project, place.at("networks").at(key))
        name = interpolate_from(name, env_file)
        if "$" in name:  # only the server's environment has the value: no order can be derived from it
            continue
        if is_external:
            external.add(name)
        else:
            own[str(key)] = name
    in_use = frozenset(name for key, name in own.items() if key in used)
    return Networks(frozenset(own.values()), in_use, frozenset(external))


def _parse_network(key: str, raw: object, project: str, place: Place) -> tuple[str, bool]:
    """(name on the engine, whether it is external). `external: {name: …}` is the deprecated form."""
    keys = mapping_at(raw, place)
    external = keys.get("external")
    old_name = external.get("name") if isinstance(external, dict) else None
    is_external = external is not None and external is not False
    name = keys.get("name") or old_name or (key if is_external else f"{project}_{key}")
    if not isinstance(name, str):
        raise place.at("name").wrong(f"expected text, got {describe(name)}")
    return name, is_external


def _used_networks(services: Mapping[str, Any], place: Place) -> set[str]:
    used: set[str] = set()
    for service, keys in services.items():
        names = keys.get("networks") or ([] if keys.get("network_mode") else ["default"])
        if not isinstance(names, (dict, list)):
            raise place.at(service).at("networks").wrong(f"expected a list, got {describe(names)}")
        used.update(str(name) for name in names)
    return used


def interpolate_values(value: object, env_file: Path) -> Any:
    """`value` with every text in it interpolated as Compose does: variables from a .env file, `$$` for a dollar sign."""
    if isinstance(value, str):
        return "$".join(interpolate_from(part, env_file) for part in value.split("$$"))
    if isinstance(value, dict):
        return {key: interpolate_values(item, env_file) for key, item in value.items()}
    return [interpolate_values(item, env_file) for item in value] if isinstance(value, list) else value
