"""The entries, stored in Redis. Speaks its protocol (RESP) directly, so the image needs no package."""

from __future__ import annotations

import json
import os
import socket
from typing import IO, Any

ADDRESS = (os.environ.get("DB_HOST", "db"), 6379)
PASSWORD = os.environ.get("DB_PASSWORD", "")
KEY = "guestbook:entries"


def add(entry: dict[str, str]) -> None:
    """Add an entry, as the newest."""
    execute("LPUSH", KEY, json.dumps(entry))


def newest(count: int) -> list[dict[str, str]]:
    """The last `count` entries, newest first."""
    return [json.loads(entry) for entry in execute("LRANGE", KEY, "0", str(count - 1))]


def ping() -> None:
    """Raises OSError when the database does not answer."""
    execute("PING")


def execute(*words: str) -> Any:
    """The reply to one command, sent over a connection of its own."""
    commands = ([("AUTH", PASSWORD)] if PASSWORD else []) + [words]
    with socket.create_connection(ADDRESS, timeout=3) as connection, connection.makefile("rb") as replies:
        connection.sendall(b"".join(map(encode, commands)))
        return [read(replies) for _ in commands][-1]


def encode(words: tuple[str, ...]) -> bytes:
    """A command as an array of length-prefixed strings."""
    parts = [word.encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


def read(replies: IO[bytes]) -> Any:
    """One reply: text, a number or a list. Raises ConnectionError for an error."""
    line = replies.readline().rstrip(b"\r\n")
    kind, rest = line[:1], line[1:]
    if kind == b"+":
        return rest.decode()
    if kind == b":":
        return int(rest)
    if kind == b"$":
        return None if rest == b"-1" else replies.read(int(rest) + 2)[:-2].decode()
    if kind == b"*":
        return [read(replies) for _ in range(int(rest))]
    raise ConnectionError(rest.decode() or "the database closed the connection")
