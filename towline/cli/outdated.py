"""What outdated does: tells which images the registries have newer ones of under the same tags. Nothing is changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from towline.cli.output import show_rows
from towline.errors import ChangesPending
from towline.facts.compose_model import read_model
from towline.facts.image_digests import ImageDigests, pulled_images, read_image_digests, short_digest
from towline.project.stack import Stack
from towline.workspace import Workspace

COLUMNS = ["host", "stack", "service", "image", "here", "registry", "outdated", "why"]


def show_outdated(workspace: Workspace, stacks: Sequence[Stack], format: str, *, check: bool) -> None:
    """Two sessions a stack: one in which compose renders its files, one in which its registries are asked.

    check: raises ChangesPending when an image is outdated. Raises ComposeRejected.
    """
    rows = [row for stack in stacks for row in _rows(workspace, stack)]
    show_rows(rows, COLUMNS, format)
    outdated = sorted({str(row["image"]) for row in rows if row["outdated"]})
    if check and outdated:
        raise ChangesPending(f"outdated: {', '.join(outdated)}", "`inv deploy --stack=… --pull` takes the newer ones")


def _rows(workspace: Workspace, stack: Stack) -> Iterator[dict[str, object]]:
    connection = workspace.connection(stack)
    images = pulled_images(read_model(connection, workspace.working_tree(stack)).model)
    found = read_image_digests(connection, images)
    for image, services in images.items():
        for service in services:
            place = {"host": connection.host.name, "stack": stack.name, "service": service, "image": image}
            yield {**place, **_told(found[image])}


def _told(digests: ImageDigests) -> dict[str, object]:
    here = short_digest(digests.here[0]) if digests.here else ""
    why = digests.why or ("" if here else "not there, or not pulled by this name")
    return {"here": here, "registry": short_digest(digests.there), "outdated": digests.outdated, "why": why}
