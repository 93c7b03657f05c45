"""A TCP connection that a program on the host relays over a session. It takes a session's slot until it is closed."""

from __future__ import annotations

import time
from collections.abc import Callable

from towline.errors import ConnectionLost, ForwardingForbidden
from towline.ssh.session import Session

HANGS_UP_WITHIN = 0.3  # seconds, of a program that does not tell whether it has a connection


class RelayedSocket:
    """As much of a socket as probes need. begun: when it was dialled, a time of time.perf_counter()."""

    def __init__(self, session: Session, timeout: float) -> None:
        self._channel = session.channel
        self._close: Callable[[], None] = session.close
        self._ready = b""
        self.begun = time.perf_counter()
        self._channel.settimeout(timeout)

    def recv(self, size: int) -> bytes:
        if self._ready:
            part, self._ready = self._ready[:size], self._ready[size:]
            return part
        return self._channel.recv(size)

    def sendall(self, data: bytes) -> None:
        self._channel.sendall(data)

    def settimeout(self, seconds: float | None) -> None:
        self._channel.settimeout(seconds)

    def close(self) -> None:
        self._close()

    def close_with(self, close: Callable[[], None]) -> None:
        """What `close` does from now on."""
        self._close = close

    def connect(self, host: str, timeout: float) -> str:
        """Reads what the program says first; its name.

        Raises OSError when it has no connection, ForwardingForbidden where there is no program.
        """
        said = self._first_line(host)
        kind, _, rest = said.partition(" ")
        if kind == "tried":
            self._channel.settimeout(HANGS_UP_WITHIN)
            try:
                self._ready += self._channel.recv(1)
                if not self._ready:
                    raise ConnectionRefusedError("no connection")
            except TimeoutError:
                pass  # it waits for what is sent
            self._channel.settimeout(timeout)
        elif kind == "refused":
            raise ConnectionRefusedError(rest)
        elif kind == "late":
            raise TimeoutError(f"no answer within {timeout:g} s")
        elif kind != "open":
            raise ForwardingForbidden(
                f"{host}: sshd forbids TCP forwarding (AllowTcpForwarding no), and there is no python3, perl, bash or nc",
                "local forwarding is enough: AllowTcpForwarding local",
            )
        return rest

    def _first_line(self, host: str) -> str:
        line = b""
        while b"\n" not in line:
            part = self._channel.recv(4096)
            if not part:
                raise ConnectionLost(f"{host}: the connection was lost")
            line += part
        line, _, self._ready = line.partition(b"\n")
        return line.decode(errors="replace")
