"""Decides what a deploy does to each service, and why. Pure, but for the .dockerignore files that it reads.

What compose 2.40 does by itself was tried: its hash of a service leaves out build, pull_policy, scale, deploy.replicas,
depends_on, profiles and x-*. It knows nothing of what is in mounted files, configs and secrets (not even in a config's
`content`): the label of `override` tells it. A container that shares the network, pid, ipc or volumes of another
is recreated with it; one that depends on it with `restart: true` is restarted and keeps its id.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from graphlib import TopologicalSorter
from types import MappingProxyType
from typing import Any

from towline.dockerignore import Belongs, folders_of, ignored_by
from towline.facts.model import Model, Section, trail
from towline.manifest import Changes, Entry, Manifest, diff

LABEL = "towline.inputs"
MOST_REASONS = 4
NO_RELOAD: Mapping[str, str] = MappingProxyType({})
Service = Mapping[str, Any]


@dataclass(frozen=True)
class ServicePlan:
    """One service. action: create, rebuild, recreate, reload (`signal` is sent), remove or unchanged."""

    name: str
    action: str
    reasons: tuple[str, ...] = ()
    signal: str = ""


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
        files=_all_own(_source_file(definition) for _, _, definition in _definitions(service, model)),
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


def _definitions(service: Service, model: Model) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """("config" or "secret", name, definition) of each that the service uses."""
    for kind, section in (("config", model.configs), ("secret", model.secrets)):
        for used in service.get(f"{kind}s") or ():
            yield kind, used["source"], section.get(used["source"]) or {}


def _source_file(definition: Mapping[str, Any]) -> object:
    """A config's or secret's file; the .env for one out of the environment, whose value compose does not render."""
    return "./.env" if definition.get("environment") else definition.get("file")


def _belongs(paths: Iterable[str], *manifests: Manifest) -> Belongs:
    """Whether an entry's path is one of `paths` or below it, symlinks followed as in one of the manifests."""
    roots = frozenset(step for path in paths for manifest in manifests for step in trail(path, manifest))
    return lambda path: "." in roots or path in roots or any(folder in roots for folder in folders_of(path))


# ---------------------------------------------------------------------------------------------- build contexts


def _built_from(inputs: Inputs, manifest: Manifest) -> Belongs:
    """Whether a path counts for the build: the contexts without what their .dockerignore names, and the Dockerfile."""
    always = {inputs.dockerfile, f"{inputs.dockerfile}.dockerignore"} if inputs.dockerfile else set()
    always |= {step for path in tuple(always) for step in trail(path, manifest)}
    parts: list[Belongs] = [always.__contains__]
    folders = [(folder, "") for folder in inputs.contexts]
    folders += [(inputs.context, inputs.dockerfile)] if inputs.context is not None else []
    for folder, dockerfile in folders:
        *_, root = trail(folder, manifest)
        parts.append(_in_context(root, _ignored(root, dockerfile, manifest)))
    return lambda path: any(part(path) for part in parts)


def _in_context(root: str, ignored: Belongs) -> Belongs:
    start = "" if root == "." else f"{root}/"
    own = f"{start}.dockerignore"
    return lambda path: path == own or (path.startswith(start) and not ignored(path[len(start) :]))


def _ignored(root: str, dockerfile: str, manifest: Manifest) -> Belongs:
    names = [f"{dockerfile}.dockerignore"] if dockerfile else []
    names.append(posixpath.normpath(posixpath.join(root, ".dockerignore")))
    for name in names:
        *_, path = trail(name, manifest)
        entry = manifest.by_path.get(path)
        if entry and entry.kind == "f":
            return ignored_by(_ignore_text(entry))
    return lambda _: False


def _ignore_text(entry: Entry) -> str:
    try:
        return entry.source.read_text(encoding="utf-8-sig", errors="replace")
    except OSError:  # it was there a moment ago, when it was hashed; then nothing is left out
        return ""


# ------------------------------------------------------------------------------------------------- the override


def override(model: Model, manifest: Manifest, reload: Mapping[str, str] = NO_RELOAD) -> str:
    """A compose file, as JSON, that labels the services with the hash of the files they see.

    So compose recreates those whose files change. Mounted files of services in `reload` are left out.
    """
    hashes = {name: _hash(service, model, manifest, name in reload) for name, service in model.services.items()}
    labelled = {name: {"labels": {LABEL: value}} for name, value in sorted(hashes.items()) if value}
    return json.dumps({"services": labelled}, indent=1) + "\n"


def _hash(service: Service, model: Model, manifest: Manifest, reloads: bool) -> str:
    """'' for a service that sees no file of the manifest, nor any config or secret."""
    inputs = inputs_of(service, model)
    belongs = _belongs((*inputs.files, *(() if reloads else inputs.mounts)), manifest)
    seen: list[list[object]] = [[e.path, e.mode, e.sha256, e.target] for e in manifest.entries if belongs(e.path)]
    seen += sorted([kind, name, _content(definition)] for kind, name, definition in _definitions(service, model))
    return hashlib.sha256(json.dumps(seen).encode()).hexdigest() if seen else ""


