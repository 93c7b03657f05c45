"""Which steps a strategy comes to for these services. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from towline.deploy.services import ServicePlan
from towline.engines import compose
from towline.engines.compose import Sequence
from towline.engines.steps import Step
from towline.facts.model import Model


def steps(strategy: str, of: Sequence, services: Iterable[ServicePlan], model: Model) -> tuple[Step, ...]:
    """The steps of `recreate`, `update` or `rolling`."""
    if strategy == "recreate":
        return compose.recreate(of)
    roll = rolling_services(services, model) if strategy == "rolling" else ()
    return compose.update(replace(of, roll=roll))


def signals(strategy: str, services: Iterable[ServicePlan]) -> tuple[tuple[str, str], ...]:
    """Service and signal, of those that read their files again; `recreate` makes all of them anew."""
    reloading = (service for service in services if service.action == "reload" and strategy != "recreate")
    return tuple((service.name, service.signal) for service in reloading)


def restarts(strategy: str, services: Iterable[ServicePlan]) -> tuple[tuple[str, str], ...]:
    """Service and the one that it has to be started after."""
    after = ((service.name, service.after) for service in services if service.after)
    return tuple(after) if strategy != "recreate" else ()


def rolling_services(services: Iterable[ServicePlan], model: Model) -> tuple[str, ...]:
    """The services that change and can have the new container beside the old one, in their order."""
    return tuple(
        service.name
        for service in services
        if service.action in ("rebuild", "recreate") and not why_not_rolling(model.services[service.name])
    )


def why_not_rolling(service: Mapping[str, Any]) -> str:
    """What keeps two containers of the service from standing side by side; '' when nothing does."""
    if service.get("container_name"):
        return "its container_name can be had once"
    if service.get("network_mode") == "host":
        return "it is on the host's network"
    ports = [port["published"] for port in service.get("ports") or () if port.get("published") not in (None, "", "0")]
    if ports:
        return f"host port {ports[0]} can be had once"
    written = [mount for mount in service.get("volumes") or () if not mount.get("read_only")]
    if written:
        return f"{written[0].get('source', 'a volume')} at {written[0]['target']} may have one writer"
    check = service.get("healthcheck") or {}
    if not check.get("test") or check.get("disable"):
        return "it has no health check"
    return ""
