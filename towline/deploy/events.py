"""The events and the output of a runner, as follow.sh frames them; another session can go on where one ended."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from towline.errors import ConnectionLost, RemoteFailed
from towline.ssh.session import Session

SILENCE = 20  # seconds; the follower says at least `k` every second


@dataclass(frozen=True)
class Event:
    """One line of the runner's events. at: the server's uptime in seconds; values: the event's own."""

    name: str
    at: float
    values: dict[str, str] = field(default_factory=dict)


@dataclass
class FollowPosition:
    """How many bytes have been read, so that another session can go on from there. ended: the runner has finished."""

    events: int = 0
    output: int = 0
    ended: bool = False
    _event_tail: bytes = b""


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
    """The first frame, taken out of the buffer; None when it is not whole yet."""
    head, newline, _ = buffer.partition(b"\n")
    if not newline:
        return None
    letter, _, size = head.decode(errors="replace").partition(" ")
    start, length = len(head) + 1, int(size or 0)
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
            position.ended = True


def _events(body: bytes, position: FollowPosition) -> Iterator[Event]:
    *lines, position._event_tail = (position._event_tail + body).split(b"\n")
    for line in lines:
        row = json.loads(line)
        yield Event(row.pop("event"), row.pop("t"), {name: str(value) for name, value in row.items()})
