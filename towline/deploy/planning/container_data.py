"""Which of a stack's container data is sent: what the host has of its own stays. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from towline.bundle.manifest import Entry, Manifest, folders_of, path_order
from towline.bundle.selection import is_below_any
from towline.bundle.working_tree import WorkingTree
from towline.facts.container_data import DataFact, Question
from towline.facts.drift import DriftFact
from towline.project.ignore_file import matched_by
from towline.text.amounts import comma_list

MOST_NAMED = 3


def known_entries(tree: WorkingTree, there: Manifest | None, *, released: bool) -> Manifest:
    """What a release brought; of what is there without one, what is as it is here."""
    if there is None or released:
        return there or Manifest()
    here = tree.manifest.by_path
    return Manifest(tuple(entry for entry in there.entries if _same(entry, here.get(entry.path))))


def _same(one: Entry, other: Entry | None) -> bool:
    return other is not None and (one.kind, one.sha256, one.target) == (other.kind, other.sha256, other.target)


def question_of(tree: WorkingTree, known: Manifest, *, released: bool = True) -> Question | None:
    """What has to be looked at; None when no data would be sent that no release brought.

    Without a release and without git nothing tells data from the files of the project that runs there: all is sent, and release 0
    keeps what was there.
    """
    paths = sorted(tree.data - known.by_path.keys())
    if not paths or not (released or tree.tracked):
        return None
    folders = {folder for path in paths for folder in folders_of(path) if tree.is_data(f"{folder}/")}
    brought = {step for path in known.by_path for step in (path, *folders_of(path))}
    return Question(paths, sorted(folders), sorted(path for path in brought if posixpath.dirname(path) in folders))


def without_own_data(
    tree: WorkingTree, known: Manifest, fact: DataFact | None, drift: DriftFact, brought: Collection[str] = ()
) -> tuple[WorkingTree, tuple[str, ...]]:
    """The tree as it is to be deployed, and sentences about what is left here.

    fact: the answer to the question, None when there was none. known: what a release brought. What a service has changed of it
    stays as it is in that release, and so does what cannot be sent from here. brought: paths that `adopt` brings data to.
    """
    seeded = matched_by(tree.stack.seed)
    kept = {path for path in (*drift.edited, *drift.data) if tree.is_data(path) and path in known.by_path}
    hidden = {path for path in known.by_path if is_below_any(path, tree.unsendable)}
    own = {
        path
        for path in (tree.data - known.by_path.keys() if fact else ())
        if fact
        and (path in fact.there or is_below_any(path, brought) or (not seeded(path) and _lies_in_used(path, fact)))
    }
    entries = [entry for entry in tree.manifest.entries if entry.path not in own | kept]
    entries += [known.by_path[path] for path in kept | hidden if path in tree.manifest.by_path or path in hidden]
    changed = [path for path in kept & tree.data if not _same(known.by_path[path], tree.manifest.by_path.get(path))]
    manifest = Manifest(tuple(sorted(entries, key=path_order)))
    return replace(tree, manifest=manifest), tuple(_sentences(sorted(own), sorted(changed), tree))


def _lies_in_used(path: str, fact: DataFact) -> bool:
    """Whether the nearest folder of the path that is there has something that no release brought."""
    return next((fact.folders[folder] for folder in folders_of(path) if folder in fact.folders), False)


def _sentences(own: Sequence[str], changed: Sequence[str], tree: WorkingTree) -> Iterator[str]:
    if own:
        yield f"not sent: {comma_list(own, MOST_NAMED)}: services keep their data there, and the server has its own"
    if changed:
        yield f"not sent: {comma_list(changed, MOST_NAMED)}: a service has changed what was sent, and it stays"
    if tree.unsendable:
        yield f"not sent: {comma_list(tree.unsendable, MOST_NAMED)}: cannot be sent from here, and services keep their data there"
