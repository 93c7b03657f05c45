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
from towline.facts.running_project import RunningProject, find_project
from towline.facts.survey import StackSurvey, Survey
from towline.project.settings import Host
from towline.project.stack import Stack
from towline.text.amounts import comma_list


def check_stack(host: Host, stack: Stack, here: Baseline, survey: Survey) -> Iterator[Finding]:
    """The findings `stack.NAME.*` of the stack and of its services."""
    subject = Subject(f"stack.{stack.name}", host.name, stack.name)
    deployed = survey.stacks[stack.name]
    if not deployed.current:
        yield _not_deployed(subject, stack, deployed, find_project(survey.containers, stack.project))
        return
    yield subject.ok("deployed", f"{stack.name} is deployed", f"release {deployed.current}")
    yield _interrupted(subject, stack, deployed)
    yield from _records(subject, stack, deployed)
    yield _release(subject, stack, deployed, here.digest)
    yield _files(subject, stack, deployed)
    yield from _example(subject, stack, deployed, here)
    yield from _certificates(subject, survey.host.now, deployed)
    if survey.engine.problem:
        yield subject.explained("containers", engine_trouble(survey))
        return
    yield from _declared(subject, deployed, survey)
    yield _orphans(subject, stack, deployed, survey)
    for name in sorted(deployed.model.services if deployed.model else ()):
        yield from check_service(host, stack, name, survey, here.variables.get(name, frozenset()))


def _not_deployed(subject: Subject, stack: Stack, deployed: StackSurvey, running: RunningProject | None) -> Finding:
    hint = f"inv deploy --stack={stack.name}"
    if deployed.interrupted:
        return subject.fail(
            "deployed", f"the first deploy of {stack.name} was interrupted", f"run {deployed.interrupted}", hint
        )
    if running:
        origin = running.origin
        names = comma_list(file.removeprefix(f"{origin.folder}/") for file in origin.files)
        services = comma_list(running.services)
        where = f"{services}: from {origin.folder} by {names}" if origin.files else services
        return subject.fail(
            "deployed",
            f"{stack.name} runs, and was not deployed by towline",
            where,
            f"inv adopt --stack={stack.name} takes it over with its data, and restarts what changes",
        )
    return subject.fail("deployed", f"{stack.name} is not deployed here", hint=hint)


def _interrupted(subject: Subject, stack: Stack, deployed: StackSurvey) -> Finding:
    if deployed.interrupted:
        hint = f"inv deploy --stack={stack.name} mends it, or inv rollback"
        return subject.fail("whole", f"a deploy of {stack.name} was interrupted", f"run {deployed.interrupted}", hint)
    return subject.ok("whole", "the last deploy was not interrupted")


def _records(subject: Subject, stack: Stack, deployed: StackSurvey) -> Iterator[Finding]:
    """Only where something is wrong: a full disk or a power cut."""
    if deployed.broken:
        hint = f"inv deploy --stack={stack.name} writes them anew"
        sentence = f"what is kept beside the release of {stack.name} is broken"
        yield subject.warn("records", sentence, listed(deployed.broken), hint)


def _release(subject: Subject, stack: Stack, deployed: StackSurvey, digest: str) -> Finding:
    evidence = f"release {deployed.current}" + (f", sent {deployed.at}" if deployed.at else "")
    if deployed.digest != digest:
        hint = f"inv plan --stack={stack.name} tells what a deploy would change"
        return subject.warn("release", "the release differs from the working tree", evidence, hint)
    return subject.ok("release", "the release equals the working tree", evidence)


def _files(subject: Subject, stack: Stack, deployed: StackSurvey) -> Finding:
    wrong = [f"{path} was edited" for path in deployed.drift.edited]
    wrong += [f"{path} is missing" for path in deployed.drift.missing]
    if wrong:
        hint = f"take the change into the repository, or inv deploy --stack={stack.name} puts the release's files back"
        return subject.fail("files", "the live folder differs from the release", listed(wrong), hint)
    return subject.ok("files", "the live folder equals the release")


def _example(subject: Subject, stack: Stack, deployed: StackSurvey, here: Baseline) -> Iterator[Finding]:
    """The live .env has every variable that .env.example names; without a .env the compose file's defaults are what is meant."""
    if not here.example or not deployed.env:
        return
    if ".env" in (*deployed.drift.edited, *deployed.drift.missing):
        yield subject.explained("env", f"{subject.prefix}.files")
        return
    lacking = sorted(here.example - deployed.env.keys())
    if lacking:
        hint = f"set it in the .env of {stack.name}, and deploy"
        yield subject.fail("env", "the .env lacks variables that .env.example names", listed(lacking), hint)
    else:
        yield subject.ok("env", "the .env has every variable that .env.example names")


def _certificates(subject: Subject, now: float, deployed: StackSurvey) -> Iterator[Finding]:
    for path, der in sorted(deployed.certs.items()):
        name = f"certificate.{path}"
        try:
            parsed = certificate.parse(der)
        except ValueError:
            yield subject.fail(name, f"{path} holds no certificate that can be read")
            continue
        result, why = judge_age(parsed, now)
        evidence = f"{parsed.subject}, issued by {parsed.issuer}, {parsed.days_left(now):.0f} days left"
        if result == "pass":
            yield subject.ok(name, f"the certificate {path} is valid for long enough", evidence)
        else:
            make = subject.fail if result == "fail" else subject.warn
            yield make(name, f"the certificate {path} {why}", evidence, "renew it")


def _declared(subject: Subject, deployed: StackSurvey, survey: Survey) -> Iterator[Finding]:
    """The networks and volumes that compose made for the stack, or that it was told are there."""
    if deployed.model is None:
        return
    networks = {used for service in deployed.model.services.values() for used in service.get("networks") or ()}
    for kind, section, used, there in (
        ("network", deployed.model.networks, networks, survey.engine.networks),
        ("volume", deployed.model.volumes, _used_volumes(deployed.model.services.values()), survey.engine.volumes),
    ):
        for key in sorted(used & section.keys()):
            name = str((section[key] or {}).get("name") or key)
            if name not in there and kind == "network" and not survey.containers_of(deployed.project):
                yield subject.explained(
                    f"{kind}.{name}", f"{subject.prefix}.service.{min(deployed.model.services)}.containers"
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


def _orphans(subject: Subject, stack: Stack, deployed: StackSurvey, survey: Survey) -> Finding:
    if deployed.model is None:
        return subject.skip("orphans", "the release has no record of its services")
    # a profile's services are left out of the model, and may be started by hand
    known = {*deployed.model.services, *(service.name for service in stack.services if service.profiles)}
    strange = [container.name for container in survey.containers_of(stack.project) if container.service not in known]
    if strange:
        hint = f"inv deploy --stack={stack.name} removes what its files no longer name"
        return subject.fail("orphans", "there are containers of no service of the release", listed(strange), hint)
    return subject.ok("orphans", "every container belongs to a service of the release")
