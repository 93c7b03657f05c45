"""A lost connection: what was sent is never sent again, and the next use logs in anew."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.conftest import Client, client_of, kill_logins, running_box, serving
from towline.commands.shell import Command
from towline.errors import ConnectionLost
from towline.sandbox.wait import wait_until


@pytest.fixture
def client(tmp_path: Path, home: Path) -> Iterator[Client]:
    """A client of a sandbox of the test's own: its connection is lost without touching another test's."""
    with running_box(tmp_path / "box") as box:
        made = client_of(box)
        yield made
        made.connection.close()


@dataclass
class Held:
    """A command that writes a mark each time it starts, and then waits until its gate is opened."""

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


WAYS: dict[str, Callable[[Client, Command], object]] = {
    "run": lambda client, command: client.connection.run(command),
    "run with a limit": lambda client, command: client.connection.run(command, timeout=60),
    "upload": lambda client, command: client.connection.upload([b"x"], command),
    "batch": lambda client, command: client.connection.batch([command]),
    "parallel batch": lambda client, command: client.connection.batch([command, ("true",)], parallel=True),
}


@pytest.mark.parametrize("way", WAYS)
def test_command_that_runs_when_the_connection_is_lost_ran_once(client: Client, held: Held, way: str) -> None:
    with ThreadPoolExecutor(1) as pool:
        ran = pool.submit(WAYS[way], client, held.command)
        assert wait_until(held.started, 10)
        kill_logins(client.box)
        with pytest.raises(ConnectionLost) as caught:
            ran.result(20)
    assert caught.value.exit_code == 3
    assert client.connection.run(("echo", "on")).out == "on\n"
    assert held.marks.read_text() == "started\n"
    assert client.connection.ledger.reconnects == 1
    assert [note for note in client.notes if "connection lost" in note] == client.notes != []
    assert (client.counts().logins, client.counts().peak) == (2, 1)
    assert client.ledger_agrees()


def test_connection_found_lost_before_a_session_is_opened_is_replaced(client: Client, tmp_path: Path) -> None:
    assert client.connection.run(("true",)).ok
    marks = tmp_path / "marks"
    kill_logins(client.box)
    assert client.connection.run(("sh", "-c", 'echo ran >>"$0"', str(marks))).ok
    assert marks.read_text() == "ran\n"
    assert (client.connection.ledger.logins, client.connection.ledger.reconnects) == (2, 1)
    assert client.ledger_agrees()


def test_connection_is_replaced_as_often_as_it_is_lost(client: Client) -> None:
    for _ in range(4):
        assert client.connection.run(("true",)).ok
        kill_logins(client.box)
        assert wait_until(lambda: serving(client.box) == [], 5)
    assert client.connection.run(("true",)).ok
    assert (client.counts().logins, client.connection.ledger.reconnects) == (5, 4)


def test_source_is_not_read_on_when_the_connection_is_lost_in_an_upload(client: Client, held: Held) -> None:
    taken: list[int] = []

    def chunks() -> Iterator[bytes]:
        for number in range(10_000):
            taken.append(number)
            yield bytes(1 << 18)

    with ThreadPoolExecutor(1) as pool:
        ran = pool.submit(
            client.connection.upload, chunks(), held.command
        )  # it reads none of its stdin: the window fills
        assert wait_until(held.started, 10)
        kill_logins(client.box)
        with pytest.raises(ConnectionLost):
            ran.result(20)
    assert len(taken) < 10_000
    assert held.marks.read_text() == "started\n"


def test_closed_connection_is_opened_again_at_the_next_use(client: Client) -> None:
    assert client.connection.run(("true",)).ok
    client.connection.close()
    assert wait_until(lambda: serving(client.box) == [], 5)
    assert client.connection.run(("true",)).ok
    assert client.connection.ledger.reconnects == 1
