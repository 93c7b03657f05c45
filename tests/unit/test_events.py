"""Events and output out of what follow.sh says, in whatever pieces it comes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import pytest

from towline.deploy.events import Event, FollowPosition, follow
from towline.errors import ConnectionLost, RemoteFailed
from towline.ssh.session import Session

EVENTS = b'{"t":1.5,"event":"start","run":"r"}\n{"t":2,"event":"step","name":"up","state":"begin","n":3}\n'
OUTPUT = b"e 5\nnot a frame \0\xff\n"


def frame(letter: str, body: bytes) -> bytes:
    return f"{letter} {len(body)}\n".encode() + body


STREAM = (
    b"k\n"
    + frame("o", OUTPUT)
    + frame("e", EVENTS[:20])
    + b"k\n"
    + frame("e", EVENTS[20:])
    + frame("o", b"more")
    + b"z\n"
)
READ = [Event("start", 1.5, {"run": "r"}), Event("step", 2, {"name": "up", "state": "begin", "n": "3"})]


class Said:
    """A session that says these chunks; ends with this code, or stays silent (None)."""

    def __init__(self, *chunks: bytes, code: int | None = 0) -> None:
        self._chunks, self._code, self.stderr = iter(chunks), code, b"sh: no such folder\n"

    def chunks(self, until: float | None = None) -> Iterator[bytes]:
        yield from self._chunks
        if self._code is None:
            raise TimeoutError

    def code(self) -> int:
        if self._code == -1:
            raise ConnectionLost("the connection was lost")
        assert self._code is not None
        return self._code


def read(said: Said, followed: FollowPosition | None = None) -> tuple[list[Event], bytes]:
    events, output = [], b""
    for news in follow(cast("Session", said), followed or FollowPosition()):
        if isinstance(news, Event):
            events.append(news)
        else:
            output += news
    return events, output


def test_events_and_output_at_once() -> None:
    assert read(Said(STREAM)) == (READ, OUTPUT + b"more")


@pytest.mark.parametrize("size", [1, 2, 3, 7, 16, 50])
def test_events_and_output_in_pieces_are_those_at_once(size: int) -> None:
    pieces = (STREAM[i : i + size] for i in range(0, len(STREAM), size))
    assert read(Said(*pieces)) == read(Said(STREAM))


def test_where_the_reading_stands_is_known_at_every_frame() -> None:
    followed = FollowPosition()
    read(Said(STREAM), followed)
    assert (followed.events, followed.output) == (len(EVENTS), len(OUTPUT) + 4)
    assert followed.ended


def test_another_session_goes_on_in_the_middle_of_an_event() -> None:
    followed = FollowPosition()
    with pytest.raises(ConnectionLost):
        read(Said(frame("e", EVENTS[:20]), code=-1), followed)
    assert (followed.events, followed.ended) == (20, False)
    assert read(Said(frame("e", EVENTS[20:]) + b"z\n"), followed)[0] == READ


def test_half_a_frame_counts_for_nothing() -> None:
    followed = FollowPosition()
    with pytest.raises(ConnectionLost):
        read(Said(frame("e", EVENTS)[:30], code=-1), followed)
    assert followed.events == 0


def test_runner_that_is_gone_has_ended() -> None:
    followed = FollowPosition()
    read(Said(frame("e", EVENTS) + b"x\n"), followed)
    assert followed.ended


def test_what_comes_after_the_last_frame_is_not_waited_for() -> None:
    assert read(Said(b"z\n", code=None)) == ([], b"")


def test_silence_is_a_lost_connection() -> None:
    with pytest.raises(ConnectionLost, match="silent"):
        read(Said(b"k\n", code=None))


def test_script_that_ends_without_its_last_frame_is_told_with_its_words() -> None:
    with pytest.raises(RemoteFailed, match=r"code 1.*no such folder"):
        read(Said(b"k\n", code=1))
