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
from towline.errors import RemoteFailed, TowlineError
from towline.facts import drift, engine_api, host, interrupted
from towline.facts.compose_model import Model, parse_model
from towline.facts.container import Container, parse_inspected
from towline.facts.drift import DriftFact
from towline.facts.engine import Engine
from towline.facts.host import FileSystem, HostFact
from towline.facts.port import Port, parse_listening
from towline.project.stack import Stack
from towline.remote import COMPARISON
from towline.remote import script as remote_script
from towline.ssh.connection import ANSWER_WITHIN, Connection
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
class StackSurvey:
    """What is deployed of one stack. current: the live release, '' for none; at: when it was sent; digest: of its manifest
    without container data.

    env: name → whether it has a value. certs: path → DER, of certificates in the live folder (relative) or mounted into a
    container (absolute). interrupted: the id of a deploy that was interrupted, '' for none. broken: files of the live release that
    towline itself keeps beside it, and that cannot be read.
    """

    name: str
    project: str
    live_folder: str = ""
    current: str = ""
    digest: str = ""
    at: str = ""
    model: Model | None = None
    drift: DriftFact = field(default_factory=DriftFact)
    env: Mapping[str, bool] = field(default_factory=dict)
    certs: Mapping[str, bytes] = field(default_factory=dict)
    interrupted: str = ""
    broken: tuple[str, ...] = ()


@dataclass(frozen=True)
class Survey:
    """A host as it was at one moment.

    listeners: TCP ports held by any program. names: → addresses. skew: seconds that its
    clock is ahead of ours, 0 within the time that the answer took.
    """

    host: HostFact
    engine: Engine
    containers: tuple[Container, ...] = ()
    stacks: Mapping[str, StackSurvey] = field(default_factory=dict)
    disks: tuple[FileSystem, ...] = ()
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    listeners: tuple[Port, ...] = ()
    skew: float = 0.0

    def containers_of(self, project: str, service: str | None = None) -> tuple[Container, ...]:
        """The containers of a project, or of one of its services; none that `compose run` made."""
        ours = (container for container in self.containers if container.project == project and not container.oneoff)
        return tuple(container for container in ours if service in (None, container.service))


# ------------------------------------------------------------------------------------------------------- commands


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
    limits = [ANSWER_WITHIN] * len(asked) + [None] * len(more)  # those of the declared checks have limits of their own
    results = connection.batch([*asked, *more], parallel=True, timeout=limits, name="survey")
    return parse(results[: len(asked)], stacks, (sent, time.time())), results[len(asked) :]


# ------------------------------------------------------------------------------------------------------- parsing


def parse(results: Sequence[Result], stacks: Sequence[Stack], asked: tuple[float, float]) -> Survey:
    """The survey from the results of `commands`. asked: when the question left and when the answer was here."""
    machine, answers, looked, runs = results
    if not machine.ok or not looked.ok:
        wrong = machine if not machine.ok else looked
        raise RemoteFailed(f"the server could not be checked: {wrong.last_line}", "see `inv test-connectivity`")
    rows = [line.split("\t") for line in looked.out.split("\n")]
    told = _host(machine)
    info, images, networks, volumes, ooms = _answers(answers)
    killed = {event["Actor"]["ID"] for event in ooms if event.get("time", 0) > told.now - OOM_SECONDS}
    logs = {row[1]: int(row[2]) for row in rows if row[0] == "log"}
    containers = [_container(json.loads(row[1]), killed, logs) for row in rows if row[0] == "container"]
    return Survey(
        host=told,
        engine=replace(
            _engine([row for row in rows if row[0] == "engine"], (info, images, networks, volumes)),
            compose=_first(rows, "compose"),
        ),
        containers=tuple(sorted(containers, key=lambda container: container.name)),
        stacks=_with_certificates(
            _stacks(rows, stacks, {stack: run for stack, run, _ in interrupted.parse(runs)}),
            {row[1]: der for row in rows if row[0] == "cert" and (der := _der(row[2]))},
            containers,
        ),
        disks=host.file_systems([row[1:] for row in rows if row[0] == "disk"]),
        names={row[1]: tuple(row[2:]) for row in rows if row[0] == "name"},
        listeners=parse_listening("\n".join(row[1] for row in rows if row[0] == "listen")),
        skew=_skew(told.now, asked),
    )


