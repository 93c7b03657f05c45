"""Whatever goes wrong, at whichever step: the stack serves the old page or the new one, and nothing is lost.

The table of (fault × step → end state) is printed at the end of the run.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import STEPS
from tests.e2e import faults
from tests.e2e.conftest import OwnEngine, Project, new_project, own_project
from towline import sandbox

MANY = 150  # files that change, so that `stage` and `apply` take long enough to be hit


def write(project: Project, text: str) -> None:
    folder = project.write_page(text=text, **{f"many/{i}.txt": f"{i} {text}" for i in range(MANY)})
    compose = folder / "compose.yaml"
    mounts = 'restart: unless-stopped\n    volumes: ["./data:/data", "./many:/many:ro"]\n    ports:'
    compose.write_text(compose.read_text().replace("ports:", mounts))


def write_data(project: Project) -> dict[Path, tuple[bytes, int]]:
    """What a container writes beside its compose file: content and mode, by path."""
    data = project.live() / "data"
    (data / "log").write_text("line\n" * 1000)
    (data / "acme.json").write_text('{"key": "x"}')
    (data / "acme.json").chmod(0o600)
    return state_of(data)


def state_of(folder: Path) -> dict[Path, tuple[bytes, int]]:
    return {path: (path.read_bytes(), path.stat().st_mode) for path in folder.rglob("*") if path.is_file()}


@dataclass
class Standing:
    """A stack that stands; each test takes it from the page that is served to the next one."""

    project: Project
    version: int = 0
    data: dict[Path, tuple[bytes, int]] = field(default_factory=dict)

    @property
    def option(self) -> str:
        return f"--stack={self.project.name('web')}"

    @property
    def old(self) -> str:
        return f"v{self.version - 1}\n"

    @property
    def new(self) -> str:
        return f"v{self.version}\n"

    def deploy(self) -> None:
        ran = self.project.tow("deploy", self.option, "--cache")
        assert ran.code == 0, ran.err

    def advance(self) -> Project:
        """The next version lies here; the one before it is served there."""
        if not self.project.ports or self.project.page() != self.new:
            write(self.project, self.new)
            self.deploy()
        self.data = write_data(self.project)
        self.version += 1
        write(self.project, self.new)
        return self.project

    def check(self, record: Callable[[str, object], None], fault: str, step: str) -> None:
        """One of the two pages is served, the lock is free, nothing strays, the containers' data is as it was."""
        project = self.project
        faults.wait_for(lambda: project.page() in (self.old, self.new), "a page", 30)
        page = project.page()
        record("fault", (fault, step, "new" if page == self.new else "old"))
        faults.wait_for(lambda: faults.lock_is_free(project), "the lock", 30)
        assert faults.stray_files(project) == []
        assert state_of(project.live() / "data") == self.data
        many = {file.read_text().split(" ")[1] for file in (project.live() / "many").iterdir()}
        assert many == {page}, "the live folder holds one release, whole"


@pytest.fixture(scope="module")
def standing(box: sandbox.Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standing]:
    made = new_project(box, tmp_path_factory.mktemp("standing"), Project)
    yield Standing(made)
    made.clear()


@pytest.fixture(scope="module")
def own_standing(own_engine: OwnEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standing]:
    with own_project(own_engine, tmp_path_factory.mktemp("own")) as made:
        yield Standing(made)


@pytest.mark.parametrize("step", STEPS)
def test_a_cut_line_is_taken_up_again(standing: Standing, step: str, record_property: Callable[..., None]) -> None:
    project = standing.advance()
    client, run = faults.start_and_reach(project, step)
    faults.cut_line(project)
    _, err = client.communicate(timeout=90)
    assert client.returncode == 0, err
    assert "the line broke" in err
    assert "logging in again" in err
    faults.wait_for_end(run)
    assert project.page() == standing.new
    standing.check(record_property, "line cut", step)


@pytest.mark.parametrize("step", STEPS)
def test_a_killed_client_changes_nothing_on_the_server(
    standing: Standing, step: str, record_property: Callable[..., None]
) -> None:
    project = standing.advance()
    client, run = faults.start_and_reach(project, step)
    faults.kill_client(client)
    faults.wait_for_end(run)
    assert project.page() == standing.new
    standing.check(record_property, "client killed", step)


