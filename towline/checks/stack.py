"""A stack as a whole: what stands of it, beside what was deployed and what lies in the working tree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from towline.checks.baseline import Baseline
from towline.checks.certificate import judge_age
from towline.checks.engine import engine_trouble
from towline.checks.finding import Finding, Subject, listed
from towline.checks.service import check_service
from towline.facts import certificate
from towline.facts.survey import StackSurvey, Survey
from towline.project.catalog import Stack
from towline.project.settings import Host


def check_stack(host: Host, stack: Stack, here: Baseline, survey: Survey) -> Iterator[Finding]:
    """The findings `stack.NAME.*` of the stack and of its services."""
    subject = Subject(f"stack.{stack.name}", host.name, stack.name)
    look = survey.stacks[stack.name]
    if not look.current:
        yield _not_deployed(subject, stack, look)
        return
    yield subject.ok("deployed", f"{stack.name} is deployed", f"release {look.current}")
    yield _interrupted(subject, stack, look)
    yield _release(subject, stack, look, here.digest)
    yield _files(subject, stack, look)
    yield from _example(subject, stack, look, here)
    yield from _certificates(subject, survey.host.now, look)
    if survey.engine.problem:
        yield subject.explained("containers", engine_trouble(survey))
        return
    yield from _declared(subject, look, survey)
    yield _orphans(subject, stack, look, survey)
    for name in sorted(look.model.services if look.model else ()):
        yield from check_service(host, stack, name, survey, here.variables.get(name, frozenset()))


def _not_deployed(subject: Subject, stack: Stack, look: StackSurvey) -> Finding:
    hint = f"inv deploy --stack={stack.name}"
    if look.cut:
        return subject.fail("deployed", f"the first deploy of {stack.name} was cut", f"run {look.cut}", hint)
    return subject.fail("deployed", f"{stack.name} is not deployed here", hint=hint)


def _interrupted(subject: Subject, stack: Stack, look: StackSurvey) -> Finding:
    if look.cut:
        hint = f"inv deploy --stack={stack.name} mends it, or inv rollback"
        return subject.fail("whole", f"a deploy of {stack.name} was cut before its end", f"run {look.cut}", hint)
    return subject.ok("whole", "the last deploy came to its end")


def _release(subject: Subject, stack: Stack, look: StackSurvey, digest: str) -> Finding:
    evidence = f"release {look.current}" + (f", sent {look.at}" if look.at else "")
    if look.digest != digest:
        hint = f"inv plan --stack={stack.name} tells what a deploy would change"
        return subject.warn("release", "the release is not what lies in the working tree", evidence, hint)
    return subject.ok("release", "the release is what lies in the working tree", evidence)


def _files(subject: Subject, stack: Stack, look: StackSurvey) -> Finding:
    wrong = [f"{path} was edited" for path in look.live.edited]
    wrong += [f"{path} is missing" for path in look.live.missing]
    if wrong:
        hint = f"take the change into the repository, or inv deploy --stack={stack.name} puts the release's files back"
        return subject.fail("files", "the live folder is not as it was released", listed(wrong), hint)
    return subject.ok("files", "the live folder is as it was released")


def _example(subject: Subject, stack: Stack, look: StackSurvey, here: Baseline) -> Iterator[Finding]:
    """The live .env has every variable that .env.example names; without a .env the compose file's defaults are what is meant."""
    if not here.example or not look.env:
        return
    if ".env" in (*look.live.edited, *look.live.missing):
        yield subject.explained("env", f"{subject.prefix}.files")
        return
    lacking = sorted(here.example - look.env.keys())
    if lacking:
        hint = f"set it in the .env of {stack.name}, and deploy"
        yield subject.fail("env", "the .env lacks variables that .env.example names", listed(lacking), hint)
    else:
        yield subject.ok("env", "the .env has every variable that .env.example names")


def _certificates(subject: Subject, now: float, look: StackSurvey) -> Iterator[Finding]:
    for path, der in sorted(look.certs.items()):
        name = f"certificate.{path}"
        try:
            one = certificate.parse(der)
        except ValueError:
            yield subject.fail(name, f"{path} holds no certificate that can be read")
            continue
        result, why = judge_age(one, now)
        evidence = f"{one.subject}, from {one.issuer}, {one.days_left(now):.0f} days left"
        if result == "pass":
            yield subject.ok(name, f"the certificate {path} is valid for long enough", evidence)
        else:
            make = subject.fail if result == "fail" else subject.warn
            yield make(name, f"the certificate {path} {why}", evidence, "renew it")


def _declared(subject: Subject, look: StackSurvey, survey: Survey) -> Iterator[Finding]:
    """The networks and volumes that compose made for the stack, or that it was told are there."""
    if look.model is None:
        return
    networks = {used for service in look.model.services.values() for used in service.get("networks") or ()}
    for kind, section, used, there in (
        ("network", look.model.networks, networks, survey.engine.networks),
        ("volume", look.model.volumes, _used_volumes(look.model.services.values()), survey.engine.volumes),
    ):
        for key in sorted(used & section.keys()):
            name = str((section[key] or {}).get("name") or key)
            if name not in there and kind == "network" and not survey.of(look.project):
                yield subject.explained(
                    f"{kind}.{name}", f"{subject.prefix}.service.{min(look.model.services)}.containers"
                )
            elif name in there:
                yield subject.ok(f"{kind}.{name}", f"the {kind} {name} exists")
            else:
                hint = _made_again(kind, subject.stack, external=bool((section[key] or {}).get("external")))
                yield subject.fail(f"{kind}.{name}", f"the {kind} {name} does not exist", hint=hint)


def _made_again(kind: str, stack: str, *, external: bool) -> str:
    if kind == "volume":
        return "its content is gone with it: see the backup"
    return "deploy the stack that makes it" if external else f"inv deploy --stack={stack} makes it again"


def _used_volumes(services: Sequence[Mapping[str, Any]] | Any) -> set[str]:
    mounts = (mount for service in services for mount in service.get("volumes") or ())
    return {str(mount.get("source")) for mount in mounts if mount.get("type") == "volume"}


def _orphans(subject: Subject, stack: Stack, look: StackSurvey, survey: Survey) -> Finding:
    if look.model is None:
        return subject.skip("orphans", "the release does not tell its services")
    # a profile's services are left out of the model, and may be started by hand
    known = {*look.model.services, *(service.name for service in stack.services if service.profiles)}
    strange = [one.name for one in survey.of(stack.project) if one.service not in known]
    if strange:
        hint = f"inv deploy --stack={stack.name} removes what its files no longer name"
        return subject.fail("orphans", "there are containers that no service of the release has", listed(strange), hint)
    return subject.ok("orphans", "every container is of a service of the release")
