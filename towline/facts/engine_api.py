"""The Docker Engine's own API, many questions in one process.

`docker system dial-stdio` is what `DOCKER_HOST=ssh://` uses, in every CLI since 18.09: it ties its stdin and stdout to the
engine's socket. Five questions take it 25 ms, where `docker info` alone takes 60 (28.5; the CLI asks each of its plugins).
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from http.client import HTTPException, HTTPResponse
from typing import Any, cast

from towline.commands.shell import Command, script

# Requests each of its arguments, and last /_ping, which closes the connection. Its stdin must stay open until everything has been
# answered: where it ends, the engine cancels the requests (and answers `null`).
_ASK = """
umask 077
folder=$(mktemp -d) && mkfifo "$folder/requests" || exit 1
trap 'rm -rf "$folder"' EXIT
exec 3<>"$folder/requests"
now=$(date +%s)
for path; do
    case $path in *@NOW@*) path=${path%@NOW@*}$now${path#*@NOW@} ;; esac
    printf 'GET %s HTTP/1.1\\r\\nHost: docker\\r\\n\\r\\n' "$path"
done >&3
printf 'GET /_ping HTTP/1.1\\r\\nHost: docker\\r\\nConnection: close\\r\\n\\r\\n' >&3
docker system dial-stdio <&3
"""


def command(*paths: str) -> Command:
    """Asks for each of the paths (`/info`, `/networks`), at most some dozens; for `parse`.

    @NOW@ in a path is the server's time in seconds: events are asked until then, since those to come are waited for.
    """
    return script(_ASK, *paths)


def parse(answers: bytes, count: int) -> list[list[Any]]:
    """The JSON documents of each answer, none for one that is no success. Raises ValueError when they are not all there."""
    source = _Answers(answers)
    return [_next(source) for _ in range(count)]


class _Answers:
    """What http.client takes for a socket: its makefile() gives the same stream each time, so one answer follows the other."""

    def __init__(self, answers: bytes) -> None:
        self._stream = _Kept(answers)

    def makefile(self, _mode: str) -> io.BytesIO:
        return self._stream


class _Kept(io.BytesIO):
    def close(self) -> None:
        """Stays open: a response closes its stream when it has been read."""


def _next(source: _Answers) -> list[Any]:
    response = HTTPResponse(cast(Any, source))
    try:
        response.begin()
        body = response.read()
    except (HTTPException, OSError) as error:
        raise ValueError(f"the engine's answer breaks off: {error!r}") from None
    # /events answers with a document a line, everything else with one
    return [json.loads(line) for line in body.splitlines() if line.strip()] if response.status == 200 else []


def quoted(filters: dict[str, Sequence[str]]) -> str:
    """A `filters=` value.

    >>> quoted({"event": ["oom"]})
    '%7B%22event%22%3A%5B%22oom%22%5D%7D'
    """
    from urllib.parse import quote

    return quote(json.dumps(filters, separators=(",", ":")), safe="")
