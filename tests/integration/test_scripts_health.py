"""health.sh and up.sh: which containers are good, which are not this run's fault, and how long the others may take.

`docker` is a stand-in: it lists and inspects the containers that the test writes down, as they are now.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.conftest import make_shell
from towline.remote import script

DOCKER = """#!/bin/sh
case $1 in
    ps) cat "$FOLDER/ids" ;;
    inspect) case "$*" in
        *RestartCount*) [ ! -x "$FOLDER/next" ] || "$FOLDER/next"; cat "$FOLDER/rows" ;;
        *'index .Config.Healthcheck.Test 0'*) echo CMD 2 0 1000000000 ;;
        *'index .Config.Healthcheck.Test 1'*) echo probe ;;
        *) echo - ;;
    esac ;;
    exec) printf '%s\\n' "$*" >>"$FOLDER/probed"; exit "$(cat "$FOLDER/probe")" ;;
    logs) echo "last words of $4" ;;
    compose) printf '%s\\n' "$*" >>"$FOLDER/composed"; cat "$FOLDER/services"; exit 0 ;;
esac
"""
START = """
set -u
run=$FOLDER/run home=$FOLDER/home scratch=$FOLDER/run/scratch project=web timeout=$1 pause=0.1
. ./scripts
uptime_now() { read -r up _ </proc/uptime; printf '%s\\n' "$up"; }
event() {
    line=$1
    shift
    while [ $# -gt 1 ]; do line="$line $1=$2"; shift 2; done
    printf '%s\\n' "$line" >>"$FOLDER/events"
}
in_live() { "$@"; }
shift
"""
SCRIPTS = script("limit", "containers", "health", "up")
RUNNING, OLD, NEW = "running", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"


@dataclass(frozen=True)
class Row:
    """A container as `docker inspect` tells of it. times: of its health check; result: its last one."""

    service: str
    state: str = RUNNING
    health: str = "-"
    code: int = 0
    policy: str = "no"
    restarts: int = 0
    started: str = NEW
    id: str = ""
    image: str = "image"
    hash: str = "hash"
    times: str = "-"
    result: str = ""

    def text(self) -> str:
        identity = self.id or f"id-{self.service}"
        name = f"/web-{self.service}-1"
        columns = (self.service, self.state, self.health, self.code, self.policy, self.restarts, self.started, name)
        return "\t".join(map(str, (*columns, identity, self.image, self.hash, self.times, self.result))) + "\n"


@dataclass
class Stage:
    """A run's folder, the containers that Docker has, and the shell that the script runs in."""

    folder: Path
    sh: tuple[str, ...]
    path: str

    def has(self, *rows: Row) -> None:
        (self.folder / "rows").write_text("".join(row.text() for row in rows))
        (self.folder / "ids").write_text("".join(f"{row.id or row.service}\n" for row in rows))

    def becomes(self, *rows: Row, after: int) -> None:
        """What Docker has once it was asked so many times more."""
        (self.folder / "later").write_text("".join(row.text() for row in rows))
        (self.folder / "left").write_text(f"{after}\n")
        file = self.folder / "next"
        file.write_text(
            '#!/bin/sh\nn=$(($(cat "$FOLDER/left") - 1))\necho $n >"$FOLDER/left"\n'
            '[ $n -gt 0 ] || cp "$FOLDER/later" "$FOLDER/rows"\n'
        )
        file.chmod(0o755)

    def plans(self, rows: Mapping[str, str]) -> None:
        """service → `KIND LIMIT WATCH ACTION`."""
        text = "".join("\t".join((name, *row.split(" "))) + "\n" for name, row in rows.items())
        (self.folder / "run/services").write_text(text)

    def before(self, *rows: Row) -> None:
        """These ran before the run began."""
        self.has(*rows)
        assert self.run("record_before")[0] == 0

    def run(self, command: str = "health", timeout: int = 2, **variables: str) -> tuple[int, list[str]]:
        """The exit code, and the events."""
        (self.folder / "events").write_text("")
        text = START + "".join(f"{name}={value}\n" for name, value in variables.items()) + command
        done = subprocess.run(
            (*self.sh, "-c", text, "sh", str(timeout)),
            env={"PATH": self.path, "LC_ALL": "C", "FOLDER": str(self.folder)},
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert "awk" not in done.stderr, done.stderr
        return done.returncode, (self.folder / "events").read_text().splitlines()


@pytest.fixture(params=["dash", "busybox"])
def stage(request: pytest.FixtureRequest, busybox_folder: Path, tmp_path: Path) -> Stage:
    tools = str(busybox_folder) if request.param == "busybox" else os.environ["PATH"]
    made = make_shell(request.param, tools, tmp_path / "docker-here")
    (tmp_path / "docker-here/docker").write_text(DOCKER)
    for folder in ("run/scratch", "home/run"):
        (tmp_path / folder).mkdir(parents=True)
    for name, text in {"scripts": SCRIPTS, "probe": "0\n", "services": "", "rows": "", "ids": ""}.items():
        (tmp_path / name).write_text(text)
    stage = Stage(tmp_path, made.sh, made.path)
    stage.plans({})
    return stage


def unhealthy(events: Iterable[str]) -> list[str]:
    return [event for event in events if event.startswith("unhealthy")]


GOOD = Row("db", health="healthy", id="db", started=OLD)


# --- what was bad before ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad",
    [
        Row("app", health="unhealthy", started=OLD),
        Row("app", "restarting", code=1, policy="always", restarts=40, started=OLD),
        Row("app", "exited", code=3, started=OLD),
        Row("app", "created", started=OLD),
        Row("app", "paused", started=OLD),
    ],
    ids=lambda row: row.health if row.health != "-" else row.state,
)
def test_what_was_bad_and_does_not_change_is_named_and_fails_nothing(stage: Stage, bad: Row) -> None:
    stage.before(GOOD, bad)
    stage.plans({"app": "- - - unchanged"})
    code, events = stage.run()
    assert (code, [event.split(" why")[0] for event in events]) == (0, ["known service=app"])


MADE_ANEW = {"id": "new", "started": NEW, "health": "unhealthy"}


@pytest.mark.parametrize(
    ("row", "action", "expected"),
    [
        (Row("app", **MADE_ANEW), "unchanged", 0),
        (Row("app", image="built again", **MADE_ANEW), "unchanged", 0),
        (Row("app", hash="other", **MADE_ANEW), "unchanged", 1),
        (Row("app", **MADE_ANEW), "recreate", 1),
        (Row("app", image="other", **MADE_ANEW), "rebuild", 1),
        (Row("app", **MADE_ANEW), "create", 0),
        (Row("app", hash="other", **MADE_ANEW), "create", 1),
    ],
)  # type: ignore[misc]
def test_what_the_run_changes_has_to_be_good(stage: Stage, row: Row, action: str, expected: int) -> None:
    stage.before(GOOD, Row("app", health="unhealthy", started=OLD))
    stage.plans({"app": f"- - - {action}"})
    stage.has(GOOD, row)
    assert stage.run()[0] == expected


def test_what_an_interrupted_run_left_behind_never_was_good(stage: Stage) -> None:
    (stage.folder / "home/run/1").mkdir()
    (stage.folder / "home/run/1/steps").write_text("up\n")
    stage.before(GOOD, Row("app", health="unhealthy", started=OLD))
    stage.plans({"app": "- - - create"})
    assert stage.run()[0] == 1


def test_what_goes_back_to_what_it_was_is_not_to_blame(stage: Stage) -> None:
    stage.before(Row("app", health="unhealthy", started=OLD))
    stage.plans({"app": "- - - recreate"})
    stage.has(Row("app", **MADE_ANEW))  # type: ignore[arg-type]
    code, events = stage.run(undoing="yes")
    assert (code, events) == (0, ["known service=app why=unhealthy"])


def test_a_run_after_which_nothing_is_good_has_failed(stage: Stage) -> None:
    stage.before(Row("app", health="unhealthy", started=OLD))
    stage.plans({"app": "- - - unchanged"})
    assert stage.run()[0] == 1


# --- results newer than `up` ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("probe", "expected"), [(0, 0), (1, 1)])
def test_healthy_of_before_counts_when_its_check_passes_now(stage: Stage, probe: int, expected: int) -> None:
    stage.before(GOOD)
    (stage.folder / "probe").write_text(f"{probe}\n")
    code, events = stage.run(timeout=3)
    assert code == expected
    assert ("has not passed again" in "".join(events)) == bool(probe)
    assert (stage.folder / "probed").read_text().startswith("exec db probe\n")


def test_a_new_result_of_docker_counts_too(stage: Stage) -> None:
    stage.before(Row("db", health="healthy", id="db", started=OLD, result='"t1"=0 '))
    (stage.folder / "probe").write_text("1\n")
    stage.becomes(Row("db", health="healthy", id="db", started=OLD, result='"t1"=0 "t2"=0 '), after=3)
    assert stage.run(timeout=20)[0] == 0


def test_unhealthy_for_a_moment_may_become_healthy_again(stage: Stage) -> None:
    stage.before(GOOD)
    stage.has(Row("db", health="unhealthy", id="db", started=OLD))
    stage.becomes(GOOD, after=4)
    assert stage.run(timeout=20)[0] == 0


def test_new_container_that_is_healthy_is_not_asked_again(stage: Stage) -> None:
    stage.before()
    stage.has(Row("app", health="healthy"))
    assert stage.run()[0] == 0
    assert not (stage.folder / "probed").exists()


# --- without a health check ----------------------------------------------------------------------------------------------


def test_what_ran_all_the_time_costs_no_watching(stage: Stage) -> None:
    stage.before(Row("app", started=OLD))
    code, events = stage.run(watch="600")
    assert (code, events) == (0, [])


def test_what_is_new_is_watched_and_the_end_says_for_how_long(stage: Stage) -> None:
    stage.before()
    stage.has(Row("app"), Row("quick"))
    stage.plans({"app": "- - 2 create", "quick": "- - 0 create"})
    assert stage.run() == (0, ["watched service=app seconds=2"])


def test_what_starts_over_and_over_is_caught_while_it_runs(stage: Stage) -> None:
    stage.before()
    stage.has(Row("app", policy="always", restarts=3, code=1))
    code, events = stage.run()
    assert (code, unhealthy(events)) == (1, ["unhealthy service=app why=restarts over and over, exit code 1"])


def test_restarts_of_before_do_not_count(stage: Stage) -> None:
    stage.before(Row("app", restarts=9, started=OLD))
    assert stage.run() == (0, [])


# --- limits --------------------------------------------------------------------------------------------------------------

SLOW = "3000000000 1000000000 1 1000000000"  # 5 s


@pytest.mark.parametrize("plan", ["- - - create", "- 4 - create"])
def test_a_service_has_the_time_that_its_health_check_asks_for(stage: Stage, plan: str) -> None:
    stage.before()
    stage.plans({"app": plan})
    stage.has(Row("app", health="starting", times=SLOW))
    code, events = stage.run(timeout=1)
    assert (code, unhealthy(events)) == (
        1,
        ["unhealthy service=app why=health: starting, after 5 s of at most 5 s"],
    )


def test_a_one_shot_has_a_limit_of_its_own(stage: Stage) -> None:
    stage.before()
    stage.plans({"migrate": "job 4 - create"})
    stage.has(Row("migrate", health="unhealthy"), Row("db", health="healthy"))
    code, events = stage.run(timeout=1)
    assert code == 1
    assert "job service=migrate seconds=3 limit=4" in events
    assert unhealthy(events) == ["unhealthy service=migrate why=is still at work, after 4 s of at most 4 s"]


def test_a_one_shot_that_ends_well_is_good(stage: Stage) -> None:
    stage.before()
    stage.plans({"migrate": "job - - create"})
    stage.has(Row("migrate"))
    stage.becomes(Row("migrate", "exited"), after=3)
    assert stage.run(timeout=1) == (0, [])


def test_cut_one_shot_is_named_with_its_seconds(stage: Stage) -> None:
    stage.before(Row("old", id="old", started=OLD))
    stage.plans({"migrate": "job - - create", "old": "job - - unchanged"})
    stage.has(Row("migrate"), Row("old", id="old", started=OLD))
    assert stage.run("tell_cut_jobs")[1] == ["cut service=migrate seconds=0"]


# --- what should be there -------------------------------------------------------------------------------------------------


def test_nothing_is_good_where_nothing_was_started(stage: Stage) -> None:
    stage.before()
    assert stage.run("start_services true && health") == (0, [])


def test_container_that_went_after_up_is_missed(stage: Stage) -> None:
    stage.before()
    stage.has(GOOD, Row("app"))
    assert stage.run("start_services true")[0] == 0
    stage.has(GOOD)
    code, events = stage.run()
    assert (code, events) == (1, ["unhealthy service=app why=its container is gone"])


# --- up -------------------------------------------------------------------------------------------------------------------


def test_up_that_a_bad_service_of_before_blocks_starts_the_others_without_it(stage: Stage) -> None:
    stage.before(GOOD, Row("app", health="unhealthy", started=OLD))
    stage.plans({"app": "- - - unchanged"})
    (stage.folder / "services").write_text("app\ndb\nweb\n")
    script = 'up() { printf "%s\\n" "$*" >>"$FOLDER/up"; [ $# -gt 0 ]; }; start_services up'
    assert stage.run(script)[0] == 0
    assert (stage.folder / "up").read_text() == "\n--no-deps db web\n"


def test_up_that_fails_for_another_reason_fails(stage: Stage) -> None:
    stage.before(GOOD)
    assert stage.run('up() { echo "$*" >>"$FOLDER/up"; return 7; }; start_services up')[0] == 7
    assert (stage.folder / "up").read_text() == "\n"


def test_up_is_ended_after_its_time_but_not_while_a_one_shot_is_at_work(stage: Stage) -> None:
    stage.before()
    assert stage.run("start_services sleep 30", timeout=2)[0] == 124
    stage.plans({"migrate": "job 60 - create"})
    stage.has(Row("migrate"))
    code, events = stage.run("start_services sleep 12", timeout=2)
    assert code == 0
    assert json.dumps(events).count("job service=migrate") >= 1
