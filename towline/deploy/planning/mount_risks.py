"""Bind mounts, configs and secrets whose file or folder is missing. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from posixpath import normpath
from typing import Any

from towline.deploy.planning.situation import Risk, Situation
from towline.facts.compose_model import Model

PLACEHOLDERS = frozenset({".gitkeep", ".keep", ".gitignore"})  # a file that keeps a folder in git is not its content
FILE_NAMES = frozenset(
    {"caddyfile", "corefile", "dockerfile", "makefile", "procfile", "hosts", "passwd", "shadow", "group", "crontab"}
    | {".env", ".htpasswd", "htpasswd", ".pgpass", ".netrc", ".npmrc", ".bashrc", ".profile", ".dockerignore"}
)


def mount_risks(situation: Situation) -> Iterator[Risk]:
    """Of what the last release had and this one has not, and of what is neither in the release nor on the server."""
    live = situation.current.stack.manifest
    paths = frozenset(situation.desired.release.manifest.by_path)
    removed = frozenset(live.by_path) - paths if live else frozenset()
    sources = _sources(situation.model)
    gone = [path for path in sorted(sources) if _was_removed(path, paths, removed)]
    yield from (_mount_removed(path, sources[path]) for path in gone)
    before = _sources(situation.live_model).keys() if situation.live_model else {}
    for path in sorted((frozenset(map(normpath, situation.absent)) & sources.keys()).difference(gone)):
        if not _at_or_below(path, paths):
            yield from _mount_missing(path, sources[path], mounted_before=path in before)


@dataclass(frozen=True)
class _Source:
    """A path that is mounted: by which services, and whether it has to be there, since Docker makes no folder in its place."""

    services: tuple[str, ...]
    required: bool

    @property
    def shown(self) -> str:
        return " and ".join(self.services)


def _sources(model: Model) -> dict[str, _Source]:
    """Path, absolute or below the stack's folder → the services that mount it."""
    mounts: dict[str, dict[str, bool]] = {}
    for service, keys in model.services.items():
        for path, required in _mounted(model, keys):
            plain = normpath(path)
            if path and plain.split("/")[0] not in (".", "..", "~"):
                mounts.setdefault(plain, {})[service] = required
    return {path: _Source(tuple(services), any(services.values())) for path, services in mounts.items()}


def _mounted(model: Model, service: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    for mount in service.get("volumes") or ():
        if mount.get("type") == "bind":
            options = mount.get("bind")  # without any, Docker makes the folder
            yield str(mount.get("source") or ""), options is not None and not options.get("create_host_path")
    for section, declared in (("configs", model.configs), ("secrets", model.secrets)):
        for use in service.get(section) or ():
            yield str((declared.get(use.get("source")) or {}).get("file") or ""), True


def _at_or_below(path: str, paths: frozenset[str]) -> list[str]:
    return [candidate for candidate in paths if candidate == path or candidate.startswith(path + "/")]


def _shown(path: str) -> str:
    return path if path.startswith("/") else f"./{path}"


def _was_removed(path: str, paths: frozenset[str], removed: frozenset[str]) -> bool:
    """Whether all that the live release has at `path` is missing from the new one, whose `paths` these are."""
    content = [gone for gone in _at_or_below(path, removed) if gone.rpartition("/")[2] not in PLACEHOLDERS]
    return bool(content) and not _at_or_below(path, paths)


def _mount_removed(path: str, source: _Source) -> Risk:
    sentence = f"{source.shown}: mounts {_shown(path)}, which the last release had and this one has not"
    return Risk("mount-removed", f"{sentence}; put it back, or take the mount out", stops=True)


def _mount_missing(path: str, source: _Source, *, mounted_before: bool) -> Iterator[Risk]:
    """mounted_before: the live release mounts it, so it was there."""
    start = f"{source.shown}: mounts {_shown(path)}, "
    where = "not on the server" if path.startswith("/") else "neither in the release nor on the server"
    if source.required:
        sentence = f"{start}which is {where}; its containers will not start: add the file, or make it there first"
    elif looks_like_file(path):
        sentence = (
            f"{start}which is {where}; Docker will make an empty folder of it: add the file, or make it there first"
        )
    elif mounted_before:
        sentence = (
            f"{start}which the live release has, and which is gone from the server; Docker will make an empty folder"
        )
        sentence += " of it: put it back first"
    else:
        return
    yield Risk("mount-missing", sentence, stops=False)


def looks_like_file(path: str) -> bool:
    """
    >>> [looks_like_file(path) for path in ("conf/nginx.conf", "Caddyfile", "data", "conf.d", "v1.2", ".ssh")]
    [True, True, False, False, False, False]
    """
    name = path.rstrip("/").rpartition("/")[2]
    extension = re.search(r"[^.]\.([A-Za-z][A-Za-z0-9]{0,9})$", name)
    return name.lower() in FILE_NAMES or bool(extension and extension[1] != "d")
