"""A compose project that runs and has no release: as its containers tell of it, and what its files make of it."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from towline.bundle.manifest import Manifest, parse_manifest
from towline.commands.docker import CONFIG_FILES, ENV_FILES, WORKING_DIR
from towline.commands.shell import Command, script
from towline.errors import RemoteFailed
from towline.facts.compose_model import Model, parse_model
from towline.facts.container import Container
from towline.remote import script as remote_script
from towline.ssh.connection import Connection
from towline.ssh.session import Result
from towline.text.lines import last_lines


@dataclass(frozen=True)
class Origin:
    """Where a project was started: its folder, its compose files and its --env-file, all absolute; '' when it does not tell."""

    folder: str = ""
    files: tuple[str, ...] = ()
    env_files: str = ""


@dataclass(frozen=True)
class RunningProject:
    """A project that runs, whoever started it. containers: of its services, running or not.

    From its files, as they are now — model: what Compose makes of them; None, and wrong says why, when it makes nothing of them.
    in_place: it runs in the stack's live folder; manifest: what
    that folder has of the files that a release would bring. data: (folder or file that a container mounts, path that it would
    mount instead in the live folder) where something is in the one that would not be in the other. kept: the services that it
    had when it was kept as release 0, where the first deploy was interrupted; its containers may be gone by now.
    """

    origin: Origin
    containers: tuple[Container, ...] = ()
    in_place: bool = False
    manifest: Manifest = field(default_factory=Manifest)
    model: Model | None = None
    wrong: str = ""
    data: tuple[tuple[str, str], ...] = ()
    kept: tuple[str, ...] = ()

    @property
    def services(self) -> tuple[str, ...]:
        return self.kept or tuple(sorted({container.service for container in self.containers}))


def find_project(containers: Iterable[Container], project: str) -> RunningProject | None:
    """The project of that name, as far as its containers tell; None without one, and where a deploy has made them."""
    replicas = tuple(container for container in containers if container.project == project and not container.oneoff)
    if not replicas:
        return None
    # Of several folders the one that most containers were started from: a service may have been started by itself elsewhere
    origins = Counter(_origin(container) for container in replicas)
    (origin, _), *_ = origins.most_common(1)
    if _is_release(origin):
        return None
    return RunningProject(origin, replicas)


def _is_release(origin: Origin) -> bool:
    return any("/.towline/" in file for file in origin.files)


def made_by_hand(container: Container, project: str) -> bool:
    """Whether it is of the project's services, and no deploy has made it."""
    return container.project == project and not container.oneoff and not _is_release(_origin(container))


def find_projects(containers: Iterable[Container]) -> dict[str, RunningProject]:
    """Every project that runs without a release, by its name."""
    containers = tuple(containers)
    names = sorted({container.project for container in containers if container.project})
    return {name: found for name in names if (found := find_project(containers, name))}


def _origin(container: Container) -> Origin:
    files = tuple(filter(None, container.labels.get(CONFIG_FILES, "").split(",")))
    return Origin(container.labels.get(WORKING_DIR, ""), files, container.labels.get(ENV_FILES, ""))


# --- on the server ----------------------------------------------------------------------------------------------------


def command(place: tuple[str, str, str], origin: Origin | None) -> Command:
    """Reads what the project's files make of it, and compares its data; without an origin, of what was kept as release 0.

    place: the host's root, the stack, its project.
    """
    text = remote_script("limit", "containers", "release_zero", "read_zero")
    return script(text, *place, *((origin.folder, origin.env_files, *origin.files) if origin else ("kept",)))


def parse(result: Result, found: RunningProject) -> RunningProject:
    """`found` with what the `command` printed. Raises RemoteFailed when it did not end well."""
    head, marker, model = result.out.partition("model\n")
    if not result.ok:
        raise RemoteFailed(" · ".join(last_lines(result.err, 3)) or f"exit code {result.code}")
    rows = [line.split("\t") for line in head.splitlines()]
    origin = next((Origin(row[1], tuple(row[3:]), row[2]) for row in rows if row[0] == "origin"), found.origin)
    entries = ["\t".join(row[1:]) for row in rows if row[0] == "entry"]
    return RunningProject(
        origin,
        found.containers,
        in_place=["place", "live"] in rows,
        manifest=parse_manifest("".join(f"{entry}\n" for entry in entries)),
        model=_model(model, found.services) if marker else None,
        wrong=next((row[1] for row in rows if row[0] == "wrong"), ""),
        data=tuple((row[1], row[2]) for row in rows if row[0] == "data"),
        kept=tuple(row[1] for row in rows if row[0] == "kept"),
    )


