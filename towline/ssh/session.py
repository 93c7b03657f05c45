"""One raw session: a command, bytes into its stdin, bytes out of stdout and stderr."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import paramiko

from towline.errors import LineCut

BLOCK = 1 << 18  # bytes a read may return


@dataclass(frozen=True)
class Result:
    """What a command left: exit code (124 = timed out), stdout and stderr as bytes."""

    code: int
    stdout: bytes = b""
    stderr: bytes = b""

    @property
    def ok(self) -> bool:
        return self.code == 0

    @property
    def out(self) -> str:
        return self.stdout.decode(errors="replace")

    @property
    def err(self) -> str:
        return self.stderr.decode(errors="replace")


class Session:
    """A session whose command has been started. Use its parts once: feed, then read, then `code`."""

    def __init__(self, channel: paramiko.Channel, name: str) -> None:
        self.channel = channel
        self.name = name
        self.up = self.down = 0
        self._stderr: list[bytes] = []
        self._feed_error: Exception | None = None
        self._threads: list[threading.Thread] = []
        self._start(self._drain_stderr)

    def _start(self, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, name=f"towline-{self.name}", daemon=True)
        thread.start()
        self._threads.append(thread)

    def feed(self, chunks: Iterable[bytes]) -> None:
        """Send `chunks` into stdin beside the reading, then end it."""
        self._start(lambda: self._feed(chunks))

    def _feed(self, chunks: Iterable[bytes]) -> None:
        try:
            for chunk in chunks:
                self.send(chunk)
            self.channel.shutdown_write()
        except OSError:
            pass  # the command left without reading all of it; its exit code tells
        except Exception as error:  # the source broke: close, so that the far end cannot take this for the whole
            self._feed_error = error
            self.channel.close()

    def send(self, chunk: bytes) -> None:
        """Send `chunk` into stdin now; blocks while the window is full."""
        self.channel.sendall(chunk)
        self.up += len(chunk)

    def _drain_stderr(self) -> None:
        while chunk := self.channel.recv_stderr(BLOCK):
            self.down += len(chunk)
            self._stderr.append(chunk)

    def chunks(self, until: float | None = None) -> Iterator[bytes]:
        """stdout as it comes. Raises TimeoutError when `until` (time.monotonic) is reached."""
        while True:
            self.channel.settimeout(None if until is None else max(0.01, until - time.monotonic()))
            try:
                chunk = self.channel.recv(BLOCK)
            except socket.timeout as error:
                raise TimeoutError(self.name) from error
            if not chunk:
                return
            self.down += len(chunk)
            yield chunk

    def code(self) -> int:
        """The exit code, once stdout has ended. Raises LineCut when the line broke before the server told it."""
        code = self.channel.recv_exit_status()
        for thread in self._threads:
            thread.join(timeout=10)
        if self._feed_error:
            raise self._feed_error
        if code == -1:
            raise LineCut(
                f"the line broke while {self.name!r} ran; it may have finished and is not sent again",
                hint="run the same line once more: it looks at the server first",
            )
        return code

    @property
    def stderr(self) -> bytes:
        return b"".join(self._stderr)

    def close(self) -> None:
        self.channel.close()
