"""Which of the stack's files a service depends on, and the label that tells compose when they changed. Pure."""

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
from towline.bundle.manifest import Manifest, folders_of
from towline.commands.docker import INPUTS
from towline.deploy.planning.situation import Release
from towline.facts.compose_model import Model

NO_RELOAD: Mapping[str, str] = MappingProxyType({})
Service = Mapping[str, Any]


@dataclass(frozen=True)
class Inputs:
    """The stack's own paths that a service depends on, relative to its folder (`.`: the folder itself).

    context: None when nothing is built from the folder. dockerfile: '' when there is none, or it stands in the compose file.
    contexts: the additional ones. files: those of configs and secrets.
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
    contexts = (build.get("additional_contexts") or {}).values()
    return Inputs(
        context=context,
        dockerfile=posixpath.normpath(posixpath.join(context or "", dockerfile)) if dockerfile else "",
        contexts=_all_own(contexts),
        mounts=_all_own(_mounted(volume, model) for volume in service.get("volumes") or ()),
        files=_all_own(definition.get("file") for _, _, definition in definitions(service, model)),
    )


def _own(path: object) -> str | None:
    """A path of the model without its `./`; None when it is not one of the stack's own."""
    if not isinstance(path, str) or not (path == "." or path.startswith("./")):
        return None
    return posixpath.normpath(path)


def _all_own(paths: Iterable[object]) -> tuple[str, ...]:
    return tuple(sorted({path for path in map(_own, paths) if path is not None}))


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


def build_texts(model: Model, manifest: Manifest) -> frozenset[str]:
    """The paths of the Dockerfiles and .dockerignore files whose texts `built_from` reads."""
    built = [inputs_of(service, model) for service in model.services.values() if service.get("build")]
    names = {name for inputs in built for name in (inputs.dockerfile, *_all_ignore_files(inputs, manifest)) if name}
    return frozenset(entry.path for name in names if (entry := manifest.file(name)))


def _all_ignore_files(inputs: Inputs, manifest: Manifest) -> Iterator[str]:
    for folder in inputs.contexts:
        yield from _ignore_files(manifest.resolve(folder), "")
    if inputs.context is not None:
        yield from _ignore_files(manifest.resolve(inputs.context), inputs.dockerfile)


def built_from(service: Service, inputs: Inputs, release: Release) -> Belongs:
    """Whether a path counts for the build: the Dockerfile, and of the contexts what it may copy and .dockerignore leaves in."""
    always = {inputs.dockerfile, f"{inputs.dockerfile}.dockerignore"} if inputs.dockerfile else set()
    always |= {step for path in tuple(always) for step in release.manifest.trail(path)}
    parts: list[Belongs] = [always.__contains__]
    parts += [_in_context(folder, "", _everything, release) for folder in inputs.contexts]
    if inputs.context is not None:
        parts.append(_in_context(inputs.context, inputs.dockerfile, _copied(service, inputs, release), release))
    return lambda path: any(part(path) for part in parts)


def _everything(_: str) -> bool:
    return True


def _copied(service: Service, inputs: Inputs, release: Release) -> Belongs:
    """What the Dockerfile copies from its context; everything when that is not sure: then a rebuild may change nothing."""
    text = service["build"].get("dockerfile_inline") or ""
    if inputs.dockerfile:
        text = _text(inputs.dockerfile, release) or ""
    # a symlink in the context may lead to anything in it
    linked = any(entry.kind == "l" for entry in release.manifest.entries)
    return (copied_by(text) if text and not linked else None) or _everything


def _in_context(folder: str, dockerfile: str, copied: Belongs, release: Release) -> Belongs:
    root = release.manifest.resolve(folder)
    ignored = _ignored(root, dockerfile, release)
    start = "" if root == "." else f"{root}/"
    ignore_file = f"{start}.dockerignore"

    def counts(path: str) -> bool:
        inside = path[len(start) :]
        return path == ignore_file or (path.startswith(start) and copied(inside) and not ignored(inside))

    return counts


def _ignored(root: str, dockerfile: str, release: Release) -> Belongs:
    texts = (_text(name, release) for name in _ignore_files(root, dockerfile))
    return ignored_by(next((text for text in texts if text is not None), ""))


def _ignore_files(root: str, dockerfile: str) -> list[str]:
    """Where the patterns of a context may be; the first that is there counts."""
    specific = [f"{dockerfile}.dockerignore"] if dockerfile else []
    return [*specific, posixpath.normpath(posixpath.join(root, ".dockerignore"))]


def _text(name: str, release: Release) -> str | None:
    """The text of a file, '' when it is not known; None without such a file."""
    entry = release.manifest.file(name)
    return release.texts.get(entry.path, "") if entry else None


# ------------------------------------------------------------------------------------------------- the override


def override(release: Release, reload: Mapping[str, str] = NO_RELOAD, unlabelled: frozenset[str] = frozenset()) -> str:
    """A compose file, as JSON, that labels the services with the hash of the files they see; not those in `unlabelled`.

    So compose recreates those whose files change. Mounted files of services in `reload` are left out.
    """
    hashes = {
        name: label_of(service, release, reloads=name in reload) for name, service in release.model.services.items()
    }
    given = {name: value for name, value in sorted(hashes.items()) if value and name not in unlabelled}
    labelled = {name: {"labels": {INPUTS: value}} for name, value in given.items()}
    return json.dumps({"services": labelled}, indent=1) + "\n"


def label_of(service: Service, release: Release, *, reloads: bool) -> str:
    """The label's value: a hash of the files, configs and secrets that the service sees; '' when it sees none."""
    manifest, inputs = release.manifest, inputs_of(service, release.model)
    belongs = belonging((*inputs.files, *(() if reloads else inputs.mounts)), manifest)
    hashed: list[list[object]] = [[e.path, e.mode, e.sha256, e.target] for e in manifest.entries if belongs(e.path)]
    hashed += sorted(
        [kind, name, content_of(definition), _env_value(definition, release)]
        for kind, name, definition in definitions(service, release.model)
    )
    return hashlib.sha256(json.dumps(hashed).encode()).hexdigest() if hashed else ""


def content_of(definition: Mapping[str, Any]) -> list[str]:
    """Where a config or secret comes from, as `key=value` texts."""
    return [f"{key}={definition[key]}" for key in ("file", "content", "environment") if definition.get(key)]


def _env_value(definition: Mapping[str, Any], release: Release) -> str:
    """The hash of the .env's value of a config or secret from the environment: compose does not render that value.

    '' for any other config or secret. The hash of the whole .env when its variables are not known, or the value refers to others.
    """
    name, entry = definition.get("environment"), release.manifest.by_path.get(".env")
    if not name or entry is None or entry.kind != "f":
        return ""
    if release.variables is None:
        return entry.sha256
    value = release.variables.get(name, "")
    return entry.sha256 if "$" in value else hashlib.sha256(value.encode()).hexdigest()
