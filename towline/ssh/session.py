"""One raw session: a command, bytes into its stdin, bytes out of stdout and stderr."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import paramiko

from towline.errors import ConnectionLost
from towline.text import last_lines

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

    @property
    def last_line(self) -> str:
        """The last line of stderr, or the exit code where there is none: for an error of one line."""
        return "".join(last_lines(self.err, 1)) or f"exit code {self.code}"

    def __repr__(self) -> str:
        return f"Result(code={self.code}, out={self.out!r}, err={self.err!r})"


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
                with contextlib.suppress(OSError):  # the command left without reading all of it; its exit code tells
                    self.send(chunk)
                    continue
                return
        except Exception as error:  # the source broke: the far end must not take what came so far for the whole
            self._feed_error = error
            self._kill()
            self.channel.close()
            return
        with contextlib.suppress(OSError):
            self.channel.shutdown_write()

    def _kill(self) -> None:
        """Have sshd kill the command and what it started: to them, a closed session is a plain end of file.

        OpenSSH does so since 7.9, but not for a login of root before 9.8 ("session signalling requires privilege
        separation"): a command that gets data has to see by itself that it is whole. RFC 4254, 6.9; paramiko has no
        method for it.
        """
        message = paramiko.Message()
        message.add_byte(paramiko.common.cMSG_CHANNEL_REQUEST)
        message.add_int(self.channel.remote_chanid)
        message.add_string("signal")
        message.add_boolean(False)
        message.add_string("KILL")
        with contextlib.suppress(paramiko.SSHException, OSError, EOFError):  # no line, nothing to kill over it
            self.channel.get_transport()._send_user_message(message)  # type: ignore[attr-defined]

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
            except TimeoutError as error:
                raise TimeoutError(self.name) from error
            if not chunk:
                return
            self.down += len(chunk)
            yield chunk

    def code(self) -> int:
        """The exit code, once stdout has ended. Raises ConnectionLost when the line broke before the server told it."""
        code = self.channel.recv_exit_status()
        for thread in self._threads:
            thread.join(timeout=10)
        if self._feed_error:
            raise self._feed_error
        if code == -1:
            raise ConnectionLost(
                f"the line broke while {self.name!r} ran; it may have finished and is not sent again",
                hint="run the same line once more: it looks at the server first",
            )
        return code

    @property
    def stderr(self) -> bytes:
        return b"".join(self._stderr)

    def close(self) -> None:
        self.channel.close()
