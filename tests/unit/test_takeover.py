"""What is planned where a project runs without a release."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from towline.bundle.manifest import Manifest
from towline.deploy.planning.plan import Options, plan_deploy
from towline.deploy.planning.risks import find_risks
from towline.deploy.planning.situation import CurrentState, DesiredState, Release, Situation
from towline.engines.steps import RELEASE_ZERO
from towline.facts.compose_model import Model
from towline.facts.container import Container
from towline.facts.inventory import Inventory
from towline.facts.running_project import Origin, RunningProject, find_project, find_projects, parse
from towline.facts.stack import ReleaseFact, RunFact, StackFact
from towline.project.stack import Stack
from towline.ssh.session import Result

STACK = Stack("shop", "shop", "stack", Path("/p/stacks/shop"), Path("/p"), ("compose.yaml",), ())
MODEL = Model(services={"web": {"image": "web:1"}})
ORIGIN = Origin("/srv/shop", ("/srv/shop/docker-compose.yml",))
LABELS = {
    "com.docker.compose.project": "shop",
    "com.docker.compose.project.working_dir": ORIGIN.folder,
    "com.docker.compose.project.config_files": ORIGIN.files[0],
    "com.docker.compose.oneoff": "False",
}
WEB = Container(
    "shop-web-1",
    project="shop",
    service="web",
    id="1",
    image="web:1",
    state="running",
    labels={**LABELS, "com.docker.compose.service": "web"},
)
RUNNING = RunningProject(ORIGIN, (WEB,), model=MODEL)
NOTHING = StackFact(now="20261126-120000", live=False, current="")
DATA = (("/srv/shop/data", "data"),)


def state(running: RunningProject | None = RUNNING, fact: StackFact = NOTHING) -> CurrentState:
    model = running.model if running else None
    return CurrentState(replace(fact, model=model), Inventory(containers=(WEB,)), running=running)


def risks(current: CurrentState, **values: object) -> list[tuple[str, bool]]:
    desired = DesiredState(STACK, Release(MODEL), repository=("commit 1",))
    found = find_risks(Situation(desired, current, **values))  # type: ignore[arg-type]
    return [(risk.name, risk.stops) for risk in found]


def plan(current: CurrentState, options: Options | None = None) -> tuple[list[str], list[str]]:
    made = plan_deploy(DesiredState(STACK, Release(MODEL)), current, options or Options())
    assert made.previous == RELEASE_ZERO
    assert made.base == ""
    return [step.name for step in made.steps], [step.name for step in made.undo]


# --- the facts --------------------------------------------------------------------------------------------------------


def test_project_is_found_by_its_labels() -> None:
    found = find_project([WEB, replace(WEB, oneoff=True)], "shop")
    assert found == RunningProject(ORIGIN, (WEB,))
    assert find_projects([WEB]) == {"shop": RunningProject(ORIGIN, (WEB,))}


def test_containers_that_a_deploy_made_are_no_project_without_a_release() -> None:
    own = {
        "com.docker.compose.project.config_files": "/srv/shop/compose.yaml,/srv/.towline/shop/releases/1/override.json"
    }
    assert find_project([replace(WEB, labels={**WEB.labels, **own})], "shop") is None


def test_what_the_server_tells_of_it_is_read() -> None:
    text = 'place\tlive\nentry\tf\t0644\t3\t{0}\ta\t\ndata\t/srv/d\tdata\nmodel\n/srv/shop\n{{"services":{{}}}}\n'
    found = parse(Result(0, text.format("0" * 64).encode()), RUNNING)
    assert found.in_place
    assert [entry.path for entry in found.manifest.entries] == ["a"]
    assert (found.data, found.model) == ((("/srv/d", "data"),), Model())


# --- the plan ---------------------------------------------------------------------------------------------------------


def test_it_is_kept_before_anything_and_restored_by_itself() -> None:
    steps, undo = plan(state())
    assert steps[0] == "capture"
    assert undo == ["stage", "images", "down", "apply", "up", "mounts", "health"]


def test_data_comes_before_the_files_and_goes_back_in_the_undo() -> None:
    steps, undo = plan(state(replace(RUNNING, data=DATA)), Options(strategy="update", adopt="move"))
    assert steps.index("capture") < steps.index("data") < steps.index("apply")
    assert steps[-2:] == ["keep", "sources"]
    assert undo.index("data") < undo.index("apply")


def test_it_is_kept_once_when_the_first_deploy_was_interrupted() -> None:
    fact = replace(NOTHING, releases=(ReleaseFact("0", "good"),), last_run=RunFact("1", "cut", "up", "1"))
    steps, _ = plan(state(None, fact))
    assert "capture" not in steps


# --- the risks --------------------------------------------------------------------------------------------------------


def test_data_elsewhere_stops_unless_it_is_adopted() -> None:
    current = state(replace(RUNNING, data=DATA))
    assert risks(current) == [("runs-elsewhere", True)]
    assert risks(current, adopting=True) == []
    assert risks(state()) == [("runs-elsewhere", False)]
    assert risks(state(replace(RUNNING, in_place=True))) == []


def test_services_and_containers_that_would_go_are_asked_about() -> None:
    other = replace(WEB, service="worker")
    here = replace(RUNNING, in_place=True)
    assert risks(state(replace(here, containers=(WEB, other)))) == [("service-removed", False)]
    assert risks(state(replace(here, containers=(WEB, replace(WEB, name="shop-web-2"))))) == [("scaled-down", False)]


def test_job_is_ended_by_recreate_only() -> None:
    job = replace(WEB, name="shop-run", oneoff=True)
    fact = replace(NOTHING, current="1")
    current = CurrentState(fact, Inventory(containers=(WEB, job)))
    assert risks(current) == [("job-running", False)]
    assert risks(current, strategy="update") == []
    ended = CurrentState(fact, Inventory(containers=(WEB, replace(job, state="exited"))))
    assert risks(ended) == []


@pytest.mark.parametrize(
    ("theirs", "found"),
    [
        (["commit 2", "origin example.com/x"], [("not-ours", True)]),
        (["commit 1"], []),
        (["folder laptop:/home/ann/shop"], [("not-ours", False)]),
        ([], []),
    ],
)
def test_release_of_another_repository_is_found(theirs: list[str], found: list[tuple[str, bool]]) -> None:
    release = ReleaseFact("1", "good", meta={"repository": theirs, "by": "ann@laptop"})
    assert risks(CurrentState(replace(NOTHING, current="1", releases=(release,)))) == found


def test_mounts_are_compared_by_their_target_and_by_their_path_in_the_folder() -> None:
    from towline.facts.running_project import _replaced_mounts

    now = {("web", "/data"): "/srv/shop/data", ("web", "/x"): "/etc/x"}
    store = {"type": "bind", "source": "./store", "target": "/data"}
    assert _replaced_mounts(now, "/srv/shop", Model(services={"web": {"volumes": [store]}})) == [
        ("/srv/shop/data", "store")
    ]
    data = {"type": "bind", "source": "./data/db", "target": "/db"}
    assert _replaced_mounts(now, "/srv/shop", Model(services={"app": {"volumes": [data]}})) == [
        ("/srv/shop/data/db", "data/db")
    ]
    whole = {"type": "bind", "source": ".", "target": "/app"}
    assert _replaced_mounts(now, "/srv/shop", Model(services={"app": {"volumes": [whole]}})) == [("/srv/shop", ".")]
    volume = {"type": "volume", "source": "data", "target": "/data"}
    assert _replaced_mounts(now, "/srv/shop", Model(services={"web": {"volumes": [volume]}})) == []
    secret = Model(secrets={"s": {"file": "./s.txt"}})
    assert _replaced_mounts({("web", "/run/secrets/s"): "/srv/shop/s.txt"}, "/srv/shop", secret) == [
        ("/srv/shop/s.txt", "s.txt")
    ]
    assert Manifest() == RUNNING.manifest
