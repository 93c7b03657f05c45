"""Things that go wrong in the middle of a deploy, brought about for real, and the waiting for the right moment."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.e2e.conftest import Project


def wait_for(look: Callable[[], object], what: str, seconds: float = 60) -> None:
    """Returns as soon as `look` answers with something true."""
    until = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < until, f"waited {seconds} s for {what}"
        time.sleep(0.002)


def events(run: Path) -> list[dict[str, object]]:
    with suppress(FileNotFoundError):
        lines = (run / "events").read_text().split("\n")
        return [json.loads(line) for line in lines[:-1]]
    return []


def last_run(project: Project) -> Path | None:
    runs = sorted(project.state().glob("run/*"))
    return runs[-1] if runs else None


def start_and_reach(project: Project, step: str, *words: str) -> tuple[subprocess.Popen[str], Path]:
    """A deploy of the stack `web`, and its run's folder, at the moment that the step begins."""
    before = last_run(project)
    quick = () if step == "rehearse" else ("--cache",)  # then a rehearsal is too short to be hit
    client = project.start("deploy", f"--stack={project.name('web')}", *quick, *words)
    wait_for(lambda: last_run(project) != before or client.poll() is not None, "a new run")
    run = last_run(project)
    assert run and run != before, client.communicate()
    begun = {"event": "step", "name": step, "state": "begin"}
    wait_for(lambda: any(begun.items() <= event.items() for event in events(run)), f"{step} to begin")
    return client, run


def wait_for_end(run: Path) -> None:
    wait_for((run / "result").is_file, "the runner's result")


def cut_line(project: Project) -> None:
    """The server's end of every connection dies: the client sees a reset."""
    for pid in children(project.box.pid):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def kill_client(client: subprocess.Popen[str]) -> None:
    os.killpg(client.pid, signal.SIGKILL)
    client.wait()


def kill_runner(run: Path) -> None:
    os.kill(int((run / "pid").read_text()), signal.SIGKILL)


def children(pid: int) -> list[int]:
    done = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(word) for word in done.stdout.split()]


def lock_is_free(project: Project) -> bool:
    """Nobody holds the stack's lock; a killed runner's last command may for a moment."""
    done = subprocess.run(["flock", "-n", project.state() / "lock", "true"], check=False)
    return done.returncode == 0


def stray_files(project: Project) -> list[str]:
    """What should be gone when nothing runs: parts of releases, staged copies, scratch lists, files set aside."""
    state, live = project.state(), project.live()
    found = [*state.glob("releases/*.part"), *state.glob("run/*/scratch")]
    found += [*state.glob("*.new"), *live.rglob("*.before-*")]
    return [str(path) for path in found]
