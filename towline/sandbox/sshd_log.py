"""Counts the events in an sshd's log, written at LogLevel VERBOSE by OpenSSH 9.2 to 10."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Counts:
    """The events in an sshd's log."""

    connections: int = 0  # TCP connections accepted
    logins: int = 0  # connections that authenticated
    sessions: int = 0  # sessions opened: command, shell or subsystem
    peak: int = 0  # most sessions open at once on one connection: what MaxSessions limits
    refused: int = 0  # sessions refused for MaxSessions
    dropped: int = 0  # connections dropped for MaxStartups


PORT = re.compile(r"\bport (\d+)")
SESSION = re.compile(r"\b(Starting|Close) session: .*\bport (\d+) id (\d+)")
ENDED = re.compile(r"\b(Connection (closed|reset)|Received disconnect|Disconnected|Closing connection|Timeout)\b")


def count(log: Path, since: int = 0) -> Counts:
    """The counts of what sshd wrote to `log` after its first `since` bytes."""
    with log.open("rb") as lines:
        lines.seek(since)
        return parse_log(lines.read().decode(errors="replace").splitlines())


def parse_log(lines: Iterable[str]) -> Counts:
    """The counts of sshd's log lines, with or without a prefix such as `sshd-session[7]:`."""
    connections = logins = sessions = peak = refused = dropped = 0
    open_now: dict[str, set[str]] = {}  # client's port → ids of its open sessions
    for line in lines:
        if session := SESSION.search(line):
            verb, port, number = session.groups()
            ids = open_now.setdefault(port, set())
            (ids.add if verb == "Starting" else ids.discard)(number)
            sessions += verb == "Starting"
            peak = max(peak, len(ids))
        elif "Connection from " in line:
            connections += 1
            _forget(open_now, line)
        elif ENDED.search(line):
            _forget(open_now, line)  # `Close session` is missing when the client disconnects first
        logins += "Accepted publickey for " in line
        refused += "no more sessions" in line
        dropped += "drop connection #" in line
    return Counts(connections, logins, sessions, peak, refused, dropped)


def _forget(open_now: dict[str, set[str]], line: str) -> None:
    """Remove the sessions of the connection that `line` is about: a client's port is reused later."""
    if port := PORT.search(line):
        open_now.pop(port[1], None)