@pytest.mark.parametrize("step", STEPS)
def test_a_killed_runner_is_noticed_and_mended_by_the_next_deploy(
    standing: Standing, step: str, record_property: Callable[..., None]
) -> None:
    project = standing.advance()
    client, run = faults.start_and_reach(project, step)
    faults.kill_runner(run)
    _, err = client.communicate(timeout=60)
    assert client.returncode == 6, err
    assert f"deploy {run.name} was interrupted at" in project.tow("get-containers").err
    mended = project.tow("deploy", standing.option, "--cache")
    assert mended.code == 0, mended.err
    assert f"deploy {run.name} was interrupted at" in mended.err
    assert project.page() == standing.new
    standing.check(record_property, "runner killed", step)


@pytest.mark.xdist_group("own-engine")
@pytest.mark.parametrize("step", STEPS)
def test_an_engine_restarted_in_mid_sequence_leaves_one_of_two_states(
    own_engine: OwnEngine, own_standing: Standing, step: str, record_property: Callable[..., None]
) -> None:
    project = own_standing.advance()
    client, run = faults.start_and_reach(project, step)
    own_engine.restart()
    client.communicate(timeout=120)
    faults.wait_for_end(run)
    own_standing.deploy()
    assert project.page() == own_standing.new
    own_standing.check(record_property, "engine restarted", step)


OLD, NEW = "old\n", "new\n"


def deployed(project: Project) -> str:
    """The stack with the old page live. Answers with the option that names it."""
    write(project, OLD)
    stack = f"--stack={project.name('web')}"
    ran = project.tow("deploy", stack, "--cache")
    assert ran.code == 0, ran.err
    return stack


def test_a_line_cut_while_the_files_are_sent_touches_nothing(project: Project) -> None:
    stack = deployed(project)
    data = write_data(project)
    write(project, NEW)
    (project.folder / "stacks" / project.name("web") / "big").write_bytes(os.urandom(200 << 20))
    client = project.start("deploy", stack)
    faults.wait_for(lambda: list(project.state().glob("releases/*.part/new")), "the tarball to come in")
    faults.cut_line(project)
    _, err = client.communicate(timeout=60)
    assert client.returncode == 3, err
    faults.wait_for(lambda: not faults.stray_files(project), "the part to be taken away")
    assert project.page() == OLD
    assert state_of(project.live() / "data") == data


def test_ctrl_c_cancels_and_puts_the_old_release_back(project: Project) -> None:
    deployed(project)
    data = write_data(project)
    write(project, NEW)
    client, run = faults.start_and_reach(project, "up")
    client.send_signal(signal.SIGINT)
    _, err = client.communicate(timeout=60)
    assert client.returncode == 5, err
    assert "cancelled" in err
    assert (run / "result").read_text() == "restored\n"
    assert project.page() == OLD
    assert state_of(project.live() / "data") == data


def test_a_second_ctrl_c_detaches_and_attach_follows_it_again(project: Project) -> None:
    stack = deployed(project)
    write(project, NEW)
    client, run = faults.start_and_reach(project, "rehearse")
    client.send_signal(signal.SIGINT)
    faults.wait_for(
        lambda: b"cancelled" in (run / "events").read_bytes() or (run / "result").exists(), "the cancelling"
    )
    client.send_signal(signal.SIGINT)
    _, err = client.communicate(timeout=60)
    assert client.returncode in (5, 130), err
    faults.wait_for_end(run)
    attached = project.tow("attach", stack)
    assert attached.code == 5
    assert "cancelled" in attached.err
    assert project.page() == OLD


def test_attach_follows_a_deploy_whose_client_is_gone(project: Project) -> None:
    stack = deployed(project)
    write(project, NEW)
    client, _ = faults.start_and_reach(project, "stage")
    faults.kill_client(client)
    attached = project.tow("attach", stack)
    assert attached.code == 0, attached.err
    assert "runs and is healthy" in attached.err
    assert project.page() == NEW


def test_a_second_deploy_of_a_stack_is_told_who_holds_the_lock(project: Project) -> None:
    stack = deployed(project)
    write(project, NEW)
    client, run = faults.start_and_reach(project, "rehearse")
    second = project.tow("deploy", stack)
    assert second.code == 4
    assert f"run {run.name} by " in second.err
    assert " at '" in second.err
    waiting = project.tow("deploy", stack, "--lock-wait=60")
    assert waiting.code == 0, waiting.err
    assert client.wait(60) == 0
