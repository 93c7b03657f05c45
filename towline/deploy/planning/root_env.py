"""Whether a change of the repository's .env concerns a stack that has none of its own. Pure."""

from __future__ import annotations

from dataclasses import replace

from towline.bundle.manifest import Manifest, diff, path_order
from towline.bundle.working_tree import WorkingTree
from towline.deploy.planning.comparison import Labels
from towline.deploy.planning.inputs import belonging, built_from, inputs_of
from towline.deploy.planning.services import plan_services
from towline.deploy.planning.situation import Release


def with_env_of_before(tree: WorkingTree, live: Release | None, new: Release, labels: Labels) -> WorkingTree:
    """The tree with the .env of the live release, where nothing that runs would be another with the new one.

    new: as the tree is. Only where the .env is all that changed, and is the repository's.
    """
    before = live.manifest.by_path.get(".env") if live else None
    if live is None or before is None or not tree.stack.root_env or _is_read_as_a_file(tree, new):
        return tree
    changes = diff(live.manifest, tree.manifest)
    if changes.added or changes.removed or [entry.path for entry in changes.changed] != [".env"]:
        return tree
    entries = [before if entry.path == ".env" else entry for entry in tree.manifest.entries]
    manifest = Manifest(tuple(sorted(entries, key=path_order)))
    plans = plan_services(live, replace(new, manifest=manifest), tree.stack.reload, labels)
    return replace(tree, manifest=manifest) if all(plan.action == "unchanged" for plan in plans) else tree


def _is_read_as_a_file(tree: WorkingTree, release: Release) -> bool:
    """Whether a container, a build, a config or a secret may have the .env or a variable of it that Compose does not render."""
    sections = (release.model.configs, release.model.secrets)
    if ".env" in tree.stack.env_files or any(
        keys.get("environment") for section in sections for keys in section.values()
    ):
        return True
    for service in release.model.services.values():
        inputs = inputs_of(service, release.model)
        if belonging((*inputs.mounts, *inputs.files), release.manifest)(".env"):
            return True
        if service.get("build") and built_from(service, inputs, release)(".env"):
            return True
    return False
