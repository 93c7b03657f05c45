"""Which finding explains why a service cannot answer: one cause is one failure, whatever depends on the service is skipped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from towline.checks.engine import engine_trouble
from towline.checks.finding import Finding
from towline.facts.survey import Survey
from towline.project.stack import Stack

ServiceKey = tuple[str, str]  # stack, service
Causes = Mapping[ServiceKey, str]  # → the id of the finding

# What keeps a service from answering; being behind the working tree does not.
_NEEDED = {"containers", "restarts", "running", "healthy", "memory", "networks", "mounts", "traefik"}


def find_causes(stacks: Sequence[Stack], survey: Survey, findings: Iterable[Finding]) -> dict[ServiceKey, str]:
    """The first finding that explains why a service cannot answer; nothing for a service that can."""
    causes = dict(_not_deployed(stacks, survey))
    findings = list(findings)
    passed = {finding.id for finding in findings if finding.result == "pass"}
    for finding in findings:
        prefix = f"stack.{finding.stack}.service.{finding.service}."
        check = finding.id.removeprefix(prefix)
        if check == "memory" and f"{prefix}running" in passed:  # it was killed, and runs again
            continue
        if finding.result == "fail" and finding.service and (check in _NEEDED or check.startswith("port.")):
            causes.setdefault((finding.stack, finding.service), finding.id)
    return causes


def _not_deployed(stacks: Sequence[Stack], survey: Survey) -> Iterable[tuple[ServiceKey, str]]:
    """Every service, where the engine does not answer or the stack has no release."""
    trouble = engine_trouble(survey)
    for stack in stacks:
        cause = trouble or ("" if survey.stacks[stack.name].current else f"stack.{stack.name}.deployed")
        if cause:
            yield from (((stack.name, service.name), cause) for service in stack.services)
