"""Logins and sessions, counted from the real sshd's log; and what a session carries."""

from __future__ import annotations

import gzip
import hashlib
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.integration.conftest import Client, client_of, serving
from towline.errors import SessionRefused
from towline.sandbox import Sandbox, sshd
from towline.sandbox.wait import wait_until
from towline.ssh import connection as connections
from towline.ssh.connection import Connections


def test_nothing_is_opened_before_the_first_use(client: Client) -> None:
    assert not client.connection.used
    assert client.counts() == sshd.Counts()


def test_many_runs_batches_and_uploads_are_one_login_at_one_session_and_one_startup(client: Client) -> None:
    for number in range(5):
        assert client.connection.run(("echo", str(number))).out == f"{number}\n"
        assert [result.out for result in client.connection.batch([("echo", "a"), ("echo", "b")])] == ["a\n", "b\n"]
        assert client.connection.upload([b"x" * 100], ("wc", "-c")).out == "100\n"
    counts = client.counts()
    assert (counts.connections, counts.logins, counts.sessions, counts.peak) == (1, 1, 15, 1)
    assert client.ledger_agrees()
    assert client.connection.ledger.commands == 20
    assert client.notes == []


def test_connections_gives_the_same_connection_each_time(tight: Sandbox, home: Path) -> None:
    holder = Connections(note=lambda _: None)
    since = tight.log.stat().st_size
    try:
        assert holder.ledgers == []
        for _ in range(3):
            assert holder.to(tight.host()).run(("true",)).ok
        assert [ledger.logins for ledger in holder.ledgers] == [1]
        assert sshd.count(tight.log, since).logins == 1
    finally:
        holder.close()


def test_three_hundred_runs_one_after_the_other_all_succeed_at_one_session(client: Client) -> None:
    assert all(client.connection.run(("true",)).ok for _ in range(300))
    counts = client.counts()
    assert (counts.logins, counts.sessions, counts.peak) == (1, 300, 1)
    assert client.ledger_agrees()


def test_threads_wait_for_each_other(client: Client) -> None:
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda n: client.connection.run(("echo", str(n))).out, range(40)))
    assert results == [f"{n}\n" for n in range(40)]
    assert (client.counts().logins, client.counts().peak) == (1, 1)
    assert client.ledger_agrees()


def test_two_sessions_are_open_at_once_where_the_host_says_so(roomy: Sandbox, home: Path, tmp_path: Path) -> None:
    client = client_of(roomy, max_sessions=2)
    there, back = tmp_path / "there", tmp_path / "back"
    os.mkfifo(there)
    os.mkfifo(back)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(client.connection.run, ("sh", "-c", 'echo 1 >"$0"; cat "$1"', str(there), str(back)))
        second = pool.submit(client.connection.run, ("sh", "-c", 'cat "$0"; echo 2 >"$1"', str(there), str(back)))
        assert (first.result(20).out, second.result(20).out) == ("2\n", "1\n")
    assert (client.counts().logins, client.counts().peak) == (1, 2)
    assert client.ledger_agrees()
    client.connection.close()


# --- refused sessions ---------------------------------------------------------------------------------------------------


def test_refused_session_is_retried_until_another_one_frees_the_slot(client: Client, tmp_path: Path) -> None:
    other = client.connection.transport.open_session()
    other.exec_command("cat")
    marks = tmp_path / "marks"
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.connection.run, ("sh", "-c", 'echo ran >>"$0"', str(marks)))
        assert wait_until(lambda: client.connection.ledger.refused >= 3, 10)
        assert not waiting.done()
        other.close()
        assert waiting.result(20).ok
    assert marks.read_text() == "ran\n"
    assert client.counts().refused == client.connection.ledger.refused
    assert client.counts().logins == 1


def test_session_that_is_refused_all_the_while_is_an_error_with_a_hint(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "SESSION_WAIT", 0.3)
    other = client.connection.transport.open_session()
    other.exec_command("cat")
    with pytest.raises(SessionRefused, match="refused a session") as caught:
        client.connection.run(("true",))
    assert caught.value.exit_code == 3
    assert "MaxSessions" in caught.value.hint
    other.close()
    assert client.connection.run(("true",)).ok
    assert client.counts().logins == 1


@pytest.mark.parametrize("box", ["tight", "roomy"])
def test_session_limit_is_counted_and_left_free(box: str, home: Path, request: pytest.FixtureRequest) -> None:
    client = client_of(request.getfixturevalue(box))
    assert client.connection.count_sessions(11) == {"tight": 1, "roomy": 2}[box]
    assert client.connection.run(("true",)).ok
    assert client.counts().logins == 1
    client.connection.close()


