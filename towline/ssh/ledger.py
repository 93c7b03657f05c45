"""What a connection did: every login, session and refusal with its time, and the totals."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

from towline.text.amounts import count_text, size_text


@dataclass
class Ledger:
    """One host's ledger. Thread-safe.

    `entries` are dicts with `at` (ISO 8601, UTC), `host`, `event` and the event's own values; never a command's arguments,
    since those can hold a secret.
    """

    host: str
    logins: int = 0
    sessions: int = 0
    peak: int = 0
    refused: int = 0
    reconnects: int = 0
    commands: int = 0
    bytes_up: int = 0
    bytes_down: int = 0
    entries: list[dict[str, object]] = field(default_factory=list)
    _open: int = 0
    _since: float = field(default_factory=time.monotonic)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def login(self, *, again: bool) -> None:
        with self._lock:
            self.logins += 1
            self.reconnects += again
            self._record("login", again=again)

    def session_opened(self, name: str) -> None:
        with self._lock:
            self.sessions += 1
            self._open += 1
            self.peak = max(self.peak, self._open)
            self._record("session", name=name, open=self._open)

    def session_closed(self, name: str, code: int | None, up: int, down: int) -> None:
        with self._lock:
            self._open -= 1
            self.bytes_up += up
            self.bytes_down += down
            self._record("closed", name=name, code=code, bytes_up=up, bytes_down=down)

    def session_refused(self, name: str, wait: float) -> None:
        with self._lock:
            self.refused += 1
            self._record("refused", name=name, wait=round(wait, 3))

    def dialled(self) -> None:
        """A TCP connection that the host opened for us; it is not a session."""
        with self._lock:
            self._record("dialled")

    def connect_retried(self, reason: str, wait: float) -> None:
        with self._lock:
            self._record("retry", why=reason, wait=round(wait, 3))

    def command_ran(self, count: int = 1) -> None:
        with self._lock:
            self.commands += count

    def _record(self, event: str, **values: object) -> None:
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        self.entries.append({"at": at, "host": self.host, "event": event, **values})

    def summary(self) -> dict[str, object]:
        """The totals, as in the last line of `--ledger=FILE`."""
        names = ["logins", "sessions", "peak", "refused", "reconnects", "commands", "bytes_up", "bytes_down"]
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        totals = {name: getattr(self, name) for name in names}
        seconds = round(time.monotonic() - self._since, 3)
        return {"at": at, "event": "summary", "host": self.host, **totals, "seconds": seconds}

    def json_lines(self) -> str:
        """All entries and then the summary, one JSON object per line."""
        with self._lock:
            rows = [*self.entries, self.summary()]
        return "".join(json.dumps(row) + "\n" for row in rows)

    def line(self) -> str:
        """The totals in one line for people.

        >>> print(Ledger("prod", logins=1, sessions=4, peak=1, bytes_up=62_000).line())
        prod: 1 login · 4 sessions, peak 1 · 61 KB up, 0 B down
        """
        parts = [
            count_text(self.logins, "login"),
            f"{count_text(self.sessions, 'session')}, peak {self.peak}",
            f"{size_text(self.bytes_up)} up, {size_text(self.bytes_down)} down",
        ]
        if self.refused:
            parts.append(f"{self.refused} refused and retried")
        if self.reconnects:
            parts.append(count_text(self.reconnects, "reconnect"))
        return f"{self.host}: " + " · ".join(parts)
