"""How long each service may take, and which of them come to an end: what health.sh reads of the plan. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from towline.deploy.planning.comparison import ServicePlan
from towline.facts.compose_model import Model
from towline.project.waits import Waits


def jobs_of(model: Model) -> frozenset[str]:
    """The one-shot services that others wait for until they have ended."""
    return frozenset(
        name
        for service in model.services.values()
        for name, how in (service.get("depends_on") or {}).items()
        if (how or {}).get("condition") == "service_completed_successfully"
    )


def service_rows(waits: Waits, models: Iterable[Model | None], plans: Iterable[ServicePlan]) -> str:
    """The runner's file `services`, a row `SERVICE KIND LIMIT WATCH ACTION` for each service of the models."""
    known = [model for model in models if model]
    jobs = frozenset[str]().union(*map(jobs_of, known))
    actions = {plan.name: plan.action for plan in plans}
    names = sorted({name for model in known for name in model.services} | set(waits.timeouts) | set(waits.watches))
    return "".join("\t".join(_row(name, waits, jobs, actions.get(name, ""))) + "\n" for name in names)


def _row(name: str, waits: Waits, jobs: frozenset[str], action: str) -> Iterator[str]:
    yield name
    yield "job" if name in jobs else "-"
    yield str(waits.timeouts.get(name, "-"))
    yield str(waits.watches.get(name, waits.watch if waits.watch is not None else "-"))
    yield action
