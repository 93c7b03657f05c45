"""A plan as data, for `inv plan --format=json`. Keys are only ever added."""

from __future__ import annotations

from collections.abc import Callable

from towline.deploy.planning.plan import Plan
from towline.facts.running_project import RunningProject


def row(plan: Plan, host: str, redact: Callable[[str], str] = str) -> dict[str, object]:
    """One object of `inv plan --format=json`; `redact` blots secrets out of its sentences."""
    changes = plan.changes
    return {
        "stack": plan.stack,
        "host": host,
        "empty": plan.empty,
        "strategy": plan.strategy,
        "files": {
            kind: [entry.path for entry in entries]
            for kind, entries in (("added", changes.added), ("changed", changes.changed), ("removed", changes.removed))
        },
        "services": [
            {"name": service.name, "action": service.action, "reasons": list(map(redact, service.reasons))}
            for service in plan.services
        ],
        "images": {"pull": list(plan.additions.images)},
        "networks": {"create": list(plan.additions.networks)},
        "volumes": {"create": list(plan.additions.volumes)},
        "before": [{"service": command.service, "command": list(command.command)} for command in plan.before],
        "steps": [] if plan.empty else [step.name for step in plan.steps],
        "seconds_last": plan.last_seconds,
        "running": _running(plan.running),
        "drift": [{"service": drift.service, "sentence": redact(drift.sentence)} for drift in plan.drift],
        "risks": [{"name": risk.name, "sentence": redact(risk.sentence), "stops": risk.stops} for risk in plan.risks],
    }


def _running(running: RunningProject | None) -> dict[str, object] | None:
    """What runs without a release; None for a stack that has one, and when nothing runs."""
    if running is None:
        return None
    return {
        "folder": running.origin.folder,
        "files": list(running.origin.files),
        "in_place": running.in_place,
        "services": list(running.services),
        "data": [{"source": source, "path": path} for source, path in running.data],
    }