def test_session_limit_is_right_however_soon_after_a_session_it_is_counted(client: Client) -> None:
    for _ in range(25):
        assert client.connection.run(("true",)).ok
        assert client.connection.count_sessions(2) == 1


# --- what a session carries -----------------------------------------------------------------------------------------------


def test_aes_gcm_is_negotiated(client: Client) -> None:
    assert client.connection.transport.remote_cipher == "aes128-gcm@openssh.com"
    assert client.connection.transport.local_cipher == "aes128-gcm@openssh.com"


def test_round_trip_needs_no_session(client: Client) -> None:
    assert 0 < client.connection.round_trip() < 5
    assert client.counts().sessions == 0


def test_run_gives_code_and_both_streams_and_takes_stdin(client: Client) -> None:
    result = client.connection.run(("sh", "-c", "cat; echo no >&2; exit 7"), stdin=b"\0yes")
    assert (result.code, result.stdout, result.stderr) == (7, b"\0yes", b"no\n")


def test_words_arrive_as_they_are(client: Client) -> None:
    words = ["it's", "$HOME", "a  b", "", "*", "back\\slash", "new\nline", "ümläut"]
    result = client.connection.run(("sh", "-c", 'for word; do printf "%s\\0" "$word"; done', "-", *words))
    assert result.out.split("\0")[:-1] == words


def test_sixty_four_megabytes_arrive_whole(client: Client) -> None:
    digest, size = hashlib.sha256(), 64 << 20

    def chunks() -> Iterator[bytes]:
        left = size
        while left:
            chunk = os.urandom(min(left, 999_983))
            digest.update(chunk)
            left -= len(chunk)
            yield chunk

    result = client.connection.upload(chunks(), ("sha256sum",))
    assert result.out.split()[0] == digest.hexdigest()
    assert client.connection.ledger.bytes_up == size
    assert client.counts().sessions == 1


class SourceBroke(Exception):
    pass


def broken_source(chunk: bytes, error: Exception) -> Iterator[bytes]:
    yield from [chunk] * 20
    raise error


@pytest.mark.parametrize("error", [SourceBroke("half-way"), OSError("a disk that cannot be read")])
def test_source_that_breaks_half_way_is_never_a_whole_stream_there(
    client: Client, tmp_path: Path, error: Exception
) -> None:
    packed = gzip.compress(os.urandom(1 << 20))
    command = ("sh", "-c", 'gzip -dc >"$0.part" && mv "$0.part" "$0"; echo over >"$0.over"', str(tmp_path / "final"))
    with pytest.raises(type(error), match=str(error)):
        client.connection.upload(broken_source(packed[:30_000], error), command)
    assert client.connection.run(("true",)).ok  # at one session: the far command has ended
    assert not (tmp_path / "final").exists()


def test_source_that_breaks_gets_its_command_killed_where_sshd_can(client: Client, tmp_path: Path) -> None:
    """OpenSSH before 9.8 does not signal what root runs, and says so in its log: then `cat` sees a plain end."""
    command = ("sh", "-c", 'cat >"$0.part" && mv "$0.part" "$0"', str(tmp_path / "final"))
    with pytest.raises(SourceBroke):
        client.connection.upload(broken_source(b"x" * 30_000, SourceBroke()), command)
    assert client.connection.run(("true",)).ok
    assert not (tmp_path / "final").exists() or "signalling requires privilege separation" in client.log()


def test_command_that_leaves_before_it_has_read_all_is_no_error(client: Client) -> None:
    result = client.connection.upload((b"x" * 100_000 for _ in range(100)), ("sh", "-c", "exit 3"))
    assert result.code == 3


def test_timed_out_run_is_ended_on_the_server(client: Client) -> None:
    nap = f"3600.{os.getpid()}1"
    result = client.connection.run(("sh", "-c", f"echo begun; sleep {nap} & wait"), timeout=1)
    assert (result.code, result.out) == (124, "begun\n")
    assert wait_until(lambda: f"sleep {nap}" not in commands_running(), 5)


def commands_running() -> str:
    shown = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                shown.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
            except OSError:
                continue
    return "\n".join(shown)


def test_closed_connection_leaves_no_sshd_and_no_thread_behind(roomy: Sandbox, home: Path) -> None:
    client = client_of(roomy)
    assert client.connection.run(("true",)).ok
    assert serving(roomy)
    client.connection.close()
    assert wait_until(lambda: serving(roomy) == [], 5)
    assert wait_until(lambda: not [t for t in threading.enumerate() if t.name.startswith("towline-")], 5)
