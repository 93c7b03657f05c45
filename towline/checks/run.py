"""Runs the checks of a host, each step once: survey, state, probes, answers.

What is read of the host is in facts/survey.py; which findings there are, in the module of their subject.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from difflib import get_close_matches

from towline.checks import declared_commands, declared_probes
from towline.checks.answers import Answers, CheckKey
from towline.checks.ask import ProbedCheck, ask, dial_from_this_machine
from towline.checks.causes import Causes, find_causes
from towline.checks.finding import Finding, Report, Subject
from towline.checks.ports import check_ports, worst_of_replicas
from towline.checks.route import RouteChecks, ServedRoute, from_this_machine
from towline.checks.scope import Scope, select, up_to_failure
from towline.checks.state import State, check_state
from towline.checks.waivers import waive
from towline.commands.shell import Command
from towline.errors import ConnectionFailed, RemoteFailed, UsageError
from towline.facts.probe import Probe
from towline.facts.survey import read_survey
from towline.project.stack import Stack
from towline.ssh.connection import Connection

PAUSE = 1.0  # seconds between two runs of the checks


def run_checks(connection: Connection, scope: Scope) -> tuple[Report, tuple[Finding, ...]]:
    """The findings of one host that `scope` includes, and all: one session, and TCP connections that its sshd opens.

    Nothing is changed there. Raises ConnectionFailed, ConnectionLost and RemoteFailed when it cannot be checked.
    """
    connection.fabric()  # logging in is not part of the report's seconds
    begun = time.perf_counter()
    commands = [command for stack in scope.stacks for command in _commands(stack, connection.host.root)]
    survey, results = read_survey(connection, scope.all_stacks, [words for _, words in commands])
    by_check = {key: result for (key, _), result in zip(commands, results, strict=True)}
    state = check_state(connection.host, scope, survey, by_check)
    stop = scope.fail_fast and _fails(state)
    answers = Answers() if stop else ask(connection.dial, probes_of(state), probed_checks(state))
    local = ask(dial_from_this_machine, _probes(local_routes(state), state.causes)) if not stop else Answers()
    findings = check_answers(state, answers, local)
    included = select(findings, scope)
    report = Report(up_to_failure(included) if scope.fail_fast else included, time.perf_counter() - begun)
    return report, findings


def _commands(stack: Stack, root: str) -> Iterator[tuple[CheckKey, Command]]:
    for check in stack.checks:
        words = declared_commands.command(check, stack, root)
        if words is not None:
            yield (stack.name, check.name), words


def _fails(state: State) -> bool:
    """Whether something that is included fails before anything is probed."""
    commands = (
        state.explained(state.commands[stack.name, check.name], check, state.causes)
        for stack in state.scope.stacks
        for check in stack.checks
        if (stack.name, check.name) in state.commands
    )
    findings = _waived([*state.machine, *state.in_order(state.unpublished), *commands], state.scope)
    return any(finding.result == "fail" for finding in select(findings, state.scope))


# ------------------------------------------------------------------------------------------------------------- the probes


def probes_of(state: State) -> Iterator[Probe]:
    """Of the routes that can answer and, unless services alone are checked, of the published ports."""
    yield from _probes(state.routes, state.causes)
    stacks = set() if state.scope.services_only else {stack.name for stack in state.scope.stacks}
    yield from (port.probe for port in state.ports if port.stack.name in stacks and port.probe)


def _probes(routes: Iterable[ServedRoute], causes: Causes) -> Iterator[Probe]:
    return (probe for served in routes if not served.cause(causes) for probe in served.probes)


def local_routes(state: State) -> list[ServedRoute]:
    """The routes as this machine reaches them, when that is asked for."""
    return [from_this_machine(served, state.host.address) for served in state.routes if state.scope.from_here]


def probed_checks(state: State) -> list[ProbedCheck]:
    """The declared checks that send probes."""
    found = []
    for stack in state.scope.stacks:
        context = state.context(stack, state.causes)
        found += [ProbedCheck(check, context, declared_probes.probes(check, context)) for check in stack.checks]
    return [check for check in found if check.probes]


# ----------------------------------------------------------------------------------------------------------- the findings


def check_answers(state: State, answers: Answers, local: Answers) -> tuple[Finding, ...]:
    """All findings, waived ones as such; also those that the scope does not include. local: of the probes from this machine."""
    host, scope = state.host, state.scope
    ports = worst_of_replicas([*state.unpublished, *check_ports(host.name, state.ports, answers, state.causes)])
    of_stacks = list(state.in_order(ports))
    causes = find_causes(scope.all_stacks, state.survey, of_stacks)
    findings = [*state.machine, *of_stacks]
    if answers.forbidden:
        hint = "AllowTcpForwarding local in sshd_config allows routes, ports and declared checks to be checked"
        findings.append(Subject("host", host.name).warn("sshd.forwarding", answers.forbidden, hint=hint))
    findings += RouteChecks(host, state.survey, answers, causes).check(state.routes)
    findings += RouteChecks(host, state.survey, local, causes).check(local_routes(state))
    findings += (finding for stack in scope.stacks for finding in _check_declared(state, stack, answers, causes))
    return _waived(findings, scope)


def _check_declared(state: State, stack: Stack, answers: Answers, causes: Causes) -> Iterator[Finding]:
    context = state.context(stack, causes)
    for check in stack.checks:
        key = stack.name, check.name
        if key in state.commands:
            yield state.explained(state.commands[key], check, causes)
        elif answers.forbidden and key not in answers.declared:
            yield context.subject(check).skip(check.name, answers.forbidden)
        else:
            finding = declared_probes.judge_answers(check, context, answers.declared.get(key, ()))
            yield state.explained(finding, check, causes)


def _waived(findings: Iterable[Finding], scope: Scope) -> tuple[Finding, ...]:
    waivers = [waiver for stack in scope.all_stacks for waiver in stack.waive]
    return waive(findings, waivers, datetime.now(UTC).date())


# -------------------------------------------------------------------------------------------- several hosts, several runs


def check_hosts(hosts: Sequence[tuple[Connection, Scope]]) -> Report:
    """The findings of several hosts as one report; of several, a host that cannot be checked is a finding too.

    Raises ConnectionFailed and RemoteFailed when there is only one host, UsageError when `only` matches no check.
    """
    included: list[Finding] = []
    every: list[Finding] = []
    seconds = 0.0
    for connection, scope in hosts:
        try:
            report, findings = run_checks(connection, scope)
        except (ConnectionFailed, RemoteFailed) as error:
            if len(hosts) == 1:
                raise
            report, findings = Report((_unreachable(connection.host.name, error),), 0.0), ()
        included += report.findings
        every += findings
        seconds += report.seconds
        if scope.fail_fast and report.count("fail"):
            break
    only = next((scope.only for _, scope in hosts if scope.only), "")
    if only and not included:
        near = get_close_matches(only, sorted({finding.id for finding in every}), n=1)
        hint = f"did you mean {near[0]}?" if near else "-v without --only lists them all"
        raise UsageError(f"--only={only}: no check has such an id; {hint}")
    return Report(tuple(included), seconds)


def _unreachable(host: str, error: ConnectionFailed | RemoteFailed) -> Finding:
    return Subject("host", host).fail("reachable", f"{host} cannot be reached", error.message, error.hint)


def until_good(
    check: Callable[[], Report],
    seconds: float,
    fails: Callable[[Report], bool] = lambda report: report.count("fail") > 0,
) -> Report:
    """Runs the checks again and again until nothing fails, for so many seconds at most; the last report."""
    end = time.monotonic() + seconds
    while fails(report := check()) and time.monotonic() + PAUSE < end:
        time.sleep(PAUSE)
    return report
