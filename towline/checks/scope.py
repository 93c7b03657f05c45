"""What is checked on a host, and which findings are shown of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from towline.checks.baseline import Baseline
from towline.checks.finding import Finding
from towline.project.stack import Stack


@dataclass(frozen=True)
class Scope:
    """stacks: those that are checked; proxies: other stacks of the host whose Traefik may serve them, which are only read.

    baselines: stack → what it is compared with. only: a pattern of ids, '' for all. services_only: routes and declared checks
    alone. machine False: nothing of the host and its engine (one stack was named). from_here: routes are probed from this
    machine too, as their users reach them. fail_fast: nothing after the first failure.
    The finding that explains an included one is always included.
    """

    stacks: Sequence[Stack]
    baselines: Mapping[str, Baseline]
    proxies: Sequence[Stack] = ()
    only: str = ""
    services_only: bool = False
    machine: bool = True
    from_here: bool = False
    fail_fast: bool = False

    @property
    def all_stacks(self) -> Sequence[Stack]:
        return (*self.stacks, *self.proxies)

    def includes(self, finding: Finding) -> bool:
        if self.only and not fnmatchcase(finding.id, self.only):
            return False
        if not finding.stack:
            return self.machine and not self.services_only
        check = finding.id.removeprefix(f"stack.{finding.stack}.")
        included = not self.services_only or check.startswith(("route.", "check."))
        return included and finding.stack in {stack.name for stack in self.stacks}


def select(findings: Sequence[Finding], scope: Scope) -> tuple[Finding, ...]:
    """The findings that `scope` includes, and the failures that explain the skipped ones among them."""
    by_id = {finding.id: finding for finding in findings}
    selected = {finding.id for finding in findings if scope.includes(finding)}
    pending = [by_id[name] for name in selected]
    while pending:
        cause = by_id.get(pending.pop().because)
        if cause and cause.id not in selected and cause.result != "pass":
            selected.add(cause.id)
            pending.append(cause)
    return tuple(finding for finding in findings if finding.id in selected)


def up_to_failure(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    first = next((i for i, finding in enumerate(findings) if finding.result == "fail"), len(findings))
    return findings[: first + 1]
