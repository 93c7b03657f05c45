"""What a login to a host shows: user, authentication, server, round trip, the number of sessions, the Docker Engine."""

from __future__ import annotations

from dataclasses import dataclass

from towline.facts import engine
from towline.facts.engine import Engine
from towline.ssh.connection import ANSWER_WITHIN, Connection
from towline.ssh.known_hosts import fingerprint

MOST_SESSIONS = 11  # sshd's default is 10; beyond that no deploy would notice
PINGS = 3


@dataclass(frozen=True)
class ConnectivityFact:
    """round_trip in seconds, the shortest of three; sessions: how many the server let be open at once, at most 11."""

    address: str
    user: str
    auth: str
    host_key: str
    server: str
    cipher: str
    round_trip: float
    sessions: int
    engine: Engine


def read_connectivity(connection: Connection) -> ConnectivityFact:
    """Logs in; tries how many sessions the server allows by opening idle ones; one session reads the rest."""
    fabric, transport = connection.fabric(), connection.transport
    return ConnectivityFact(
        address=f"{fabric.host}:{fabric.port}",
        user=fabric.user,
        auth=transport.auth_handler.auth_method if transport.auth_handler else "none",
        host_key=fingerprint(transport.get_remote_server_key()),
        server=transport.remote_version.removeprefix("SSH-2.0-"),
        cipher=str(getattr(transport, "remote_cipher", "unknown")),  # paramiko has it, its stubs do not
        round_trip=min(connection.round_trip() for _ in range(PINGS)),
        engine=engine.parse(
            connection.batch(engine.commands(versions=True), parallel=True, timeout=ANSWER_WITHIN, name="engine")
        ),
        sessions=connection.count_sessions(MOST_SESSIONS),
    )
