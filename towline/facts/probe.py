"""Asking over TCP: what listens, what HTTP answers, which certificate is served.

The lines come from a `dial`: the host's own (Connection.dial, so it is asked from the server), or this machine's.
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
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")


class Socket(Protocol):
    """A socket, or what is one as far as it goes."""

    def recv(self, size: int, /) -> bytes: ...
    def sendall(self, data: bytes, /) -> object: ...
    def settimeout(self, seconds: float | None, /) -> object: ...
    def close(self) -> object: ...


Dial = Callable[[str, int, float], Socket]


@dataclass(frozen=True)
class Probe:
    """What to ask at address:port. http: whether to ask for `path`; tls: as whom (`name`), else only whether it is open.

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
        """Whether being open is all that is asked."""
        return not (self.http or self.tls)

    @property
    def shown(self) -> str:
        return f"{self.address}:{self.port}"


@dataclass(frozen=True)
class Answer:
    """What came of a question. problem: why there is no answer, '' otherwise. seconds: from dialling to the whole answer.

    forbidden: the host's sshd does not open such a connection, so nothing was asked.
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


def ask_all(dial: Dial, questions: Iterable[Probe]) -> dict[Probe, Answer]:
    """The answers, asked all at once, each question once. Raises ConnectionLost as `dial` does."""
    each = list(dict.fromkeys(questions))
    more = {(one.address, one.port) for one in each if not one.plain}
    answers = _ask_at_once(dial, [one for one in each if not one.plain or (one.address, one.port) not in more])
    open_ = {(one.address, one.port): answer for one, answer in answers.items() if not answer.problem}
    rest = [one for one in each if one not in answers]  # whether it is open, where somebody asked for more
    answers |= {one: open_[one.address, one.port] for one in rest if (one.address, one.port) in open_}
    return answers | _ask_at_once(dial, [one for one in rest if one not in answers])


def _ask_at_once(dial: Dial, questions: Sequence[Probe]) -> dict[Probe, Answer]:
    if not questions:
        return {}
    with ThreadPoolExecutor(min(AT_ONCE, len(questions))) as pool:
        return dict(zip(questions, pool.map(lambda one: ask(dial, one), questions), strict=True))


def ask(dial: Dial, question: Probe) -> Answer:
    """One answer. What goes wrong on the way is its problem, not an exception."""
    begun = time.perf_counter()
    try:
        line = dial(question.address, question.port, question.timeout)
    except ForwardingForbidden as error:
        return Answer(problem=error.message, forbidden=True)
    except OSError as error:
        return Answer(problem=_why(error, question), seconds=time.perf_counter() - begun)
    served: Certificate | None = None
    try:
        with contextlib.closing(line):
            if question.tls:
                line = _Tls(line, question.name)
                served = line.certificate
            if question.http:
                return _http(line, question, begun, served)
            problem = _hangs_up(line) if question.proxied else ""
            return Answer(problem=problem, seconds=time.perf_counter() - begun, certificate=served)
    except (OSError, EOFError, HTTPException, ValueError) as error:  # ValueError: a name or a path that cannot be sent
        return Answer(problem=_why(error, question), seconds=time.perf_counter() - begun, certificate=served)


def _why(error: BaseException, question: Probe) -> str:
    if isinstance(error, ConnectionRefusedError):
        return f"nobody answers on {question.shown}: {error.strerror or error}"
    if isinstance(error, socket.gaierror):
        return f"this machine does not resolve {question.address}"
    if isinstance(error, TimeoutError):
        return f"no answer from {question.shown} within {question.timeout:g} s"
    if isinstance(error, ssl.SSLError):
        return f"{question.shown} does not speak TLS as it should: {error.reason or error}"
    if isinstance(error, ValueError):
        return f"{question.shown} cannot be asked: {error}"
    return f"{question.shown} hung up: {error or type(error).__name__}"


def _hangs_up(line: Socket) -> str:
    line.settimeout(SETTLE)
    try:
        return "" if line.recv(1) else "it takes the connection and hangs up: nothing listens inside the container"
    except TimeoutError:
        return ""


# --------------------------------------------------------------------------------------------------------- HTTP


def _http(line: Socket, question: Probe, begun: float, served: Certificate | None) -> Answer:
    connection = HTTPConnection(question.name or question.address, question.port)
    connection.sock = _Socket(line)
    headers = {"Host": question.name or question.shown, "User-Agent": "towline", "Connection": "close"}
    connection.request(question.method, question.path, headers={**headers, **question.headers})
    response = connection.getresponse()
    body = _body(response, begun + question.timeout)
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

    def __init__(self, line: Socket) -> None:
        self._line = line

    def sendall(self, data: bytes) -> None:
        self._line.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self._line))

    def close(self) -> None:
        """The line is closed by whoever dialled it."""


class _Reader(io.RawIOBase):
    def __init__(self, line: Socket) -> None:
        self._line = line

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._line.recv(len(buffer))
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
    """TLS over a line that is no socket of the system (ssl wraps only those)."""

    def __init__(self, line: Socket, name: str) -> None:
        self._line = line
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
                data = self._line.recv(1 << 16)
                if data:
                    self._in.write(data)
                else:
                    self._in.write_eof()
                continue
            self._flush()
            return done

    def _flush(self) -> None:
        if data := self._out.read():
            self._line.sendall(data)

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
        self._line.settimeout(seconds)

    def close(self) -> None:
        self._line.close()
