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


# --- what is no event -----------------------------------------------------------------------------------------------


def told(*lines: bytes) -> list[Event]:
    return read(Said(frame("e", b"".join(lines)) + b"z\n"))[0]


LOG = b'{"t":3.25,"event":"log","service":"app","line":"{"msg": "cannot open "db""}"}\n'  # as dash's echo wrote it
END = b'{"t":4,"event":"end","outcome":"down"}\n'


def test_line_that_is_no_json_is_told_and_the_end_too() -> None:
    unreadable, end = told(LOG, END)
    assert unreadable.name == "unreadable"
    assert 'cannot open "db"' in unreadable.values["line"]
    assert end == Event("end", 4.0, {"outcome": "down"})


@pytest.mark.parametrize(
    "line",
    [
        *(b"[1]\n", b"7\n", b"null\n", b'{"t":1}\n', b'{"event":7,"t":1}\n', b"\xff\xfe\n", b'{"t":1,"event":"st\n'),
        *(b"\0\0\0" + END, b"[" * 100_000 + b"\n", b'{"event":' + b"1" * 5000 + b"}\n"),
    ],
)
def test_any_line_may_come(line: bytes) -> None:
    events = told(line, END)
    assert [event.name for event in events] == ["unreadable", "end"]
    assert events[0].values["line"].isprintable()


@pytest.mark.parametrize("at", [b'"x"', b"null", b"[]", b"{}", b"NaN", b"1e999", b'"nan"', b"-Infinity"])
def test_time_that_is_no_number_is_that_of_the_event_before(at: bytes) -> None:
    events = told(b'{"t":2.5,"event":"start"}\n', b'{"t":' + at + b',"event":"x"}\n', b'{"event":"y"}\n')
    assert [event.at for event in events] == [2.5, 2.5, 2.5]


def test_time_written_as_text_counts() -> None:
    assert told(b'{"t":"2.5","event":"x"}\n')[0].at == 2.5


def test_values_that_are_not_told_are_empty() -> None:
    (event,) = told(b'{"t":1,"event":"step"}\n')
    assert (event.values["name"], event.number("output")) == ("", 0.0)
    assert Event("step", 1.0).values["name"] == ""


def test_three_unreadable_lines_are_told_of_many() -> None:
    assert [event.name for event in told(*[b"x\n"] * 50, END)] == ["unreadable"] * 3 + ["end"]


def test_blank_lines_are_nothing() -> None:
    assert told(b"\n", b" \n", END) == [Event("end", 4.0, {"outcome": "down"})]


def test_last_event_without_its_line_end_counts() -> None:
    assert told(END[:-1]) == [Event("end", 4.0, {"outcome": "down"})]
    assert [event.name for event in told(b'{"t":1,"event":"en')] == ["unreadable"]


def test_what_the_login_prints_before_the_frames_is_left_out() -> None:
    assert read(Said(b"Welcome to the server\ne mail\n\xff\n", STREAM)) == (READ, OUTPUT + b"more")


def test_whether_there_is_a_result_is_known() -> None:
    ended, gone = FollowPosition(), FollowPosition()
    read(Said(b"z\n"), ended)
    read(Said(b"x\n"), gone)
    assert (ended.has_result, gone.has_result) == (True, False)