def _content(definition: Mapping[str, Any]) -> list[str]:
    """Where a config or secret comes from."""
    return [f"{key}={definition[key]}" for key in ("file", "content", "environment") if definition.get(key)]


# ----------------------------------------------------------------------------------------------------- the plan


def plan_services(
    old: Model | None,
    new: Model,
    before: Manifest | None,
    after: Manifest,
    reload: Mapping[str, str] = NO_RELOAD,
) -> tuple[ServicePlan, ...]:
    """What happens to each service and why: what is depended on first, removed services last.

    old, before: of the live release; None: there is none. Reasons hold no value of any variable.
    """
    had: Section = old.services if old else {}
    names = _in_order(new.services)
    if old is None:
        return tuple(ServicePlan(name, "create") for name in names)
    change = _Change(old, new, before or Manifest(), after, diff(before, after))
    plans = {name: change.plan(name, reload) if name in had else ServicePlan(name, "create") for name in names}
    plans = _with_followers(plans, new.services)
    removed = (ServicePlan(name, "remove") for name in sorted(had.keys() - new.services.keys()))
    return (*(replace(plan, reasons=_shortened(plan.reasons)) for plan in plans.values()), *removed)


def _shortened(reasons: Iterable[str]) -> tuple[str, ...]:
    each = tuple(dict.fromkeys(reasons))
    more = len(each) - MOST_REASONS
    return (*each[:MOST_REASONS], f"and {more} more") if more > 0 else each


def _in_order(services: Section) -> list[str]:
    """Each after what it depends on; alphabetical where that leaves a choice."""
    needs = {name: sorted(_needs(services[name]) & services.keys() - {name}) for name in sorted(services)}
    sorter = TopologicalSorter(needs)
    sorter.prepare()
    order: list[str] = []
    while ready := sorted(sorter.get_ready()):
        order += ready
        sorter.done(*ready)
    return order


def _needs(service: Service) -> set[str]:
    return {*(service.get("depends_on") or {}), *_shares(service)}


def _shares(service: Service) -> Iterator[str]:
    """The services whose network, pid, ipc or volumes this one uses."""
    for key in ("network_mode", "pid", "ipc"):
        kind, _, name = str(service.get(key) or "").partition(":")
        if kind == "service":
            yield name
    for source in service.get("volumes_from") or ():
        if not source.startswith("container:"):
            yield source.partition(":")[0]


# ------------------------------------------------------------------------------------------- one service's plan


@dataclass(frozen=True)
class _Change:
    """What was, what will be, and what is between the files."""

    old: Model
    new: Model
    before: Manifest
    after: Manifest
    files: Changes

    def plan(self, name: str, reload: Mapping[str, str]) -> ServicePlan:
        was, now = self.old.services[name], self.new.services[name]
        had, has = inputs_of(was, self.old), inputs_of(now, self.new)
        image = _image_reason(was, now)
        built = [*self._build_files(has), *_build_reasons(was, now)] if now.get("build") else []
        mounted = self._paths(_belongs({*had.mounts, *has.mounts}, self.before, self.after))
        files = self._paths(_belongs({*had.files, *has.files}, self.before, self.after))
        rest = [*files, *self._definitions(was, now), *_key_reasons(was, now), *self._networks(was, now)]
        reasons = (*image, *built, *mounted, *rest)
        if built or (image and now.get("build")):
            return ServicePlan(name, "rebuild", reasons)
        if not (image or rest) and mounted and name in reload:
            return ServicePlan(name, "reload", reasons, reload[name])
        return ServicePlan(name, "recreate" if reasons else "unchanged", reasons)

    def _build_files(self, has: Inputs) -> list[str]:
        counts = _built_from(has, self.after)
        paths = self._paths(counts)
        return sorted(paths, key=lambda path: path.lstrip("+-") != has.dockerfile)

    def _paths(self, counts: Belongs) -> list[str]:
        """`path`, `+path`, `-path` of the changed files that count: a folder is none when something in it changed."""
        marked = [(mark, e) for mark, es in zip(("", "+", "-"), self._listed(), strict=True) for e in es]
        paths = [e.path for _, e in marked]
        folders = {folder for path in paths for folder in folders_of(path)}
        return [mark + e.path for mark, e in marked if counts(e.path) and not (e.kind == "d" and e.path in folders)]

    def _listed(self) -> tuple[tuple[Entry, ...], ...]:
        return self.files.changed, self.files.added, self.files.removed

    def _definitions(self, was: Service, now: Service) -> Iterator[str]:
        """Configs and secrets from elsewhere than before, volumes under another name."""
        before = {(kind, name): _content(d) for kind, name, d in _definitions(was, self.old)}
        for kind, name, definition in _definitions(now, self.new):
            if before.get((kind, name), _content(definition)) != _content(definition):
                yield f"{kind} {name}"
        for volume in now.get("volumes") or ():
            name = volume.get("source") or ""
            pair = [(model.volumes.get(name) or {}).get("name") for model in (self.old, self.new)]
            if volume.get("type") == "volume" and None not in pair and pair[0] != pair[1]:
                yield f"volume {name}"

    def _networks(self, was: Service, now: Service) -> Iterator[str]:
        """Compose makes a network that was changed anew."""
        used = (was.get("networks") or {}).keys() & (now.get("networks") or {}).keys()
        for name in sorted(used):
            if _differing(self.old.networks.get(name) or {}, self.new.networks.get(name) or {}):
                yield f"network {name}"


