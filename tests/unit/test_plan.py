"""Facts in, a plan out: what is sent, linked and dropped, and the steps, whole."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from towline.bundle.manifest import Entry, Manifest
from towline.deploy.planning.comparison import ServicePlan
from towline.deploy.planning.plan import Options, Plan, plan_deploy, run_id
from towline.deploy.planning.rollback import RollbackTarget, find_rollback_release, plan_rollback
from towline.deploy.planning.situation import CurrentState, DesiredState, Release
from towline.engines.steps import Step
from towline.errors import TowlineError
from towline.facts.compose_model import Model
from towline.facts.container import Container
from towline.facts.inventory import Inventory
from towline.facts.stack import ReleaseFact, StackFact
from towline.project.settings import Strategy
from towline.project.stack import Stack
from towline.project.waits import ReleaseCommand, Waits

STACK = Stack("web", "web-project", "stack", Path("/p/stacks/web"), Path("/p"), ("compose.yaml",), ())
FRESH = StackFact(now="20261123-120000", live=False, current="")
MODEL = Model(services={"web": {"image": "web"}})
NONE: frozenset[str] = frozenset()

COMPOSE = ("docker", "compose", "--project-name", "web-project")
DOWN = ("in_live_if_any", *COMPOSE, "down", "--remove-orphans")
UP = ("start_services", *COMPOSE, "up", "--detach", "--remove-orphans", "--no-build", "--pull", "never")


def file(path: str, content: str = "", mode: int = 0o644) -> Entry:
    return Entry("f", mode, len(content), sha256(content.encode()).hexdigest(), path)


def manifest(*entries: Entry) -> Manifest:
    return Manifest(tuple(sorted(entries, key=lambda entry: entry.path.encode())))


OLD = manifest(file("compose.yaml", "v1"), file("conf/a", "a"), file("conf/b", "b"))
RUNNING = StackFact(
    now="20261123-120000",
    live=True,
    current="20261101-000000",
    before="20261001-000000",
    releases=(ReleaseFact("20261001-000000", "good"), ReleaseFact("20261101-000000", "good")),
    manifest=OLD,
)


def plan(
    new: Manifest, fact: StackFact = RUNNING, options: Options | None = None, networks: frozenset[str] = NONE
) -> Plan:
    return plan_deploy(DesiredState(STACK, Release(MODEL, new), networks), CurrentState(fact), options or Options())


def recreate(release: str) -> tuple[Step, ...]:
    return (
        Step("rehearse", ("in_release", *COMPOSE, "build", "--no-cache")),
        Step("pull", ("pull",)),
        Step("stage", ("stage", release)),
        Step("down", DOWN),
        Step("apply", ("apply", release)),
        Step("build", ("use_built_images",)),
        Step("up", UP),
        Step("mounts", ("mounts",)),
        Step("health", ("health",)),
        Step("downtime", ("downtime", "")),
        Step("keep", ("keep_release",)),
    )


def go_back(release: str) -> tuple[Step, ...]:
    return (
        Step("stage", ("stage", release)),
        Step("images", ("restore_images", release)),
        Step("down", DOWN),
        Step("apply", ("apply", release)),
        Step("up", UP),
        Step("mounts", ("mounts",)),
        Step("health", ("health",)),
    )


# --- a deploy -------------------------------------------------------------------------------------------------------------


def test_first_deploy_sends_everything_and_goes_back_to_nothing() -> None:
    made = plan(OLD, FRESH)
    assert (made.run, made.release, made.previous, made.new_release) == ("20261123-120000", "20261123-120000", "", True)
    assert (made.uploads, made.links, made.drop) == (OLD.entries, {}, ())
    assert made.steps == recreate("20261123-120000")
    assert made.undo == (Step("down", DOWN), Step("apply", ("apply", "")))


def test_unchanged_stack_has_no_new_release_and_sends_nothing() -> None:
    made = plan(OLD)
    assert (made.release, made.previous, made.new_release) == ("20261101-000000", "20261101-000000", False)
    assert (bool(made.changes), made.uploads, made.links, made.drop) == (False, (), {}, ())
    assert made.run == "20261123-120000"


def test_unchanged_stack_is_still_recreated_as_its_strategy_says() -> None:
    assert plan(OLD).steps == recreate("20261101-000000")


def test_changed_stack_sends_what_changed_and_goes_back_to_the_live_release() -> None:
    new = manifest(file("compose.yaml", "v2"), file("conf/a", "a"), file("more", "more"))
    made = plan(new)
    assert [entry.path for entry in made.uploads] == ["more", "compose.yaml"]
    assert made.drop == ("compose.yaml", "conf/b")
    assert (made.release, made.previous) == ("20261123-120000", "20261101-000000")
    assert made.steps == recreate("20261123-120000")
    assert made.undo == go_back("20261101-000000")


def test_release_that_failed_after_the_live_one_is_not_what_is_gone_back_to() -> None:
    fact = replace(RUNNING, releases=(*RUNNING.releases, ReleaseFact("20261110-000000", "failed")))
    assert plan(manifest(file("compose.yaml", "v2")), fact).previous == "20261101-000000"


@pytest.mark.parametrize(
    ("own", "options", "expected"),
    [
        (None, Options(timeout=7), 7),
        (90, Options(timeout=7), 90),
        (90, Options(timeout=7, timeout_given=True), 7),
    ],
    ids=["of the settings", "of the stack", "typed"],
)
def test_timeout_is_typed_or_of_the_stack_or_of_the_settings(own: int | None, options: Options, expected: int) -> None:
    stack = replace(STACK, waits=Waits(timeout=own))
    made = plan_deploy(DesiredState(stack, Release(MODEL, OLD)), CurrentState(RUNNING), options)
    back = plan_rollback(stack, CurrentState(RUNNING), BACK, options)
    assert (made.timeout, back.timeout) == (expected, expected)


COMMAND = ReleaseCommand("web", ("./manage", "migrate now"), 60)
RUN_IT = Step("before web", ("release_command", "web", "60", "./manage", "migrate now"))


@pytest.mark.parametrize(("strategy", "stops"), [("recreate", "down"), ("update", "apply"), ("rolling", "apply")])
def test_release_commands_run_before_anything_stops(strategy: Strategy, stops: str) -> None:
    stack = replace(STACK, strategy=strategy, before=(COMMAND,))
    made = plan_deploy(DesiredState(stack, Release(MODEL, OLD)), CurrentState(RUNNING), Options())
    names = [step.name for step in made.steps]
    assert RUN_IT in made.steps
    assert names.index("pull") < names.index("before web") < names.index(stops)
    assert made.notes == ("before anything stops, web runs `./manage 'migrate now'`",)
    assert RUN_IT not in made.undo
    assert RUN_IT not in plan_rollback(stack, CurrentState(RUNNING), BACK, Options()).steps


def test_release_commands_run_after_up_where_nothing_runs_yet() -> None:
    stack = replace(STACK, before=(COMMAND,))
    names = [
        s.name for s in plan_deploy(DesiredState(stack, Release(MODEL, OLD)), CurrentState(FRESH), Options()).steps
    ]
    assert names[names.index("up") + 1] == "before web"
    there = CurrentState(FRESH, Inventory(containers=(Container("other", project="web-project"),)))
    names = [s.name for s in plan_deploy(DesiredState(stack, Release(MODEL, OLD)), there, Options()).steps]
    assert names.index("before web") < names.index("down")


def test_runner_is_told_what_each_service_may_take() -> None:
    old = Model(services={"web": {"image": "web"}, "gone": {"image": "x"}})
    new = Model(
        services={
            "web": {"image": "web", "depends_on": {"migrate": {"condition": "service_completed_successfully"}}},
            "migrate": {"image": "web:2"},
        }
    )
    stack = replace(STACK, waits=Waits(watch=9, timeouts={"migrate": 600}, watches={"gone": 1}))
    made = plan_deploy(DesiredState(stack, Release(new, OLD)), CurrentState(replace(RUNNING, model=old)), Options())
    assert made.service_rows.splitlines() == [
        "gone\t-\t-\t1\tremove",
        "migrate\tjob\t600\t9\tcreate",
        "web\t-\t-\t9\tunchanged",
    ]


def test_cache_is_used_for_the_rehearsal_when_asked() -> None:
    assert plan(OLD, options=Options(cache=True)).steps[0] == Step("rehearse", ("in_release", *COMPOSE, "build"))


def test_networks_that_nobody_creates_are_made_first_in_order() -> None:
    steps = plan(OLD, networks=frozenset({"proxy", "back"})).steps
    assert steps[:2] == (Step("network", ("need_network", "back")), Step("network", ("need_network", "proxy")))
    assert steps[2:] == recreate("20261101-000000")


def test_volumes_are_never_removed() -> None:
    made = plan(manifest(file("x")))
    words = [word for step in (*made.steps, *made.undo) for word in step.command]
    assert not {"-v", "--volumes", "prune", "volume"}.intersection(words)


def test_update_takes_nothing_down_on_its_way_there_or_back() -> None:
    stack = replace(STACK, strategy="update")
    made = plan_deploy(
        DesiredState(stack, Release(MODEL, manifest(file("x")))), CurrentState(RUNNING), Options(max_downtime=3)
    )
    assert made.steps == (
        Step("build", ("in_release", *COMPOSE, "build")),
        Step("pull", ("pull",)),
        Step("stage", ("stage", "20261123-120000")),
        Step("apply", ("apply", "20261123-120000")),
        Step("up", UP),
        Step("mounts", ("mounts",)),
        Step("health", ("health",)),
        Step("downtime", ("downtime", "3")),
        Step("keep", ("keep_release",)),
    )
    assert made.undo == tuple(step for step in go_back("20261101-000000") if step.name != "down")


def test_a_service_that_reloads_is_signalled_on_the_way_there_and_back() -> None:
    mount = {"type": "bind", "source": "./conf", "target": "/conf"}
    model = Model(services={"web": {"image": "web", "volumes": [mount]}})
    fact = replace(RUNNING, model=model)
    new = manifest(*OLD.entries[:1], file("conf/a", "new"), file("conf/b", "b"))
    stack = replace(STACK, strategy="update", reload={"web": "HUP"})
    made = plan_deploy(DesiredState(stack, Release(model, new)), CurrentState(fact), Options())
    assert Step("reload web", ("signal", "web", "HUP")) in made.steps
    up, *rest = [step for step in made.undo if step.name in ("up", "reload web", "health")]
    assert (up.name, rest) == ("up", [Step("reload web", ("signal_back", "web", "HUP")), Step("health", ("health",))])

    recreated = plan_deploy(
        DesiredState(replace(stack, strategy="recreate"), Release(model, new)), CurrentState(fact), Options()
    )
    assert not [step for step in (*recreated.steps, *recreated.undo) if step.name == "reload web"]


def test_rollback_has_services_that_reload_read_their_files_again() -> None:
    made = plan_rollback(replace(STACK, reload={"web": "HUP"}), CurrentState(RUNNING), BACK, Options(strategy="update"))
    again = Step("reload web", ("signal_back", "web", "HUP"))
    assert (again in made.steps, again in made.undo) == (True, True)


def test_plan_is_empty_when_the_files_and_the_services_are_as_they_are_there() -> None:
    assert plan(OLD, replace(RUNNING, model=MODEL)).empty
    assert not plan(manifest(file("x")), replace(RUNNING, model=MODEL)).empty


# --- links and drops ------------------------------------------------------------------------------------------------------


def test_renamed_file_is_linked_to_where_the_live_release_has_it() -> None:
    made = plan(manifest(*OLD.entries[:2], file("moved/b", "b")))
    assert made.links == {"moved/b": "20261101-000000/files/conf/b"}
    assert made.drop == ("conf/b",)


def test_renamed_file_of_another_mode_is_sent() -> None:
    assert plan(manifest(*OLD.entries, file("run.sh", "b", 0o755))).links == {}


def test_file_whose_mode_alone_changed_is_sent_and_never_linked() -> None:
    made = plan(manifest(*OLD.entries[:2], file("conf/b", "b", 0o600)))
    assert ([entry.path for entry in made.uploads], made.links, made.drop) == (["conf/b"], {}, ("conf/b",))


def test_folder_whose_last_file_goes_is_dropped_with_it() -> None:
    assert plan(manifest(OLD.entries[0])).drop == ("conf", "conf/a", "conf/b")


def test_folder_that_becomes_a_file_is_dropped() -> None:
    assert plan(manifest(OLD.entries[0], file("conf", "now a file"))).drop == ("conf", "conf/a", "conf/b")


def test_file_that_becomes_a_folder_is_dropped() -> None:
    assert plan(manifest(*OLD.entries[1:], file("compose.yaml/x", "x"))).drop == ("compose.yaml",)


# --- ids ------------------------------------------------------------------------------------------------------------------


def test_run_id_is_the_server_s_clock_and_the_client_s_token() -> None:
    assert run_id(RUNNING, "c0ffee") == "20261123-120000-c0ffee"
    made = plan_deploy(DesiredState(STACK, Release(MODEL, OLD)), CurrentState(RUNNING, token="c0ffee"), Options())
    assert made.run == "20261123-120000-c0ffee"
    assert plan_rollback(STACK, CurrentState(RUNNING, token="c0ffee"), BACK, Options()).run == made.run


@pytest.mark.parametrize(
    "newest",
    [
        "20261123-120000-zzzzzz",  # in the same second
        "20261123-120000-2",  # as ids were written before
        "20261123-120000.part",
        "20261123-235959-0badca",  # the clock went back
        "20990101-000020-0badca",
        "99991231-235959-0badca",
        "20261123-120099-0badca",  # counted on from there
    ],
)
def test_run_id_is_higher_than_every_other_whatever_the_clock_says(newest: str) -> None:
    made = run_id(replace(RUNNING, newest=newest), "000000")
    assert made > newest
    assert len(made) == len("20261123-120000-000000")
    assert run_id(replace(RUNNING, newest=made), "000000") > made


def test_run_id_is_the_clock_s_where_the_newest_is_older() -> None:
    assert run_id(replace(RUNNING, newest="20261123-115959-ffffff"), "0") == "20261123-120000-0"


# --- a rollback -----------------------------------------------------------------------------------------------------------


BACK = RollbackTarget("20261001-000000")


def test_rollback_goes_to_the_good_release_before_and_may_come_back() -> None:
    assert find_rollback_release(STACK, RUNNING, "") == BACK.id
    made = plan_rollback(STACK, CurrentState(RUNNING), BACK, Options())
    assert (made.release, made.previous, made.strategy) == ("20261001-000000", "20261101-000000", "rollback")
    kept = (Step("downtime", ("downtime", "")), Step("keep", ("keep_release",)))
    assert made.steps == (*go_back("20261001-000000"), *kept)
    assert made.undo == go_back("20261101-000000")
    assert (made.uploads, made.drop) == ((), ())


def test_rollback_passes_over_releases_that_were_never_good() -> None:
    releases = (*RUNNING.releases, ReleaseFact("20261110-000000", "failed"), ReleaseFact("20261111-000000", "-"))
    fact = replace(RUNNING, releases=releases)
    assert find_rollback_release(STACK, fact, "") == "20261001-000000"


@pytest.mark.parametrize("to", ["nonsense", "20261101-00000", "../x"])
def test_rollback_to_a_release_that_is_not_there_is_refused(to: str) -> None:
    with pytest.raises(TowlineError, match="no release"):
        find_rollback_release(STACK, RUNNING, to)


def test_rollback_to_a_release_that_failed_is_refused() -> None:
    fact = replace(RUNNING, releases=(*RUNNING.releases, ReleaseFact("20261110-000000", "failed")))
    with pytest.raises(TowlineError, match="never ran healthy"):
        find_rollback_release(STACK, fact, "20261110-000000")


def test_rollback_without_another_good_release_is_refused() -> None:
    fact = replace(RUNNING, before="", releases=(RUNNING.releases[1],))
    with pytest.raises(TowlineError, match="no good release before"):
        find_rollback_release(STACK, fact, "")


# --- rolling: there and back --------------------------------------------------------------------------------------------


def serving(image: str, **more: object) -> Model:
    return Model({"web": {"image": image, "healthcheck": {"test": ["CMD", "true"]}, **more}})


ROLL = Step("roll web", ("roll", "web", "1"))


def test_what_is_rolled_is_rolled_back_when_the_deploy_fails() -> None:
    fact = replace(RUNNING, model=serving("web:1"))
    made = plan_deploy(
        DesiredState(STACK, Release(serving("web:2"), OLD)), CurrentState(fact), Options(strategy="rolling")
    )
    assert [step.name for step in made.steps][4:6] == ["roll web", "up"]
    assert [step.name for step in made.undo] == ["stage", "images", "apply", "roll web", "up", "mounts", "health"]


def test_what_could_not_stand_beside_the_new_one_is_not_rolled_back() -> None:
    fact = replace(RUNNING, model=serving("web:1", ports=[{"target": 80, "published": "80"}]))
    made = plan_deploy(
        DesiredState(STACK, Release(serving("web:2"), OLD)), CurrentState(fact), Options(strategy="rolling")
    )
    assert ROLL in made.steps
    assert ROLL not in made.undo


def test_rollback_builds_nothing_it_has_the_images() -> None:
    built = Model({"web": {"build": {"context": "."}}})
    changed = manifest(*OLD.entries[:2], file("conf/b", "other"))
    back = RollbackTarget(BACK.id, Release(built, changed))
    (web,) = plan_rollback(STACK, CurrentState(replace(RUNNING, model=built)), back, Options()).services
    assert (web.action, web.reasons) == ("recreate", ("conf/b",))


def test_rollback_tells_what_happens_to_each_service_and_rolls_where_the_strategy_does() -> None:
    fact = replace(RUNNING, model=serving("web:2"))
    back = RollbackTarget(BACK.id, Release(serving("web:1"), OLD))
    for strategy, rolls in (("rolling", (ROLL,)), ("update", ()), ("recreate", ())):
        made = plan_rollback(STACK, CurrentState(fact), back, Options(strategy=strategy))
        assert made.services == (ServicePlan("web", "recreate", ("image web:2 → web:1",)),), strategy
        assert tuple(step for step in made.steps if step == ROLL) == rolls, strategy
        assert tuple(step for step in made.undo if step == ROLL) == rolls, strategy


def test_rollback_names_what_cannot_be_rolled() -> None:
    back = RollbackTarget(BACK.id, Release(Model({"web": {"image": "web:1"}}), OLD))
    made = plan_rollback(
        STACK, CurrentState(replace(RUNNING, model=serving("web:2"))), back, Options(strategy="rolling")
    )
    assert made.notes == ("web cannot be rolled, so it is updated: it has no health check",)
    assert ROLL not in made.steps
