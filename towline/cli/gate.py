"""The gate: a stack's checks before and after its deploy; what fails after and did not before puts the release before back."""

from __future__ import annotations

from collections.abc import Callable

from towline.checks.finding import Finding, Report
from towline.checks.run import until_good
from towline.deploy.planning.plan import Plan
from towline.errors import DeployRolledBack, TowlineError
from towline.report.findings import side_by_side, text

SETTLE = 5.0  # seconds that a new failure has to pass by: a proxy takes a moment to see new containers


def pass_through(
    look: Callable[[], Report],
    deploy: Callable[[], Plan],
    rollback: Callable[[str], object],
    say: Callable[[str], None],
) -> None:
    """Deploy between two looks. rollback is called with the release to go back to.

    Raises what `deploy` and `rollback` raise; DeployRolledBack for new failures, TowlineError when there is nothing to go back to.
    """
    before = look()
    plan = deploy()
    after = until_good(look, SETTLE, lambda report: bool(new_failures(before, report)))
    say(side_by_side(before, after))
    new = new_failures(before, after)
    if not new:
        return
    say(text(Report(new, after.seconds)))
    count = f"{len(new)} new failure{'' if len(new) == 1 else 's'}"
    if not plan.previous or not plan.new_release:
        raise TowlineError(f"{plan.stack}: deployed, and {count} since; there is no other release to go back to")
    rollback(plan.previous)
    raise DeployRolledBack(f"{plan.stack}: {count} after the deploy; the release before runs again ({plan.previous})")


def new_failures(before: Report, after: Report) -> tuple[Finding, ...]:
    """What fails in `after` and did not in `before`; what was skipped there since something else failed did not hold either.

    >>> new_failures(Report((), 0.0), Report((), 0.0))
    ()
    """
    failed = {one.id for one in before.findings if one.result == "fail" and not one.id.endswith(".deployed")}
    had = {(one.host, one.id) for one in before.findings if one.id in failed or one.because in failed}
    return tuple(one for one in after.findings if one.result == "fail" and (one.host, one.id) not in had)
