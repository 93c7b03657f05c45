"""Decides how a release that is on the server is run again. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from towline.deploy.planning.comparison import ServicePlan
from towline.deploy.planning.plan import Options, Plan, names_of, run_id, timeout_of, undo_of
from towline.deploy.planning.services import plan_services
from towline.deploy.planning.situation import CurrentState, Release
from towline.deploy.planning.strategy import first_services, rest_of, rolling_notes, rolling_services
from towline.deploy.planning.takeover import capture_words
from towline.deploy.planning.waits import service_rows
from towline.engines import compose
from towline.engines.compose import Sequence
from towline.engines.steps import RELEASE_ZERO
from towline.errors import TowlineError
from towline.facts.stack import StackFact
from towline.project.stack import Stack


@dataclass(frozen=True)
class RollbackTarget:
    """The release that a rollback runs again. release: what it holds, None when the host did not keep that."""

    id: str
    release: Release | None = None


def find_rollback_release(stack: Stack, fact: StackFact, to: str) -> str:
    """The release of that id, '' for the good one before the live one.

    Raises TowlineError when there is no such release or it never was a good one.
    """
    release = to or _release_before(fact, stack.name)
    known = {release.id: release for release in fact.releases}
    if release not in known:
        listed = ", ".join(sorted(known)) or "none"
        raise TowlineError(f"{stack.name}: no release {release} on the server", f"there are: {listed}")
    if known[release].outcome != "good":
        raise TowlineError(f"{stack.name}: release {release} never ran healthy, so there is nothing to go back to")
    return release


def plan_rollback(stack: Stack, current: CurrentState, target: RollbackTarget, options: Options) -> Plan:
    """The plan for running a release again that is on the server."""
    strategy, live, new, fact = stack.strategy or options.strategy, current.release, target.release, current.stack
    services: tuple[ServicePlan, ...] = ()
    if live and new:
        labels = current.inventory.inputs_by_service(stack.project)
        services = plan_services(live, new, stack.reload, labels)
        services = tuple(
            replace(service, action=_WITHOUT_BUILD.get(service.action, service.action)) for service in services
        )
    live_model = live.model if live else None
    rolling = new.model if new and strategy == "rolling" and target.id != RELEASE_ZERO else None
    rolled = rolling_services(services, live_model, rolling) if rolling else {}
    sequence = Sequence(
        project=stack.project,
        release=target.id,
        # which files changed is only known of an upload: a signal too many does no harm
        signals=tuple(sorted(stack.reload.items())),
        zero=None if target.id == RELEASE_ZERO else capture_words(current),
        roll=rolled,
        first=first_services(rolled, services, rolling),
        rest=rest_of(rolled, services, rolling),
        max_downtime=options.max_downtime,
        gone=names_of(services, "remove") if strategy != "recreate" else (),
    )
    return Plan(
        stack=stack.name,
        project=stack.project,
        run=run_id(fact, current.token),
        release=target.id,
        previous=current.previous,
        strategy="rollback",
        services=services,
        notes=rolling_notes(services, live_model, rolling) if rolling else (),
        steps=compose.rollback(sequence, down=strategy == "recreate"),
        undo=undo_of(sequence, current, strategy, services),
        timeout=timeout_of(stack, options),
        service_rows=service_rows(stack.waits, (new.model if new else None, live_model), services),
    )


_WITHOUT_BUILD = {"rebuild": "recreate"}  # the release has its images


def _release_before(fact: StackFact, name: str) -> str:
    good = [release.id for release in fact.releases if release.outcome == "good" and release.id != fact.current]
    if fact.before in good:
        return fact.before
    if not good:
        raise TowlineError(f"{name}: there is no good release before the live one to go back to")
    return max(good)
