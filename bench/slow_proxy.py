"""A TCP proxy with a delay, in front of a server on this machine; for kernels without netem."""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

Chunk = tuple[float, bytes]


@contextmanager
def slow_proxy(port: int, round_trip: float) -> Iterator[int]:
    """A port on 127.0.0.1 that forwards to `port`, each way delayed by half of `round_trip` (seconds); for many connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_accept, args=(server, port, round_trip / 2), daemon=True).start()
        yield server.getsockname()[1]


def _accept(server: socket.socket, port: int, delay: float) -> None:
    with suppress(OSError):
        while True:
            client = server.accept()[0]
            upstream = socket.create_connection(("127.0.0.1", port))
            for source, target in ((client, upstream), (upstream, client)):
                source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                waiting: queue.Queue[Chunk] = queue.Queue()
                threading.Thread(target=_read, args=(source, waiting, delay), daemon=True).start()
                threading.Thread(target=_write, args=(target, waiting), daemon=True).start()


def _read(source: socket.socket, waiting: queue.Queue[Chunk], delay: float) -> None:
    data = b"-"
    while data:
        try:
            data = source.recv(1 << 16)
        except OSError:
            data = b""
        waiting.put((time.monotonic() + delay, data))


def _write(target: socket.socket, waiting: queue.Queue[Chunk]) -> None:
    with suppress(OSError):
        while True:
            due, data = waiting.get()
            time.sleep(max(0.0, due - time.monotonic()))
            if not data:
                target.shutdown(socket.SHUT_WR)
                return
            target.sendall(data)
