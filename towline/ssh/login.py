"""Log in to a host: host keys checked, fast ciphers first, transient failures retried."""

from __future__ import annotations

import base64
import hashlib
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paramiko
from fabric import Config, Connection
from paramiko.ssh_exception import BadHostKeyException, IncompatiblePeer
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, stop_after_delay
from tenacity.wait import wait_exponential, wait_random

from towline.commands.shell import quote
from towline.errors import (
    AuthenticationRefused,
    ConnectionFailed,
    HostKeyChanged,
    HostKeyUnknown,
    HostUnreachable,
    SettingsError,
)
from towline.project.settings import Host

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

    def __init__(self, sock: Any, **options: Any) -> None:
        super().__init__(sock, default_window_size=WINDOW, **options)


class RejectUnknownKey(paramiko.MissingHostKeyPolicy):
    """Refuses a key that is in no known_hosts file, with the line that pins it as the hint."""

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:  # noqa: ARG002
        raise HostKeyUnknown(
            f"{hostname}: its host key {fingerprint(key)} is not in any known_hosts file",
            hint="compare the fingerprint with `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on the server, "
            f"then pin it: echo '{hostname} {key.get_name()} {key.get_base64()}' >> ~/.ssh/known_hosts",
        )


def fingerprint(key: paramiko.PKey) -> str:
    """A key's type and fingerprint, `ssh-ed25519 SHA256:…`, as ssh-keygen prints them."""
    digest = base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode().rstrip("=")
    return f"{key.get_name()} SHA256:{digest}"


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
        raise translate(error, host, authenticating=authenticating, port=_port_of_hop(connection, error)) from error
    for hop in hops(connection):
        _set_transport_options(hop.transport)
    return connection


def build_connection(host: Host) -> Connection:
    """A Fabric Connection, not opened; address, port, user and ProxyJump as ~/.ssh/config has them."""
    options: dict[str, Any] = {
        "transport_factory": FastTransport,
        "banner_timeout": CONNECT_TIMEOUT,
        "auth_timeout": CONNECT_TIMEOUT,
        "channel_timeout": CONNECT_TIMEOUT,
    }
    if host.identity:
        options |= {"key_filename": [str(host.identity)], "look_for_keys": False}
    connection = Connection(
        host.address,
        user=host.user,
        port=host.port,
        config=Config(),
        connect_timeout=CONNECT_TIMEOUT,
        connect_kwargs=options,
    )
    for hop in hops(connection):  # Fabric accepts any key by default, also of a jump host
        _check_host_keys(hop.client, host.known_hosts)
    return connection


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


def _check_host_keys(client: paramiko.SSHClient, known_hosts: tuple[Path, ...]) -> None:
    client.set_missing_host_key_policy(RejectUnknownKey())
    client.load_system_host_keys()
    for file in (Path("/etc/ssh/ssh_known_hosts"), *known_hosts):
        if file.is_file():
            client.load_system_host_keys(str(file))


def _reached_authentication(connection: Connection) -> bool:
    transport = connection.client.get_transport()
    if not transport or not transport.initial_kex_done:
        return False
    return bool(transport.auth_handler or transport.is_active())  # active without a handler: there was no key to offer


def _port_of_hop(connection: Connection, error: Exception) -> int:
    """The port of the hop that `error` names: paramiko leaves it out of the host name of a changed key."""
    name = getattr(error, "hostname", None)
    return next((int(hop.port) for hop in hops(connection) if hop.host == name), 22)


def _set_transport_options(transport: paramiko.Transport) -> None:
    transport.set_keepalive(KEEPALIVE)
    if not isinstance(transport.sock, socket.socket):
        return
    # Opening a session takes several small messages: with Nagle's algorithm 41 ms, without it 0.4.
    transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # A peer whose packets are dropped never answers, and TCP alone would wait a quarter of an hour.
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_AFTER * 1000)


def translate(error: Exception, host: Host, *, authenticating: bool = False, port: int = 22) -> Exception:
    """The error of towline.errors for `error`, which was raised while logging in to `host`.

    authenticating: whether the key exchange was done by then. port: of the hop that `error` is about.
    """
    where = f"{host.address}:{host.port}" if host.port else host.address
    match error:
        case ConnectionFailed():
            return error
        case BadHostKeyException():
            name = error.hostname if port == 22 else f"[{error.hostname}]:{port}"
            return HostKeyChanged(
                f"{name}: its host key changed: pinned {fingerprint(error.expected_key)}, now {fingerprint(error.key)}",
                hint="either the server was reinstalled or somebody intercepts the connection; ask who runs the server, "
                f"then remove the old key with: ssh-keygen -R {quote([name])}",
            )
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
            return SettingsError(f"{where}: unusable key or ~/.ssh/config ({_reason(error)})")
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
