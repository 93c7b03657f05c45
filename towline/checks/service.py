"""One service: its containers, beside what the release left and what its compose file says.

What follows from another finding is not found a second time: a container that is gone has no health, a file that was edited
is not also stale.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from towline.checks.finding import Finding, Subject, listed
from towline.facts.compose_model import replicas_of
from towline.facts.container import Binding, Container
from towline.facts.drift import StaleMount
from towline.facts.inventory import WILDCARDS, Port
from towline.facts.survey import StackSurvey, Survey
from towline.project.catalog import Stack
from towline.project.settings import Host
from towline.project.variables import ALWAYS_SET

LOOPS = 3  # restarts
RECENT = 600.0  # seconds


def check_service(host: Host, stack: Stack, name: str, survey: Survey, variables: frozenset[str]) -> Iterator[Finding]:
    """The findings `stack.STACK.service.NAME.*`. variables: those that it uses and that have no default.

    Whether ports are open is not among them: that has to be asked, see ports.py.
    """
    subject = Subject(f"stack.{stack.name}.service.{name}", host.name, stack.name, name)
    look = survey.stacks[stack.name]
    keys = look.model.services[name] if look.model else {}
    case = _Case(stack, name, keys, survey.of(stack.project, name), look, survey)
    yield _containers(subject, case)
    yield from _environment(subject, case, variables)
    if not case.containers:
        return
    yield from _ports_taken(subject, case)
    yield _restarts(subject, case)
    yield _memory(subject, case)
    yield _running(subject, case)
    yield _healthy(subject, case)
    yield _image(subject, case)
    yield _configuration(subject, case)
    yield _networks(subject, case)
    yield from _mounts(subject, case)


@dataclass(frozen=True)
class _Case:
    """What is known of a service. keys: its own in the release's compose model."""

    stack: Stack
    name: str
    keys: Mapping[str, Any]
    containers: tuple[Container, ...]
    look: StackSurvey
    survey: Survey

    @property
    def deploy(self) -> str:
        return f"inv deploy --stack={self.stack.name}"

    @property
    def looping(self) -> tuple[Container, ...]:
        """Those that are between two starts, or were started again and again until just now."""
        return tuple(one for one in self.containers if one.state == "restarting" or self._again_and_again(one))

    def _again_and_again(self, one: Container) -> bool:
        if self.name in self.look.live.once:
            return False
        return one.restarts >= LOOPS and bool(one.started) and self.survey.host.now - seconds(one.started) < RECENT

    @property
    def taken(self) -> dict[str, str]:
        """Ports that a container which does not run was to have, and who has them."""
        return {
            _shown(port): by
            for one in self.containers
            if not one.running and not one.held  # a paused one holds its own
            for port in one.wanted
            if (by := self._holder(one, port))
        }

    def _holder(self, one: Container, wanted: Binding) -> str:
        for other in self.survey.containers:
            if other.id != one.id and any(_clash(held.outside, wanted.outside) for held in other.held):
                return f"container {other.name}"
        return "another program" if any(_clash(held, wanted.outside) for held in self.survey.listeners) else ""

    @property
    def stale(self) -> list[StaleMount]:
        """Mounts that are not what they should be, and not since the file itself was changed: that is told of the files."""
        changed = {*self.look.live.edited, *self.look.live.missing}
        return [one for one in self.look.live.stale if one.service == self.name and not _told(one.path, changed)]

    @property
    def stopped(self) -> tuple[Container, ...]:
        return tuple(one for one in self.containers if not one.running and self.name not in self.look.live.once)


