"""The error that an outcome stands for, with its exit code; none when the new release runs."""

from __future__ import annotations

from towline.deploy.planning.plan import Plan
from towline.deploy.runner import Outcome
from towline.engines.steps import RELEASE_ZERO
from towline.errors import DeployFailed, DeployRolledBack, LockHeld, TowlineError

RESULTS = ("deployed", "kept", "restored", "partly", "down", "locked", "stale", "died")


def error_of(outcome: Outcome, plan: Plan) -> TowlineError | None:
    """None for a deploy that succeeded."""
    if outcome.result == "deployed":
        return None
    if outcome.result == "locked":
        holders = [event.values["holder"] for event in outcome.named("locked")]
        return locked(plan.stack, holders[0] if holders else "the runner did not tell by whom")
    if outcome.result == "stale":
        return LockHeld(f"{plan.stack}: others deployed it each time this deploy got the lock", "try again later")
    if outcome.result not in RESULTS:
        return TowlineError(
            f"{plan.stack}: the runner ended with {outcome.result!r}, which this version of towline does not know",
            f"`inv test-infra --stack={plan.stack}` tells what runs now",
        )
    failure = "cancelled" if outcome.cancelled else f"failed at {outcome.failed_step or 'the start'!r}"
    if outcome.result == "died":
        return DeployFailed(
            f"{plan.stack}: the runner on the server was killed at {_last_step(outcome)!r}{_running_text(outcome)}",
            f"`inv deploy --stack={plan.stack}` reads the current state and repairs it",
        )
    failure += _cut_text(outcome)
    if outcome.result == "partly":
        return DeployRolledBack(
            f"{plan.stack}: {failure}, and restoring release {plan.previous or 'none'} failed, too"
            f"{_running_text(outcome)}",
            "the output above has the reason; repair it, then deploy again",
        )
    if outcome.result == "down":
        return DeployFailed(
            f"{plan.stack}: {failure}, and restoring release {plan.previous or 'none'} failed, too: the stack is down",
            "the output above has the reason; repair it, then deploy again",
        )
    state = "runs on, it was never touched" if outcome.result == "kept" else "was restored and runs"
    if plan.previous == RELEASE_ZERO:
        return DeployRolledBack(f"{plan.stack}: {failure}; what ran before {state}")
    if not plan.previous:
        return DeployFailed(f"{plan.stack}: {failure}; no release ran before, and none runs now")
    return DeployRolledBack(f"{plan.stack}: {failure}; the release before, {plan.previous}, {state}")


def _running_text(outcome: Outcome) -> str:
    told = outcome.named("running")
    return f"; what runs now: {told[-1].values['services'] or 'nothing'}" if told else ""


def _cut_text(outcome: Outcome) -> str:
    """What was cut half-way, and that no undo takes back what it has done."""
    cut = [
        f"{event.values['service']} was cut half-way, after {event.values['seconds']} s"
        for event in outcome.named("cut")
    ]
    if not cut:
        return ""
    return (
        f"; {', '.join(dict.fromkeys(cut))}: what it had changed in its data by then is not put back, only files, images and "
        "containers are"
    )


def locked(stack: str, holder: str) -> LockHeld:
    """The error for a stack that somebody else deploys, or that a person locked with a message."""
    return LockHeld(
        f"{stack}: locked: {holder}",
        f"a deploy: `inv attach --stack={stack}` follows it, --lock-wait=SECONDS waits for it; "
        f"a person: `inv unlock --stack={stack}`",
    )


def _last_step(outcome: Outcome) -> str:
    steps = outcome.named("step")
    return steps[-1].values["name"] if steps else "the start"
