"""The text of a batch, and its results out of the bytes that come back."""

from __future__ import annotations

import subprocess

import pytest

from towline.commands.shell import Command
from towline.errors import ConnectionLost
from towline.ssh.batch import Frames, script
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
    frames = Frames()
    return [result for chunk in chunks for result in frames.add(chunk)]


def test_frames_byte_by_byte_are_those_at_once() -> None:
    assert read(*(STREAM[i : i + 1] for i in range(len(STREAM)))) == read(STREAM) == RESULTS


@pytest.mark.parametrize("size", range(2, 40))
def test_frames_in_pieces_of_any_size_are_those_at_once(size: int) -> None:
    assert read(*(STREAM[i : i + size] for i in range(0, len(STREAM), size))) == RESULTS


def test_result_comes_as_soon_as_its_last_byte_is_there() -> None:
    frames = Frames()
    assert list(frames.add(b"0 2 1\nab")) == []
    assert list(frames.add(b"c0 0 0\n1")) == [Result(0, b"ab", b"c"), Result(0)]


def test_sizes_may_be_padded_as_some_wc_do() -> None:
    assert read(b"0   2    0\nab") == [Result(0, b"ab")]


@pytest.mark.parametrize("talk", [b"Welcome to this server\n", b"\n", b"0 1\n", b"0 1 2 3\n", b"\xff\xfe\n"])
def test_what_is_no_result_is_told_with_its_words(talk: bytes) -> None:
    with pytest.raises(ConnectionLost, match="where a result was due"):
        read(talk)


def run(*commands: Command, together: bool = False, stop: bool = False, timeout: float | None = None) -> list[Result]:
    text = script(commands, together=together, stop=stop, timeout=timeout)
    done = subprocess.run(("sh", "-s"), input=text, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    return read(done.stdout)


@pytest.mark.parametrize("together", [False, True])
def test_script_gives_each_command_s_result_in_order(together: bool) -> None:
    results = run(("echo", "a b"), ("sh", "-c", "echo no >&2; exit 4"), ("printf", "%s", "x"), together=together)
    assert results == [Result(0, b"a b\n"), Result(4, b"", b"no\n"), Result(0, b"x")]


def test_script_stops_at_the_first_failure() -> None:
    assert [result.code for result in run(("true",), ("false",), ("true",), stop=True)] == [0, 1]


@pytest.mark.parametrize("together", [False, True])
def test_script_that_is_cut_anywhere_runs_nothing(together: bool) -> None:
    text = script([("echo", "one"), ("echo", "two")], together=together, stop=False, timeout=None)
    for end in range(0, len(text) - 2, 9):
        done = subprocess.run(("sh", "-s"), input=text[:end], capture_output=True, check=False)
        assert done.stdout == b""


def test_no_secret_of_a_command_is_in_the_session_s_own_command_line() -> None:
    assert b"hunter2" in script(
        [("echo", "hunter2")], together=False, stop=False, timeout=None
    )  # it goes through stdin
