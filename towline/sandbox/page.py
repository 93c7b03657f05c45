"""Fetches a page through a proxy on this machine, by the name in the Host header."""

from __future__ import annotations

import http.client
import time
from dataclasses import dataclass

from towline.errors import TowlineError
from towline.project.env_file import read_env
from towline.project.stack import Stack

FETCH_SECONDS = 15.0  # that the proxy may take to notice a new container


@dataclass(frozen=True)
class PageAddress:
    """Where a page is served: the host name that the proxy routes by, and the proxy's port on this machine."""

    host: str
    port: int = 80

    def __str__(self) -> str:
        return f"http://{self.host}" + ("" if self.port == 80 else f":{self.port}")


def page_address(traefik: Stack, whoami: Stack) -> PageAddress:
    """The address of the whoami page, according to the .env files of the two stacks."""
    port = _variables(traefik).get("HTTP_PORT") or "80"
    return PageAddress(_variables(whoami).get("WHOAMI_HOST") or "whoami.localhost", int(port))


def _variables(stack: Stack) -> dict[str, str]:
    return read_env(stack.dotenv.read_bytes()) if stack.dotenv.is_file() else {}


def fetch(address: PageAddress, path: str = "/") -> str:
    """The page's text; tried for 15 s. Raises TowlineError with the last status or error."""
    deadline = time.monotonic() + FETCH_SECONDS
    while True:
        status, _, body = _get(address, path).partition("\n")
        if status.startswith("200 "):
            return body
        if time.monotonic() > deadline:
            raise TowlineError(f"{address}{path}: {status}")
        time.sleep(0.1)


def _get(address: PageAddress, path: str) -> str:
    """The status or the error, and after a newline the body."""
    connection = http.client.HTTPConnection("127.0.0.1", address.port, timeout=5)
    try:
        connection.request("GET", path, headers={"Host": address.host})
        response = connection.getresponse()
        return f"{response.status} {response.reason}\n{response.read().decode(errors='replace')}"
    except OSError as error:
        return f"no answer: {error}"
    finally:
        connection.close()
