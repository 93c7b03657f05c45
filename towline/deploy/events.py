"""The events and the output of a runner, as follow.sh frames them; another session can go on where one ended."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from towline.errors import ConnectionLost, RemoteFailed
from towline.ssh.session import Session
from towline.text.printable import one_line

SILENCE = 20  # seconds; the follower says at least `k` every second
MOST_UNREADABLE = 3  # lines of a run that are told
LONGEST = 300  # characters of such a line
_HEAD = re.compile(rb"[oe] [0-9]{1,18}|[kxz]")


class Values(dict[str, str]):
    """What belongs to an event. What it does not tell is '': it may be another version's, or written by half."""

    def __missing__(self, _name: str) -> str:
        return ""


@dataclass(frozen=True)
class Event:
    """One line of the runner's events. at: the server's uptime in seconds; values: what belongs to the event.

    A line that is no event is one too: `unreadable`, with its `line`.
    """

    name: str
    at: float
    values: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", Values(self.values))

    def number(self, name: str) -> float:
        """A value that is a number; 0 where it is none."""
        return _number(self.values.get(name), 0.0)


@dataclass
class FollowPosition:
    """How far the reading has come, so that another session can go on from there.

    ended: the runner has finished; has_result: it wrote one. at: of the last event. unreadable: lines that were none.
    """

    events: int = 0
    output: int = 0
    ended: bool = False
    has_result: bool = False
    at: float = 0.0
    unreadable: int = 0
    _event_tail: bytes = b""

    @property
    def died(self) -> bool:
        """Whether the runner is gone without a result."""
        return self.ended and not self.has_result


def frames(session: Session) -> Iterator[tuple[str, bytes]]:
    """The frames of follow.sh: a letter and its bytes.

    Raises ConnectionLost when the connection is lost or stays silent, RemoteFailed when the script ends without its last frame.
    """
    buffer = bytearray()
    chunks = session.chunks(until=time.monotonic() + SILENCE)
    while True:
        frame = _take_frame(buffer)
        if frame is None:
            try:
                chunk = next(chunks, b"")
            except TimeoutError as error:
                raise ConnectionLost("the connection has been silent") from error
            if not chunk:
                break
            buffer += chunk
            chunks = session.chunks(until=time.monotonic() + SILENCE)
            continue
        yield frame
        if frame[0] in "xz":
            return
    code = session.code()
    raise RemoteFailed(
        f"the runner could not be followed (code {code}): {session.stderr.decode(errors='replace').strip()}"
    )


def _take_frame(buffer: bytearray) -> tuple[str, bytes] | None:
    """The next frame; None until it is there as a whole. A line that heads none is what the login itself prints: left out."""
    while True:
        end = buffer.find(b"\n")
        if end < 0:
            return None
        head = bytes(buffer[:end])
        if _HEAD.fullmatch(head):
            break
        del buffer[: end + 1]
    letter, _, size = head.decode().partition(" ")
    start, length = end + 1, int(size or 0)
    if len(buffer) < start + length:
        return None
    body = bytes(buffer[start : start + length])
    del buffer[: start + length]
    return letter, body


def follow(session: Session, position: FollowPosition) -> Iterator[Event | bytes]:
    """Events, and output as bytes, from `position` on, which is moved. Ends when the runner has ended."""
    for letter, body in frames(session):
        if letter == "o":
            position.output += len(body)
            yield body
        elif letter == "e":
            position.events += len(body)
            yield from _events(body, position)
        elif letter in "xz":
            if position._event_tail:  # the disk was full, or the power was cut
                yield from _events(b"\n", position)
            position.ended, position.has_result = True, letter == "z"


def _events(body: bytes, position: FollowPosition) -> Iterator[Event]:
    *lines, position._event_tail = (position._event_tail + body).split(b"\n")
    for line in filter(bytes.strip, lines):
        event = _event(line, position.at)
        position.at = event.at
        position.unreadable += event.name == UNREADABLE
        if event.name != UNREADABLE or position.unreadable <= MOST_UNREADABLE:
            yield event


UNREADABLE = "unreadable"


def _event(line: bytes, last: float) -> Event:
    """The event that a line holds. last: the time of the one before, where it tells none."""
    text = line.decode(errors="replace")
    try:
        row = json.loads(text)
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict) or not isinstance(row.get("event"), str):
        return Event(UNREADABLE, last, {"line": one_line(text)[:LONGEST]})
    name, at = row.pop("event"), _number(row.pop("t", None), last)
    return Event(name, at, {key: str(value) for key, value in row.items()})


def _number(value: object, otherwise: float) -> float:
    """
    >>> _number("1.5", 0.0), _number("x", 2.0), _number(None, 3.0), _number("nan", 4.0)
    (1.5, 2.0, 3.0, 4.0)
    """
    try:
        number = float(str(value))
    except ValueError:
        return otherwise
    return number if math.isfinite(number) else otherwise
