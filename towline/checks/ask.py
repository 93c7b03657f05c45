"""Sends the probes of the checks: each once, all at the same time; redirects are followed and checks repeated as they declare."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from towline.checks import declared_probes
from towline.checks.answers import Answers, CheckKey
from towline.checks.declared_probes import CheckContext
from towline.facts.probe import Answer, Dial, Probe, send_all
from towline.project.declared_checks import Check, Http

MOST_REDIRECTS = 5


@dataclass(frozen=True)
class ProbedCheck:
    """A declared check and the probes that it sends."""

    check: Check
    context: CheckContext
    probes: tuple[Probe, ...]

    @property
    def key(self) -> CheckKey:
        return self.context.stack.name, self.check.name


def ask(dial: Dial, probes: Iterable[Probe], checks: Sequence[ProbedCheck] = ()) -> Answers:
    """The answers to the probes of routes and ports, and of declared checks.

    Where sshd does not open a connection there is no answer, and `forbidden` says why. Raises ConnectionLost as `dial` does.
    """
    results = send_all(dial, [*probes, *(probe for check in checks for probe in check.probes)])
    answers = {probe: answer for probe, answer in results.items() if not answer.forbidden}
    allowed = [check for check in checks if answers.keys() >= set(check.probes)]
    return Answers(
        by_probe=answers,
        declared={check.key: _repeated(dial, check, answers) for check in allowed},
        forbidden=next((answer.problem for answer in results.values() if answer.forbidden), ""),
    )


def dial_from_this_machine(address: str, port: int, timeout: float) -> socket.socket:
    """A TCP connection from this machine."""
    return socket.create_connection((address, port), timeout)


def _repeated(dial: Dial, probed: ProbedCheck, first: dict[Probe, Answer]) -> list[tuple[Probe, Answer]]:
    """The answers to a check's probes, sent again as often as the check says while they are not right."""
    answers = [(probe, _followed(dial, probed, probe, first[probe])) for probe in probed.probes]
    for _ in range(probed.check.retry.times):
        if declared_probes.judge_answers(probed.check, probed.context, answers).result != "fail":
            break
        time.sleep(probed.check.retry.pause)
        again = send_all(dial, probed.probes)
        answers = [(probe, _followed(dial, probed, probe, again[probe])) for probe in probed.probes]
    return answers


def _followed(dial: Dial, probed: ProbedCheck, probe: Probe, answer: Answer) -> Answer:
    """The answer at the end of its redirects, with the time that all of them took."""
    if not (isinstance(probed.check, Http) and probed.check.follow):
        return answer
    seconds = answer.seconds
    for _ in range(MOST_REDIRECTS):
        if not declared_probes.redirects(answer):
            return replace(answer, seconds=seconds)
        following = declared_probes.follow(answer, probe, probed.context)
        if following is None:
            return replace(answer, problem=f"it redirects to {answer.headers['location']}, which cannot be requested")
        probe, answer = following, send_all(dial, [following])[following]
        seconds += answer.seconds
    endless = f"it redirects more than {MOST_REDIRECTS} times" if declared_probes.redirects(answer) else answer.problem
    return replace(answer, seconds=seconds, problem=endless)
