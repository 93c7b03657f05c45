"""What happens to one service by itself: how it differs from the live release. Pure.

What compose 2.40 does by itself was tried: its hash of a service leaves out build, pull_policy, scale, deploy.replicas,
depends_on, profiles and x-*. It knows nothing of what is in mounted files, configs and secrets (not even in a config's
`content`): the label of `inputs.override` tells it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any

from towline.bundle.dockerignore import Belongs
from towline.bundle.manifest import Changes, Entry, diff, folders_of
from towline.deploy.planning.inputs import (
    Inputs,
    Service,
    belonging,
    built_from,
    content_of,
    definitions,
    inputs_of,
    label_of,
)
from towline.deploy.planning.situation import Release
from towline.text.amounts import limit

MOST_NAMES = 4
Labels = Mapping[str, frozenset[str]]
NO_LABELS: Labels = MappingProxyType({})


@dataclass(frozen=True)
class ServicePlan:
    """One service. action: create, rebuild, recreate, restart (after `after`), reload (`signal` is sent), remove or unchanged.

    after: the service that a restart follows, '' when compose restarts it for another reason.
    """

    name: str
    action: str
    reasons: tuple[str, ...] = ()
    signal: str = ""
    after: str = ""


@dataclass(frozen=True)
class Comparison:
    """The live release and the new one. labels: service → the label `towline.inputs` of its containers, '' for one without."""

    old: Release
    new: Release
    reload: Mapping[str, str]
    labels: Labels

    @cached_property
    def files(self) -> Changes:
        return diff(self.old.manifest, self.new.manifest)

    def plan(self, name: str) -> ServicePlan:
        """Of a service that both releases have. Reasons hold no value of any variable."""
        before, after = self.old.model.services[name], self.new.model.services[name]
        old_inputs, inputs = inputs_of(before, self.old.model), inputs_of(after, self.new.model)
        image = _image_reason(before, after)
        built = [*self._build_files(after, inputs), *_build_reasons(before, after)] if after.get("build") else []
        mounted = self._changed_below({*old_inputs.mounts, *inputs.mounts})
        files = self._changed_below({*old_inputs.files, *inputs.files})
        rest = [
            *files,
            *self._definitions(before, after),
            *_key_reasons(before, after),
            *self._renamed_networks(before, after),
        ]
        reasons = (*image, *built, *mounted, *rest)
        if built or (image and after.get("build")):
            return ServicePlan(name, "rebuild", reasons)
        networks = self._networks(before, after)
        stays = not (image or rest or (mounted and name not in self.reload))
        relabelled = list(self._relabelled(name, after)) if stays else []
        reasons = (*reasons, *relabelled, *networks)
        if not stays or relabelled:
            return ServicePlan(name, "recreate", reasons)
        if networks:
            return ServicePlan(name, "restart", reasons)
        return ServicePlan(name, "reload", reasons, self.reload[name]) if mounted else ServicePlan(name, "unchanged")

    # files -------------------------------------------------------------------------------------------------------

    def _relabelled(self, name: str, service: Service) -> Iterator[str]:
        """Why its label changes, where no file that it sees does: compose recreates it for that alone."""
        current, reloads = self.labels.get(name, frozenset()), name in self.reload
        # without a new release the override on the host stays as it is
        if not self.files or current <= {label_of(service, self.new, reloads=reloads)}:
            return
        toggled = {
            label_of(service, release, reloads=not reloads)
            for release in (replace(self.old, model=self.new.model), self.new)
        }
        from_environment = [
            f"{kind} {key}: .env"
            for kind, key, definition in definitions(service, self.new.model)
            if definition.get("environment")
        ]
        if from_environment and any(entry.path == ".env" for _, entries in self._by_mark() for entry in entries):
            yield from from_environment
        elif current <= toggled:
            yield "x-towline.reload"
        else:
            yield "label towline.inputs"

    def _build_files(self, service: Service, inputs: Inputs) -> list[str]:
        paths = self._changed(built_from(service, inputs, self.new))
        return sorted(paths, key=lambda path: path.lstrip("+-") != inputs.dockerfile)

    def _changed_below(self, paths: set[str]) -> list[str]:
        return self._changed(belonging(paths, self.old.manifest, self.new.manifest))

    def _changed(self, counts: Belongs) -> list[str]:
        """`path`, `+path`, `-path` of the changed files that count: a folder is none when something in it changed."""
        marked = [(mark, entry) for mark, entries in self._by_mark() for entry in entries]
        folders = {folder for _, entry in marked for folder in folders_of(entry.path)}
        return [mark + e.path for mark, e in marked if counts(e.path) and not (e.kind == "d" and e.path in folders)]

    def _by_mark(self) -> tuple[tuple[str, tuple[Entry, ...]], ...]:
        return ("", self.files.changed), ("+", self.files.added), ("-", self.files.removed)

    # the model ---------------------------------------------------------------------------------------------------

    def _definitions(self, before: Service, after: Service) -> Iterator[str]:
        """Configs and secrets from elsewhere than before, volumes under another name."""
        old = {(kind, name): content_of(keys) for kind, name, keys in definitions(before, self.old.model)}
        for kind, name, keys in definitions(after, self.new.model):
            if old.get((kind, name), content_of(keys)) != content_of(keys):
                yield f"{kind} {name}"
        for volume in after.get("volumes") or ():
            name = volume.get("source") or ""
            pair = [(release.model.volumes.get(name) or {}).get("name") for release in (self.old, self.new)]
            if volume.get("type") == "volume" and None not in pair and pair[0] != pair[1]:
                yield f"volume {name}"

    def _networks(self, before: Service, after: Service) -> list[str]:
        """Networks that compose makes anew, under the same name: it stops what is in them and starts it again."""
        pairs = [(name, *pair) for name, pair in self._both_networks(before, after) if not pair[1].get("external")]
        return [f"network {name}" for name, old, new in pairs if _same_name(old, new) and _differing(old, new)]

    def _renamed_networks(self, before: Service, after: Service) -> list[str]:
        """Networks under another name: compose recreates what is in them."""
        return [f"network {name}" for name, pair in self._both_networks(before, after) if not _same_name(*pair)]

    def _both_networks(self, before: Service, after: Service) -> Iterator[tuple[str, tuple[Service, Service]]]:
        for name in sorted((before.get("networks") or {}).keys() & (after.get("networks") or {}).keys()):
            yield name, (self.old.model.networks.get(name) or {}, self.new.model.networks.get(name) or {})


def _same_name(old: Service, new: Service) -> bool:
    return bool(old.get("name") == new.get("name"))


def _image_reason(before: Service, after: Service) -> list[str]:
    pair = (before.get("image"), after.get("image"))
    return [f"image {pair[0] or '(built)'} → {pair[1] or '(built)'}"] if pair[0] != pair[1] else []


def _build_reasons(before: Service, after: Service) -> list[str]:
    if not before.get("build"):
        return ["build"]
    keys = _differing(before["build"], after["build"])
    return [f"build: {_listed_names(keys)}"] if keys else []


# Not in compose's hash of a service, or compared elsewhere.
_ELSEWHERE = {"build", "image", "pull_policy", "scale", "depends_on", "profiles"}
_MISSING = object()


def _key_reasons(before: Service, after: Service) -> list[str]:
    """The names of the keys that differ, the environment first; of a mapping also which of its keys."""
    pair = [dict(_hashed_keys(service)) for service in (before, after)]
    keys = sorted(_differing(*pair), key=lambda key: key != "environment")
    return [_key_reason(key, pair[0].get(key), pair[1].get(key)) for key in keys]


def _hashed_keys(service: Service) -> Iterator[tuple[str, Any]]:
    for key, value in service.items():
        empty = value is None or (value in ({}, []) and key not in ("command", "entrypoint"))
        if key not in _ELSEWHERE and not empty:
            scaled = key == "deploy" and isinstance(value, Mapping)
            yield key, {k: v for k, v in value.items() if k != "replicas"} if scaled else value


def _key_reason(key: str, before: Any, after: Any) -> str:
    if not all(value is None or isinstance(value, Mapping) for value in (before, after)):
        return key
    full = key == "environment"  # there, empty is a value; elsewhere compose renders what was never written
    names = [n for n in _differing(before or {}, after or {}) if full or (before or {}).get(n) or (after or {}).get(n)]
    return f"{key}: {_listed_names(names)}" if names else key


def _differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The keys whose values differ, sorted; x-* left out."""
    keys = sorted(before.keys() | after.keys())
    return [key for key in keys if not key.startswith("x-") and before.get(key, _MISSING) != after.get(key, _MISSING)]


def _listed_names(names: list[str]) -> str:
    shown, more = limit(names, MOST_NAMES)
    return f"{', '.join(shown)} {more}" if more else ", ".join(shown)
