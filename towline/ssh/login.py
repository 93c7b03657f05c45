"""Log in to a host: host keys checked, fast ciphers first, transient failures retried."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import Any

import paramiko
from fabric import Config, Connection
from paramiko.ssh_exception import IncompatiblePeer
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, stop_after_delay
from tenacity.wait import wait_exponential, wait_random

from towline.errors import (
    AuthenticationRefused,
    ConnectionFailed,
    HostUnreachable,
    SettingsError,
)
from towline.project.settings import Host
from towline.ssh.known_hosts import KnownHosts, read_known_hosts
from towline.ssh.ssh_config import find_problem, load_ssh_config

CONNECT_TIMEOUT = 30  # seconds for TCP, for the banner and for authentication, each
KEEPALIVE = 10  # seconds
DEAD_AFTER = 30  # seconds without an acknowledgement after which the kernel ends the TCP connection
ATTEMPTS = 6
RETRY_WINDOW = 60  # seconds; no new attempt starts after this
WINDOW = 16 << 20  # bytes a server may send ahead: 2 MiB (paramiko's default) stalls where the round trip is long
AES_GCM = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")


class FastTransport(paramiko.Transport):
    """Prefers AES-GCM (hardware does cipher and MAC in one pass; paramiko lists it last) and uses wide windows."""

    _preferred_ciphers = AES_GCM + tuple(
        name
        for name in paramiko.Transport._preferred_ciphers  # type: ignore[attr-defined]
        if name not in AES_GCM
    )

    def __init__(self, sock: Any, key_types: Collection[str] = (), **options: Any) -> None:
        super().__init__(sock, default_window_size=WINDOW, **options)
        offered: tuple[str, ...] = getattr(self, "_preferred_keys", ())  # Paramiko has it, its stubs do not
        self._preferred_keys = tuple(sorted(offered, key=lambda name: name not in key_types))


class PinnedKeys(paramiko.MissingHostKeyPolicy):
    """Refuses every key that is not pinned. Paramiko is given no keys of its own, so it asks here for each."""

    def __init__(self, known: KnownHosts) -> None:
        self._known = known

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:  # noqa: ARG002
        self._known.check(hostname, key)


def log_in(host: Host, on_retry: Callable[[str, float], None]) -> Connection:
    """An open, authenticated Fabric Connection to `host`.

    Retries with backoff when the server refuses, resets, times out, or drops the banner or the key exchange; before
    each retry `on_retry(reason, seconds to wait)` is called. Never retries after the host key or the authentication
    was refused.

    Raises HostUnreachable, HostKeyUnknown, HostKeyChanged, AuthenticationRefused, SettingsError, ConnectionFailed.
    """

    def before_sleep(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        on_retry(str(error), state.next_action.sleep if state.next_action else 0.0)

    attempts = Retrying(
        retry=retry_if_exception_type(HostUnreachable),
        stop=stop_after_attempt(ATTEMPTS) | stop_after_delay(RETRY_WINDOW),
        wait=wait_exponential(multiplier=0.5, max=8) + wait_random(0, 0.5),
        before_sleep=before_sleep,
        reraise=True,
    )
    return attempts(_log_in_once, host)


def _log_in_once(host: Host) -> Connection:
    connection = build_connection(host)
    try:
        connection.open()
    except Exception as error:
        authenticating = _reached_authentication(connection)
        log_out(connection)
        raise translate(error, host, authenticating=authenticating) from error
    for hop in hops(connection):
        _set_transport_options(hop.transport)
    return connection


def build_connection(host: Host) -> Connection:
    """A Fabric Connection, not opened; address, port, user and ProxyJump as ~/.ssh/config has them."""
    options: dict[str, Any] = {
        "banner_timeout": CONNECT_TIMEOUT,
        "auth_timeout": CONNECT_TIMEOUT,
        "channel_timeout": CONNECT_TIMEOUT,
    }
    if host.identity:
        options |= {"key_filename": [str(host.identity)], "look_for_keys": False}
    ssh_config = load_ssh_config()
    try:
        _know_user(host, ssh_config)
        connection = Connection(
            host.address,
            user=host.user,
            port=host.port,
            config=Config(ssh_config=ssh_config),
            connect_timeout=CONNECT_TIMEOUT,
            connect_kwargs=options,
        )
    except SettingsError:
        raise
    except Exception as error:  # Fabric and Paramiko raise what their parts raise
        raise find_problem(error) from error
    known = read_known_hosts(host.known_hosts)
    for hop in hops(connection):  # Fabric accepts any key by default, also of a jump host
        _check_host_keys(hop, known)
    return connection


def _know_user(host: Host, ssh_config: paramiko.SSHConfig) -> None:
    """Raises SettingsError where nobody says who logs in: Paramiko asks this machine, which has no name for every number."""
    try:
        getpass.getuser()
    except (KeyError, OSError, ImportError):
        os.environ["LOGNAME"] = f"uid-{os.getuid()}"  # Fabric and Paramiko ask for it whoever logs in
        if not (host.user or ssh_config.lookup(host.address).get("user")):
            raise SettingsError(
                f"{host.name}: no user to log in as: this machine has no name for the user {os.getuid()}",
                f"write it: ssh: USER@{host.address}",
            ) from None


def hops(connection: Connection) -> Iterator[Connection]:
    """`connection`, then the connections to its jump hosts (ProxyJump), the one nearest to the target first."""
    while isinstance(connection, Connection):
        yield connection
        connection = connection.gateway


def log_out(connection: Connection) -> None:
    """Log out, of the jump hosts too.

    Fabric's own close leaves those connected, and a connection whose authentication failed.
    """
    for hop in hops(connection):
        hop.close()
        hop.client.close()


def _check_host_keys(connection: Connection, known: KnownHosts) -> None:
    """Only pinned keys are taken, and those are asked for first: of a host that has more, any may be pinned."""
    host, port = connection.host, int(connection.port)
    pinned = known.key_types(host if port == paramiko.config.SSH_PORT else f"[{host}]:{port}")
    connection.client.set_missing_host_key_policy(PinnedKeys(known))
    factory = partial(FastTransport, key_types=pinned)
    connection.connect_kwargs = {**connection.connect_kwargs, "transport_factory": factory}


def _reached_authentication(connection: Connection) -> bool:
    transport = connection.client.get_transport()
    if not transport or not transport.initial_kex_done:
        return False
    return bool(transport.auth_handler or transport.is_active())  # active without a handler: there was no key to offer


def _set_transport_options(transport: paramiko.Transport) -> None:
    transport.set_keepalive(KEEPALIVE)
    if not isinstance(transport.sock, socket.socket):
        return
    # Opening a session takes several small messages: with Nagle's algorithm 41 ms, without it 0.4.
    transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # A peer whose packets are dropped never answers, and TCP alone would wait a quarter of an hour.
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_AFTER * 1000)


def translate(error: Exception, host: Host, *, authenticating: bool = False) -> Exception:
    """The error of towline.errors for `error`, which was raised while logging in to `host`.

    authenticating: whether the key exchange was done by then.
    """
    where = f"{host.address}:{host.port}" if host.port else host.address
    match error:
        case ConnectionFailed():
            return error
        case paramiko.AuthenticationException():
            return _authentication_refused(host, where)
        case IncompatiblePeer():
            return ConnectionFailed(f"{where}: no common algorithms with this server ({error})")
        case socket.gaierror():
            return _name_error(error, where)
        case OSError() | EOFError() | paramiko.SSHException() if not authenticating:
            return HostUnreachable(
                f"{where}: no connection ({_reason(error)})",
                hint="is the server up, is the port right, does its firewall admit this machine?",
            )
        case paramiko.SSHException() | EOFError() | OSError():
            return _authentication_refused(host, where)
        case ValueError():
            return find_problem(error, f"{where}: unusable key or ~/.ssh/config ({_reason(error)})")
    return error


def _name_error(error: socket.gaierror, where: str) -> Exception:
    if error.errno == socket.EAI_AGAIN:
        return HostUnreachable(f"{where}: the name does not resolve at the moment ({_reason(error)})")
    return ConnectionFailed(f"{where}: no such host name", hint="check `ssh:` of the host in towline.yaml")


def _authentication_refused(host: Host, where: str) -> AuthenticationRefused:
    key = f"with {host.identity}" if host.identity else "with the keys of ~/.ssh and the agent"
    user = host.user or "the user of ~/.ssh/config"
    return AuthenticationRefused(
        f"{where}: permission denied for {user} {key}",
        hint="is the public key in ~/.ssh/authorized_keys on the server, and does the private key need ssh-add?",
    )


def _reason(error: Exception) -> str:
    if isinstance(error, paramiko.ssh_exception.NoValidConnectionsError):
        error = next(iter(error.errors.values()))
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
