"""A person's lock and prune's own, under dash and under busybox: written whole, told as what they are, never by mistake."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.integration.conftest import Shell
from towline.commands.shell import script
from towline.deploy import lock
from towline.ssh.session import Result


def take(shell: Shell, home: Path, text: str) -> Result:
    return shell.command(script(lock._LOCK, str(home), text))


def test_lock_holds_its_text_until_it_is_taken_off(shell: Shell, tmp_path: Path) -> None:
    home = tmp_path / "new" / "home"
    assert take(shell, home, "by ann: holidays").ok
    assert (home / "held").read_text() == "by ann: holidays\n"
    second = take(shell, home, "by bob: me")
    assert (second.code, second.out) == (4, "by ann: holidays\n")
    assert [path.name for path in home.iterdir()] == ["held"]
    assert shell.command(script(lock._UNLOCK, str(home))).out == "by ann: holidays\n"
    assert shell.command(script(lock._UNLOCK, str(home))) == Result(0)


def test_empty_lock_of_a_full_disk_is_none(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "held").touch()
    assert take(shell, tmp_path, "by ann: mine").ok
    assert (tmp_path / "held").read_text() == "by ann: mine\n"


@pytest.mark.parametrize("home", ["/proc/self", "/proc/no/such/home"])
def test_lock_that_cannot_be_written_is_not_told_as_held(shell: Shell, home: str) -> None:
    """/proc takes no new file, as a file system that is read-only."""
    result = take(shell, Path(home), "by ann: mine")
    assert result.code not in (0, 4)
    assert result.err


def test_lock_of_many_at_once_is_of_one(shell: Shell, tmp_path: Path) -> None:
    words = [*shell.sh, *script(lock._LOCK, str(tmp_path))[1:]]
    started = [
        subprocess.Popen([*words, f"by {number}"], env=shell.env(), stdout=subprocess.DEVNULL) for number in range(12)
    ]
    assert sorted(each.wait(20) for each in started) == [0] + [4] * 11
