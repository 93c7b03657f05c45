"""The gate: a stack is checked before and after its deploy, and new failures restore the previous release."""

from __future__ import annotations

from collections.abc import Callable

from towline.checks.finding import Finding, Report
from towline.checks.run import until_good
from towline.deploy.planning.plan import Plan
from towline.errors import DeployRolledBack, TowlineError
from towline.report.findings import side_by_side, text

SETTLE = 5.0  # seconds for a new failure to disappear by itself: a proxy takes a moment to see new containers


def deploy_with_gate(
    check: Callable[[], Report],
    deploy: Callable[[], Plan],
    rollback: Callable[[str], object],
    say: Callable[[str], None],
) -> None:
    """Check, deploy, check again; rollback is called with the previous release when there are new failures.

    Raises what `deploy` and `rollback` raise; DeployRolledBack for new failures, TowlineError when there is no release to restore.
    """
    before = check()
    plan = deploy()
    after = until_good(check, SETTLE, lambda report: bool(new_failures(before, report)))
    say(side_by_side(before, after))
    failures = new_failures(before, after)
    if not failures:
        return
    say(text(Report(failures, after.seconds)))
    count = f"{len(failures)} new failure{'' if len(failures) == 1 else 's'}"
    if not plan.previous or not plan.new_release:
        raise TowlineError(f"{plan.stack}: deployed, and {count} since; there is no other release to go back to")
    rollback(plan.previous)
    raise DeployRolledBack(f"{plan.stack}: {count} after the deploy; the release before runs again ({plan.previous})")


def new_failures(before: Report, after: Report) -> tuple[Finding, ...]:
    """The failures of `after` that `before` does not have, neither as a failure nor skipped because of one.

    >>> new_failures(Report((), 0.0), Report((), 0.0))
    ()
    """
    failed = {
        finding.id for finding in before.findings if finding.result == "fail" and not finding.id.endswith(".deployed")
    }
    known = {
        (finding.host, finding.id) for finding in before.findings if finding.id in failed or finding.because in failed
    }
    return tuple(
        finding for finding in after.findings if finding.result == "fail" and (finding.host, finding.id) not in known
    )
