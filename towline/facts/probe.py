"""Probes over TCP: whether a port is open, what HTTP answers, which certificate is served.

The TCP connections come from a `dial`: the host's (Connection.dial, so the server connects), or this machine's.
"""

from __future__ import annotations

import contextlib
import io
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any, Protocol

from towline.errors import ForwardingForbidden
from towline.facts import certificate
from towline.facts.certificate import Certificate

TIMEOUT = 5.0
MOST_BODY = 1 << 18
AT_ONCE = 16
SETTLE = 0.03  # seconds within which Docker's proxy hangs up when nothing listens inside


class Socket(Protocol):
    """The part of a socket that probes need; an SSH channel has it too."""

    def recv(self, size: int, /) -> bytes: ...
    def sendall(self, data: bytes, /) -> object: ...
    def settimeout(self, seconds: float | None, /) -> object: ...
    def close(self) -> object: ...


Dial = Callable[[str, int, float], Socket]


@dataclass(frozen=True)
class Probe:
    """What is sent to address:port. http: a request for `path`; tls: a handshake for `name`; neither: whether it is open.

    proxied: Docker's proxy takes the connection, also when nothing listens in the container.
    """

    address: str
    port: int
    name: str = ""
    tls: bool = False
    http: bool = True
    method: str = "GET"
    path: str = "/"
    headers: Mapping[str, str] = field(default_factory=dict, hash=False)
    timeout: float = TIMEOUT
    proxied: bool = False

    @property
    def plain(self) -> bool:
        """Whether only being open is probed."""
        return not (self.http or self.tls)

    @property
    def shown(self) -> str:
        return f"{self.address}:{self.port}"


@dataclass(frozen=True)
class Answer:
    """The outcome of a probe. problem: why there is no answer, '' otherwise. seconds: from dialling to the whole answer.

    forbidden: the host's sshd does not open such a connection, so nothing was sent.
    """

    problem: str = ""
    status: int = 0
    seconds: float = 0.0
    headers: Mapping[str, str] = field(default_factory=dict, hash=False)
    body: bytes = b""
    certificate: Certificate | None = None
    forbidden: bool = False

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")


def send_all(dial: Dial, probes: Iterable[Probe]) -> dict[Probe, Answer]:
    """The answers; each probe is sent once, all at the same time. Raises ConnectionLost as `dial` does."""
    each = list(dict.fromkeys(probes))
    more = {(probe.address, probe.port) for probe in each if not probe.plain}
    answers = _send_at_once(
        dial, [probe for probe in each if not probe.plain or (probe.address, probe.port) not in more]
    )
    open_ = {(probe.address, probe.port): answer for probe, answer in answers.items() if not answer.problem}
    rest = [probe for probe in each if probe not in answers]  # whether it is open, where another probe asks for more
    answers |= {probe: open_[probe.address, probe.port] for probe in rest if (probe.address, probe.port) in open_}
    return answers | _send_at_once(dial, [probe for probe in rest if probe not in answers])


def _send_at_once(dial: Dial, probes: Sequence[Probe]) -> dict[Probe, Answer]:
    if not probes:
        return {}
    with ThreadPoolExecutor(min(AT_ONCE, len(probes))) as pool:
        return dict(zip(probes, pool.map(lambda probe: send(dial, probe), probes), strict=True))


def send(dial: Dial, probe: Probe) -> Answer:
    """The answer to one probe. What goes wrong is the answer's problem, not an exception."""
    begun = time.perf_counter()
    try:
        sock = dial(probe.address, probe.port, probe.timeout)
    except ForwardingForbidden as error:
        return Answer(problem=error.message, forbidden=True)
    except OSError as error:
        return Answer(problem=_why(error, probe), seconds=time.perf_counter() - begun)
    begun = max(begun, getattr(sock, "begun", 0.0))  # a relayed one may have waited for a session
    served: Certificate | None = None
    try:
        with contextlib.closing(sock):
            if probe.tls:
                sock = _Tls(sock, probe.name)
                served = sock.certificate
            if probe.http:
                return _http(sock, probe, begun, served)
            problem = _hangs_up(sock) if probe.proxied else ""
            return Answer(problem=problem, seconds=time.perf_counter() - begun, certificate=served)
    except (OSError, EOFError, HTTPException, ValueError) as error:  # ValueError: a name or a path that cannot be sent
        return Answer(problem=_why(error, probe), seconds=time.perf_counter() - begun, certificate=served)


