"""What a host's survey shows before anything is probed: its findings, its proxies, the routes and ports that should answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from towline.checks import declared_commands
from towline.checks.answers import Answers, CheckKey
from towline.checks.causes import Causes, find_causes
from towline.checks.declared_probes import CheckContext
from towline.checks.engine import check_engine
from towline.checks.finding import Finding
from towline.checks.host import check_host
from towline.checks.ports import PublishedPort, check_ports, published_ports
from towline.checks.proxy import check_proxy, find_proxies
from towline.checks.route import ServedRoute, find_routes
from towline.checks.scope import Scope
from towline.checks.stack import check_stack
from towline.facts.probe import Probe
from towline.facts.survey import Survey
from towline.project.declared_checks import Check, Dns, Http
from towline.project.settings import Host
from towline.project.stack import Stack
from towline.ssh.session import Result

ByStack = Mapping[str, Sequence[Finding]]


@dataclass(frozen=True)
class State:
    """machine: findings of the host and its engine; stacks, proxies: those of each stack.

    routes: of the scope's stacks. ports: those that containers have, by stack; unpublished: the findings of those that they
    should have and have not. commands: the declared checks that ran as commands. causes: why a service cannot answer.
    """

    host: Host
    scope: Scope
    survey: Survey
    machine: Sequence[Finding]
    stacks: ByStack
    proxies: ByStack
    routes: Sequence[ServedRoute]
    ports: Sequence[PublishedPort]
    unpublished: Sequence[Finding]
    commands: Mapping[CheckKey, Finding]
    causes: Causes

    def in_order(self, ports: Iterable[Finding]) -> Iterator[Finding]:
        """The findings of each stack: its own and its services', its ports', its proxies'."""
        ports_of = by_stack(ports)
        for stack in self.scope.all_stacks:
            for findings in (self.stacks, ports_of, self.proxies):
                yield from findings.get(stack.name, ())

    def context(self, stack: Stack, causes: Causes) -> CheckContext:
        """What the stack's declared checks are made from: no route that cannot answer, for a reason that is known already."""
        routes: dict[str, list[Probe]] = {}
        for served in self.routes:
            if served.stack.name == stack.name and not served.cause(causes):
                routes.setdefault(served.route.router, []).extend(served.probes)
        return CheckContext(self.host.name, stack, self.survey, routes)

    def explained(self, finding: Finding, check: Check, causes: Causes) -> Finding:
        """A declared check that fails, or cannot be made, since a service does not work: that service's finding explains it."""
        if finding.result not in ("fail", "skip") or isinstance(check, Dns):
            return finding
        because = sorted(cause for (stack, _), cause in causes.items() if stack == finding.stack)
        if isinstance(check, Http) and check.url.startswith("/"):
            served = (each for each in self.routes if each.stack.name == finding.stack)
            because += [each.cause(causes) for each in served if check.route in ("", each.route.router)]
        cause = next(filter(None, because), "")
        return replace(finding, result="skip", sentence="", evidence="", hint="", because=cause) if cause else finding


def by_stack(findings: Iterable[Finding]) -> dict[str, list[Finding]]:
    grouped: dict[str, list[Finding]] = {}
    for finding in findings:
        grouped.setdefault(finding.stack, []).append(finding)
    return grouped


def check_state(host: Host, scope: Scope, survey: Survey, results: Mapping[CheckKey, Result]) -> State:
    """What the survey shows. results: of the declared checks that ran as commands."""
    stacks = scope.all_stacks
    proxies = find_proxies(stacks, scope.baselines, survey)
    names = {stack.name for stack in scope.stacks}
    routes = [r for r in find_routes(stacks, proxies, scope.baselines, survey) if r.stack.name in names]
    of_stacks = {stack.name: list(check_stack(host, stack, scope.baselines[stack.name], survey)) for stack in stacks}
    causes = find_causes(stacks, survey, chain.from_iterable(of_stacks.values()))
    ports = list(published_ports(stacks, survey))
    state = State(
        host=host,
        scope=scope,
        survey=survey,
        machine=[*check_host(host, survey), *check_engine(host, survey)],
        stacks=of_stacks,
        proxies=by_stack(check_proxy(host.name, proxy, causes) for proxy in proxies),
        routes=routes,
        ports=[port for port in ports if port.held],
        unpublished=check_ports(host.name, [port for port in ports if not port.held], Answers(), causes),
        commands={},
        causes=causes,
    )
    return replace(
        state,
        commands=dict(_judged(state, results)),
        causes=find_causes(stacks, survey, state.in_order(state.unpublished)),
    )


def _judged(state: State, results: Mapping[CheckKey, Result]) -> Iterator[tuple[CheckKey, Finding]]:
    for stack in state.scope.stacks:
        context = state.context(stack, state.causes)
        for check in stack.checks:
            key = stack.name, check.name
            if key in results:
                yield key, declared_commands.judge_command(check, context, results[key])
