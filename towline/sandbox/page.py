"""A page fetched through a proxy on this machine, by the name in its Host header."""

from __future__ import annotations

import http.client
import time
from dataclasses import dataclass

from towline.errors import TowlineError
from towline.project.catalog import Stack
from towline.project.env_file import read_env

PATIENCE = 15.0  # seconds that the proxy may take to see a new container


@dataclass(frozen=True)
class PageAddress:
    """Where a page is to be had: the name that the proxy routes by, and the proxy's port here."""

    host: str
    port: int = 80

    def __str__(self) -> str:
        return f"http://{self.host}" + ("" if self.port == 80 else f":{self.port}")


def page_address(traefik: Stack, whoami: Stack) -> PageAddress:
    """The whoami page's front, as the two stacks' .env files have it."""
    port = _env(traefik).get("HTTP_PORT") or "80"
    return PageAddress(_env(whoami).get("WHOAMI_HOST") or "whoami.localhost", int(port))


def _env(stack: Stack) -> dict[str, str]:
    file = stack.root_env or stack.folder / ".env"
    return read_env(file.read_bytes()) if file.is_file() else {}


def fetch(front: PageAddress, path: str = "/") -> str:
    """The page's text. Raises TowlineError with what came instead."""
    until = time.monotonic() + PATIENCE
    while True:
        answer = _ask(front.host, front.port, path)
        if answer.startswith("200 "):
            return answer.partition("\n")[2]
        if time.monotonic() > until:
            raise TowlineError(f"{front}{path}: {answer.partition(chr(10))[0]}")
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
