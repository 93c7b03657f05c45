"""The ports that running containers were told to publish: whether they have them, and whether anybody listens there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from towline.checks.finding import RESULTS, Finding, Subject
from towline.checks.proxy import reached
from towline.facts.container import Binding, Container
from towline.facts.probe import Answer, Probe
from towline.facts.survey import Survey
from towline.project.catalog import Stack


def questions(stacks: Iterable[Stack], survey: Survey) -> list[Probe]:
    """Whether each is open; UDP cannot be asked."""
    found = [_held(one, wanted) for stack in stacks for one, wanted in _ports(survey, stack)]
    return [_question(held) for held in found if held and held.outside.proto == "tcp"]


def _ports(survey: Survey, stack: Stack) -> Iterator[tuple[Container, Binding]]:
    for one in survey.of(stack.project):
        if one.running:
            yield from ((one, binding) for binding in dict.fromkeys(one.wanted))


def _held(one: Container, wanted: Binding) -> Binding | None:
    """Docker tells both families of a wildcard; one is asked."""
    return next(
        (held for held in one.held if held.inside == wanted.inside and wanted.outside.port in (0, held.outside.port)),
        None,
    )


def _question(held: Binding) -> Probe:
    return Probe(reached(held.outside.address), held.outside.port, http=False, proxied=True)


def check_ports(
    host: str,
    stack: Stack,
    survey: Survey,
    answers: Mapping[Probe, Answer],
    unasked: str,
    bad: Mapping[tuple[str, str], str],
) -> Sequence[Finding]:
    """The findings `….service.NAME.port.ADDRESS:PORT/PROTO` of what runs; of replicas the worst.

    unasked: why there is no answer. bad: (stack, service) → the finding that explains whatever is wrong with its ports.
    """
    found: dict[str, Finding] = {}
    for one, wanted in _ports(survey, stack):
        about = Subject(f"stack.{stack.name}.service.{one.service}", host, stack.name, one.service)
        finding = _check_port(about, wanted, _held(one, wanted), answers, unasked)
        if finding.result == "fail" and (why := bad.get((stack.name, one.service))):
            finding = about.skip(finding.id.removeprefix(f"{about.prefix}."), f"see {why}")
        found[finding.id] = min(finding, found.get(finding.id, finding), key=lambda it: RESULTS.index(it.result))
    return tuple(found.values())


def _check_port(
    about: Subject, wanted: Binding, held: Binding | None, answers: Mapping[Probe, Answer], unasked: str
) -> Finding:
    # without a number of its own it is told apart by the one inside
    number = wanted.outside.port or f"any:{wanted.inside.partition('/')[0]}"
    shown = f"{wanted.outside.address}:{number}/{wanted.outside.proto}"
    name = f"port.{shown}"
    if held is None:
        hint = f"inv deploy --stack={about.stack}"
        return about.fail(name, f"its port {shown} is not published, though it runs", hint=hint)
    if held.outside.proto != "tcp":
        return about.ok(name, f"its port {shown} is published", "UDP cannot be asked whether anybody listens")
    answer = answers.get(_question(held))
    if answer is None:
        return about.skip(name, unasked)
    if answer.problem:
        return about.fail(name, f"its port {shown} is published, and nobody answers there", answer.problem)
    return about.ok(name, f"its port {shown} is published and open", f"{wanted.inside} in the container")
