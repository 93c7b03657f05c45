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
from towline.facts.container import Container
from towline.facts.drift import StaleMount
from towline.facts.port import Binding, clashes
from towline.facts.survey import StackSurvey, Survey
from towline.project.settings import Host
from towline.project.stack import Stack
from towline.project.variables import ALWAYS_SET

LOOPS = 3  # restarts
RECENT = 600.0  # seconds


def check_service(host: Host, stack: Stack, name: str, survey: Survey, variables: frozenset[str]) -> Iterator[Finding]:
    """The findings `stack.STACK.service.NAME.*`. variables: those that it uses and that have no default.

    Whether ports are open is not among them: that has to be asked, see ports.py.
    """
    subject = Subject(f"stack.{stack.name}.service.{name}", host.name, stack.name, name)
    deployed = survey.stacks[stack.name]
    keys = deployed.model.services[name] if deployed.model else {}
    facts = _ServiceFacts(stack, name, keys, survey.containers_of(stack.project, name), deployed, survey)
    yield _containers(subject, facts)
    yield from _environment(subject, facts, variables)
    if not facts.containers:
        return
    yield from _ports_taken(subject, facts)
    yield _restarts(subject, facts)
    yield _memory(subject, facts)
    yield _running(subject, facts)
    yield _healthy(subject, facts)
    yield _image(subject, facts)
    yield _configuration(subject, facts)
    yield _networks(subject, facts)
    yield from _mounts(subject, facts)


@dataclass(frozen=True)
class _ServiceFacts:
    """What is known of a service. keys: its own in the release's compose model."""

    stack: Stack
    name: str
    keys: Mapping[str, Any]
    containers: tuple[Container, ...]
    deployed: StackSurvey
    survey: Survey

    @property
    def deploy(self) -> str:
        return f"inv deploy --stack={self.stack.name}"

    @property
    def looping(self) -> tuple[Container, ...]:
        """Those that are between two starts, or were started again and again until just now."""
        return tuple(
            container
            for container in self.containers
            if container.state == "restarting" or self._again_and_again(container)
        )

    def _again_and_again(self, container: Container) -> bool:
        if self.name in self.deployed.drift.once:
            return False
        return (
            container.restarts >= LOOPS
            and bool(container.started)
            and self.survey.host.now - seconds(container.started) < RECENT
        )

    @property
    def taken(self) -> dict[str, str]:
        """Ports that a container which does not run was to have, and who has them."""
        return {
            _shown(port): by
            for container in self.containers
            if not container.running and not container.held  # a paused one holds its own
            for port in container.wanted
            if (by := self._holder(container, port))
        }

    def _holder(self, container: Container, wanted: Binding) -> str:
        for other in self.survey.containers:
            if other.id != container.id and any(clashes(port, wanted.outside) for port in other.host_ports):
                return f"container {other.name}"
        return (
            "another program"
            if any(clashes(port, wanted.outside, program=True) for port in self.survey.listeners)
            else ""
        )

    @property
    def stale(self) -> list[StaleMount]:
        """Mounts that are not what they should be, and not since the file itself was changed: that is told of the files."""
        changed = {*self.deployed.drift.edited, *self.deployed.drift.missing}
        return [
            mount
            for mount in self.deployed.drift.stale
            if mount.service == self.name and not _told(mount.path, changed)
        ]

    @property
    def stopped(self) -> tuple[Container, ...]:
        return tuple(
            container
            for container in self.containers
            if not container.running and self.name not in self.deployed.drift.once
        )


