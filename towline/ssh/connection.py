"""The connection to a host, and Connections, which keeps one for each host.

connections = Connections(note=print)
prod = connections.to(host)  # nothing is opened yet
prod.run(("docker", "ps"))  # first need: logs in once; one session
prod.batch([("id", "-u"), ("df", "-Pk")])  # one session, two results
prod.upload(chunks, ("tar", "-xf", "-"))  # one session, bytes into its stdin
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import paramiko
from fabric import Connection as FabricConnection
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_delay, wait_exponential, wait_random

from towline.commands.docker_program import on_engine
from towline.commands.relay import relay
from towline.commands.shell import Command, for_login_shell, limited, without_misleading_variables
from towline.errors import ConnectionFailed, ConnectionLost, SessionRefused
from towline.project.settings import Host
from towline.ssh import batch as batches
from towline.ssh.ledger import Ledger
from towline.ssh.login import WINDOW, log_in, log_out
from towline.ssh.relay import RelayedSocket
from towline.ssh.session import TIMED_OUT, Result, Session

SESSION_WAIT = 30  # seconds for which a refused session is retried
ANSWER_WITHIN = 60  # seconds for a command that only reads: a `docker` or a disk that hangs is not waited for
GRACE = 10  # seconds to wait beyond the time limit, within which the server itself ends the command
PROBE_RETRIES, PROBE_WAIT = 10, 0.1  # seconds
ADMINISTRATIVELY_PROHIBITED = 1  # RFC 4254, 5.1


class _Refused(Exception):
    """sshd refused a session: the command never started, so a retry is safe."""


class Connection:
    """One login to one host, made at first use, with at most `host.max_sessions` sessions open at once."""

    def __init__(self, host: Host, note: Callable[[str], None]) -> None:
        self.host = host
        self.ledger = Ledger(host.name)
        self._note = note
        self._fabric: FabricConnection | None = None
        self._unreachable: ConnectionFailed | None = None  # raised again at each use: many stacks try only once
        self._login_lock = threading.Lock()
        self._slots = threading.BoundedSemaphore(host.max_sessions)
        self._first_dial = threading.Lock()
        self._forwards: bool | None = None  # whether sshd forwards TCP, None before it was asked
        self._relay_told = False
        self._slot_may_be_taken = False  # a session was closed, and sshd may not have freed its slot yet

    @property
    def used(self) -> bool:
        """Whether the host has been logged in to."""
        return self.ledger.logins > 0

    def fabric(self) -> FabricConnection:
        """The open Fabric Connection. Logs in at first use, and anew, with a note, when the connection was lost."""
        with self._login_lock:
            if self._fabric is None or not self._fabric.is_connected:
                self._log_in(again=self._fabric is not None)
            return self._fabric

    def _log_in(self, *, again: bool) -> None:
        if self._unreachable and not again:
            raise self._unreachable.with_traceback(None)  # without the frames of the first attempt
        if self._fabric is not None:
            log_out(self._fabric)
            self._note(f"{self.host.name}: connection lost; logging in again")
        try:
            self._fabric = log_in(self.host, self._note_retry)
        except ConnectionFailed as error:
            self._unreachable = error
            raise
        self.ledger.login(again=again)

    def _note_retry(self, reason: str, wait: float) -> None:
        self.ledger.connect_retried(reason, wait)
        self._note(f"{reason.splitlines()[0]}; retrying in {wait:.1f} s")

    @property
    def transport(self) -> paramiko.Transport:
        transport: paramiko.Transport = self.fabric().transport
        return transport

    @contextmanager
    def session(self, command: Command, name: str = "") -> Iterator[Session]:
        """A session in which `command` has been started; closed at the end.

        Waits until fewer than `host.max_sessions` are open. Raises SessionRefused when the server still refuses it
        after 30 s, ConnectionLost when the connection is lost.
        """
        name = name or command[0]
        with self._slots:
            session = self._start(command, name)
            code: int | None = None
            try:
                yield session
                code = session.channel.exit_status if session.channel.exit_status_ready() else None
            finally:
                session.close()
                self._slot_may_be_taken = True
                self.ledger.session_closed(name, code, session.bytes_up, session.bytes_down)

    def _start(self, command: Command, name: str) -> Session:
        channel, host = self._open_channel(name), self.host
        self.ledger.session_opened(name)
        try:
            whole = on_engine(command, host.docker, host.docker_host, host.root)
            channel.exec_command(for_login_shell(without_misleading_variables(whole)))
        except (paramiko.SSHException, EOFError, OSError) as error:
            self.ledger.session_closed(name, None, 0, 0)
            raise ConnectionLost(
                f"{self.host.name}: the connection was lost while {name!r} was being sent; it is not sent again"
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
            return attempts(self._try_to_open_channel)
        except _Refused:
            raise SessionRefused(
                f"{self.host.name}: refused a session for {SESSION_WAIT} s: all of its MaxSessions are in use",
                hint="another program may hold sessions on this login; raise MaxSessions in sshd_config by one",
            ) from None

    def _try_to_open_channel(self) -> paramiko.Channel:
        """A new channel, after a new login if the connection is found lost: no command has been sent, so that is safe."""
        for last_try in (False, True):
            transport = self.transport
            try:
                self._wait_for_freed_slot(transport)
                return transport.open_session(window_size=WINDOW)
            except paramiko.ChannelException as error:
                # 2 is "connect failed", sshd's answer when MaxSessions is reached; 1 is a policy, which stays.
                if error.code == 2:
                    raise _Refused from error
                raise SessionRefused(f"{self.host.name}: the server forbids sessions ({error.text})") from error
            except (paramiko.SSHException, EOFError, OSError) as error:
                transport.close()
                if last_try:
                    message = f"{self.host.name}: the connection was lost while a session was being opened"
                    raise ConnectionLost(message) from error
        raise AssertionError("unreachable")

    def _wait_for_freed_slot(self, transport: paramiko.Transport) -> None:
        """Wait until sshd has freed the slot of the session before.

        It does so between two reads of the socket (OpenSSH 9.2): a close and an open that arrive in one read count as
        two sessions at once.
        """
        if self._slot_may_be_taken:
            self._slot_may_be_taken = False
            transport.global_request("keepalive@openssh.com", wait=True)

    def run(self, command: Command, *, stdin: bytes = b"", timeout: float | None = None, name: str = "") -> Result:
        """The result of one command in one session. After `timeout` seconds it is ended, on the server too: code 124."""
        self.ledger.command_ran()
        if timeout:
            command, timeout = limited(timeout, command), timeout + GRACE
        with self.session(command, name) as session:
            session.feed([stdin] if stdin else [])
            return _collect(session, timeout)

    def upload(
        self, chunks: Iterable[bytes], command: Command, name: str = "upload", timeout: float | None = None
    ) -> Result:
        """The result of `command`, with `chunks` streamed into its stdin; never held in memory as a whole.

        After `timeout` seconds it is ended, on the server too: code 124.
        """
        self.ledger.command_ran()
        if timeout:
            command, timeout = limited(timeout, command), timeout + GRACE
        with self.session(command, name) as session:
            session.feed(chunks)
            return _collect(session, timeout)

    def batch(
        self,
        commands: Sequence[Command],
        *,
        parallel: bool = False,
        stop: bool = False,
        timeout: float | Sequence[float | None] | None = None,
        name: str = "batch",
    ) -> list[Result]:
        """The results of many commands, in order, from one session.

        parallel: all run at the same time. stop: nothing runs after the first failure (the list is shorter then). timeout:
        seconds for each command, one number for all or one for each; it is then ended there, with code 124.
        """
        text = batches.script(commands, parallel=parallel, stop=stop, timeout=timeout)
        self.ledger.command_ran(len(commands))
        longest = batches.longest(commands, timeout, parallel)
        deadline = None if longest is None else time.monotonic() + longest + GRACE + SESSION_WAIT
        with self.session(("sh", "-s"), name) as session:
            session.feed([text])
            reader = batches.ResultReader()
            try:
                results = [result for chunk in session.chunks(deadline) for result in reader.feed(chunk)]
            except TimeoutError:
                raise ConnectionLost(f"{self.host.name}: no answer to {name!r} within its time limit") from None
            code = session.code()
        if code or (len(results) < len(commands) and not (stop and results and not results[-1].ok)):
            last = session.stderr.decode(errors="replace").strip().splitlines()[-1:]
            raise ConnectionLost(f"{self.host.name}: the batch {name!r} ended early (code {code}) {' '.join(last)}")
        return results

    def dial(self, address: str, port: int, timeout: float) -> paramiko.Channel | RelayedSocket:
        """A TCP connection that the host opens, to one of its own addresses or another; close it when done.

        It is forwarded by sshd (`direct-tcpip`), and no session, so MaxSessions does not count it. Where sshd forbids that, a
        program on the host opens it, in a session: python3, perl, bash or nc. Raises ForwardingForbidden where there is none,
        OSError when the address does not answer within `timeout` seconds.
        """
        if self._forwards is None:
            with self._first_dial:  # paramiko mixes up the errors of channels that are refused at the same time
                return self._dial(address, port, timeout)
        return self._dial(address, port, timeout)

    def _dial(self, address: str, port: int, timeout: float, tries: int = 3) -> paramiko.Channel | RelayedSocket:
        if self._forwards is False:
            return self._dial_by_program(address, port, timeout)
        begun = time.monotonic()
        try:
            channel = self.transport.open_channel("direct-tcpip", (address, port), ("127.0.0.1", 0), timeout=timeout)
        except paramiko.ChannelException as error:
            if error.code == ADMINISTRATIVELY_PROHIBITED:
                self._forwards = False
                return self._dial_by_program(address, port, timeout)
            self._forwards = True
            raise ConnectionRefusedError(error.text) from error
        except (paramiko.SSHException, EOFError) as error:
            if not self.transport.is_active():
                raise ConnectionLost(f"{self.host.name}: the connection was lost") from error
            if tries and time.monotonic() - begun < timeout:  # another channel's thread has taken the error
                return self._dial(address, port, timeout, tries - 1)
            raise TimeoutError(f"no answer from {address}:{port} within {timeout:g} s") from error
        self._forwards = True
        self.ledger.dialled()
        channel.settimeout(timeout)
        return channel

    def _dial_by_program(self, address: str, port: int, timeout: float) -> RelayedSocket:
        with ExitStack() as closing:
            session = closing.enter_context(self.session(relay(address, port, timeout), "relay"))
            sock = RelayedSocket(session, timeout)
            program = sock.connect(self.host.name, timeout)
            with self._login_lock:
                if not self._relay_told:
                    self._note(
                        f"{self.host.name}: sshd forbids TCP forwarding; {program} there connects to ports and routes"
                    )
                self._relay_told = True
            sock.close_with(closing.pop_all().close)
            return sock

    def round_trip(self) -> float:
        """Seconds that a message takes to the host's sshd and back; needs no session."""
        transport = self.transport
        start = time.perf_counter()
        transport.global_request("keepalive@openssh.com", wait=True)
        return time.perf_counter() - start

    def count_sessions(self, limit: int) -> int:
        """How many sessions the server allows at once, found by opening up to `limit` idle ones.

        The first is opened as any session is, and up to `host.max_sessions` a refusal is not taken at once: sshd may not have
        freed the slots of the sessions before. Raises SessionRefused, ConnectionLost.
        """
        channels, patience = [self._open_channel("probe")], PROBE_RETRIES
        self.ledger.session_opened("probe")
        try:
            while len(channels) < limit:
                try:
                    channels.append(self.transport.open_session())
                    self.ledger.session_opened("probe")
                except paramiko.ChannelException:
                    retry = len(channels) < self.host.max_sessions and patience > 0
                    self.ledger.session_refused("probe", PROBE_WAIT if retry else 0)
                    if not retry:
                        break
                    patience -= 1
                    time.sleep(PROBE_WAIT)
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise ConnectionLost(
                f"{self.host.name}: the connection was lost while sessions were being opened"
            ) from error
        finally:
            for channel in channels:
                channel.close()
                self.ledger.session_closed("probe", None, 0, 0)
            self._slot_may_be_taken = True
        return len(channels)

    def close(self) -> None:
        """Log out. The next use logs in again."""
        if self._fabric is not None:
            log_out(self._fabric)


def _collect(session: Session, timeout: float | None) -> Result:
    deadline = None if timeout is None else time.monotonic() + timeout
    out: list[bytes] = []
    try:
        out.extend(session.chunks(deadline))
    except TimeoutError:
        return Result(TIMED_OUT, b"".join(out), session.stderr)
    return Result(session.code(), b"".join(out), session.stderr)


class Connections:
    """Keeps one Connection per host for as long as the program runs."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        self._by_host: dict[Host, Connection] = {}

    def to(self, host: Host) -> Connection:
        """The host's connection, the same object each time; nothing is opened before its first use."""
        if host not in self._by_host:
            self._by_host[host] = Connection(host, self._note)
        return self._by_host[host]

    @property
    def ledgers(self) -> list[Ledger]:
        """The ledgers of the hosts that have been logged in to."""
        return [connection.ledger for connection in self._by_host.values() if connection.used]

    def close(self) -> None:
        """Log out of every host."""
        for connection in self._by_host.values():
            connection.close()