def _container(row: Mapping[str, Any], killed: set[str], logs: Mapping[str, int]) -> Container:
    """killed: the ids of those that were killed for their memory; logs: path → bytes."""
    container = parse_inspected(row)
    log_bytes = logs.get(row["log_path"], 0)
    return replace(container, log_bytes=log_bytes, oom=container.oom or container.id in killed)


def _host(result: Result) -> HostFact:
    try:
        return host.parse(result)
    except ValueError:
        raise RemoteFailed(
            "the server did not answer with its description", "is there a POSIX sh with awk, sed and date?"
        ) from None


def _first(rows: Sequence[Sequence[str]], key: str) -> str:
    return next((row[1] for row in rows if row[0] == key), "")


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
    defaults: tuple[tuple[list[Any], Any], ...] = ((info, {}), (images, []), (networks, []), (volumes, {}))
    return [*((documents or [default])[0] for documents, default in defaults), events]


def _engine(trouble: Sequence[Sequence[str]], answers: tuple[Any, Any, Any, Any]) -> Engine:
    info, images, networks, volumes = answers
    if trouble:
        return Engine(problem=trouble[0][1] or "docker does not answer", socket=trouble[0][2])
    if not info:
        return Engine(problem="the engine's API does not answer")
    return Engine(
        version=info["ServerVersion"],
        driver=info["Driver"],
        images={name: image["Id"] for image in images for name in _names(image)},
        unnamed={image["Id"]: image["Size"] for image in images if not _names(image)},
        networks=frozenset(network["Name"] for network in networks),
        volumes=frozenset(volume["Name"] for volume in volumes.get("Volumes") or ()),
    )


def _names(image: Mapping[str, Any]) -> list[str]:
    return [name for name in image.get("RepoTags") or () if name != "<none>:<none>"]


def _stacks(
    rows: Sequence[list[str]], stacks: Sequence[Stack], interrupted: Mapping[str, str]
) -> dict[str, StackSurvey]:
    projects = {stack.name: stack.project for stack in stacks}
    parts: dict[str, list[list[str]]] = {}
    for row in rows:
        if row[0] == "stack":
            parts[row[1]] = part = []
        elif parts:
            part.append(row)
    return {name: _stack(name, projects[name], part, interrupted.get(name, "")) for name, part in parts.items()}


def _stack(name: str, project: str, rows: Sequence[list[str]], interrupted: str) -> StackSurvey:
    meta, model = _meta(_first(rows, "meta")), _first(rows, "model")
    try:
        parsed = parse_model(f"{_first(rows, 'folder')}\n{model}") if model else None
    except TowlineError:
        parsed = None
    return StackSurvey(
        name=name,
        project=project,
        live_folder=_first(rows, "live"),
        current=_first(rows, "current"),
        digest=str((meta or {}).get("settled") or (meta or {}).get("digest", "")),
        at=str((meta or {}).get("at", "")),
        model=parsed,
        broken=tuple(name for name, wrong in (("meta.json", meta is None), ("model", model and not parsed)) if wrong),
        drift=drift.from_rows(rows),
        env={row[1]: row[2] == "set" for row in rows if row[0] == "env"},
        interrupted=interrupted,
    )


def _meta(text: str) -> Mapping[str, Any] | None:
    """None for what a full disk or a power cut left of it."""
    try:
        meta = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return None
    return meta if isinstance(meta, dict) else None


def _with_certificates(
    stacks: Mapping[str, StackSurvey], certs: Mapping[str, bytes], containers: Sequence[Container]
) -> dict[str, StackSurvey]:
    """Each certificate with the stack in whose live folder it lies, else with those whose containers see it."""
    owner = {path: stack for path in certs for stack in stacks.values() if _below(path, stack.live_folder)}
    found: dict[str, dict[str, bytes]] = {name: {} for name in stacks}
    for path, stack in owner.items():
        found[stack.name][path.removeprefix(f"{stack.live_folder}/")] = certs[path]
    mounted = certs.keys() - owner
    for container in containers:
        for stack in stacks.values():
            if container.project == stack.project:
                paths = {path for path in mounted for mount in container.mounts if _below(path, mount.source)}
                found[stack.name] |= {path: certs[path] for path in paths}
    return {name: replace(stack, certs=found[name]) for name, stack in stacks.items()}


def _below(path: str, place: str) -> bool:
    return bool(place) and (path == place or path.startswith(f"{place}/"))


def _der(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
