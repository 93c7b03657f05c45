"""The one connection to a host, and the holder that keeps one for each.

>>> connections = Connections(note=print)
>>> prod = connections.to(host)  # nothing is opened yet
>>> prod.run(("docker", "ps"))  # first need: logs in once; one session
>>> prod.batch([("id", "-u"), ("df", "-Pk")])  # one session, two results
>>> prod.put(chunks, ("tar", "-xf", "-"))  # one session, bytes into its stdin
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import paramiko
from fabric import Connection as FabricConnection
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_delay, wait_exponential, wait_random

from towline.commands.shell import Command, limited, quote
from towline.errors import ConnectionFailed, ConnectionLost, ForwardingForbidden, SessionRefused
from towline.project.settings import Host
from towline.ssh import batch as batches
from towline.ssh.ledger import Ledger
from towline.ssh.login import WINDOW, close_connection, open_connection
from towline.ssh.session import Result, Session

SESSION_WAIT = 30  # seconds that a refused session is tried again
GRACE = 10  # seconds that a timed-out command has to leave by itself, being ended on the server first
TIMED_OUT = 124
ADMINISTRATIVELY_PROHIBITED = 1  # RFC 4254, 5.1


class _Refused(Exception):
    """sshd said no to a session: the command never started, so asking again is safe."""


class Connection:
    """One login to one host, opened at first need, with at most `host.max_sessions` sessions open at once."""

    def __init__(self, host: Host, note: Callable[[str], None]) -> None:
        self.host = host
        self.ledger = Ledger(host.name)
        self._note = note
        self._fabric: FabricConnection | None = None
        self._unreachable: ConnectionFailed | None = None  # not tried anew for each of many stacks
        self._opening = threading.Lock()
        self._slots = threading.BoundedSemaphore(host.max_sessions)
        self._closed_one = False  # a session, and sshd may not have freed its slot yet

    @property
    def used(self) -> bool:
        return self.ledger.logins > 0

    def fabric(self) -> FabricConnection:
        """The open Fabric Connection. A line that was cut is replaced, and that is said."""
        with self._opening:
            if self._fabric is None or not self._fabric.is_connected:
                self._log_in(again=self._fabric is not None)
            return self._fabric

    def _log_in(self, *, again: bool) -> None:
        if self._unreachable and not again:
            raise self._unreachable.with_traceback(None)  # not with the frames of whoever tried first
        if self._fabric is not None:
            close_connection(self._fabric)
            self._note(f"{self.host.name}: the line was cut; logging in again")
        try:
            self._fabric = open_connection(self.host, self._retried)
        except ConnectionFailed as error:
            self._unreachable = error
            raise
        self.ledger.login(again=again)

    def _retried(self, why: str, wait: float) -> None:
        self.ledger.connect_retried(why, wait)
        self._note(f"{why.splitlines()[0]}; again in {wait:.1f} s")

    @property
    def transport(self) -> paramiko.Transport:
        transport: paramiko.Transport = self.fabric().transport
        return transport

    @contextmanager
    def session(self, command: Command, name: str = "") -> Iterator[Session]:
        """A session in which `command` has been started; closed at the end.

        Waits for one of the host's sessions to be free, here and on the server. Raises SessionRefused when the
        server still has none after 30 s, ConnectionLost when the line breaks.
        """
        name = name or command[0]
        with self._slots:
            session = self._started(command, name)
            code: int | None = None
            try:
                yield session
                code = session.channel.exit_status if session.channel.exit_status_ready() else None
            finally:
                session.close()
                self._closed_one = True
                self.ledger.session_closed(name, code, session.up, session.down)

    def _started(self, command: Command, name: str) -> Session:
        channel = self._open_channel(name)
        self.ledger.session_opened(name)
        try:
            channel.exec_command(quote(command))
        except (paramiko.SSHException, EOFError, OSError) as error:
            self.ledger.session_closed(name, None, 0, 0)
            raise ConnectionLost(
                f"{self.host.name}: the line broke as {name!r} was sent; it is not sent again"
            ) from error
        return Session(channel, name)

    def _open_channel(self, name: str) -> paramiko.Channel:
        def before_sleep(state: RetryCallState) -> None:
            self.ledger.session_refused(name, state.next_action.sleep if state.next_action else 0.0)

        attempts = Retrying(
            retry=retry_if_exception_type(_Refused),
            stop=stop_after_delay(SESSION_WAIT),
            wait=wait_exponential(multiplier=0.02, max=2) + wait_random(0, 0.02),
            before_sleep=before_sleep,
            reraise=True,
        )
        try:
            return attempts(self._ask_for_channel)
        except _Refused:
            raise SessionRefused(
                f"{self.host.name}: refused a session for {SESSION_WAIT} s: all of its MaxSessions are in use",
                hint="another program may hold sessions on this login; raise MaxSessions in sshd_config by one",
            ) from None

    def _ask_for_channel(self) -> paramiko.Channel:
        """One try. No command has been sent at this point, so a line found dead is replaced without risk."""
        for last in (False, True):
            transport = self.transport
            try:
                self._see_it_closed(transport)
                return transport.open_session(window_size=WINDOW)
            except paramiko.ChannelException as error:
                # 2 is "connect failed", sshd's answer when MaxSessions is reached; 1 is a policy, which stays.
                if error.code == 2:
                    raise _Refused from error
                raise SessionRefused(f"{self.host.name}: the server forbids sessions ({error.text})") from error
            except (paramiko.SSHException, EOFError, OSError) as error:
                transport.close()
                if last:
                    raise ConnectionLost(f"{self.host.name}: the line broke as a session was asked for") from error
        raise AssertionError("unreachable")

    def _see_it_closed(self, transport: paramiko.Transport) -> None:
        """Wait until sshd has freed the slot of the session before.

        It does so between two reads of the line (OpenSSH 9.2): closing and opening in one would count as two sessions at once.
        """
        if self._closed_one:
            self._closed_one = False
            transport.global_request("keepalive@openssh.com", wait=True)

    def run(self, command: Command, *, stdin: bytes = b"", timeout: float | None = None, name: str = "") -> Result:
        """The result of one command in one session. After `timeout` seconds it is ended, there too: code 124."""
        self.ledger.command_ran()
        if timeout:
            command, timeout = limited(timeout, command), timeout + GRACE
        with self.session(command, name) as session:
            session.feed([stdin] if stdin else [])
            return _collect(session, timeout)

    def put(self, chunks: Iterable[bytes], command: Command, name: str = "put") -> Result:
        """Stream `chunks` into the stdin of `command`; never held in memory as a whole."""
        self.ledger.command_ran()
        with self.session(command, name) as session:
            session.feed(chunks)
            return _collect(session, None)

    def batch(
        self,
        commands: Sequence[Command],
        *,
        together: bool = False,
        stop: bool = False,
        timeout: float | None = None,
        name: str = "batch",
    ) -> list[Result]:
        """The results of many commands, in order, from one session.

        together: all run at once. stop: nothing after the first failure (the list is shorter then).
        """
        text = batches.script(commands, together=together, stop=stop, timeout=timeout)
        self.ledger.command_ran(len(commands))
        with self.session(("sh", "-s"), name) as session:
            session.feed([text])
            frames = batches.Frames()
            results = [result for chunk in session.chunks() for result in frames.add(chunk)]
            code = session.code()
        if code or (len(results) < len(commands) and not (stop and results and not results[-1].ok)):
            last = session.stderr.decode(errors="replace").strip().splitlines()[-1:]
            raise ConnectionLost(f"{self.host.name}: the batch {name!r} ended early (code {code}) {' '.join(last)}")
        return results

    def dial(self, address: str, port: int, timeout: float) -> paramiko.Channel:
        """A TCP connection from the host to one of its own addresses or beyond; close it when done.

        sshd opens it, so it needs no program there and is none of the login's sessions (MaxSessions does not count it).
        Raises ForwardingForbidden where sshd_config says AllowTcpForwarding no, OSError when nobody answers there.
        """
        try:
            channel = self.transport.open_channel("direct-tcpip", (address, port), ("127.0.0.1", 0), timeout=timeout)
        except paramiko.ChannelException as error:
            if error.code == ADMINISTRATIVELY_PROHIBITED:
                raise ForwardingForbidden(
                    f"{self.host.name}: sshd forbids TCP forwarding (AllowTcpForwarding no)",
                    "it may be allowed for local forwarding alone: AllowTcpForwarding local",
                ) from None
            raise ConnectionRefusedError(error.text) from error
        except (paramiko.SSHException, EOFError) as error:
            if not self.transport.is_active():
                raise ConnectionLost(f"{self.host.name}: the line broke") from error
            raise TimeoutError(f"no answer from {address}:{port} within {timeout:g} s") from error
        self.ledger.dialled()
        channel.settimeout(timeout)
        return channel

    def round_trip(self) -> float:
        """Seconds from here to the host's sshd and back; needs no session."""
        transport = self.transport
        start = time.perf_counter()
        transport.global_request("keepalive@openssh.com", wait=True)
        return time.perf_counter() - start

    def count_sessions(self, most: int) -> int:
        """How many sessions the server lets be open at once, found by opening up to `most` idle ones."""
        channels: list[paramiko.Channel] = []
        transport = self.transport
        try:
            while len(channels) < most:
                channels.append(transport.open_session())
                self.ledger.session_opened("probe")
        except paramiko.ChannelException:
            self.ledger.session_refused("probe", 0)
        finally:
            for channel in channels:
                channel.close()
                self.ledger.session_closed("probe", None, 0, 0)
        return len(channels)

    def drop(self) -> None:
        """Take the line for dead, so that the next use logs in again."""
        self.close()

    def close(self) -> None:
        if self._fabric is not None:
            close_connection(self._fabric)


def _collect(session: Session, timeout: float | None) -> Result:
    until = None if timeout is None else time.monotonic() + timeout
    out: list[bytes] = []
    try:
        out.extend(session.chunks(until))
    except TimeoutError:
        return Result(TIMED_OUT, b"".join(out), session.stderr)
    return Result(session.code(), b"".join(out), session.stderr)


class Connections:
    """The holder: one Connection per host for as long as the program runs."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        self._by_host: dict[str, Connection] = {}

    def to(self, host: Host) -> Connection:
        """The host's connection, the same one each time; nothing is opened before it is used."""
        if host.name not in self._by_host:
            self._by_host[host.name] = Connection(host, self._note)
        return self._by_host[host.name]

    @property
    def ledgers(self) -> list[Ledger]:
        """The ledgers of the hosts that were logged in to."""
        return [connection.ledger for connection in self._by_host.values() if connection.used]

    def close(self) -> None:
        for connection in self._by_host.values():
            connection.close()