def _image_reason(was: Service, now: Service) -> list[str]:
    pair = (was.get("image"), now.get("image"))
    return [f"image {pair[0] or '(built)'} → {pair[1] or '(built)'}"] if pair[0] != pair[1] else []


def _build_reasons(was: Service, now: Service) -> list[str]:
    if not was.get("build"):
        return ["build"]
    keys = _differing(was["build"], now["build"])
    return [f"build: {_few(keys)}"] if keys else []


# Not in compose's hash of a service, or told by another reason.
_ELSEWHERE = {"build", "image", "pull_policy", "scale", "depends_on", "profiles"}
_MISSING = object()


def _key_reasons(was: Service, now: Service) -> list[str]:
    """The names of the keys that differ, the environment first; of a mapping also which of its keys."""
    pair = [dict(_hashed_keys(service)) for service in (was, now)]
    keys = sorted(_differing(*pair), key=lambda key: key != "environment")
    return [_key_reason(key, pair[0].get(key), pair[1].get(key)) for key in keys]


def _hashed_keys(service: Service) -> Iterator[tuple[str, Any]]:
    for key, value in service.items():
        empty = value is None or (value in ({}, []) and key not in ("command", "entrypoint"))
        if key not in _ELSEWHERE and not empty:
            scaled = key == "deploy" and isinstance(value, Mapping)
            yield key, {k: v for k, v in value.items() if k != "replicas"} if scaled else value


def _key_reason(key: str, was: Any, now: Any) -> str:
    if not all(value is None or isinstance(value, Mapping) for value in (was, now)):
        return key
    full = key == "environment"  # there, empty is a value; elsewhere compose renders what was never written
    names = [n for n in _differing(was or {}, now or {}) if full or (was or {}).get(n) or (now or {}).get(n)]
    return f"{key}: {_few(names)}" if names else key


def _differing(was: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The keys whose values differ, sorted; x-* left out."""
    keys = sorted(was.keys() | now.keys())
    return [key for key in keys if not key.startswith("x-") and was.get(key, _MISSING) != now.get(key, _MISSING)]


def _few(names: list[str]) -> str:
    more = len(names) - MOST_REASONS
    return ", ".join(names[:MOST_REASONS]) + (f" and {more} more" if more > 0 else "")


# ----------------------------------------------------------------------------------------------------- followers


def _with_followers(plans: Mapping[str, ServicePlan], services: Section) -> dict[str, ServicePlan]:
    """The plans, with services drawn along by those whose container or image is replaced."""
    done = dict(plans)
    while True:
        step = {name: _following(plan, services, done) for name, plan in done.items()}
        if step == done:
            break
        done = step
    # Last, since a restart draws nothing along.
    return {name: _after_restart(plan, services[name], done) for name, plan in done.items()}


def _following(plan: ServicePlan, services: Section, plans: Mapping[str, ServicePlan]) -> ServicePlan:
    service = services[plan.name]
    does = partial(_first, plans)
    if plan.action in ("unchanged", "recreate", "reload") and (base := does(_bases(service), {"rebuild"})):
        return replace(plan, action="rebuild", reasons=(*plan.reasons, f"follows {base}"), signal="")
    if plan.action not in ("unchanged", "reload"):
        return plan
    other = does(_shares(service), {"rebuild", "recreate"}) or does(_builders(plan.name, services), {"rebuild"})
    return replace(plan, action="recreate", reasons=(*plan.reasons, f"follows {other}"), signal="") if other else plan


def _after_restart(plan: ServicePlan, service: Service, plans: Mapping[str, ServicePlan]) -> ServicePlan:
    restarting = (name for name, how in (service.get("depends_on") or {}).items() if how.get("restart"))
    other = _first(plans, restarting, {"rebuild", "recreate"})
    if plan.action not in ("unchanged", "reload") or not other:
        return plan
    return replace(plan, action="recreate", reasons=(*plan.reasons, f"follows {other}"), signal="")


def _first(plans: Mapping[str, ServicePlan], names: Iterable[str], actions: set[str]) -> str:
    return next((name for name in names if name in plans and plans[name].action in actions), "")


def _bases(service: Service) -> Iterator[str]:
    """The services whose image this one's build starts from."""
    build = service.get("build") or {}
    for source in (build.get("additional_contexts") or {}).values():
        kind, _, name = str(source).partition(":")
        if kind == "service":
            yield name


def _builders(name: str, services: Section) -> Iterator[str]:
    """The other services that build the image which this one runs."""
    image = services[name].get("image")
    return (n for n, s in services.items() if n != name and image and s.get("build") and s.get("image") == image)
