"""The script of a batch, and the results that are parsed from its output."""

from __future__ import annotations

import subprocess

import pytest

from towline.commands.shell import Command
from towline.errors import ConnectionLost
from towline.ssh.batch import ResultReader, script
from towline.ssh.session import Result

RESULTS = [
    Result(0, b"out\n", b""),
    Result(3, b"", b"err"),
    Result(0, b"1 2 3\n\n", bytes(range(256))),
    Result(255),
    Result(0, b"\n"),
]
STREAM = b"".join(b"%d %d %d\n" % (r.code, len(r.stdout), len(r.stderr)) + r.stdout + r.stderr for r in RESULTS)


def read(*chunks: bytes) -> list[Result]:
    reader = ResultReader()
    return [result for chunk in chunks for result in reader.feed(chunk)]


def test_results_byte_by_byte_are_those_at_once() -> None:
    assert read(*(STREAM[i : i + 1] for i in range(len(STREAM)))) == read(STREAM) == RESULTS


@pytest.mark.parametrize("size", range(2, 40))
def test_results_in_pieces_of_any_size_are_those_at_once(size: int) -> None:
    assert read(*(STREAM[i : i + size] for i in range(0, len(STREAM), size))) == RESULTS


def test_result_is_given_as_soon_as_its_last_byte_is_there() -> None:
    reader = ResultReader()
    assert list(reader.feed(b"0 2 1\nab")) == []
    assert list(reader.feed(b"c0 0 0\n1")) == [Result(0, b"ab", b"c"), Result(0)]


def test_sizes_may_be_padded_as_some_wc_do() -> None:
    assert read(b"0   2    0\nab") == [Result(0, b"ab")]


@pytest.mark.parametrize("talk", [b"Welcome to this server\n", b"\n", b"0 1\n", b"0 1 2 3\n", b"\xff\xfe\n"])
def test_what_is_no_result_is_quoted_in_the_error(talk: bytes) -> None:
    with pytest.raises(ConnectionLost, match="expected a result from the server's shell, got"):
        read(talk)


def run(*commands: Command, parallel: bool = False, stop: bool = False, timeout: float | None = None) -> list[Result]:
    text = script(commands, parallel=parallel, stop=stop, timeout=timeout)
    done = subprocess.run(("sh", "-s"), input=text, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    return read(done.stdout)


@pytest.mark.parametrize("parallel", [False, True])
def test_script_gives_each_command_s_result_in_order(parallel: bool) -> None:
    results = run(("echo", "a b"), ("sh", "-c", "echo no >&2; exit 4"), ("printf", "%s", "x"), parallel=parallel)
    assert results == [Result(0, b"a b\n"), Result(4, b"", b"no\n"), Result(0, b"x")]


def test_script_stops_at_the_first_failure() -> None:
    assert [result.code for result in run(("true",), ("false",), ("true",), stop=True)] == [0, 1]


@pytest.mark.parametrize("parallel", [False, True])
def test_script_that_ends_anywhere_before_its_end_runs_nothing(parallel: bool) -> None:
    text = script([("echo", "one"), ("echo", "two")], parallel=parallel, stop=False, timeout=None)
    for end in range(0, len(text) - 2, 9):
        done = subprocess.run(("sh", "-s"), input=text[:end], capture_output=True, check=False)
        assert done.stdout == b""


def test_no_secret_of_a_command_is_in_the_session_s_own_command_line() -> None:
    assert b"hunter2" in script(
        [("echo", "hunter2")], parallel=False, stop=False, timeout=None
    )  # it goes through stdin