def seconds(time: str) -> float:
    """A time as Docker writes it (2026-11-23T19:13:19.035048395Z) in seconds since 1970.

    >>> seconds("1970-01-01T00:01:00.5Z")
    60.0
    """
    return datetime.strptime(time[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC).timestamp()


def _clash(held: Port, wanted: Port) -> bool:
    """Whether both cannot be: the same number, at the same address or at every one."""
    same = (held.port, held.proto) == (wanted.port, wanted.proto) and wanted.port > 0
    return same and (held.address == wanted.address or bool({held.address, wanted.address} & {*WILDCARDS}))


def _shown(port: Binding) -> str:
    return f"{port.outside.address}:{port.outside.port}/{port.outside.proto}"


# -------------------------------------------------------------------------------------------------- its containers


def _containers(subject: Subject, case: _Case) -> Finding:
    there, wanted = len(case.containers), replicas_of(case.keys)
    evidence = f"{there} of {wanted}"
    if there == wanted:
        return subject.ok("containers", "it has its containers", evidence)
    sentence = (
        "it has no container"
        if not there
        else f"it has {'more' if there > wanted else 'fewer'} containers than it should"
    )
    return subject.fail("containers", sentence, evidence, case.deploy)


def _ports_taken(subject: Subject, case: _Case) -> Iterator[Finding]:
    """Only for what does not run; ports of what runs are asked, see ports.py."""
    for shown, by in sorted(case.taken.items()):
        yield subject.fail(f"port.{shown}", f"its port {shown} is taken by {by}", hint=f"stop that, then {case.deploy}")


def _restarts(subject: Subject, case: _Case) -> Finding:
    evidence = listed(
        [f"{one.name}: {one.restarts} times, last at {one.started[:19]}Z" for one in case.containers if one.restarts]
    )
    if any(one.oom for one in case.looping):
        return subject.explained("restarts", f"{subject.prefix}.memory")
    if case.looping:
        last = f"{evidence}\nlast exit code {case.looping[0].code}"
        return subject.fail(
            "restarts", "it restarts over and over", last.strip(), f"docker logs {case.looping[0].name}"
        )
    if evidence:
        return subject.ok("restarts", "it was restarted, and stays up since", evidence)
    return subject.ok("restarts", "it did not have to be restarted")


def _memory(subject: Subject, case: _Case) -> Finding:
    killed = [one.name for one in case.containers if one.oom]
    if killed:
        hint = "raise its memory limit (deploy.resources.limits.memory), or find what takes it"
        return subject.fail("memory", "it was killed for using more memory than it may", listed(killed), hint)
    return subject.ok("memory", "it was not killed for its memory")


def _running(subject: Subject, case: _Case) -> Finding:
    if case.looping:
        return subject.explained("running", f"{subject.prefix}.restarts")
    if case.taken:
        return subject.explained("running", f"{subject.prefix}.port.{min(case.taken)}")
    if not case.stopped:
        ended = case.name in case.look.live.once
        return subject.ok("running", "it did its work and ended" if ended else "it runs", _since(case))
    if any(one.oom for one in case.stopped):
        return subject.explained("running", f"{subject.prefix}.memory")
    return subject.fail(
        "running",
        f"it does not run: {case.stopped[0].state}",
        listed([_ended(one) for one in case.stopped]),
        case.deploy,
    )


def _since(case: _Case) -> str:
    return listed([f"{one.name} since {one.started[:19]}Z" for one in case.containers if one.started])


def _ended(one: Container) -> str:
    when = f" at {one.finished[:19]}Z" if one.finished else ""
    return f"{one.name} is {one.state}{when}, exit code {one.code}" + (f": {one.error}" if one.error else "")


def _healthy(subject: Subject, case: _Case) -> Finding:
    if case.stopped or case.looping:
        return subject.skip("healthy", "it does not run")
    checked = [one for one in case.containers if one.health]
    if not checked:
        return subject.skip("healthy", "it has no health check")
    sick = [one for one in checked if one.health == "unhealthy"]
    if sick and case.stale:
        return subject.explained("healthy", f"{subject.prefix}.mounts")
    if sick:
        evidence = listed([f"{one.name}: {one.said or 'its check says nothing'}" for one in sick])
        return subject.fail("healthy", "it is unhealthy", evidence, f"docker logs {sick[0].name}")
    if any(one.health == "starting" for one in checked):
        return subject.warn("healthy", "it is starting, and not healthy yet", hint="--wait=60 waits for it")
    return subject.ok(
        "healthy", "it is healthy", listed([one.said.partition("\n")[0] for one in checked if one.said][:1])
    )


# ---------------------------------------------------------------------------------------- as it was released


def _image(subject: Subject, case: _Case) -> Finding:
    kept = case.look.live.kept.get(case.name, "")
    for one in case.containers:
        if kept and one.image_id != kept:
            sentence = "it runs another image than the release was deployed with"
            return subject.fail(
                "image", sentence, f"{one.name}: {one.image_id[:19]}, released: {kept[:19]}", case.deploy
            )
        name = one.image if ":" in one.image.rpartition("/")[2] or "@" in one.image else f"{one.image}:latest"
        now = case.survey.engine.images.get(name, "")
        if now and now != one.image_id:
            sentence = f"{name} is another image now than the one that runs"
            return subject.fail("image", sentence, f"runs: {one.image_id[:19]}, {name}: {now[:19]}", case.deploy)
    return subject.ok("image", "it runs the release's image", case.containers[0].image)


def _configuration(subject: Subject, case: _Case) -> Finding:
    wanted = case.look.live.hashes.get(case.name, "")
    if not wanted:
        return subject.skip("configuration", "the release does not tell its configuration")
    other = [one.name for one in case.containers if one.config_hash != wanted]
    if other:
        return subject.fail("configuration", "it was not made from the release's settings", listed(other), case.deploy)
    return subject.ok("configuration", "it was made from the release's settings")


def _networks(subject: Subject, case: _Case) -> Finding:
    if case.stopped or case.looping:
        return subject.skip("networks", "it does not run")
    model = case.look.model
    named = model.networks if model else {}
    wanted = {str((named.get(key) or {}).get("name") or key) for key in case.keys.get("networks") or ()}
    cut = [
        f"{one.name} is not on {name}"
        for one in case.containers
        for name in sorted(wanted & case.survey.engine.networks)
        if name not in one.networks
    ]
    if cut:
        return subject.fail("networks", "it is cut off from a network of its own", listed(cut), case.deploy)
    return subject.ok("networks", "it is on its networks", ", ".join(sorted(wanted)))


def _mounts(subject: Subject, case: _Case) -> Iterator[Finding]:
    if not any(mount.type == "bind" for one in case.containers for mount in one.mounts):
        return
    if case.stale:
        evidence = listed(
            [f"{one.container}: {'the live folder' if one.path == '.' else one.path}" for one in case.stale]
        )
        yield subject.fail("mounts", "it still sees what a mounted file or folder was before", evidence, case.deploy)
    else:
        yield subject.ok("mounts", "it sees its mounted files and folders as they are")


def _told(path: str, changed: set[str]) -> bool:
    """Whether another finding tells already why what is mounted is not as it was."""
    return any(path in (".", one) or one.startswith(f"{path}/") for one in changed)


def _environment(subject: Subject, case: _Case, used: frozenset[str]) -> Iterator[Finding]:
    if not used:
        return
    if ".env" in (*case.look.live.edited, *case.look.live.missing):
        yield subject.explained("environment", f"stack.{case.stack.name}.files")
        return
    lacking = sorted(name for name in used - ALWAYS_SET if not case.look.env.get(name))
    if lacking:
        evidence = listed([f"{name} is {'empty' if name in case.look.env else 'not set'}" for name in lacking])
        hint = f"set them in the .env of {case.stack.name}"
        yield subject.fail("environment", "variables that it needs have no value", evidence, hint)
    else:
        yield subject.ok("environment", "the variables that it needs have values", ", ".join(sorted(used)))
