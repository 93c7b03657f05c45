"""The entries, kept in Redis. Speaks its protocol directly, so the image needs no package."""

from __future__ import annotations

import json
import os
import socket
from typing import IO, Any

ADDRESS = (os.environ.get("DB_HOST", "db"), 6379)
PASSWORD = os.environ.get("DB_PASSWORD", "")
KEY = "guestbook:entries"


def add(entry: dict[str, str]) -> None:
    """Put one entry first."""
    ask("LPUSH", KEY, json.dumps(entry))


def newest(count: int) -> list[dict[str, str]]:
    """The last `count` entries, newest first."""
    return [json.loads(entry) for entry in ask("LRANGE", KEY, "0", str(count - 1))]


def ping() -> None:
    """Raises if the database does not answer."""
    ask("PING")


def ask(*words: str) -> Any:
    """Send one command over a connection of its own, and return the answer."""
    commands = ([("AUTH", PASSWORD)] if PASSWORD else []) + [words]
    with socket.create_connection(ADDRESS, timeout=3) as line, line.makefile("rb") as answers:
        line.sendall(b"".join(map(encode, commands)))
        return [read(answers) for _ in commands][-1]


def encode(words: tuple[str, ...]) -> bytes:
    """A command as an array of length-prefixed strings."""
    parts = [word.encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


def read(answers: IO[bytes]) -> Any:
    """One answer: text, a number, a list, or an error that is raised."""
    line = answers.readline().rstrip(b"\r\n")
    kind, rest = line[:1], line[1:]
    if kind == b"+":
        return rest.decode()
    if kind == b":":
        return int(rest)
    if kind == b"$":
        return None if rest == b"-1" else answers.read(int(rest) + 2)[:-2].decode()
    if kind == b"*":
        return [read(answers) for _ in range(int(rest))]
    raise ConnectionError(rest.decode() or "the database closed the connection")
