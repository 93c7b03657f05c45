"""Everything that the checks need of a host, from one session."""

from __future__ import annotations

import base64
import binascii
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from towline.commands.shell import Command, script
from towline.errors import RemoteFailed
from towline.facts import drift, engine_api, host, interrupted
from towline.facts.compose_model import Model, parse_model
from towline.facts.container import Container, parse_container
from towline.facts.drift import DriftFact
from towline.facts.host import FileSystem, HostFact
from towline.facts.inventory import Port, parse_listening
from towline.project.catalog import Stack
from towline.remote import COMPARISON
from towline.remote import script as remote_script
from towline.ssh.connection import Connection
from towline.ssh.session import Result

OOM_SECONDS = 86400
_QUESTIONS = (
    "/info",
    "/images/json",
    "/networks",
    "/volumes",
    f"/events?since=0&until=@NOW@&filters={engine_api.quoted({'event': ['oom'], 'type': ['container']})}",
)


@dataclass(frozen=True)
class Engine:
    """problem: why it does not answer, then all else is empty. socket: none (no docker there), absent, denied or open.

    images: name → id. unnamed: id → bytes of those without a name.
    """

    problem: str = ""
    socket: str = "open"
    version: str = ""
    driver: str = ""
    root: str = ""
    images: Mapping[str, str] = field(default_factory=dict)
    unnamed: Mapping[str, int] = field(default_factory=dict)
    networks: frozenset[str] = frozenset()
    volumes: frozenset[str] = frozenset()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class StackSurvey:
    """What stands of one stack. current '': no release. digest: of the manifest that was deployed. env: name → whether it has a
    value. certs: path → DER of what lies in the live folder (relative) or is mounted into a container (absolute). cut: the id of
    a deploy that was cut, '' for none.
    """

    name: str
    project: str
    live_folder: str = ""
    current: str = ""
    digest: str = ""
    at: str = ""
    model: Model | None = None
    live: DriftFact = field(default_factory=DriftFact)
    env: Mapping[str, bool] = field(default_factory=dict)
    certs: Mapping[str, bytes] = field(default_factory=dict)
    cut: str = ""


@dataclass(frozen=True)
class Survey:
    """A host as it was at one moment.

    listeners: TCP ports held by any program. names: → addresses. compose: the plugin's path, '' for none. skew: seconds that its
    clock is ahead of ours, 0 within the time that the answer took.
    """

    host: HostFact
    engine: Engine
    containers: tuple[Container, ...] = ()
    stacks: Mapping[str, StackSurvey] = field(default_factory=dict)
    disks: tuple[FileSystem, ...] = ()
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    listeners: tuple[Port, ...] = ()
    compose: str = ""
    skew: float = 0.0

    def of(self, project: str, service: str | None = None) -> tuple[Container, ...]:
        """The containers of a project, or of one of its services; none that `compose run` made."""
        ours = (one for one in self.containers if one.project == project and not one.oneoff)
        return tuple(one for one in ours if service in (None, one.service))


# ------------------------------------------------------------------------------------------------------- asking


def commands(root: str, stacks: Sequence[Stack]) -> tuple[Command, ...]:
    """Four commands, to be run together; for `parse`."""
    pairs = (word for stack in stacks for word in (stack.name, stack.project))
    return (
        host.command(),
        engine_api.command(*_QUESTIONS),
        script(remote_script(*COMPARISON, "survey"), root, *pairs),
        interrupted.command(root),
    )


def read_survey(
    connection: Connection, stacks: Sequence[Stack], more: Sequence[Command] = ()
) -> tuple[Survey, list[Result]]:
    """The survey of a host, and the results of `more` commands, all from one session.

    Nothing is changed there. Raises ConnectionFailed, ConnectionLost, RemoteFailed.
    """
    connection.fabric()  # logging in is not part of how long the answer takes
    asked = commands(connection.host.root, stacks)
    sent = time.time()
    results = connection.batch([*asked, *more], together=True, name="survey")
    return parse(results[: len(asked)], stacks, (sent, time.time())), results[len(asked) :]


# ------------------------------------------------------------------------------------------------------- parsing


def parse(results: Sequence[Result], stacks: Sequence[Stack], asked: tuple[float, float]) -> Survey:
    """The survey from the results of `commands`. asked: when the question left and when the answer was here."""
    machine, answers, looked, cut = results
    if not machine.ok or not looked.ok:
        wrong = machine if not machine.ok else looked
        raise RemoteFailed(f"the server could not be looked at: {_last_line(wrong.err)}", "see `inv test-connectivity`")
    rows = [line.split("\t") for line in looked.out.split("\n")]
    told = _host(machine)
    info, images, networks, volumes, ooms = _answers(answers)
    killed = {event["Actor"]["ID"] for event in ooms if event.get("time", 0) > told.now - OOM_SECONDS}
    logs = {row[1]: int(row[2]) for row in rows if row[0] == "log"}
    containers = [parse_container(json.loads(row[1]), killed, logs) for row in rows if row[0] == "container"]
    return Survey(
        host=told,
        engine=_engine([row for row in rows if row[0] == "engine"], (info, images, networks, volumes)),
        containers=tuple(sorted(containers, key=lambda one: one.name)),
        stacks=_with_certificates(
            _stacks(rows, stacks, dict(line.split()[:2] for line in cut.out.splitlines())),
            {row[1]: der for row in rows if row[0] == "cert" and (der := _der(row[2]))},
            containers,
        ),
        disks=host.file_systems([row[1:] for row in rows if row[0] == "disk"]),
        names={row[1]: tuple(row[2:]) for row in rows if row[0] == "name"},
        listeners=parse_listening("\n".join(row[1] for row in rows if row[0] == "listen")),
        compose=_first(rows, "compose"),
        skew=_skew(told.now, asked),
    )


