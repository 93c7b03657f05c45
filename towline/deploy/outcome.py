"""What an outcome means for who asked: nothing when the new release runs, else the error with its exit code."""

from __future__ import annotations

from towline.deploy.planning.plan import Plan
from towline.deploy.runner import Outcome
from towline.errors import DeployFailed, DeployRolledBack, LockHeld, TowlineError


def error_of(outcome: Outcome, plan: Plan) -> TowlineError | None:
    """None for a deploy that succeeded."""
    if outcome.result == "deployed":
        return None
    if outcome.result == "locked":
        return locked(plan.stack, outcome.named("locked")[0].values["holder"])
    if outcome.result == "stale":
        return LockHeld(f"{plan.stack}: others deployed it each time this deploy got the lock", "try again later")
    what = "cancelled" if outcome.cancelled else f"failed at {outcome.failed_step or 'the start'!r}"
    if outcome.result == "died":
        return DeployFailed(
            f"{plan.stack}: the runner on the server was killed in mid-sequence (at {_last_step(outcome)!r})",
            f"`inv deploy --stack={plan.stack}` looks at what stands and mends it",
        )
    if outcome.result == "down":
        return DeployFailed(
            f"{plan.stack}: {what}, and putting release {plan.previous or 'none'} back failed too: the stack is down",
            "the output above tells why; mend it, then deploy again",
        )
    if not plan.previous:
        return DeployFailed(f"{plan.stack}: {what}; no release ran before, and none runs now")
    how = "runs on, it was never touched" if outcome.result == "kept" else "was put back and runs"
    return DeployRolledBack(f"{plan.stack}: {what}; the release before, {plan.previous}, {how}")


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
