"""A page fetched through a proxy on this machine, by the name in its Host header."""

from __future__ import annotations

import http.client
import time

from towline.errors import TowlineError

PATIENCE = 15.0  # seconds that the proxy may take to see a new container


def fetch(host: str, port: int = 80, path: str = "/") -> str:
    """The page's text. Raises TowlineError with what came instead."""
    until = time.monotonic() + PATIENCE
    while True:
        answer = _ask(host, port, path)
        if answer.startswith("200 "):
            return answer.partition("\n")[2]
        if time.monotonic() > until:
            raise TowlineError(f"http://{host}:{port}{path}: {answer.partition(chr(10))[0]}")
        time.sleep(0.1)


def _ask(host: str, port: int, path: str) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path, headers={"Host": host})
        response = connection.getresponse()
        return f"{response.status} {response.reason}\n{response.read().decode(errors='replace')}"
    except OSError as error:
        return f"no answer: {error}"
    finally:
        connection.close()
