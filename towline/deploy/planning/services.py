"""What a deploy does to each service, and why; also to those that follow others. Pure.

What compose 2.40 does by itself was tried: a container that shares the network, pid, ipc or volumes of another is
recreated with it; one that depends on it with `restart: true` is restarted and keeps its id. So are those in a network
that compose makes again; but not those that live in the namespaces of one that is restarted, which it leaves without network:
the steps do that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from graphlib import TopologicalSorter
from types import MappingProxyType

from towline.deploy.planning.comparison import NO_LABELS, Comparison, Labels, ServicePlan
from towline.deploy.planning.inputs import NO_RELOAD, Service
from towline.deploy.planning.situation import Release
from towline.facts.compose_model import Section
from towline.text.amounts import limit

MOST_REASONS = 4
NO_NEWER: Mapping[str, str] = MappingProxyType({})


def plan_services(
    old: Release | None,
    new: Release,
    reload: Mapping[str, str] = NO_RELOAD,
    labels: Labels = NO_LABELS,
    newer: Mapping[str, str] = NO_NEWER,
) -> tuple[ServicePlan, ...]:
    """What happens to each service and why: what is depended on first, removed services last.

    old: the live release, None when there is none. labels: service → the label `towline.inputs` of its containers. newer: image →
    `old → new` digest, of those that are pulled anew.
    Reasons hold no value of any variable.
    """
    services, names = new.model.services, _in_order(new.model.services)
    if old is None:
        return tuple(ServicePlan(name, "create") for name in names)
    comparison, live = Comparison(old, new, reload, labels), old.model.services
    plans = {name: comparison.plan(name) if name in live else ServicePlan(name, "create") for name in names}
    plans = {name: _with_newer_image(plan, services[name], newer) for name, plan in plans.items()}
    plans = _with_followers(plans, services)
    removed = (ServicePlan(name, "remove") for name in sorted(live.keys() - services.keys()))
    return (*(replace(plan, reasons=_shortened(plan.reasons)) for plan in plans.values()), *removed)


def _with_newer_image(plan: ServicePlan, service: Service, newer: Mapping[str, str]) -> ServicePlan:
    image = str(service.get("image"))
    if image not in newer or service.get("build") or plan.action in ("create", "rebuild"):
        return plan
    reasons = (*plan.reasons, f"{image}: {newer[image]}")
    return replace(plan, action="recreate", reasons=reasons, signal="", after="")


def replace_containers(running: Iterable[str], plans: Iterable[ServicePlan]) -> tuple[ServicePlan, ...]:
    """The plans of services that nothing is known of but that they run: their containers are replaced or removed."""
    planned, running = list(plans), frozenset(running)
    removed = sorted(running - {plan.name for plan in planned})
    return (
        *(replace(plan, action="recreate", reasons=("it runs",)) if plan.name in running else plan for plan in planned),
        *(ServicePlan(name, "remove") for name in removed),
    )


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
    """The services whose network, pid, ipc or volumes it uses."""
    yield from _namespaces(service)
    for source in service.get("volumes_from") or ():
        if not source.startswith("container:"):
            yield source.partition(":")[0]


def _namespaces(service: Service) -> Iterator[str]:
    for key in ("network_mode", "pid", "ipc"):
        kind, _, name = str(service.get(key) or "").partition(":")
        if kind == "service":
            yield name


# ----------------------------------------------------------------------------------------------------- followers


def _with_followers(plans: Mapping[str, ServicePlan], services: Section) -> dict[str, ServicePlan]:
    """The plans, with those of services that follow others: whose container or image is replaced, or that are restarted."""
    after = _repeat(plans, lambda plan, plans: _follow_replaced(plan, services, plans))
    # Once: a service that is restarted restarts only what lives in its namespaces.
    after = {name: _follow_dependency(plan, services[name], after) for name, plan in after.items()}
    return _repeat(after, lambda plan, plans: _follow_restarted(plan, services[plan.name], plans))


def _repeat(
    plans: Mapping[str, ServicePlan], step: Callable[[ServicePlan, Mapping[str, ServicePlan]], ServicePlan]
) -> dict[str, ServicePlan]:
    """The plans after as many steps as change any."""
    before = dict(plans)
    while True:
        after = {name: step(plan, before) for name, plan in before.items()}
        if after == before:
            return after
        before = after


_KEPT = ("unchanged", "reload", "restart")  # the container stays


def _follow_replaced(plan: ServicePlan, services: Section, plans: Mapping[str, ServicePlan]) -> ServicePlan:
    """Rebuilt with the image that it is built from; recreated with what it shares a namespace, volumes or an image with."""
    service = services[plan.name]
    first = partial(_first, plans)
    if plan.action in (*_KEPT, "recreate") and (base := first(_bases(service), {"rebuild"})):
        return _follow(plan, "rebuild", base)
    if plan.action not in _KEPT:
        return plan
    leader = first(_shares(service), {"rebuild", "recreate"}) or first(_builders(plan.name, services), {"rebuild"})
    return _follow(plan, "recreate", leader) if leader else plan


def _follow_dependency(plan: ServicePlan, service: Service, plans: Mapping[str, ServicePlan]) -> ServicePlan:
    """Restarted after a service that it depends on with `restart: true`."""
    restarting = (name for name, how in (service.get("depends_on") or {}).items() if how.get("restart"))
    leader = _first(plans, restarting, {"rebuild", "recreate"})
    return _follow(plan, "restart", leader) if leader and plan.action in _KEPT else plan


def _follow_restarted(plan: ServicePlan, service: Service, plans: Mapping[str, ServicePlan]) -> ServicePlan:
    """Restarted after a service in whose namespaces it lives: a restart makes new ones, and it would stay in the old ones."""
    leader = _first(plans, _namespaces(service), {"restart"})
    return _follow(plan, "restart", leader) if leader and plan.action in _KEPT and plan.after != leader else plan


def _follow(plan: ServicePlan, action: str, leader: str) -> ServicePlan:
    after = leader if action == "restart" else ""
    return replace(plan, action=action, reasons=(*plan.reasons, f"follows {leader}"), signal="", after=after)


def _first(plans: Mapping[str, ServicePlan], names: Iterable[str], actions: set[str]) -> str:
    return next((name for name in names if name in plans and plans[name].action in actions), "")


def _bases(service: Service) -> Iterator[str]:
    """The services whose images its build starts from."""
    build = service.get("build") or {}
    for source in (build.get("additional_contexts") or {}).values():
        kind, _, name = str(source).partition(":")
        if kind == "service":
            yield name


def _builders(name: str, services: Section) -> Iterator[str]:
    """The other services that build the image which the service runs."""
    image = services[name].get("image")
    return (n for n, s in services.items() if n != name and image and s.get("build") and s.get("image") == image)