def _host(result: Result) -> HostFact:
    try:
        return host.parse(result)
    except ValueError:
        raise RemoteFailed(
            "the server does not tell what it is", "is there a POSIX sh with awk, sed and date?"
        ) from None


def _first(rows: Sequence[Sequence[str]], key: str) -> str:
    return next((row[1] for row in rows if row[0] == key), "")


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no answer"])[-1]


def _skew(now: float, asked: tuple[float, float]) -> float:
    """
    >>> _skew(100.0, (98.0, 101.0)), _skew(90.0, (98.0, 101.0)), _skew(0.0, (98.0, 101.0))
    (0.0, -8.0, 0.0)
    """
    sent, here = asked
    return 0.0 if not now else now - here if now > here else min(0.0, now + 1 - sent) and now - sent


def _answers(result: Result) -> list[Any]:
    """The engine's answers to `_QUESTIONS`; empty ones when it did not answer."""
    try:
        found = engine_api.parse(result.stdout, len(_QUESTIONS))
    except ValueError:
        return [{}, [], [], {}, []]
    info, images, networks, volumes, events = found
    one = [(answer or [default])[0] for answer, default in ((info, {}), (images, []), (networks, []), (volumes, {}))]
    return [*one, events]


def _engine(trouble: Sequence[Sequence[str]], answers: tuple[Any, Any, Any, Any]) -> Engine:
    info, images, networks, volumes = answers
    if trouble:
        return Engine(problem=trouble[0][1] or "docker does not answer", socket=trouble[0][2])
    if not info:
        return Engine(problem="the engine's API does not answer")
    return Engine(
        version=info["ServerVersion"],
        driver=info["Driver"],
        root=info["DockerRootDir"],
        images={name: image["Id"] for image in images for name in _names(image)},
        unnamed={image["Id"]: image["Size"] for image in images if not _names(image)},
        networks=frozenset(network["Name"] for network in networks),
        volumes=frozenset(volume["Name"] for volume in volumes.get("Volumes") or ()),
        warnings=tuple(info.get("Warnings") or ()),
    )


def _names(image: Mapping[str, Any]) -> list[str]:
    return [name for name in image.get("RepoTags") or () if name != "<none>:<none>"]


def _stacks(rows: Sequence[list[str]], stacks: Sequence[Stack], cut: Mapping[str, str]) -> dict[str, StackSurvey]:
    projects = {stack.name: stack.project for stack in stacks}
    parts: dict[str, list[list[str]]] = {}
    for row in rows:
        if row[0] == "stack":
            parts[row[1]] = part = []
        elif parts:
            part.append(row)
    return {name: _look(name, projects[name], part, cut.get(name, "")) for name, part in parts.items()}


def _look(name: str, project: str, rows: Sequence[list[str]], cut: str) -> StackSurvey:
    meta = json.loads(_first(rows, "meta") or "{}")
    model = _first(rows, "model")
    return StackSurvey(
        name=name,
        project=project,
        live_folder=_first(rows, "live"),
        current=_first(rows, "current"),
        digest=meta.get("digest", ""),
        at=meta.get("at", ""),
        model=parse_model(f"{_first(rows, 'folder')}\n{model}") if model else None,
        live=drift.from_rows(rows),
        env={row[1]: row[2] == "set" for row in rows if row[0] == "env"},
        cut=cut,
    )


def _with_certificates(
    looks: Mapping[str, StackSurvey], certs: Mapping[str, bytes], containers: Sequence[Container]
) -> dict[str, StackSurvey]:
    """Each certificate with the stack in whose live folder it lies, else with those whose containers see it."""
    own = {path: look for path in certs for look in looks.values() if _below(path, look.live_folder)}
    found: dict[str, dict[str, bytes]] = {name: {} for name in looks}
    for path, look in own.items():
        found[look.name][path.removeprefix(f"{look.live_folder}/")] = certs[path]
    for one in containers:
        for look in looks.values():
            if one.project == look.project:
                seen = {path for path in certs.keys() - own for mount in one.mounts if _below(path, mount.source)}
                found[look.name] |= {path: certs[path] for path in seen}
    return {name: replace(look, certs=found[name]) for name, look in looks.items()}


def _below(path: str, place: str) -> bool:
    return bool(place) and (path == place or path.startswith(f"{place}/"))


def _der(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
