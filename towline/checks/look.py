"""One look at a host: the survey, what is asked of it over TCP, and the findings that both come to."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase

from towline.catalog import Stack
from towline.checks import own, route
from towline.checks.engine import check_engine
from towline.checks.finding import About, Finding, Report
from towline.checks.here import Here
from towline.checks.host import check_host
from towline.checks.own import Where
from towline.checks.route import Served, reached
from towline.checks.stack import check_stack
from towline.checks.waive import waive
from towline.config import Host
from towline.declared import Check, Http, Waiver
from towline.errors import ConnectionFailed, ForwardingForbidden
from towline.facts.probe import Answer, Dial, Question, ask_all
from towline.facts.survey import Binding, Container, Survey, read_survey
from towline.ssh.connection import Connection
from towline.ssh.session import Result

MOST_REDIRECTS = 5
PAUSE = 1.0  # seconds between two looks


@dataclass(frozen=True)
class Scope:
    """What is looked at. stacks: those of one host, with what lies here of each. only: a pattern of ids, '' for all.

    services_only: routes and declared checks alone. machine False: nothing of the host and its engine (one stack is asked for).
    from_here: routes are asked from this machine too, as their users do. fail_fast: nothing after the first failure.
    """

    stacks: Sequence[Stack]
    heres: Mapping[str, Here]
    only: str = ""
    services_only: bool = False
    machine: bool = True
    from_here: bool = False
    fail_fast: bool = False


@dataclass(frozen=True)
class _Seen:
    """What was read and asked: everything that the findings are made of."""

    survey: Survey
    results: Mapping[tuple[str, str], Result]
    routes: Sequence[Served]
    answers: Mapping[Question, Answer] = field(default_factory=dict)
    answers_here: Mapping[Question, Answer] = field(default_factory=dict)
    forbidden: str = ""


def look_at(places: Sequence[tuple[Connection, Scope]]) -> Report:
    """The findings of several hosts as one report; of several, one that cannot be reached is a finding too.

    Raises ConnectionFailed when there is only one.
    """
    findings: list[Finding] = []
    seconds = 0.0
    for connection, scope in places:
        try:
            report = look(connection, scope)
        except ConnectionFailed as error:
            if len(places) == 1:
                raise
            name = connection.host.name
            report = Report(
                (About("host", name).fail("reachable", f"{name} cannot be reached", error.message, error.hint),), 0.0
            )
        findings += report.findings
        seconds += report.seconds
        if scope.fail_fast and report.count("fail"):
            break
    return Report(tuple(findings), seconds)


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


def look(connection: Connection, scope: Scope) -> Report:
    """The findings of one host: one session, and TCP connections that its sshd opens.

    Nothing is changed there. Raises ConnectionFailed, LineCut and RemoteFailed when it cannot be looked at.
    """
    connection.fabric()
    begun = time.perf_counter()
    asked = [(stack, check, words) for stack in scope.stacks for check, words in _commands(stack, connection.host.root)]
    survey, results = read_survey(connection, scope.stacks, [words for _, _, words in asked])
    named = {(stack.name, check.name): result for (stack, check, _), result in zip(asked, results, strict=True)}
    seen = _Seen(survey, named, route.served(scope.stacks, scope.heres, survey))
    findings = _judged(connection, scope, seen) if scope.fail_fast else ()
    if not any(one.result == "fail" for one in findings):
        findings = _judged(connection, scope, _ask(connection, seen, scope))
    return Report(_up_to_failure(findings) if scope.fail_fast else findings, time.perf_counter() - begun)


def _judged(connection: Connection, scope: Scope, seen: _Seen) -> tuple[Finding, ...]:
    found = waive(_findings(connection.host, scope, seen), _waivers(scope.stacks), datetime.now(UTC).date())
    return tuple(one for one in found if not scope.only or fnmatchcase(one.id, scope.only))


def _up_to_failure(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    first = next((i for i, one in enumerate(findings) if one.result == "fail"), len(findings))
    return findings[: first + 1]


def _waivers(stacks: Iterable[Stack]) -> list[Waiver]:
    return [waiver for stack in stacks for waiver in stack.waive]


def _commands(stack: Stack, root: str) -> Iterator[tuple[Check, tuple[str, ...]]]:
    for check in stack.checks:
        words = own.command(check, stack, root)
        if words is not None:
            yield check, words


# --------------------------------------------------------------------------------------------------- over TCP


def _ask(connection: Connection, seen: _Seen, scope: Scope) -> _Seen:
    dial = connection.dial
    bad = _bad(_stack_findings(connection.host, scope, seen))
    if scope.from_here:
        here = [one for one in _from_here(connection.host, seen) if not route.because(one, bad)]
        seen = replace(seen, answers_here=ask_all(dial_here, [question for one in here for question in one.questions]))
    questions = [question for one in seen.routes if not route.because(one, bad) for question in one.questions]
    if not scope.services_only:
        questions += _port_questions(scope.stacks, seen.survey)
    for stack in scope.stacks:
        where = _where(stack, seen, bad)
        questions += [question for check in stack.checks for question in own.questions(check, where)]
    try:
        answers = ask_all(dial, questions)
        answers = _asked_again(dial, answers, scope, seen, bad)
    except ForwardingForbidden as error:
        return replace(seen, forbidden=error.message)
    return replace(seen, answers=answers)


def dial_here(address: str, port: int, timeout: float) -> socket.socket:
    """A TCP connection from this machine."""
    try:
        return socket.create_connection((address, port), timeout)
    except socket.gaierror as error:
        raise ConnectionError(f"this machine does not resolve {address}") from error


def _from_here(host: Host, seen: _Seen) -> list[Served]:
    return [route.from_here(one, host.address) for one in seen.routes]


def _where(stack: Stack, seen: _Seen, bad: Mapping[tuple[str, str], str]) -> Where:
    """Without the routes that cannot answer, for a reason that is told already."""
    routes: dict[str, list[Question]] = {}
    for one in seen.routes:
        if one.stack.name == stack.name and not route.because(one, bad):
            routes.setdefault(one.route.router, []).extend(one.questions)
    return Where("", stack, seen.survey, routes)


def _asked_again(
    dial: Dial, answers: dict[Question, Answer], scope: Scope, seen: _Seen, bad: Mapping[tuple[str, str], str]
) -> dict[Question, Answer]:
    """The answers, where redirects are followed and where a check that fails is to be tried again."""
    for stack in scope.stacks:
        where = _where(stack, seen, bad)
        for check in stack.checks:
            questions = own.questions(check, where)
            for question in questions:
                answers[question] = _followed(dial, check, question, answers[question], where)
            tries = check.retry.times
            while (
                tries and own.judge_answers(check, where, [(one, answers[one]) for one in questions]).result == "fail"
            ):
                time.sleep(check.retry.pause)
                tries -= 1
                again = ask_all(dial, questions)
                answers |= {one: _followed(dial, check, one, answer, where) for one, answer in again.items()}
    return answers


def _followed(dial: Dial, check: Check, question: Question, answer: Answer, where: Where) -> Answer:
    if not (isinstance(check, Http) and check.follow):
        return answer
    for _ in range(MOST_REDIRECTS):
        then = own.follow(answer, question, where)
        if then is None:
            break
        question, answer = then, ask_all(dial, [then])[then]
    return answer


# ------------------------------------------------------------------------------------------------------ ports


def _ports(survey: Survey, stack: Stack) -> Iterator[tuple[Container, Binding]]:
    """What running containers were told to publish; Docker tells both families of a wildcard, one is asked."""
    for one in survey.of(stack.project):
        if one.running:
            yield from ((one, binding) for binding in dict.fromkeys(one.wanted))


def _held(one: Container, wanted: Binding) -> Binding | None:
    return next(
        (held for held in one.held if held.inside == wanted.inside and wanted.outside.port in (0, held.outside.port)),
        None,
    )


def _port_question(held: Binding) -> Question:
    return Question(reached(held.outside.address), held.outside.port, http=False)


def _port_questions(stacks: Iterable[Stack], survey: Survey) -> list[Question]:
    found = [_held(one, wanted) for stack in stacks for one, wanted in _ports(survey, stack)]
    return [_port_question(held) for held in found if held and held.outside.proto == "tcp"]


def _check_ports(host: str, stack: Stack, seen: _Seen) -> Iterator[Finding]:
    """The findings `….service.NAME.port.ADDRESS:PORT/PROTO` of what runs."""
    for one, wanted in _ports(seen.survey, stack):
        about = About(f"stack.{stack.name}.service.{one.service}", host, stack.name, one.service)
        yield _check_port(about, wanted, _held(one, wanted), seen)


def _check_port(about: About, wanted: Binding, held: Binding | None, seen: _Seen) -> Finding:
    shown = f"{wanted.outside.address}:{wanted.outside.port or 'any'}/{wanted.outside.proto}"
    name = f"port.{shown}"
    if held is None:
        hint = f"inv deploy --stack={about.stack}"
        return about.fail(name, f"its port {shown} is not published, though it runs", hint=hint)
    if held.outside.proto != "tcp":
        return about.ok(name, f"its port {shown} is published", "UDP cannot be asked whether anybody listens")
    answer = seen.answers.get(_port_question(held))
    if answer is None:
        return about.skip(name, seen.forbidden or "not asked")
    if answer.problem:
        return about.fail(name, f"its port {shown} is published, and nobody answers there", answer.problem)
    return about.ok(name, f"its port {shown} is published and open", f"{wanted.inside} in the container")


# --------------------------------------------------------------------------------------------------- findings


def _findings(host: Host, scope: Scope, seen: _Seen) -> list[Finding]:
    found: list[Finding] = []
    if scope.machine and not scope.services_only:
        found += [*check_host(host, seen.survey), *check_engine(host, seen.survey)]
    stacks = _stack_findings(host, scope, seen)
    bad = _bad(stacks)
    found += [] if scope.services_only else stacks
    found += _forbidden(route.judge(host, seen.routes, seen.answers, bad, seen.survey), seen)
    if scope.from_here:
        found += route.judge(host, _from_here(host, seen), seen.answers_here, bad, seen.survey)
    for stack in scope.stacks:
        found += _own(host.name, stack, seen, bad)
    return found


def _stack_findings(host: Host, scope: Scope, seen: _Seen) -> list[Finding]:
    found: list[Finding] = []
    for stack in scope.stacks:
        found += check_stack(host, stack, scope.heres[stack.name], seen.survey)
        found += _check_ports(host.name, stack, seen)
    return found


# What keeps a service from answering; being behind the working tree does not.
_WORKS = {"containers", "restarts", "running", "healthy", "memory", "networks", "mounts"}


def _bad(findings: Iterable[Finding]) -> dict[tuple[str, str], str]:
    """(stack, service) → the first finding that tells why it cannot answer."""
    bad: dict[tuple[str, str], str] = {}
    for one in findings:
        part = one.id.removeprefix(f"stack.{one.stack}.service.{one.service}.")
        if one.result == "fail" and one.service and (part in _WORKS or part.startswith("port.")):
            bad.setdefault((one.stack, one.service), one.id)
    return bad


def _forbidden(findings: Iterable[Finding], seen: _Seen) -> Iterator[Finding]:
    for one in findings:
        unasked = seen.forbidden and one.result == "skip" and not one.sentence.startswith("see ")
        yield replace(one, sentence=seen.forbidden) if unasked else one


def _own(host: str, stack: Stack, seen: _Seen, bad: Mapping[tuple[str, str], str]) -> Iterator[Finding]:
    where = replace(_where(stack, seen, bad), host=host)
    for check in stack.checks:
        result = seen.results.get((stack.name, check.name))
        if not seen.survey.stacks[stack.name].current:
            yield where.about(check).skip(check.name, f"see stack.{stack.name}.deployed")
        elif result is not None:
            yield own.judge_command(check, where, result)
        elif seen.forbidden:
            yield where.about(check).skip(check.name, seen.forbidden)
        else:
            questions = own.questions(check, where)
            found = own.judge_answers(
                check, where, [(one, seen.answers[one]) for one in questions if one in seen.answers]
            )
            yield _excused(found, stack, bad)


def _excused(found: Finding, stack: Stack, bad: Mapping[tuple[str, str], str]) -> Finding:
    """A check that fails since a service does not work is told by that service's finding."""
    because = sorted(why for (name, _), why in bad.items() if name == stack.name)
    if found.result in ("fail", "skip") and because:
        return replace(found, result="skip", sentence=f"see {because[0]}", evidence="", hint="")
    return found
