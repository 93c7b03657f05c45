"""One raw session: a command, bytes into its stdin, bytes out of stdout and stderr."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import paramiko

from towline.errors import ConnectionLost
from towline.text.lines import last_lines

TIMED_OUT = 124  # the exit code of a command that was ended for taking too long
BLOCK = 1 << 18  # bytes a read may return
# What paramiko raises for a message into a channel or a connection that is gone; EOFError when its socket went in mid-message.
_CLOSED = (OSError, EOFError, paramiko.SSHException)


@dataclass(frozen=True)
class Result:
    """The outcome of a command: exit code (124: timed out), stdout and stderr as bytes."""

    code: int
    stdout: bytes = b""
    stderr: bytes = b""

    @property
    def ok(self) -> bool:
        return self.code == 0

    @property
    def out(self) -> str:
        """stdout as text; bytes that are not UTF-8 are replaced."""
        return self.stdout.decode(errors="replace")

    @property
    def err(self) -> str:
        """stderr as text; bytes that are not UTF-8 are replaced."""
        return self.stderr.decode(errors="replace")

    @property
    def last_line(self) -> str:
        """The last line of stderr, or the exit code where there is none: for an error of one line. Timed out, it says so."""
        if self.code == TIMED_OUT:
            return "no answer within the time limit"
        return "".join(last_lines(self.err, 1)) or f"exit code {self.code}"

    def __repr__(self) -> str:
        return f"Result(code={self.code}, out={self.out!r}, err={self.err!r})"


class Session:
    """A session whose command has been started. Call `feed` at most once, then read `chunks()` to the end, then `code()`."""

    def __init__(self, channel: paramiko.Channel, name: str) -> None:
        self.channel = channel
        self.name = name
        self.bytes_up = self.bytes_down = 0
        self._stderr: list[bytes] = []
        self._feed_error: Exception | None = None
        self._threads: list[threading.Thread] = []
        self._start(self._drain_stderr)

    def _start(self, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, name=f"towline-{self.name}", daemon=True)
        thread.start()
        self._threads.append(thread)

    def feed(self, chunks: Iterable[bytes]) -> None:
        """Send `chunks` into stdin in a thread of its own, then close stdin."""
        self._start(lambda: self._feed(chunks))

    def _feed(self, chunks: Iterable[bytes]) -> None:
        try:
            for chunk in chunks:
                with contextlib.suppress(
                    *_CLOSED
                ):  # the command ended before it read all of it, or the connection was lost:
                    self.send(chunk)  # the exit code, or that there is none, tells which
                    continue
                return
        except Exception as error:  # the source failed: the command must not take incomplete data as complete
            self._feed_error = error
            self._kill()
            self.close()
            return
        with contextlib.suppress(*_CLOSED):
            self.channel.shutdown_write()

    def _kill(self) -> None:
        """Have sshd kill the command and its children: to them, a closed session looks like a normal end of file.

        OpenSSH does so since 7.9, but not for a login of root before 9.8 ("session signalling requires privilege
        separation"): a command that receives data has to check by itself that it is complete. RFC 4254, 6.9; paramiko
        has no method for it.
        """
        message = paramiko.Message()
        message.add_byte(paramiko.common.cMSG_CHANNEL_REQUEST)
        message.add_int(self.channel.remote_chanid)
        message.add_string("signal")
        message.add_boolean(False)
        message.add_string("KILL")
        with contextlib.suppress(*_CLOSED):
            self.channel.get_transport()._send_user_message(message)  # type: ignore[attr-defined]

    def send(self, chunk: bytes) -> None:
        """Send `chunk` into stdin; blocks while the channel's window is full."""
        self.channel.sendall(chunk)
        self.bytes_up += len(chunk)

    def _drain_stderr(self) -> None:
        while chunk := self.channel.recv_stderr(BLOCK):
            self.bytes_down += len(chunk)
            self._stderr.append(chunk)

    def chunks(self, until: float | None = None) -> Iterator[bytes]:
        """stdout as it arrives. Raises TimeoutError at `until`, a time of time.monotonic()."""
        while True:
            self.channel.settimeout(None if until is None else max(0.01, until - time.monotonic()))
            try:
                chunk = self.channel.recv(BLOCK)
            except TimeoutError as error:
                raise TimeoutError(self.name) from error
            if not chunk:
                return
            self.bytes_down += len(chunk)
            yield chunk

    def code(self) -> int:
        """The exit code, once stdout has ended. Raises ConnectionLost when the connection was lost before it arrived."""
        code = self.channel.recv_exit_status()
        for thread in self._threads:
            thread.join(timeout=10)
        if self._feed_error:
            raise self._feed_error
        if code == -1:
            raise ConnectionLost(
                f"the connection was lost while {self.name!r} ran; it may have finished and is not sent again",
                hint="run the same command again: it reads the server's state first",
            )
        return code

    @property
    def stderr(self) -> bytes:
        return b"".join(self._stderr)

    def close(self) -> None:
        with contextlib.suppress(*_CLOSED):
            self.channel.close()
