"""Commands with a time limit: ended with all that they started, under each kind of `timeout` and without one."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.integration.conftest import Shell
from towline.commands.shell import limited
from towline.sandbox.wait import wait_until


@pytest.fixture(params=["as it is", "without timeout"])
def limiting(request: pytest.FixtureRequest, shell: Shell, tmp_path: Path) -> Shell:
    """The shell as it is (GNU's timeout, or busybox's), and with a PATH that has no timeout."""
    if request.param == "as it is":
        return shell
    tools = tmp_path / "tools"
    tools.mkdir()
    for folder in shell.path.split(":"):
        for tool in Path(folder).glob("*") if Path(folder).is_dir() else ():
            if tool.name != "timeout" and not (tools / tool.name).is_symlink():
                (tools / tool.name).symlink_to(tool)
    return replace(shell, path=str(tools))


def running(text: str) -> bool:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if text.encode() in (folder / "cmdline").read_bytes().replace(b"\0", b" "):
                return True
        except OSError:
            continue
    return False


def test_command_in_time_is_as_without_a_limit(limiting: Shell) -> None:
    assert limiting.command(limited(20, ("cat",)), stdin=b"in").stdout == b"in"
    result = limiting.command(limited(20, ("sh", "-c", "echo out; echo err >&2; exit 3")))
    assert (result.code, result.stdout, result.stderr) == (3, b"out\n", b"err\n")


def test_command_ended_by_a_signal_of_its_own_has_not_timed_out(limiting: Shell) -> None:
    assert limiting.command(limited(20, ("sh", "-c", "kill -9 $$"))).code == 137


def test_late_command_is_ended_with_what_it_started(limiting: Shell) -> None:
    nap = f"3600.{os.getpid()}{len(limiting.path)}"
    began = time.monotonic()
    result = limiting.command(limited(1, ("sh", "-c", f"echo begun; sleep {nap} & wait")))
    assert (result.code, result.stdout) == (124, b"begun\n")
    assert result.last_line == "no answer within the time limit"
    assert time.monotonic() - began < 20
    assert wait_until(lambda: not running(f"sleep {nap}"), 8)
