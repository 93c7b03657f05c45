"""What is asked of a host over TCP for the checks, redirects followed and retries made; and all that was seen of it."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from towline.checks import declared_probes, ports, route
from towline.checks.declared_probes import Where
from towline.checks.route import ServedRoute
from towline.facts.probe import Answer, Dial, Probe, ask_all
from towline.facts.survey import Survey
from towline.project.catalog import Stack
from towline.project.declared_checks import Check, Http
from towline.project.settings import Host
from towline.ssh.session import Result

MOST_REDIRECTS = 5
NOT_ASKED = "not asked"
NONE: Mapping[tuple[str, str], str] = MappingProxyType({})

Answers = Mapping[Probe, Answer]
Named = tuple[str, str]  # stack, and a service or a check of it


@dataclass(frozen=True)
class Seen:
    """What was read and asked: everything that the findings are made of.

    results: of the declared checks that run there. answers, answers_here: to the routes' questions and the ports'. declared: to
    those of the declared checks, after redirects and retries. forbidden: why not everything was asked, '' when it was.
    """

    survey: Survey
    results: Mapping[Named, Result] = field(default_factory=dict)
    routes: Sequence[ServedRoute] = ()
    answers: Answers = field(default_factory=dict)
    answers_here: Answers = field(default_factory=dict)
    declared: Mapping[Named, Sequence[tuple[Probe, Answer]]] = field(default_factory=dict)
    forbidden: str = ""

    def where(self, host: str, stack: Stack, bad: Mapping[Named, str] = NONE) -> Where:
        """What the declared checks of a stack are asked of: no route that cannot answer, for a reason that is told already."""
        routes: dict[str, list[Probe]] = {}
        for one in self.routes:
            if one.stack.name == stack.name and not route.because(one, bad):
                routes.setdefault(one.route.router, []).extend(one.questions)
        return Where(host, stack, self.survey, routes)


def ask(dial: Dial, host: Host, seen: Seen, stacks: Sequence[Stack], bad: Mapping[Named, str], *, listen: bool) -> Seen:
    """What is seen, with the answers of routes, declared checks and (`listen`) ports of the stacks. bad: what cannot answer.

    Where sshd does not open a connection there is none, and `forbidden` says so. Raises ConnectionLost as `dial` does.
    """
    questions = [question for one in seen.routes if not route.because(one, bad) for question in one.questions]
    if listen:
        questions += ports.questions(stacks, seen.survey)
    declared = _declared(host, seen, stacks, bad)
    questions += [question for _, _, asked in declared.values() for question in asked]
    asked = ask_all(dial, questions)
    answers = {one: answer for one, answer in asked.items() if not answer.forbidden}
    allowed = {key: it for key, it in declared.items() if answers.keys() >= set(it[2])}
    insisted = {key: _insisting(dial, *it, answers.__getitem__) for key, it in allowed.items()}
    forbidden = next((answer.problem for answer in asked.values() if answer.forbidden), "")
    return replace(seen, answers=answers, declared=insisted, forbidden=forbidden)


def ask_from_here(host: Host, seen: Seen, bad: Mapping[Named, str]) -> Seen:
    """What is seen, with the answers that the routes give to this machine."""
    here = [one for one in seen_from_here(host, seen) if not route.because(one, bad)]
    return replace(seen, answers_here=ask_all(dial_here, [question for one in here for question in one.questions]))


def seen_from_here(host: Host, seen: Seen) -> list[ServedRoute]:
    return [route.from_here(one, host.address) for one in seen.routes]


def dial_here(address: str, port: int, timeout: float) -> socket.socket:
    """A TCP connection from this machine."""
    return socket.create_connection((address, port), timeout)


# --------------------------------------------------------------------------------------------------- declared checks


def _declared(
    host: Host, seen: Seen, stacks: Sequence[Stack], bad: Mapping[Named, str]
) -> dict[Named, tuple[Check, Where, tuple[Probe, ...]]]:
    """The declared checks that ask something, and what each asks."""
    asked = {}
    for stack in stacks:
        where = seen.where(host.name, stack, bad)
        for check in stack.checks:
            if questions := declared_probes.questions(check, where):
                asked[stack.name, check.name] = check, where, questions
    return asked


def _insisting(
    dial: Dial, check: Check, where: Where, questions: Sequence[Probe], first: Callable[[Probe], Answer]
) -> list[tuple[Probe, Answer]]:
    """The answers, asked for again as often as the check says while they are not right."""
    found = [(one, _followed(dial, check, one, first(one), where)) for one in questions]
    for _ in range(check.retry.times):
        if declared_probes.judge_answers(check, where, found).result != "fail":
            break
        time.sleep(check.retry.pause)
        again = ask_all(dial, questions)
        found = [(one, _followed(dial, check, one, again[one], where)) for one in questions]
    return found


def _followed(dial: Dial, check: Check, question: Probe, answer: Answer, where: Where) -> Answer:
    """The answer at the end of its redirects, with the time that all of them took."""
    if not (isinstance(check, Http) and check.follow):
        return answer
    seconds = answer.seconds
    for _ in range(MOST_REDIRECTS):
        if not declared_probes.redirects(answer):
            return replace(answer, seconds=seconds)
        then = declared_probes.follow(answer, question, where)
        if then is None:
            return replace(answer, problem=f"it redirects to {answer.headers['location']}, which cannot be asked")
        question, answer = then, ask_all(dial, [then])[then]
        seconds += answer.seconds
    more = declared_probes.redirects(answer)
    return replace(
        answer, seconds=seconds, problem=f"it redirects more than {MOST_REDIRECTS} times" if more else answer.problem
    )