def seconds(time: str) -> float:
    """A time as Docker writes it (2026-11-23T19:13:19.035048395Z) in seconds since 1970.

    >>> seconds("1970-01-01T00:01:00.5Z")
    60.0
    """
    return datetime.strptime(time[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC).timestamp()


def _shown(port: Binding) -> str:
    return f"{port.outside.address}:{port.outside.port}/{port.outside.proto}"


# -------------------------------------------------------------------------------------------------- its containers


def _containers(subject: Subject, facts: _ServiceFacts) -> Finding:
    there, wanted = len(facts.containers), replicas_of(facts.keys)
    evidence = f"{there} of {wanted}"
    if there == wanted:
        return subject.ok("containers", "it has its containers", evidence)
    sentence = (
        "it has no container"
        if not there
        else f"it has {'more' if there > wanted else 'fewer'} containers than it should"
    )
    return subject.fail("containers", sentence, evidence, facts.deploy)


def _ports_taken(subject: Subject, facts: _ServiceFacts) -> Iterator[Finding]:
    """Only for what does not run; ports of what runs are asked, see ports.py."""
    for shown, by in sorted(facts.taken.items()):
        yield subject.fail(
            f"port.{shown}", f"its port {shown} is taken by {by}", hint=f"stop that, then {facts.deploy}"
        )


def _restarts(subject: Subject, facts: _ServiceFacts) -> Finding:
    evidence = listed(
        [
            f"{container.name}: {container.restarts} times, last at {container.started[:19]}Z"
            for container in facts.containers
            if container.restarts
        ]
    )
    if any(container.oom for container in facts.looping):
        return subject.explained("restarts", f"{subject.prefix}.memory")
    if facts.looping:
        last = f"{evidence}\nlast exit code {facts.looping[0].code}"
        return subject.fail(
            "restarts", "it restarts over and over", last.strip(), f"docker logs {facts.looping[0].name}"
        )
    if evidence:
        return subject.ok("restarts", "it was restarted, and has stayed up since", evidence)
    return subject.ok("restarts", "it was never restarted")


def _memory(subject: Subject, facts: _ServiceFacts) -> Finding:
    killed = [container.name for container in facts.containers if container.oom]
    if killed:
        hint = "raise its memory limit (deploy.resources.limits.memory), or find what takes it"
        return subject.fail("memory", "it was killed for exceeding its memory limit", listed(killed), hint)
    return subject.ok("memory", "it was not killed for its memory use")


def _running(subject: Subject, facts: _ServiceFacts) -> Finding:
    if facts.looping:
        return subject.explained("running", f"{subject.prefix}.restarts")
    if facts.taken:
        return subject.explained("running", f"{subject.prefix}.port.{min(facts.taken)}")
    if not facts.stopped:
        ended = facts.name in facts.deployed.drift.once
        return subject.ok("running", "it did its work and ended" if ended else "it runs", _since(facts))
    if any(container.oom for container in facts.stopped):
        return subject.explained("running", f"{subject.prefix}.memory")
    return subject.fail(
        "running",
        f"it does not run: {facts.stopped[0].state}",
        listed([_ended(container) for container in facts.stopped]),
        facts.deploy,
    )


def _since(facts: _ServiceFacts) -> str:
    return listed(
        [f"{container.name} since {container.started[:19]}Z" for container in facts.containers if container.started]
    )


def _ended(container: Container) -> str:
    when = f" at {container.finished[:19]}Z" if container.finished else ""
    return f"{container.name} is {container.state}{when}, exit code {container.code}" + (
        f": {container.error}" if container.error else ""
    )


def _healthy(subject: Subject, facts: _ServiceFacts) -> Finding:
    if facts.stopped or facts.looping:
        return subject.skip("healthy", "it does not run")
    checked = [container for container in facts.containers if container.health]
    if not checked:
        return subject.skip("healthy", "it has no health check")
    sick = [container for container in checked if container.health == "unhealthy"]
    if sick and facts.stale:
        return subject.explained("healthy", f"{subject.prefix}.mounts")
    if sick:
        evidence = listed([f"{container.name}: {container.said or 'its check says nothing'}" for container in sick])
        return subject.fail("healthy", "it is unhealthy", evidence, f"docker logs {sick[0].name}")
    if any(container.health == "starting" for container in checked):
        return subject.warn("healthy", "it is starting, and not healthy yet", hint="--wait=60 waits for it")
    return subject.ok(
        "healthy",
        "it is healthy",
        listed([container.said.partition("\n")[0] for container in checked if container.said][:1]),
    )


# ---------------------------------------------------------------------------------------- as it was released


def _image(subject: Subject, facts: _ServiceFacts) -> Finding:
    kept = facts.deployed.drift.kept.get(facts.name, "")
    moves = facts.stack.images_may_move
    tell, hint = (subject.warn, "x-towline.images: may-move") if moves else (subject.fail, facts.deploy)
    for container in facts.containers:
        if kept and container.image_id != kept:
            sentence = "it runs another image than the release was deployed with"
            evidence = f"{container.name}: {container.image_id[:19]}, released: {kept[:19]}"
            updater = "" if moves else "; if an updater did it, allow that: x-towline: {images: may-move}"
            return tell("image", sentence, evidence, hint + updater)
        name = (
            container.image
            if ":" in container.image.rpartition("/")[2] or "@" in container.image
            else f"{container.image}:latest"
        )
        now = facts.survey.engine.images.get(name, "")
        if now and now != container.image_id:
            sentence = f"{name} is another image now than the one that runs"
            return tell("image", sentence, f"runs: {container.image_id[:19]}, {name}: {now[:19]}", hint)
    return subject.ok("image", "it runs the release's image", facts.containers[0].image)


def _configuration(subject: Subject, facts: _ServiceFacts) -> Finding:
    wanted = facts.deployed.drift.hashes.get(facts.name, "")
    if not wanted:
        return subject.skip("configuration", "the release has no record of its configuration")
    other = [container.name for container in facts.containers if container.config_hash != wanted]
    if other:
        return subject.fail(
            "configuration", "it was not created with the release's configuration", listed(other), facts.deploy
        )
    return subject.ok("configuration", "it was created with the release's configuration")


def _networks(subject: Subject, facts: _ServiceFacts) -> Finding:
    if facts.stopped or facts.looping:
        return subject.skip("networks", "it does not run")
    model = facts.deployed.model
    named = model.networks if model else {}
    wanted = {str((named.get(key) or {}).get("name") or key) for key in facts.keys.get("networks") or ()}
    cut = [
        f"{container.name} is not on {name}"
        for container in facts.containers
        for name in sorted(wanted & facts.survey.engine.networks)
        if name not in container.networks
    ]
    if cut:
        return subject.fail("networks", "it is not connected to one of its networks", listed(cut), facts.deploy)
    return subject.ok("networks", "it is on its networks", ", ".join(sorted(wanted)))


def _mounts(subject: Subject, facts: _ServiceFacts) -> Iterator[Finding]:
    if not any(mount.type == "bind" for container in facts.containers for mount in container.mounts):
        return
    if facts.stale:
        evidence = listed(
            [f"{mount.container}: {'the live folder' if mount.path == '.' else mount.path}" for mount in facts.stale]
        )
        yield subject.fail(
            "mounts", "it still sees the previous content of a mounted file or folder", evidence, facts.deploy
        )
    else:
        yield subject.ok("mounts", "it sees the current content of its mounted files and folders")


def _told(path: str, changed: set[str]) -> bool:
    """Whether another finding tells already why what is mounted is not as it was."""
    return any(path in (".", other) or other.startswith(f"{path}/") for other in changed)


def _environment(subject: Subject, facts: _ServiceFacts, used: frozenset[str]) -> Iterator[Finding]:
    if not used:
        return
    if ".env" in (*facts.deployed.drift.edited, *facts.deployed.drift.missing):
        yield subject.explained("environment", f"stack.{facts.stack.name}.files")
        return
    lacking = sorted(name for name in used - ALWAYS_SET if not facts.deployed.env.get(name))
    if lacking:
        evidence = listed([f"{name} is {'empty' if name in facts.deployed.env else 'not set'}" for name in lacking])
        hint = f"set them in the .env of {facts.stack.name}"
        yield subject.fail("environment", "variables that it needs have no value", evidence, hint)
    else:
        yield subject.ok("environment", "the variables that it needs have values", ", ".join(sorted(used)))
