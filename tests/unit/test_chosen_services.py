"""--service: which files of the working tree are sent, and what is planned for the others."""

from __future__ import annotations

from pathlib import Path

from tests.unit.test_container_data import file, manifest
from towline.bundle.working_tree import WorkingTree
from towline.deploy.planning.chosen_services import left_notes, only_chosen, tree_of_chosen
from towline.deploy.planning.comparison import ServicePlan
from towline.deploy.planning.situation import Release
from towline.facts.compose_model import Model
from towline.project.stack import Stack


def mounting(*paths: str) -> dict[str, object]:
    return {"image": "x", "volumes": [{"type": "bind", "source": f"./{path}", "target": "/x"} for path in paths]}


def test_files_are_those_of_the_live_release_but_for_what_compose_reads_and_the_chosen_see() -> None:
    stack = Stack("web", "web", "stack", Path("/p"), Path("/p"), ("compose.yaml",), ())
    model = Model(services={"one": mounting("one", "both"), "two": mounting("two", "both")})
    paths = ("both/a", "compose.yaml", "one/a", "one/gone", "other", "two/a", "two/gone")
    live = manifest(*(file(path, "old") for path in paths))
    here = manifest(*(file(path, "new") for path in (*paths, ".env", "one/new", "two/new") if "gone" not in path))
    tree = tree_of_chosen(WorkingTree(stack, here), Release(model, live), Release(model, here), ["one"])
    assert tree.manifest == manifest(
        *(file(path, "new") for path in (".env", "both/a", "compose.yaml", "one/a", "one/new")),
        *(file(path, "old") for path in ("other", "two/a", "two/gone")),
    )


def test_nothing_is_planned_for_others_and_what_is_due_is_said() -> None:
    due = (
        ServicePlan("one", "recreate", ("image",)), ServicePlan("two", "rebuild", ("a",)), ServicePlan("new", "create"),
        ServicePlan("same", "unchanged"), ServicePlan("old", "remove"),
    )  # fmt: skip
    assert only_chosen(due, ["one"]) == (due[0], ServicePlan("two", "unchanged"), due[3])
    assert left_notes(due, ["one"]) == ("left for another deploy: two (rebuild), new (create), old (remove)",)
    assert left_notes(due[:1], ["one"]) == ()