def _model(text: str, services: Collection[str]) -> Model:
    """Of the services those that have a container: others are of profiles that were not asked for."""
    model = parse_model(text)
    return replace(model, services={name: keys for name, keys in model.services.items() if name in services})


def read_project(
    connection: Connection, place: tuple[str, str], found: RunningProject, paths: Sequence[str], model: Model
) -> RunningProject:
    """`found` with what its files make of it, in one session; nothing is changed. place: the stack and its project.

    paths: of the working tree; model: of the stack as it is to be deployed. Raises RemoteFailed.
    """
    now = {
        (container.service, mount.destination): mount.source
        for container in found.containers
        for mount in container.mounts
        if mount.type == "bind"
    }
    return _read(connection, (place, found, found.origin), paths, _replaced_mounts(now, found.origin.folder, model))


def read_kept_project(
    connection: Connection, place: tuple[str, str], kept: Model, paths: Sequence[str], model: Model
) -> RunningProject:
    """What an interrupted first deploy kept as release 0, with that model, in one session; nothing is changed.

    Which of its data the live folder lacks is told by the model: its containers may be gone. Raises RemoteFailed.
    """
    now = {
        (service, str(mount.get("target"))): str(mount.get("source"))
        for service, keys in kept.services.items()
        for mount in keys.get("volumes") or ()
        if str(mount.get("source")).startswith("/")
    }
    found = RunningProject(Origin(), model=kept)
    read = _read(connection, (place, found, None), paths, _replaced_mounts(now, "", model))
    services = {name: keys for name, keys in kept.services.items() if name in read.kept}
    return replace(read, model=replace(kept, services=services))


def _read(
    connection: Connection,
    project: tuple[tuple[str, str], RunningProject, Origin | None],
    paths: Sequence[str],
    mounts: Sequence[tuple[str, str]],
) -> RunningProject:
    place, found, origin = project
    rows = [*(f"path\t{path}" for path in paths), *(f"mount\t{source}\t{path}" for source, path in mounts)]
    text = "".join(f"{row}\n" for row in rows).encode()
    result = connection.upload(iter([text]), command((connection.host.root, *place), origin), "running project")
    return parse(result, found)


def _replaced_mounts(now: Mapping[tuple[str, str], str], folder: str, model: Model) -> list[tuple[str, str]]:
    """What is mounted now, and the path in the live folder that will be mounted instead: at the same target of the same service, or
    of the same path in the folder that the project was started from, whoever mounts it, and however much of it.
    """
    pairs = set()
    for (service, target), path in _relative_mounts(model).items():
        same = posixpath.normpath(posixpath.join(folder, path)) if folder else ""
        if (service, target) in now:
            pairs.add((now[service, target], path))
        elif same and any(_overlap(same, source) for source in now.values()):
            pairs.add((same, path))
        elif not folder:
            pairs |= {(source, path) for source in now.values() if source.endswith(f"/{path}")}
    return sorted(pairs)


def _relative_mounts(model: Model) -> dict[tuple[str, str], str]:
    """(service, target) → path in the stack's folder that it mounts; of files of secrets and configs, too: (their name, '')."""
    mounts = {
        (service, str(mount.get("target"))): str(mount.get("source"))
        for service, keys in model.services.items()
        for mount in keys.get("volumes") or ()
        if mount.get("type") == "bind"
    }
    for section in (model.secrets, model.configs):
        mounts |= {(name, ""): str(keys.get("file")) for name, keys in section.items() if keys.get("file")}
    return {
        key: source[2:] or "." for key, source in mounts.items() if source in (".", "./") or source.startswith("./")
    }


def _overlap(one: str, other: str) -> bool:
    """Whether one path is the other, or in it."""
    return one == other or one.startswith(other.rstrip("/") + "/") or other.startswith(one.rstrip("/") + "/")
