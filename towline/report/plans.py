"""A plan as data, for `inv plan --format=json`. Keys are only ever added."""

from __future__ import annotations

from towline.deploy.planning.plan import Plan


def row(plan: Plan, host: str) -> dict[str, object]:
    """One object of `inv plan --format=json`."""
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
            {"name": service.name, "action": service.action, "reasons": list(service.reasons)}
            for service in plan.services
        ],
        "images": {"pull": list(plan.additions.images)},
        "networks": {"create": list(plan.additions.networks)},
        "volumes": {"create": list(plan.additions.volumes)},
        "before": [{"service": command.service, "command": list(command.command)} for command in plan.before],
        "steps": [] if plan.empty else [step.name for step in plan.steps],
        "seconds_last": plan.last_seconds,
        "drift": [{"service": drift.service, "sentence": drift.sentence} for drift in plan.drift],
        "risks": [{"name": risk.name, "sentence": risk.sentence, "stops": risk.stops} for risk in plan.risks],
    }
