"""Named volumes that hide what a new image brings: Docker fills a volume from the image only while it is empty. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Container, Iterable, Iterator

from towline.bundle.dockerfile import copies
from towline.bundle.manifest import Changes
from towline.deploy.planning.comparison import ServicePlan
from towline.deploy.planning.inputs import inputs_of
from towline.deploy.planning.situation import Release


def volume_notes(
    services: Iterable[ServicePlan], release: Release, changes: Changes, existing: Container[str]
) -> tuple[str, ...]:
    """A sentence for each volume that goes on showing the files of an older image. existing: the volumes that are on the host."""
    rebuilt = [service.name for service in services if service.action == "rebuild"]
    return tuple(
        f"the volume {name} keeps the {target} that it was first filled with: {why}; "
        f"for the new files remove it while the stack is down (docker volume rm {name}), or copy them at the start"
        for service in rebuilt
        for key, target in _volumes(service, release)
        if (name := str((release.model.volumes.get(key) or {}).get("name") or key)) in existing
        if (why := _why_hidden(service, key, target, release, changes))
    )


def _volumes(service: str, release: Release) -> Iterator[tuple[str, str]]:
    for mount in release.model.services[service].get("volumes") or ():
        if mount.get("type") == "volume" and mount.get("source"):
            yield str(mount["source"]), posixpath.normpath(str(mount.get("target")))


def _why_hidden(service: str, key: str, target: str, release: Release, changes: Changes) -> str:
    """'' where no file of the image is known to be hidden."""
    for path in _copied_to(service, release, changes):
        if path == target or path.startswith(f"{target}/"):
            return f"the new image of {service} has another {path} there"
    readers = [name for name, keys in release.model.services.items() if _only_reads(keys.get("volumes") or (), key)]
    if readers:
        return f"{service} is built anew, and {', '.join(readers)} reads it"
    return ""


def _only_reads(mounts: Iterable[dict[str, object]], key: str) -> bool:
    return any(
        mount.get("type") == "volume" and mount.get("source") == key and mount.get("read_only") for mount in mounts
    )


def _copied_to(service: str, release: Release, changes: Changes) -> Iterator[str]:
    """Where the image has those of the changed files that its Dockerfile copies."""
    inputs = inputs_of(release.model.services[service], release.model)
    entry = release.manifest.file(inputs.dockerfile) if inputs.dockerfile else None
    text = release.texts.get(entry.path) if entry else None
    if text is None or inputs.context is None:
        return
    paths = [posixpath.relpath(e.path, inputs.context) for e in (*changes.added, *changes.changed)]
    for source, destination in copies(text):
        for path in paths:
            if path == source:
                yield (
                    posixpath.join(destination, posixpath.basename(path)) if destination.endswith("/") else destination
                )
            elif source == "." or path.startswith(f"{source}/"):
                yield posixpath.join(destination, posixpath.relpath(path, source))
