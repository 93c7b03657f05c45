"""A batch: many commands in one session of the real sshd, each with its own code, stdout and stderr."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.integration.conftest import Client
from tests.integration.test_connection_sessions import commands_running
from towline.commands.shell import Command
from towline.errors import ConnectionLost
from towline.sandbox.wait import wait_until
from towline.ssh import batch as batches

ALL_BYTES = bytes(range(256))


@pytest.fixture(params=[False, True], ids=["in turn", "parallel"])
def parallel(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def cat(file: Path, content: bytes) -> Command:
    file.write_bytes(content)
    return ("cat", str(file))


def test_output_is_kept_byte_for_byte(client: Client, tmp_path: Path, parallel: bool) -> None:
    contents = [
        ALL_BYTES,
        b"no newline",
        b"",
        b"\n",
        b"0 5 0\nabcde",
        os.urandom(5_000_000),
        b"1 2 3\n" * 1000,
        b"\n\n",
    ]
    commands = [cat(tmp_path / str(number), content) for number, content in enumerate(contents)]
    results = client.connection.batch(commands, parallel=parallel)
    assert [result.code for result in results] == [0] * len(contents)
    assert [result.stdout for result in results] == contents
    assert (client.counts().logins, client.counts().sessions) == (1, 1)
    assert client.ledger_agrees()


def test_stderr_is_separate_and_byte_for_byte_too(client: Client, tmp_path: Path, parallel: bool) -> None:
    (tmp_path / "bytes").write_bytes(ALL_BYTES)
    text = 'printf out; cat "$0" >&2; exit 3'
    (result,) = client.connection.batch([("sh", "-c", text, str(tmp_path / "bytes"))], parallel=parallel)
    assert (result.code, result.stdout, result.stderr) == (3, b"out", ALL_BYTES)


def test_each_command_has_its_own_code(client: Client, parallel: bool) -> None:
    codes = [0, 1, 2, 77, 126, 127, 255]
    commands: list[Command] = [("sh", "-c", f"exit {code}") for code in codes]
    assert [result.code for result in client.connection.batch(commands, parallel=parallel)] == codes


def test_command_that_does_not_exist_is_127_and_the_others_run(client: Client, parallel: bool) -> None:
    results = client.connection.batch([("no-such-command-here",), ("echo", "on")], parallel=parallel)
    assert (results[0].code, results[1].out) == (127, "on\n")
    assert "no-such-command-here" in results[0].err


def test_command_ended_by_a_signal_has_the_shell_s_code_for_it(client: Client, parallel: bool) -> None:
    results = client.connection.batch([("sh", "-c", "kill -9 $$"), ("echo", "on")], parallel=parallel)
    assert (results[0].code, results[1].out) == (137, "on\n")


def test_nothing_runs_after_the_first_failure_with_stop(client: Client, tmp_path: Path) -> None:
    commands: list[Command] = [("echo", "one"), ("sh", "-c", "exit 9"), ("touch", str(tmp_path / "mark"))]
    results = client.connection.batch(commands, stop=True)
    assert [result.code for result in results] == [0, 9]
    assert not (tmp_path / "mark").exists()


def test_all_run_when_none_fails_with_stop(client: Client) -> None:
    assert [r.out for r in client.connection.batch([("echo", "1"), ("echo", "2")], stop=True)] == ["1\n", "2\n"]


def test_commands_that_run_in_parallel_can_wait_for_each_other(client: Client, tmp_path: Path) -> None:
    there, back = tmp_path / "there", tmp_path / "back"
    os.mkfifo(there)
    os.mkfifo(back)
    commands: list[Command] = [
        ("sh", "-c", 'cat "$0"; echo pong >"$1"', str(there), str(back)),
        ("sh", "-c", 'echo ping >"$0"; cat "$1"', str(there), str(back)),
    ]
    assert [r.out for r in client.connection.batch(commands, parallel=True, timeout=10)] == ["ping\n", "pong\n"]
    assert client.counts().sessions == 1


def test_commands_get_an_empty_stdin(client: Client, parallel: bool) -> None:
    results = client.connection.batch([("wc", "-c"), ("cat",), ("wc", "-c")], parallel=parallel)
    assert [result.out for result in results] == ["0\n", "", "0\n"]


def test_overdue_command_is_ended_there_with_124_and_the_others_run(client: Client, parallel: bool) -> None:
    nap = f"3600.{os.getpid()}{int(parallel)}2"
    commands: list[Command] = [("sh", "-c", f"echo begun; sleep {nap} & wait"), ("echo", "on")]
    slow, other = client.connection.batch(commands, timeout=1, parallel=parallel)
    assert (slow.code, slow.out, other.out) == (124, "begun\n", "on\n")
    assert wait_until(lambda: f"sleep {nap}" not in commands_running(), 5)


def test_no_commands_are_no_results(client: Client) -> None:
    assert client.connection.batch([]) == []


def test_two_hundred_commands_are_one_session(client: Client) -> None:
    results = client.connection.batch([("echo", str(number)) for number in range(200)])
    assert [result.out for result in results] == [f"{number}\n" for number in range(200)]
    assert (client.counts().sessions, client.connection.ledger.commands) == (1, 200)


def test_words_of_a_batch_arrive_as_they_are(client: Client, parallel: bool) -> None:
    words = ["it's", "$HOME", "`id`", "a  b", "", "}", "*", "back\\slash", "new\nline", "ümläut", "exit 0\n}\n"]
    command = ("sh", "-c", 'for word; do printf "%s\\0" "$word"; done', "-", *words)
    (result,) = client.connection.batch([command], parallel=parallel)
    assert result.out.split("\0")[:-1] == words


def test_batch_leaves_no_files_there(client: Client, tmp_path: Path) -> None:
    before = set(Path("/tmp").glob("tmp.*"))
    (result,) = client.connection.batch([("sh", "-c", 'ls -d /tmp/tmp.*; echo "$TMPDIR"')])
    mine = {Path(name) for name in result.out.split()} - before
    assert wait_until(lambda: not [folder for folder in mine if folder.exists()], 5)


def test_batch_whose_shell_is_killed_is_no_result(client: Client) -> None:
    with pytest.raises(ConnectionLost):
        client.connection.batch([("sh", "-c", "kill -9 $PPID"), ("true",)])
    assert client.connection.run(("true",)).ok
    assert client.counts().logins == 1


def test_batch_keeps_its_results_in_memory_where_the_temporary_folder_cannot_be_written(client: Client) -> None:
    text = batches.script([("sh", "-c", "echo $TMPDIR")], parallel=False, stop=False, timeout=None)
    result = client.connection.run(("sh", "-c", "TMPDIR=/nonexistent sh -s"), stdin=text)
    assert (result.code, result.stdout) == (0, b"0 9 0\n/dev/shm\n")


def test_batch_that_cannot_keep_its_results_runs_nothing(client: Client, tmp_path: Path) -> None:
    text = batches.script([("touch", str(tmp_path / "mark"))], parallel=False, stop=False, timeout=None)
    (tmp_path / "mktemp").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "mktemp").chmod(0o755)
    result = client.connection.run(("sh", "-c", 'PATH="$0:$PATH" sh -s', str(tmp_path)), stdin=text)
    assert (result.code, result.stdout) == (125, b"")
    assert not (tmp_path / "mark").exists()
