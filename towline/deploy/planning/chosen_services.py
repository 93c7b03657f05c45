"""A deploy of chosen services (--service): only what these see changes, everything else stays as it is live. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from towline.bundle.container_data import read_by_compose
from towline.bundle.dockerignore import Belongs
from towline.bundle.manifest import Entry, Manifest, diff, path_order
from towline.bundle.working_tree import WorkingTree
from towline.deploy.planning.comparison import ServicePlan
from towline.deploy.planning.inputs import belonging, built_from, inputs_of
from towline.deploy.planning.situation import Release


def tree_of_chosen(tree: WorkingTree, live: Release, new: Release, chosen: Sequence[str]) -> WorkingTree:
    """The tree with the files of the live release, but for those that Compose reads and those that the chosen services see.

    new: as the tree is. What a chosen service no longer sees goes, too.
    """
    counts = [read_by_compose(tree.stack)]
    for release in (new, live):
        counts += [_seen_by(name, release) for name in chosen if name in release.model.services]

    def concerns(entry: Entry) -> bool:
        return entry.path.endswith(".dockerignore") or any(belongs(entry.path) for belongs in counts)

    changes = diff(live.manifest, tree.manifest)
    here = tree.manifest.by_path  # they know where their files are
    entries = {path: here[path] if here.get(path) == entry else entry for path, entry in live.manifest.by_path.items()}
    entries |= {entry.path: entry for entry in (*changes.added, *changes.changed) if concerns(entry)}
    for entry in changes.removed:
        if concerns(entry):
            del entries[entry.path]
    return replace(tree, manifest=Manifest(tuple(sorted(entries.values(), key=path_order))))


def _seen_by(name: str, release: Release) -> Belongs:
    service = release.model.services[name]
    inputs = inputs_of(service, release.model)
    mounted = belonging((*inputs.mounts, *inputs.files), release.manifest)
    built = built_from(service, inputs, release) if service.get("build") else lambda _: False
    return lambda path: mounted(path) or built(path)


def only_chosen(services: Iterable[ServicePlan], chosen: Sequence[str]) -> tuple[ServicePlan, ...]:
    """The plans; nothing happens to services that were not chosen, whatever is due for them. Those that would go stay unnamed."""
    return tuple(
        plan if plan.name in chosen else ServicePlan(plan.name, "unchanged")
        for plan in services
        if plan.name in chosen or plan.action not in ("remove", "create")
    )


def left_notes(services: Iterable[ServicePlan], chosen: Sequence[str]) -> tuple[str, ...]:
    """A sentence about what is due for services that were not chosen."""
    due = [
        f"{plan.name} ({plan.action})" for plan in services if plan.name not in chosen and plan.action != "unchanged"
    ]
    return (f"left for another deploy: {', '.join(due)}",) if due else ()
