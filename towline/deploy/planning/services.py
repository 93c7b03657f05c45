"""Decides what a deploy does to each service, and why. Pure.

What compose 2.40 does by itself was tried: its hash of a service leaves out build, pull_policy, scale, deploy.replicas,
depends_on, profiles and x-*. It knows nothing of what is in mounted files, configs and secrets (not even in a config's
`content`): the label of `inputs.override` tells it. A container that shares the network, pid, ipc or volumes of another
is recreated with it; one that depends on it with `restart: true` is restarted and keeps its id. So are those in a network
that is made anew; but not those that live in the namespaces of one that is restarted, which it leaves without network:
the steps do that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from graphlib import TopologicalSorter
from types import MappingProxyType
from typing import Any

from towline.bundle.dockerignore import Belongs
from towline.bundle.manifest import Changes, Entry, Manifest, diff, folders_of
from towline.deploy.planning.inputs import (
    NO_RELOAD,
    Inputs,
    Service,
    belonging,
    built_from,
    content_of,
    definitions,
    inputs_of,
    label_of,
)
from towline.facts.compose_model import Model, Section
from towline.text import limit

MOST_REASONS = 4
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


# ----------------------------------------------------------------------------------------------------- the plan


def plan_services(
    old: Model | None,
    new: Model,
    before: Manifest | None,
    after: Manifest,
    reload: Mapping[str, str] = NO_RELOAD,
    labels: Labels = NO_LABELS,
) -> tuple[ServicePlan, ...]:
    """What happens to each service and why: what is depended on first, removed services last.

    old, before: of the live release; None: there is none. labels: `inputs.LABEL` of the containers that are there, by service.
    Reasons hold no value of any variable.
    """
    had: Section = old.services if old else {}
    names = _in_order(new.services)
    if old is None:
        return tuple(ServicePlan(name, "create") for name in names)
    change = _Change(old, new, before or Manifest(), after, diff(before, after), reload, labels)
    plans = {name: change.plan(name) if name in had else ServicePlan(name, "create") for name in names}
    plans = _with_followers(plans, new.services)
    removed = (ServicePlan(name, "remove") for name in sorted(had.keys() - new.services.keys()))
    return (*(replace(plan, reasons=_shortened(plan.reasons)) for plan in plans.values()), *removed)


def _shortened(reasons: Iterable[str]) -> tuple[str, ...]:
    shown, more = limit(list(dict.fromkeys(reasons)), MOST_REASONS)
    return (*shown, more) if more else tuple(shown)


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
    yield from _namespaces(service)
    for source in service.get("volumes_from") or ():
        if not source.startswith("container:"):
            yield source.partition(":")[0]


def _namespaces(service: Service) -> Iterator[str]:
    for key in ("network_mode", "pid", "ipc"):
        kind, _, name = str(service.get(key) or "").partition(":")
        if kind == "service":
            yield name


# ------------------------------------------------------------------------------------------- one service's plan


@dataclass(frozen=True)
class _Change:
    """What was, what will be, and what is between the files."""

    old: Model
    new: Model
    before: Manifest
    after: Manifest
    files: Changes
    reload: Mapping[str, str]
    labels: Labels

    def plan(self, name: str) -> ServicePlan:
        was, now = self.old.services[name], self.new.services[name]
        had, has = inputs_of(was, self.old), inputs_of(now, self.new)
        image = _image_reason(was, now)
        built = [*self._build_files(now, has), *_build_reasons(was, now)] if now.get("build") else []
        mounted = self._paths(belonging({*had.mounts, *has.mounts}, self.before, self.after))
        files = self._paths(belonging({*had.files, *has.files}, self.before, self.after))
        rest = [*files, *self._definitions(was, now), *_key_reasons(was, now), *self._renamed_networks(was, now)]
        reasons = (*image, *built, *mounted, *rest)
        if built or (image and now.get("build")):
            return ServicePlan(name, "rebuild", reasons)
        networks = self._networks(was, now)
        stays = not (image or rest or (mounted and name not in self.reload))
        relabelled = list(self._relabelled(name, now)) if stays else []
        reasons = (*reasons, *relabelled, *networks)
        if not stays or relabelled:
            return ServicePlan(name, "recreate", reasons)
        if networks:
            return ServicePlan(name, "restart", reasons)
        return ServicePlan(name, "reload", reasons, self.reload[name]) if mounted else ServicePlan(name, "unchanged")

    def _relabelled(self, name: str, now: Service) -> Iterator[str]:
        """Why its label changes, where no file that it sees does: compose recreates it for that alone."""
        has, reloads = self.labels.get(name, frozenset()), name in self.reload
        # without a new release the override stays as it is there
        if not self.files or has <= {label_of(now, self.new, self.after, reloads=reloads)}:
            return
        others = {label_of(now, self.new, files, reloads=not reloads) for files in (self.before, self.after)}
        given = [f"{kind} {key}: .env" for kind, key, it in definitions(now, self.new) if it.get("environment")]
        if given and any(entry.path == ".env" for entries in self._listed() for entry in entries):
            yield from given
        elif has <= others:
            yield "x-towline.reload"
        else:
            yield "label towline.inputs"

    def _build_files(self, now: Service, has: Inputs) -> list[str]:
        counts = built_from(now, has, self.after)
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
        before = {(kind, name): content_of(d) for kind, name, d in definitions(was, self.old)}
        for kind, name, definition in definitions(now, self.new):
            if before.get((kind, name), content_of(definition)) != content_of(definition):
                yield f"{kind} {name}"
        for volume in now.get("volumes") or ():
            name = volume.get("source") or ""
            pair = [(model.volumes.get(name) or {}).get("name") for model in (self.old, self.new)]
            if volume.get("type") == "volume" and None not in pair and pair[0] != pair[1]:
                yield f"volume {name}"

    def _networks(self, was: Service, now: Service) -> list[str]:
        """Networks that compose makes anew, under the same name: it stops what is in them and starts it again."""
        pairs = [(name, *pair) for name, pair in self._both_networks(was, now) if not pair[1].get("external")]
        return [f"network {name}" for name, had, has in pairs if _same_name(had, has) and _differing(had, has)]

    def _renamed_networks(self, was: Service, now: Service) -> list[str]:
        """Networks that are others now: compose recreates what is in them."""
        return [f"network {name}" for name, pair in self._both_networks(was, now) if not _same_name(*pair)]

    def _both_networks(self, was: Service, now: Service) -> Iterator[tuple[str, tuple[Service, Service]]]:
        for name in sorted((was.get("networks") or {}).keys() & (now.get("networks") or {}).keys()):
            yield name, (self.old.networks.get(name) or {}, self.new.networks.get(name) or {})


def _same_name(had: Service, has: Service) -> bool:
    return bool(had.get("name") == has.get("name"))


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
    shown, more = limit(names, MOST_REASONS)
    return f"{', '.join(shown)} {more}" if more else ", ".join(shown)


# ----------------------------------------------------------------------------------------------------- followers


def _with_followers(plans: Mapping[str, ServicePlan], services: Section) -> dict[str, ServicePlan]:
    """The plans, with services drawn along by those whose container or image is replaced, or that are restarted."""
    done = _settled(plans, lambda plan, done: _following(plan, services, done))
    # These draw nothing along but what lives in their namespaces.
    done = {name: _after_restart(plan, services[name], done) for name, plan in done.items()}
    return _settled(done, lambda plan, done: _left_behind(plan, services[plan.name], done))


def _settled(
    plans: Mapping[str, ServicePlan], step: Callable[[ServicePlan, Mapping[str, ServicePlan]], ServicePlan]
) -> dict[str, ServicePlan]:
    """The plans after as many steps as change any."""
    done = dict(plans)
    while True:
        after = {name: step(plan, done) for name, plan in done.items()}
        if after == done:
            return done
        done = after


def _following(plan: ServicePlan, services: Section, plans: Mapping[str, ServicePlan]) -> ServicePlan:
    service = services[plan.name]
    does = partial(_first, plans)
    if plan.action in (*_KEPT, "recreate") and (base := does(_bases(service), {"rebuild"})):
        return _follows(plan, "rebuild", base)
    if plan.action not in _KEPT:
        return plan
    other = does(_shares(service), {"rebuild", "recreate"}) or does(_builders(plan.name, services), {"rebuild"})
    return _follows(plan, "recreate", other) if other else plan


_KEPT = ("unchanged", "reload", "restart")  # the container stays


def _follows(plan: ServicePlan, action: str, other: str) -> ServicePlan:
    after = other if action == "restart" else ""
    return replace(plan, action=action, reasons=(*plan.reasons, f"follows {other}"), signal="", after=after)


def _after_restart(plan: ServicePlan, service: Service, plans: Mapping[str, ServicePlan]) -> ServicePlan:
    restarting = (name for name, how in (service.get("depends_on") or {}).items() if how.get("restart"))
    other = _first(plans, restarting, {"rebuild", "recreate"})
    return _follows(plan, "restart", other) if other and plan.action in _KEPT else plan


def _left_behind(plan: ServicePlan, service: Service, plans: Mapping[str, ServicePlan]) -> ServicePlan:
    """What lives in the namespaces of one that is restarted: these are new then, and it is in the old ones."""
    other = _first(plans, _namespaces(service), {"restart"})
    return _follows(plan, "restart", other) if other and plan.action in _KEPT and plan.after != other else plan


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
