"""From a Host to an open Fabric Connection: host keys checked, fast ciphers first, transient failures retried."""

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
DEAD_AFTER = 30  # seconds without an acknowledgement until the kernel gives the line up
ATTEMPTS = 6
RETRY_WINDOW = 60  # seconds; no new attempt starts after this
WINDOW = 16 << 20  # bytes a server may send ahead: 2 MiB (paramiko's default) stalls on long lines
AES_GCM = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")


class FastTransport(paramiko.Transport):
    """AES-GCM first (hardware does cipher and MAC in one pass; paramiko lists it last) and wide windows."""

    _preferred_ciphers = AES_GCM + tuple(
        name
        for name in paramiko.Transport._preferred_ciphers  # type: ignore[attr-defined]
        if name not in AES_GCM
    )

    def __init__(self, sock: Any, **options: Any) -> None:
        super().__init__(sock, default_window_size=WINDOW, **options)


class PinnedOnly(paramiko.MissingHostKeyPolicy):
    """Refuse a key that no known_hosts file holds, and say how to pin it."""

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:  # noqa: ARG002
        raise HostKeyUnknown(
            f"{hostname}: its host key {fingerprint(key)} is not in any known_hosts file",
            hint="compare the fingerprint with `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on the server, "
            f"then pin it: echo '{hostname} {key.get_name()} {key.get_base64()}' >> ~/.ssh/known_hosts",
        )


def fingerprint(key: paramiko.PKey) -> str:
    """`ssh-ed25519 SHA256:…`, as ssh-keygen prints it."""
    digest = base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode().rstrip("=")
    return f"{key.get_name()} SHA256:{digest}"


def open_connection(host: Host, retried: Callable[[str, float], None]) -> Connection:
    """An open, authenticated Fabric Connection to `host`.

    Tries again with backoff when the server refuses, resets, times out or drops the banner or the key exchange;
    `retried(why, wait)` is told of each. Never tries again after the host key or a login was refused.

    Raises HostUnreachable, HostKeyUnknown, HostKeyChanged, AuthenticationRefused, SettingsError.
    """

    def before_sleep(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        retried(str(error), state.next_action.sleep if state.next_action else 0.0)

    attempts = Retrying(
        retry=retry_if_exception_type(HostUnreachable),
        stop=stop_after_attempt(ATTEMPTS) | stop_after_delay(RETRY_WINDOW),
        wait=wait_exponential(multiplier=0.5, max=8) + wait_random(0, 0.5),
        before_sleep=before_sleep,
        reraise=True,
    )
    return attempts(_open_once, host)


def _open_once(host: Host) -> Connection:
    connection = build_connection(host)
    try:
        connection.open()
    except Exception as error:
        reached_login = _reached_login(connection)
        close_connection(connection)
        raise explain(error, host, reached_login=reached_login, port=_port_of(connection, error)) from error
    for hop in hops(connection):
        _watch_the_line(hop.transport)
    return connection


def build_connection(host: Host) -> Connection:
    """A Fabric Connection, not opened: addresses, ports, users and jumps as ~/.ssh/config has them."""
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
    for hop in hops(connection):  # Fabric accepts any key by default, on a ProxyJump's connection too
        _check_host_keys(hop.client, host.known_hosts)
    return connection


def hops(connection: Connection) -> Iterator[Connection]:
    """`connection` and those of its ProxyJump, from the target outwards."""
    while isinstance(connection, Connection):
        yield connection
        connection = connection.gateway


def close_connection(connection: Connection) -> None:
    """Log out, of the ProxyJump's hosts too: Fabric's own close leaves those, and a login that failed, connected."""
    for hop in hops(connection):
        hop.close()
        hop.client.close()


def _check_host_keys(client: paramiko.SSHClient, extra: tuple[Path, ...]) -> None:
    client.set_missing_host_key_policy(PinnedOnly())
    client.load_system_host_keys()
    for file in (Path("/etc/ssh/ssh_known_hosts"), *extra):
        if file.is_file():
            client.load_system_host_keys(str(file))


def _reached_login(connection: Connection) -> bool:
    transport = connection.client.get_transport()
    if not transport or not transport.initial_kex_done:
        return False
    return bool(transport.auth_handler or transport.is_active())  # a line that still stands: there was no key to offer


def _port_of(connection: Connection, error: Exception) -> int:
    """The port of the hop that `error` names: paramiko leaves it out of a changed key's host name."""
    name = getattr(error, "hostname", None)
    return next((int(hop.port) for hop in hops(connection) if hop.host == name), 22)


def _watch_the_line(transport: paramiko.Transport) -> None:
    transport.set_keepalive(KEEPALIVE)
    if not isinstance(transport.sock, socket.socket):
        return
    # Opening a session is a row of small messages: Nagle's algorithm made that 41 ms in place of 0.4.
    transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # A black hole answers nothing, and TCP alone would wait a quarter of an hour.
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_AFTER * 1000)


def explain(error: Exception, host: Host, *, reached_login: bool = False, port: int = 22) -> Exception:
    """The error of our tree that `error`, raised while connecting to `host`, stands for. port: of the hop meant."""
    where = f"{host.address}:{host.port}" if host.port else host.address
    match error:
        case ConnectionFailed():
            return error
        case BadHostKeyException():
            name = error.hostname if port == 22 else f"[{error.hostname}]:{port}"
            return HostKeyChanged(
                f"{name}: its host key changed: pinned {fingerprint(error.expected_key)}, now {fingerprint(error.key)}",
                hint="either the server was set up anew or somebody stands in between; ask who runs it, "
                f"then remove the old key with: ssh-keygen -R {quote([name])}",
            )
        case paramiko.AuthenticationException():
            return _not_let_in(host, where)
        case IncompatiblePeer():
            return ConnectionFailed(f"{where}: no common algorithms with this server ({error})")
        case socket.gaierror():
            return _unresolved(error, where)
        case OSError() | EOFError() | paramiko.SSHException() if not reached_login:
            return HostUnreachable(
                f"{where}: no connection ({_plain(error)})",
                hint="is the server up, is the port right, does its firewall let this machine in?",
            )
        case paramiko.SSHException() | EOFError() | OSError():
            return _not_let_in(host, where)
        case ValueError():
            return SettingsError(f"{where}: unusable key or ~/.ssh/config ({_plain(error)})")
    return error


def _unresolved(error: socket.gaierror, where: str) -> Exception:
    if error.errno == socket.EAI_AGAIN:
        return HostUnreachable(f"{where}: the name does not resolve at the moment ({_plain(error)})")
    return ConnectionFailed(f"{where}: no such host name", hint="check `ssh:` of the host in towline.yaml")


def _not_let_in(host: Host, where: str) -> AuthenticationRefused:
    key = f"with {host.identity}" if host.identity else "with the keys of ~/.ssh and the agent"
    user = host.user or "the user of ~/.ssh/config"
    return AuthenticationRefused(
        f"{where}: {user} was not let in {key}",
        hint="is the public key in ~/.ssh/authorized_keys there, and does the private one need ssh-add?",
    )


def _plain(error: Exception) -> str:
    if isinstance(error, paramiko.ssh_exception.NoValidConnectionsError):
        error = next(iter(error.errors.values()))
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
