"""A line that breaks: what was sent is never sent again, and the next use logs in anew."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.conftest import Line, cut, line_to, running_box, serving
from towline.commands.shell import Command
from towline.errors import ConnectionLost
from towline.sandbox.wait import until


@pytest.fixture
def line(tmp_path: Path, home: Path) -> Iterator[Line]:
    """A line to a box of the test's own: cutting it must not touch another test's."""
    with running_box(tmp_path / "box") as box:
        made = line_to(box)
        yield made
        made.connection.close()


@dataclass
class Held:
    """A command that leaves a mark each time it starts, and then stays until it is let go."""

    marks: Path
    gate: Path

    @property
    def command(self) -> Command:
        return ("sh", "-c", 'echo started >>"$0"; cat "$1" >/dev/null', str(self.marks), str(self.gate))

    def started(self) -> bool:
        return self.marks.exists()


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Held]:
    made = Held(tmp_path / "marks", tmp_path / "gate")
    os.mkfifo(made.gate)
    yield made
    with suppress(OSError):  # nobody reads it
        os.close(os.open(made.gate, os.O_WRONLY | os.O_NONBLOCK))  # whoever reads it sees its end


WAYS: dict[str, Callable[[Line, Command], object]] = {
    "run": lambda line, command: line.connection.run(command),
    "run with a limit": lambda line, command: line.connection.run(command, timeout=60),
    "put": lambda line, command: line.connection.put([b"x"], command),
    "batch": lambda line, command: line.connection.batch([command]),
    "batch together": lambda line, command: line.connection.batch([command, ("true",)], together=True),
}


@pytest.mark.parametrize("way", WAYS)
def test_command_under_way_when_the_line_is_cut_ran_once(line: Line, held: Held, way: str) -> None:
    with ThreadPoolExecutor(1) as pool:
        ran = pool.submit(WAYS[way], line, held.command)
        assert until(held.started, 10)
        cut(line.box)
        with pytest.raises(ConnectionLost) as caught:
            ran.result(20)
    assert caught.value.exit_code == 3
    assert line.connection.run(("echo", "on")).out == "on\n"
    assert held.marks.read_text() == "started\n"
    assert line.connection.ledger.reconnects == 1
    assert [note for note in line.notes if "line was cut" in note] == line.notes != []
    assert (line.counts().logins, line.counts().peak) == (2, 1)
    assert line.ledger_agrees()


def test_line_found_dead_before_a_session_is_asked_for_is_replaced(line: Line, tmp_path: Path) -> None:
    assert line.connection.run(("true",)).ok
    marks = tmp_path / "marks"
    cut(line.box)
    assert line.connection.run(("sh", "-c", 'echo ran >>"$0"', str(marks))).ok
    assert marks.read_text() == "ran\n"
    assert (line.connection.ledger.logins, line.connection.ledger.reconnects) == (2, 1)
    assert line.ledger_agrees()


def test_line_is_replaced_as_often_as_it_is_cut(line: Line) -> None:
    for _ in range(4):
        assert line.connection.run(("true",)).ok
        cut(line.box)
        assert until(lambda: serving(line.box) == [], 5)
    assert line.connection.run(("true",)).ok
    assert (line.counts().logins, line.connection.ledger.reconnects) == (5, 4)


def test_source_is_not_read_on_when_the_line_is_cut_in_a_put(line: Line, held: Held) -> None:
    taken: list[int] = []

    def chunks() -> Iterator[bytes]:
        for number in range(10_000):
            taken.append(number)
            yield bytes(1 << 18)

    with ThreadPoolExecutor(1) as pool:
        ran = pool.submit(line.connection.put, chunks(), held.command)  # it reads none of its stdin: the window fills
        assert until(held.started, 10)
        cut(line.box)
        with pytest.raises(ConnectionLost):
            ran.result(20)
    assert len(taken) < 10_000
    assert held.marks.read_text() == "started\n"


def test_dropped_line_is_taken_for_dead(line: Line) -> None:
    assert line.connection.run(("true",)).ok
    line.connection.drop()
    assert until(lambda: serving(line.box) == [], 5)
    assert line.connection.run(("true",)).ok
    assert line.connection.ledger.reconnects == 1
