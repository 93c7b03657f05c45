"""The guestbook's API: GET and POST /api/entries, GET /health. `app.py health` checks the running one."""

from __future__ import annotations

import json
import signal
import sys
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import store

PORT = 8000
MOST_BYTES = 16 * 1024
CONFIG = json.loads(Path("/etc/guestbook.json").read_text())


class Api(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/health":
            self.answer(200, ping)
        elif self.path == "/api/entries":
            self.answer(200, entries)
        else:
            self.send(404, {"error": "no such page"})

    def do_POST(self) -> None:
        if self.path != "/api/entries":
            self.send(404, {"error": "no such page"})
            return
        size = int(self.headers.get("Content-Length") or 0)
        if size > MOST_BYTES:
            self.send(413, {"error": f"at most {MOST_BYTES} bytes"})
            return
        try:
            entry = parse_entry(self.rfile.read(size))
        except ValueError as error:
            self.send(400, {"error": str(error)})
            return
        self.answer(201, lambda: save(entry))

    def answer(self, status: int, query: Callable[[], Any]) -> None:
        """Send the result of `query`, or 503 when the database does not answer."""
        try:
            self.send(status, query())
        except OSError as error:
            self.send(503, {"error": f"the database does not answer: {error}"})

    def send(self, status: int, body: Any) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_request(self, code: Any = "-", size: Any = "-") -> None:
        if self.path != "/health":
            super().log_request(code, size)


def ping() -> dict[str, str]:
    store.ping()
    return {"status": "ok"}


def entries() -> dict[str, Any]:
    return {"title": CONFIG["title"], "entries": store.newest(CONFIG["shown"])}


def save(entry: dict[str, str]) -> dict[str, str]:
    store.add(entry)
    return entry


def parse_entry(body: bytes) -> dict[str, str]:
    """The entry in a request's body; ValueError says what is wrong with it."""
    fields = json.loads(body)
    if not isinstance(fields, dict):
        raise ValueError("an entry is an object with name and text")
    name, text = (str(fields.get(key, "")).strip() for key in ("name", "text"))
    if not text:
        raise ValueError("the text is empty")
    longest = CONFIG["longest"]
    if len(text) > longest or len(name) > longest:
        raise ValueError(f"at most {longest} characters")
    return {"name": name or "anonymous", "text": text, "at": datetime.now(UTC).isoformat(timespec="seconds")}


def serve() -> None:
    # As process 1 of its container, Python would ignore TERM, and every stop would take ten seconds.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    ThreadingHTTPServer(("", PORT), Api).serve_forever()


if __name__ == "__main__":
    if sys.argv[1:] == ["health"]:
        urllib.request.urlopen(f"http://127.0.0.1:{PORT}/health", timeout=2)
    else:
        serve()
