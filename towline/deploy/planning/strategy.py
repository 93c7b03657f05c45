"""What a strategy does to which services. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from towline.deploy.planning.comparison import ServicePlan
from towline.deploy.planning.waits import jobs_of
from towline.facts.compose_model import Model, replicas_of


def signals(strategy: str, services: Iterable[ServicePlan]) -> tuple[tuple[str, str], ...]:
    """Service and signal, of those that read their files again; none with `recreate`, which replaces all containers."""
    reloading = (service for service in services if service.action == "reload" and strategy != "recreate")
    return tuple((service.name, service.signal) for service in reloading)


def restarts(strategy: str, services: Iterable[ServicePlan]) -> tuple[tuple[str, str], ...]:
    """Service and the service that it has to be started after."""
    after = ((service.name, service.after) for service in services if service.after)
    return tuple(after) if strategy != "recreate" else ()


def rolling_services(services: Iterable[ServicePlan], old: Model | None, model: Model) -> dict[str, int]:
    """The services that change and can have new containers beside the old ones, in their order → how many new ones."""
    rolled = (name for name, why in _changing(services, old, model) if not why)
    return {name: replicas_of(model.services[name]) for name in rolled}


def rolling_back(services: Iterable[str], before: Model | None) -> dict[str, int]:
    """Those of the services whose containers of before can be started beside the new ones → how many there were."""
    old = before.services if before else {}
    return {name: replicas_of(old[name]) for name in services if name in old and not why_not_rolling(old[name])}


def first_services(
    rolled: Iterable[str], services: Iterable[ServicePlan], model: Model | None
) -> dict[str, tuple[str, ...]]:
    """A service that is rolled → those that it depends on, directly or not, and that change or are one-shots: they come first."""
    if model is None:
        return {}
    names, jobs = set(rolled), jobs_of(model)
    replaced = {service.name for service in services if service.action in ("create", "rebuild", "recreate")}
    early = {name for name in (jobs | replaced) - names if name in model.services and replicas_of(model.services[name])}
    found = {name: tuple(other for other in _needed(name, model) if other in early) for name in sorted(names)}
    return {name: others for name, others in found.items() if others}


def _needed(name: str, model: Model) -> list[str]:
    """What a service depends on, directly or not, in the order to start it in."""
    order: list[str] = []

    def visit(service: str) -> None:
        for other in sorted(model.services[service].get("depends_on") or {}):
            if other in model.services and other not in order:
                visit(other)
                order.append(other)

    visit(name)
    return [other for other in dict.fromkeys(order) if other != name]


def rest_of(rolled: Iterable[str], services: Iterable[ServicePlan], model: Model | None) -> tuple[str, ...]:
    """What `up` starts after one-shots that came before rolled services: it would run those again. () for all services."""
    first = {other for others in first_services(rolled, services, model).values() for other in others}
    done = first & jobs_of(model) if model else set()
    return tuple(sorted(model.services.keys() - done)) if model and done else ()


def pulled_anew(model: Model, newer: Collection[str] = ()) -> tuple[str, ...]:
    """The services whose image is pulled though it is there: their `pull_policy` asks for that, or it is one of `newer`."""
    pulled = {name: keys for name, keys in model.services.items() if not keys.get("build")}
    asks = (name for name, keys in pulled.items() if str(keys.get("pull_policy") or "").startswith(_ASKING))
    return tuple(sorted({*asks, *(name for name, keys in pulled.items() if keys.get("image") in newer)}))


_ASKING = ("always", "daily", "weekly", "every_")


def rolling_notes(services: Iterable[ServicePlan], old: Model | None, model: Model) -> tuple[str, ...]:
    """A sentence for each service that cannot be rolled, and for each whose rolling may be noticed."""
    changing = tuple(_changing(services, old, model))
    not_rolled = (f"{name} cannot be rolled, so it is updated: {why}" for name, why in changing if why)
    noticed = (
        f"{name} has other labels for Traefik, which leaves out what two containers say differently: "
        "its routes may be gone for less than a second"
        for name, why in changing
        if not why and old and _traefik_labels(old.services[name]) != _traefik_labels(model.services[name])
    )
    return (*not_rolled, *noticed)


def _changing(services: Iterable[ServicePlan], old: Model | None, model: Model) -> Iterator[tuple[str, str]]:
    """Each service that gets new containers, and why it cannot be rolled, '' when it can."""
    for service in services:
        if service.action in ("rebuild", "recreate"):
            why = why_not_rolling(model.services[service.name])
            if not why and old and not _has_health_check(old.services[service.name]):
                why = "what runs has no health check"
            yield service.name, why


def _traefik_labels(service: Mapping[str, Any]) -> dict[str, str]:
    return {name: value for name, value in (service.get("labels") or {}).items() if name.startswith("traefik.")}


def _fixed_address(service: Mapping[str, Any]) -> str:
    networks = [keys or {} for keys in (service.get("networks") or {}).values()]
    given = [service.get("mac_address"), *(each.get(key) for each in networks for key in _ADDRESSES)]
    return next((str(address) for address in given if address), "")


_ADDRESSES = ("ipv4_address", "ipv6_address", "mac_address")


def _has_health_check(service: Mapping[str, Any]) -> bool:
    check = service.get("healthcheck") or {}
    return bool(check.get("test")) and check["test"][0] != "NONE" and not check.get("disable")


def why_not_rolling(service: Mapping[str, Any]) -> str:
    """Why two containers of the service cannot run at the same time; '' when they can."""
    if service.get("container_name"):
        return "its container_name can be had once"
    if service.get("network_mode") == "host":
        return "it is on the host's network"
    if address := _fixed_address(service):
        return f"the address {address} can be had once"
    if service.get("pre_start"):
        return "it has pre_start commands, which would run beside the old one"
    ports = [port["published"] for port in service.get("ports") or () if port.get("published") not in (None, "", "0")]
    if ports:
        return f"host port {ports[0]} can be had once"
    written = [mount for mount in service.get("volumes") or () if not mount.get("read_only")]
    if written:
        return f"{written[0].get('source', 'a volume')} at {written[0]['target']} may have one writer"
    if not _has_health_check(service):
        return "it has no health check"
    if not replicas_of(service):
        return "it has no replicas"
    return ""
