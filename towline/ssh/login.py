"""Log in to a host: host keys checked, fast ciphers first, transient failures retried."""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
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
from towline.project.ssh_address import parse_ssh
from towline.project.yaml_file import Place
from towline.ssh.authentication import Authentication, Refused
from towline.ssh.client_settings import ClientSettings, read_client_settings
from towline.ssh.known_hosts import KnownHosts, read_known_hosts
from towline.ssh.proxy import open_way

CONNECT_TIMEOUT = 30  # seconds for TCP, for the banner and for authentication, each
MOST_JUMPS = 8
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
        self._key_types = key_types
        super().__init__(sock, default_window_size=WINDOW, **options)

    @property
    def preferred_keys(self) -> tuple[str, ...]:
        """The algorithms of host keys; those that are pinned, or certified, are asked for first."""
        return tuple(sorted(super().preferred_keys, key=lambda name: name not in self._key_types))


class PinnedKeys(paramiko.MissingHostKeyPolicy):
    """Refuses every key that is not pinned. Paramiko is given no keys of its own, so it asks here for each."""

    def __init__(self, known: KnownHosts, name: str) -> None:
        self._known, self._name = known, name

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:  # noqa: ARG002
        self._known.check(self._name, key)


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
        for hop in reversed(list(hops(connection))):
            if not hop.gateway and (way := open_way(_settings_of(hop), hop.connect_timeout)):
                hop.connect_kwargs["sock"] = way
            hop.open()
    except Exception as error:
        authenticating = _reached_authentication(connection)
        log_out(connection)
        raise translate(error, host, authenticating=authenticating) from error
    for hop in hops(connection):
        _set_transport_options(hop.transport)
    return connection


def client_settings(host: Host) -> ClientSettings:
    """How `ssh` would log in to the host; the settings of towline.yaml go before. Raises SettingsError."""
    settings = read_client_settings(host.address, host.user, host.port)
    if host.identity:
        settings = replace(settings, identities=(host.identity,), certificates=(), only_identities=True)
    return replace(settings, known_hosts=(*settings.known_hosts, *host.known_hosts))


def build_connection(host: Host) -> Connection:
    """A Fabric Connection, not opened; address, port, user, keys and the way there as `ssh` would have them."""
    settings = client_settings(host)
    return _connection(settings, _gateway(settings.jumps, host, ()))


def _gateway(jumps: Sequence[str], host: Host, passed: tuple[str, ...]) -> Connection | None:
    """The connection to the last of the jump hosts, through those before it; the first may have its own."""
    if not jumps:
        return None
    *before, last = jumps
    if len(passed) > MOST_JUMPS:
        raise SettingsError(f"{host.address}: its jump hosts lead in a circle ({' → '.join((*passed, last))})")
    user, address, port = parse_ssh(last, Place(f"ProxyJump of {host.address}"))
    settings = read_client_settings(address, user, port)
    settings = replace(settings, known_hosts=(*settings.known_hosts, *host.known_hosts))
    return _connection(settings, _gateway(before or settings.jumps, host, (*passed, last)))


def _connection(settings: ClientSettings, gateway: Connection | None) -> Connection:
    known = read_known_hosts(settings.known_hosts, settings.revoked, settings.known_hosts_command)
    options: dict[str, Any] = {
        "banner_timeout": CONNECT_TIMEOUT,
        "auth_timeout": CONNECT_TIMEOUT,
        "channel_timeout": CONNECT_TIMEOUT,
        "auth_strategy": Authentication(settings),
        # the pinned keys are asked for first: of a host that has more, any may be pinned
        "transport_factory": partial(FastTransport, key_types=known.key_types(settings.host_key_name)),
    }
    connection = Connection(
        settings.address,
        user=settings.user,
        port=settings.port,
        gateway=gateway,
        config=Config(ssh_config=paramiko.SSHConfig()),  # all that it would say is in the settings
        connect_timeout=settings.connect_timeout or CONNECT_TIMEOUT,
        connect_kwargs=options,
    )
    # Fabric accepts any key by default, also of a jump host
    connection.client.set_missing_host_key_policy(PinnedKeys(known, settings.host_key_name))
    return connection


def _settings_of(connection: Connection) -> ClientSettings:
    settings: ClientSettings = connection.connect_kwargs["auth_strategy"].settings
    return settings


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


def _reached_authentication(connection: Connection) -> bool:
    transport = connection.client.get_transport()
    if not transport or not transport.initial_kex_done:
        return False
    return bool(transport.auth_handler or transport.is_active())  # active without a handler: there was no key to offer


def _set_transport_options(transport: paramiko.Transport) -> None:
    transport.set_keepalive(KEEPALIVE)
    if not isinstance(transport.sock, socket.socket) or transport.sock.family not in (socket.AF_INET, socket.AF_INET6):
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
            return _authentication_refused(error, where)
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
            return _authentication_refused(error, where)
    return error


def _name_error(error: socket.gaierror, where: str) -> Exception:
    if error.errno == socket.EAI_AGAIN:
        return HostUnreachable(f"{where}: the name does not resolve at the moment ({_reason(error)})")
    return ConnectionFailed(f"{where}: no such host name", hint="check `ssh:` of the host in towline.yaml")


def _authentication_refused(error: Exception, where: str) -> AuthenticationRefused:
    if not isinstance(error, Refused):
        return AuthenticationRefused(f"{where}: permission denied ({_reason(error)})", hint=_HINT)
    offered = f"offered: {', '.join(error.offered)}" if error.offered else "no key to offer"
    unused = f"; not used: {'; '.join(error.passed_over)}" if error.passed_over else ""
    return AuthenticationRefused(f"{error.where}: permission denied for {error.user}; {offered}{unused}", hint=_HINT)


_HINT = (
    "is the public key in ~/.ssh/authorized_keys on the server, and does the private key need ssh-add? "
    "where `ssh HOST` gets in, towline does"
)


def _reason(error: Exception) -> str:
    if isinstance(error, paramiko.ssh_exception.NoValidConnectionsError):
        error = next(iter(error.errors.values()))
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
