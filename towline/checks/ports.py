"""The ports that running containers were told to publish: whether they have them, and whether a program listens there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from towline.checks.answers import Answers
from towline.checks.causes import Causes
from towline.checks.finding import RESULTS, Finding, Subject
from towline.checks.proxy import reached
from towline.facts.container import Container
from towline.facts.port import Binding
from towline.facts.probe import Probe
from towline.facts.survey import Survey
from towline.project.stack import Stack


@dataclass(frozen=True)
class PublishedPort:
    """A port that a container was told to publish. held: what it has on the host, None when it is not published."""

    stack: Stack
    container: Container
    wanted: Binding
    held: Binding | None

    @property
    def shown(self) -> str:
        # without a number of its own it is told apart by the one inside
        number = self.wanted.outside.port or f"any:{self.wanted.inside.partition('/')[0]}"
        return f"{self.wanted.outside.address}:{number}/{self.wanted.outside.proto}"

    @property
    def probe(self) -> Probe | None:
        """Whether it is open; None for UDP, which cannot be probed, and for what is not published."""
        if self.held is None or self.held.outside.proto != "tcp":
            return None
        return Probe(reached(self.held.outside.address), self.held.outside.port, http=False, proxied=True)


def published_ports(stacks: Iterable[Stack], survey: Survey) -> Iterator[PublishedPort]:
    for stack in stacks:
        for container in survey.containers_of(stack.project):
            if container.running:
                for wanted in dict.fromkeys(container.wanted):
                    yield PublishedPort(stack, container, wanted, _held(container, wanted))


def _held(container: Container, wanted: Binding) -> Binding | None:
    """Docker publishes a wildcard for both address families; one of them is enough."""
    same = (held for held in container.held if held.inside == wanted.inside)
    return next((held for held in same if wanted.outside.port in (0, held.outside.port)), None)


def check_ports(host: str, ports: Iterable[PublishedPort], answers: Answers, causes: Causes) -> list[Finding]:
    """The findings `….service.NAME.port.ADDRESS:PORT/PROTO`. causes: what explains whatever is wrong with a service's ports."""
    findings = []
    for port in ports:
        service = port.container.service
        subject = Subject(f"stack.{port.stack.name}.service.{service}", host, port.stack.name, service)
        finding, cause = _check_port(subject, port, answers), causes.get((port.stack.name, service))
        findings.append(
            subject.explained(f"port.{port.shown}", cause) if finding.result == "fail" and cause else finding
        )
    return findings


def _check_port(subject: Subject, port: PublishedPort, answers: Answers) -> Finding:
    name = f"port.{port.shown}"
    if port.held is None:
        hint = f"inv deploy --stack={subject.stack}"
        return subject.fail(name, f"its port {port.shown} is not published, though it runs", hint=hint)
    if port.probe is None:
        return subject.ok(name, f"its port {port.shown} is published", "UDP cannot be probed")
    answer = answers.by_probe.get(port.probe)
    if answer is None:
        return subject.skip(name, answers.missing)
    if answer.problem:
        return subject.fail(name, f"its port {port.shown} is published, and nobody answers there", answer.problem)
    return subject.ok(name, f"its port {port.shown} is published and open", f"{port.wanted.inside} in the container")


def worst_of_replicas(findings: Sequence[Finding]) -> list[Finding]:
    """One finding for each id: the worst, where several replicas have the same port."""
    worst: dict[str, Finding] = {}
    for finding in findings:
        known = worst.get(finding.id, finding)
        worst[finding.id] = min(finding, known, key=lambda each: RESULTS.index(each.result))
    return list(worst.values())