def _why(error: BaseException, probe: Probe) -> str:
    if isinstance(error, ConnectionRefusedError):
        return f"nobody answers on {probe.shown}: {error.strerror or error}"
    if isinstance(error, socket.gaierror):
        return f"this machine does not resolve {probe.address}"
    if isinstance(error, TimeoutError):
        return f"no answer from {probe.shown} within {probe.timeout:g} s"
    if isinstance(error, ssl.SSLError):
        return f"{probe.shown} does not speak TLS as it should: {error.reason or error}"
    if isinstance(error, ValueError):
        return f"{probe.shown} cannot be probed: {error}"
    return f"{probe.shown} hung up: {error or type(error).__name__}"


def _hangs_up(sock: Socket) -> str:
    sock.settimeout(SETTLE)
    try:
        return "" if sock.recv(1) else "it takes the connection and hangs up: nothing listens inside the container"
    except TimeoutError:
        return ""


# --------------------------------------------------------------------------------------------------------- HTTP


def _http(sock: Socket, probe: Probe, begun: float, served: Certificate | None) -> Answer:
    connection = HTTPConnection(probe.name or probe.address, probe.port)
    connection.sock = _Socket(sock)
    headers = {"Host": probe.name or probe.shown, "User-Agent": "towline", "Connection": "close"}
    connection.request(probe.method, probe.path, headers={**headers, **probe.headers})
    response = connection.getresponse()
    body = _body(response, begun + probe.timeout)
    return Answer(
        status=response.status,
        seconds=time.perf_counter() - begun,
        headers={name.lower(): value for name, value in response.getheaders()},
        body=body,
        certificate=served,
    )


def _body(response: HTTPResponse, end: float) -> bytes:
    """As much as is there in time: some answers go on for ever."""
    parts: list[bytes] = []
    size = 0
    with contextlib.suppress(TimeoutError):
        while size < MOST_BODY and time.perf_counter() < end and (part := response.read1(MOST_BODY - size)):
            parts.append(part)
            size += len(part)
    return b"".join(parts)


class _Socket:
    """What http.client needs of a socket."""

    def __init__(self, sock: Socket) -> None:
        self._sock = sock

    def sendall(self, data: bytes) -> None:
        self._sock.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self._sock))

    def close(self) -> None:
        """The socket is closed by whoever dialled it."""


class _Reader(io.RawIOBase):
    def __init__(self, sock: Socket) -> None:
        self._sock = sock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._sock.recv(len(buffer))
        buffer[: len(data)] = data
        return len(data)


# ---------------------------------------------------------------------------------------------------------- TLS


def _context() -> ssl.SSLContext:
    """What is served is looked at, whoever signed it: judging it is the check's work."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class _Tls:
    """TLS over what is no socket of the operating system (the ssl module wraps only those)."""

    def __init__(self, sock: Socket, name: str) -> None:
        self._sock = sock
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = _context().wrap_bio(self._in, self._out, server_hostname=name or None)
        self._pump(self._tls.do_handshake)
        der = self._tls.getpeercert(binary_form=True)
        self.certificate = certificate.parse(der) if der else None

    def _pump(self, step: Callable[[], Any]) -> Any:
        while True:
            try:
                done = step()
            except ssl.SSLWantReadError:
                self._flush()
                data = self._sock.recv(1 << 16)
                if data:
                    self._in.write(data)
                else:
                    self._in.write_eof()
                continue
            self._flush()
            return done

    def _flush(self) -> None:
        if data := self._out.read():
            self._sock.sendall(data)

    def recv(self, size: int) -> bytes:
        try:
            data: bytes = self._pump(lambda: self._tls.read(size))
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""
        return data

    def sendall(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self._pump(partial(self._tls.write, view)) :]

    def settimeout(self, seconds: float | None) -> None:
        self._sock.settimeout(seconds)

    def close(self) -> None:
        self._sock.close()
