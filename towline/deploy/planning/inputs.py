"""What of the stack's files a service depends on, and the label that tells compose when they changed.

Pure, but for the .env, the Dockerfiles and the .dockerignore files that it reads.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from towline.bundle.dockerfile import copied_by
from towline.bundle.dockerignore import Belongs, ignored_by
from towline.bundle.manifest import Entry, Manifest, folders_of
from towline.facts.compose_model import Model
from towline.project.env_file import read_env

LABEL = "towline.inputs"
NO_RELOAD: Mapping[str, str] = MappingProxyType({})
Service = Mapping[str, Any]


@dataclass(frozen=True)
class Inputs:
    """The stack's own paths that a service depends on, relative to its folder (`.`: the folder itself).

    context None: nothing is built from here. dockerfile '': none, or written in the compose file.
    `contexts` are the additional ones; `files` are of configs and secrets.
    """

    context: str | None = None
    dockerfile: str = ""
    contexts: tuple[str, ...] = ()
    mounts: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


# ------------------------------------------------------------------------------------------------- the inputs


def inputs_of(service: Service, model: Model) -> Inputs:
    """Which of the stack's own files the service depends on."""
    build = service.get("build") or {}
    context = _own(build.get("context"))
    dockerfile = "" if context is None or build.get("dockerfile_inline") else build.get("dockerfile") or "Dockerfile"
    more = (build.get("additional_contexts") or {}).values()
    return Inputs(
        context=context,
        dockerfile=posixpath.normpath(posixpath.join(context or "", dockerfile)) if dockerfile else "",
        contexts=_all_own(more),
        mounts=_all_own(_mounted(volume, model) for volume in service.get("volumes") or ()),
        files=_all_own(definition.get("file") for _, _, definition in definitions(service, model)),
    )


def _own(path: object) -> str | None:
    """A path of the model without its `./`, when it is the stack's own."""
    if not isinstance(path, str) or not (path == "." or path.startswith("./")):
        return None
    return posixpath.normpath(path)


def _all_own(paths: Iterable[object]) -> tuple[str, ...]:
    return tuple(sorted({own for path in paths if (own := _own(path)) is not None}))


def _mounted(volume: Mapping[str, Any], model: Model) -> object:
    """The source of a bind mount, or of a named volume that is one in disguise."""
    if volume.get("type") == "bind":
        return volume.get("source")
    named = model.volumes.get(volume.get("source") or "") or {}
    return (named.get("driver_opts") or {}).get("device")


def definitions(service: Service, model: Model) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """("config" or "secret", name, definition) of each that the service uses."""
    for kind, section in (("config", model.configs), ("secret", model.secrets)):
        for used in service.get(f"{kind}s") or ():
            yield kind, used["source"], section.get(used["source"]) or {}


def belonging(paths: Iterable[str], *manifests: Manifest) -> Belongs:
    """Whether an entry's path is one of `paths` or below it, symlinks followed as in one of the manifests."""
    roots = frozenset(step for path in paths for manifest in manifests for step in manifest.trail(path))
    return lambda path: "." in roots or path in roots or any(folder in roots for folder in folders_of(path))


# ---------------------------------------------------------------------------------------------- build contexts


def built_from(service: Service, inputs: Inputs, manifest: Manifest) -> Belongs:
    """Whether a path counts for the build: the Dockerfile, and of the contexts what it may take and .dockerignore leaves."""
    always = {inputs.dockerfile, f"{inputs.dockerfile}.dockerignore"} if inputs.dockerfile else set()
    always |= {step for path in tuple(always) for step in manifest.trail(path)}
    parts: list[Belongs] = [always.__contains__]
    folders: list[tuple[str, str, Belongs]] = [(folder, "", _everything) for folder in inputs.contexts]
    if inputs.context is not None:
        folders.append((inputs.context, inputs.dockerfile, _copied(service, inputs, manifest)))
    for folder, dockerfile, taken in folders:
        root = manifest.resolve(folder)
        parts.append(_in_context(root, _ignored(root, dockerfile, manifest), taken))
    return lambda path: any(part(path) for part in parts)


def _everything(_: str) -> bool:
    return True


def _copied(service: Service, inputs: Inputs, manifest: Manifest) -> Belongs:
    """What the Dockerfile takes of its context; everything when that cannot be told: then a rebuild may come to nothing."""
    text = service["build"].get("dockerfile_inline") or ""
    if inputs.dockerfile:
        entry = manifest.file(inputs.dockerfile)
        text = _text_of(entry) if entry else ""
    # a symlink in the context may lead to anything in it
    linked = any(entry.kind == "l" for entry in manifest.entries)
    return (copied_by(text) if text and not linked else None) or _everything


def _in_context(root: str, ignored: Belongs, taken: Belongs) -> Belongs:
    start = "" if root == "." else f"{root}/"
    own = f"{start}.dockerignore"

    def counts(path: str) -> bool:
        inside = path[len(start) :]
        return path == own or (path.startswith(start) and taken(inside) and not ignored(inside))

    return counts


def _ignored(root: str, dockerfile: str, manifest: Manifest) -> Belongs:
    names = [f"{dockerfile}.dockerignore"] if dockerfile else []
    names.append(posixpath.normpath(posixpath.join(root, ".dockerignore")))
    for name in names:
        if entry := manifest.file(name):
            return ignored_by(_text_of(entry))
    return lambda _: False


def _text_of(entry: Entry) -> str:
    try:
        return entry.source.read_text(encoding="utf-8-sig", errors="replace")
    except OSError:  # it was there a moment ago, when it was hashed; then nothing is told by it
        return ""


# ------------------------------------------------------------------------------------------------- the override


def override(model: Model, manifest: Manifest, reload: Mapping[str, str] = NO_RELOAD) -> str:
    """A compose file, as JSON, that labels the services with the hash of the files they see.

    So compose recreates those whose files change. Mounted files of services in `reload` are left out.
    """
    hashes = {
        name: label_of(service, model, manifest, reloads=name in reload) for name, service in model.services.items()
    }
    labelled = {name: {"labels": {LABEL: value}} for name, value in sorted(hashes.items()) if value}
    return json.dumps({"services": labelled}, indent=1) + "\n"


def label_of(service: Service, model: Model, manifest: Manifest, *, reloads: bool) -> str:
    """'' for a service that sees no file of the manifest, nor any config or secret."""
    inputs = inputs_of(service, model)
    belongs = belonging((*inputs.files, *(() if reloads else inputs.mounts)), manifest)
    seen: list[list[object]] = [[e.path, e.mode, e.sha256, e.target] for e in manifest.entries if belongs(e.path)]
    seen += sorted(
        [kind, name, content_of(definition), _env_value(definition, manifest)]
        for kind, name, definition in definitions(service, model)
    )
    return hashlib.sha256(json.dumps(seen).encode()).hexdigest() if seen else ""


def content_of(definition: Mapping[str, Any]) -> list[str]:
    """Where a config or secret comes from."""
    return [f"{key}={definition[key]}" for key in ("file", "content", "environment") if definition.get(key)]


def _env_value(definition: Mapping[str, Any], manifest: Manifest) -> str:
    """The hash of what the .env has for a config or secret out of the environment: compose does not render it.

    '' for another one. Of the whole .env when the value is made of other variables.
    """
    name, entry = definition.get("environment"), manifest.by_path.get(".env")
    if not name or entry is None or entry.kind != "f":
        return ""
    try:
        value = read_env(entry.source.read_bytes()).get(name, "")
    except (OSError, UnicodeDecodeError):
        return entry.sha256
    return entry.sha256 if "$" in value else hashlib.sha256(value.encode()).hexdigest()
