"""The way to a host where it is no plain TCP connection: ProxyCommand, BindAddress, AddressFamily."""

from __future__ import annotations

import os
import socket
import subprocess
import threading

from towline.ssh.client_settings import ClientSettings


def open_way(settings: ClientSettings, timeout: float) -> socket.socket | None:
    """The socket for the connection; None for Paramiko's own. Raises OSError."""
    if settings.proxy_command:
        return _run_proxy(settings.proxy_command)
    if not (settings.bind_address or settings.family):
        return None
    errors: list[OSError] = []
    for family, kind, _, _, target in socket.getaddrinfo(
        settings.address, settings.port, settings.family, socket.SOCK_STREAM
    ):
        way = socket.socket(family, kind)
        way.settimeout(timeout)
        try:
            if settings.bind_address:
                way.bind((settings.bind_address, 0))
            way.connect(target)
        except OSError as error:
            way.close()
            errors.append(error)
        else:
            return way
    raise errors[0]


def _run_proxy(command: str) -> socket.socket:
    """A socket whose other end is the stdin and stdout of the command, run by the user's shell as ssh runs it.

    The command ends when the socket is closed, as it would with ssh: its stdin ends. Ctrl-C is not for it: what is asked to
    stop may still have something to say to the server. It keeps the terminal, to ask for a passphrase.
    """
    ours, its = socket.socketpair()
    shell = os.environ.get("SHELL") or "/bin/sh"
    with its:
        words = ("sh", "-c", 'trap "" INT; exec "$@"', "sh", shell, "-c", f"exec {command}")
        process = subprocess.Popen(words, stdin=its.fileno(), stdout=its.fileno())
    threading.Thread(target=process.wait, daemon=True).start()  # so that it leaves no zombie
    return ours
