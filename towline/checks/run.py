"""One look at a host: the survey, what is asked of it over TCP, and the findings that both come to."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from difflib import get_close_matches
from fnmatch import fnmatchcase

from towline.checks import declared_commands, declared_probes, route
from towline.checks.ask import NOT_ASKED, Named, Seen, ask, ask_from_here, seen_from_here
from towline.checks.engine import check_engine, engine_trouble
from towline.checks.finding import Finding, Report, Subject
from towline.checks.here import Here
from towline.checks.host import check_host
from towline.checks.ports import check_ports
from towline.checks.proxy import check_front, fronts
from towline.checks.stack import check_stack
from towline.checks.waivers import waive
from towline.errors import ConnectionFailed, RemoteFailed, UsageError
from towline.facts.survey import read_survey
from towline.project.catalog import Stack
from towline.project.declared_checks import Check, Dns, Http
from towline.project.settings import Host
from towline.ssh.connection import Connection

PAUSE = 1.0  # seconds between two looks


@dataclass(frozen=True)
class Scope:
    """What is looked at. stacks: those of one host; around: others there that a Traefik in front of them may be of, which are
    only read. heres: what lies here of each. only: a pattern of ids, '' for all.

    services_only: routes and declared checks alone. machine False: nothing of the host and its engine (one stack is asked for).
    from_here: routes are asked from this machine too, as their users do. fail_fast: nothing after the first failure.
    What explains a finding that is asked for is always told.
    """

    stacks: Sequence[Stack]
    heres: Mapping[str, Here]
    around: Sequence[Stack] = ()
    only: str = ""
    services_only: bool = False
    machine: bool = True
    from_here: bool = False
    fail_fast: bool = False

    @property
    def everything(self) -> Sequence[Stack]:
        return (*self.stacks, *self.around)

    def has(self, finding: Finding) -> bool:
        """Whether it is asked for."""
        if self.only and not fnmatchcase(finding.id, self.only):
            return False
        if not finding.stack:
            return self.machine and not self.services_only
        part = finding.id.removeprefix(f"stack.{finding.stack}.")
        asked = not self.services_only or part.startswith(("route.", "check."))
        return asked and finding.stack in {stack.name for stack in self.stacks}


def look_at(places: Sequence[tuple[Connection, Scope]]) -> Report:
    """The findings of several hosts as one report; of several, one that cannot be looked at is a finding too.

    Raises ConnectionFailed and RemoteFailed when there is only one, UsageError when `only` is of no check.
    """
    told: list[Finding] = []
    seconds = 0.0
    missed: list[Finding] = []
    for connection, scope in places:
        try:
            report, every = look(connection, scope)
        except (ConnectionFailed, RemoteFailed) as error:
            if len(places) == 1:
                raise
            report, every = Report((_unreachable(connection.host.name, error),), 0.0), ()
        told += report.findings
        missed += every
        seconds += report.seconds
        if scope.fail_fast and report.count("fail"):
            break
    only = next((scope.only for _, scope in places if scope.only), "")
    if only and not told:
        near = get_close_matches(only, sorted({one.id for one in missed}), n=1)
        hint = f"did you mean {near[0]}?" if near else "-v without --only lists them all"
        raise UsageError(f"--only={only}: no check has such an id; {hint}")
    return Report(tuple(told), seconds)


def _unreachable(host: str, error: ConnectionFailed | RemoteFailed) -> Finding:
    return Subject("host", host).fail("reachable", f"{host} cannot be reached", error.message, error.hint)


def until_good(
    look: Callable[[], Report],
    seconds: float,
    fails: Callable[[Report], bool] = lambda report: report.count("fail") > 0,
) -> Report:
    """Looks again and again until nothing fails, for so many seconds at most; the last report."""
    end = time.monotonic() + seconds
    while fails(report := look()) and time.monotonic() + PAUSE < end:
        time.sleep(PAUSE)
    return report


def look(connection: Connection, scope: Scope) -> tuple[Report, tuple[Finding, ...]]:
    """The findings of one host that are asked for, and all: one session, and TCP connections that its sshd opens.

    Nothing is changed there. Raises ConnectionFailed, ConnectionLost and RemoteFailed when it cannot be looked at.
    """
    connection.fabric()
    begun = time.perf_counter()
    asked = [(stack, check, words) for stack in scope.stacks for check, words in _commands(stack, connection.host.root)]
    survey, results = read_survey(connection, scope.everything, [words for _, _, words in asked])
    named = {(stack.name, check.name): result for (stack, check, _), result in zip(asked, results, strict=True)}
    theirs = {stack.name for stack in scope.stacks}
    routes = [one for one in route.served(scope.everything, scope.heres, survey) if one.stack.name in theirs]
    seen = Seen(survey, named, routes)
    found = findings(connection.host, scope, seen)
    if not (scope.fail_fast and any(one.result == "fail" for one in chosen(found, scope))):
        found = findings(connection.host, scope, _ask(connection, seen, scope))
    told = chosen(found, scope)
    return Report(_up_to_failure(told) if scope.fail_fast else told, time.perf_counter() - begun), found


def _commands(stack: Stack, root: str) -> Iterator[tuple[Check, tuple[str, ...]]]:
    for check in stack.checks:
        words = declared_commands.command(check, stack, root)
        if words is not None:
            yield check, words


def _ask(connection: Connection, seen: Seen, scope: Scope) -> Seen:
    bad = _bad(_stack_findings(connection.host, scope, seen), scope, seen)
    if scope.from_here:
        seen = ask_from_here(connection.host, seen, bad)
    return ask(connection.dial, connection.host, seen, scope.stacks, bad, listen=not scope.services_only)


# ------------------------------------------------------------------------------------------------------ what is told


def chosen(found: Sequence[Finding], scope: Scope) -> tuple[Finding, ...]:
    """Those that are asked for, and the failures that the skipped ones among them speak of."""
    by_id = {one.id: one for one in found}
    told = {one.id for one in found if scope.has(one)}
    asked = [by_id[name] for name in told]
    while asked:
        cause = by_id.get(asked.pop().sentence.removeprefix("see "))
        if cause and cause.id not in told and cause.result != "pass":
            told.add(cause.id)
            asked.append(cause)
    return tuple(one for one in found if one.id in told)


def _up_to_failure(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    first = next((i for i, one in enumerate(findings) if one.result == "fail"), len(findings))
    return findings[: first + 1]


def findings(host: Host, scope: Scope, seen: Seen) -> tuple[Finding, ...]:
    """All findings, waived ones as such; those too that are not asked for."""
    stacks = _stack_findings(host, scope, seen)
    bad = _bad(stacks, scope, seen)
    found = [*check_host(host, seen.survey), *check_engine(host, seen.survey), *stacks]
    if seen.forbidden:
        hint = "AllowTcpForwarding local in sshd_config lets routes, ports and declared checks be asked"
        found.append(Subject("host", host.name).warn("sshd.forwarding", seen.forbidden, hint=hint))
    found += _forbidden(route.judge(host, seen.routes, seen.answers, bad, seen.survey), seen)
    if scope.from_here:
        found += route.judge(host, seen_from_here(host, seen), seen.answers_here, bad, seen.survey)
    for stack in scope.stacks:
        found += _own(host.name, stack, seen, bad)
    waivers = [waiver for stack in scope.everything for waiver in stack.waive]
    return waive(found, waivers, datetime.now(UTC).date())


def _stack_findings(host: Host, scope: Scope, seen: Seen) -> list[Finding]:
    found: list[Finding] = []
    at_front = fronts(scope.everything, scope.heres, seen.survey)
    for stack in scope.everything:
        of_stack = list(check_stack(host, stack, scope.heres[stack.name], seen.survey))
        bad = _bad(of_stack, scope, seen)
        of_stack += check_ports(host.name, stack, seen.survey, seen.answers, seen.forbidden or NOT_ASKED, bad)
        of_stack += [check_front(host.name, one, bad) for one in at_front if one.stack.name == stack.name]
        found += of_stack
    return found


# What keeps a service from answering; being behind the working tree does not.
_WORKS = {"containers", "restarts", "running", "healthy", "memory", "networks", "mounts", "traefik"}


def _bad(findings: Sequence[Finding], scope: Scope, seen: Seen) -> dict[Named, str]:
    """(stack, service) → the first finding that tells why it cannot answer."""
    trouble = engine_trouble(seen.survey)
    bad: dict[Named, str] = {}
    for stack in scope.everything:
        why = "" if seen.survey.stacks[stack.name].current else f"stack.{stack.name}.deployed"
        if trouble or why:
            bad |= {(stack.name, service.name): trouble or why for service in stack.services}
    up = {one.id for one in findings if one.result == "pass"}
    for one in findings:
        prefix = f"stack.{one.stack}.service.{one.service}."
        part = one.id.removeprefix(prefix)
        if part == "memory" and f"{prefix}running" in up:  # it was killed, and runs again
            continue
        if one.result == "fail" and one.service and (part in _WORKS or part.startswith("port.")):
            bad.setdefault((one.stack, one.service), one.id)
    return bad


def _forbidden(findings: Iterable[Finding], seen: Seen) -> Iterator[Finding]:
    for one in findings:
        unasked = seen.forbidden and one.result == "skip" and not one.sentence.startswith("see ")
        yield replace(one, sentence=seen.forbidden) if unasked else one


def _own(host: str, stack: Stack, seen: Seen, bad: Mapping[Named, str]) -> Iterator[Finding]:
    where = seen.where(host, stack, bad)
    for check in stack.checks:
        result = seen.results.get((stack.name, check.name))
        if result is not None:
            yield _excused(declared_commands.judge_command(check, where, result), check, stack, seen, bad)
        elif seen.forbidden and (stack.name, check.name) not in seen.declared:
            yield where.about(check).skip(check.name, seen.forbidden)
        else:
            answers = seen.declared.get((stack.name, check.name), ())
            yield _excused(declared_probes.judge_answers(check, where, answers), check, stack, seen, bad)


def _excused(found: Finding, check: Check, stack: Stack, seen: Seen, bad: Mapping[Named, str]) -> Finding:
    """A check that fails, or cannot be made, since a service does not work is told by that service's finding."""
    because = sorted(why for (name, _), why in bad.items() if name == stack.name)
    if isinstance(check, Http) and check.url.startswith("/"):
        through = [one for one in seen.routes if one.stack.name == stack.name and check.route in ("", one.route.router)]
        because += [why for one in through if (why := route.because(one, bad))]
    if found.result in ("fail", "skip") and because and not isinstance(check, Dns):
        return replace(found, result="skip", sentence=f"see {because[0]}", evidence="", hint="")
    return found
