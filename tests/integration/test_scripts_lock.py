"""A person's lock and prune's own, under dash and under busybox: written whole, told as what they are, never by mistake."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.integration.conftest import Server, Shell
from towline.commands.shell import script
from towline.deploy import lock
from towline.engines.steps import Step
from towline.remote import script as remote_script
from towline.sandbox.wait import wait_until
from towline.ssh.session import Result

TREE = {"compose.yaml": "services: {}\n"}


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


def prune(server: Server, really: str) -> list[str]:
    words = script(remote_script("prune"), str(server.root), "web", "web", really, "ann@laptop")
    return [*server.shell.sh, *words[1:]]


def test_deploy_that_meets_a_prune_says_so(server: Server) -> None:
    if server.shell.name == "busybox":
        return  # Debian's has no flock, and prune takes no lock there
    old, live = server.send(TREE), server.send(TREE | {"more": "x"})
    os.mkfifo(server.home / "releases" / old.release / "images")
    pruning = subprocess.Popen(prune(server, "yes"), env=server.shell.env(), stdout=subprocess.PIPE)
    assert wait_until((server.home / "holder").is_file, 10)
    assert server.fact().holder.startswith("prune by ann@laptop since 20")
    run = server.run(live.release, [Step("never", ("true",))])
    assert run.result == "locked"
    (told,) = run.events("locked")
    assert str(told["holder"]).startswith("prune by ann@laptop since 20")
    assert " at '" not in str(told["holder"])
    second = subprocess.run(prune(server, "yes"), env=server.shell.env(), capture_output=True, text=True, check=False)
    assert (second.returncode, second.stderr.startswith("locked: prune by ann@laptop")) == (4, True)
    (server.home / "releases" / old.release / "images").write_text("")
    assert pruning.wait(10) == 0
    assert not (server.home / "holder").exists()
    assert not (server.home / "releases" / old.release).exists()


def test_looking_at_what_prune_would_free_locks_nothing(server: Server) -> None:
    old, _ = server.send(TREE), server.send(TREE | {"more": "x"})
    done = subprocess.run(prune(server, "no"), env=server.shell.env(), capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"release {old.release} ")
    assert not (server.home / "holder").exists()
