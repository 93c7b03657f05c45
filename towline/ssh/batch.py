"""Many commands in one session: each with its own exit code, stdout and stderr, whatever bytes they hold.

The commands are sent as one script to `sh -s`, inside braces: sh reads all of it before it starts, so nothing runs when
the connection is lost half-way. Each result comes back as a header line `code stdout-size stderr-size`, followed by the
bytes themselves. Where the temporary folder is full or read-only, the script and its commands use /dev/shm.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from towline.commands.shell import LIMIT, Command, line, whole_seconds
from towline.errors import ConnectionLost
from towline.ssh.session import Result

HEAD = """{
umask 077
full() { ! head -c 65536 /dev/zero >"$1/w"; } 2>/dev/null
d=$(mktemp -d 2>/dev/null) && ! full "$d" || {
    rm -rf "${d:-}"
    TMPDIR=/dev/shm
    export TMPDIR
    d=$(mktemp -d) || exit 125
}
trap 'rm -rf "$d"' 0
trap 'exit 129' 1 2 13 15
emit() { wc -c "$d/$1.o" "$d/$1.e" | { read -r o _; read -r e _; printf "%s %s %s\\n" "$2" "$o" "$e"; }; cat "$d/$1.o" "$d/$1.e"; }
"""
# All of them with one `wc` and one `cat`: each process there costs.
EMIT_ALL = """wait
count={count} i=0
set --
while [ $i -lt $count ]; do set -- "$@" "$d/$i.o" "$d/$i.e"; i=$((i + 1)); done
wc -c "$@" | {{
    i=0
    while [ $i -lt $count ]; do
        c=125
        read -r o _; read -r e _; read -r c <"$d/$i.c"
        printf "%s %s %s\\n" "$c" "$o" "$e" >"$d/$i.h"
        i=$((i + 1))
    done
}}
set -- && i=0
while [ $i -lt $count ]; do set -- "$@" "$d/$i.h" "$d/$i.o" "$d/$i.e"; i=$((i + 1)); done
cat "$@"
"""
TAIL = "exit 0\n}\n"


def script(
    commands: Sequence[Command], *, parallel: bool, stop: bool, timeout: float | Sequence[float | None] | None
) -> bytes:
    """The script for `sh -s`.

    parallel: all run at the same time (for reading facts). stop: nothing runs after the first failure, as with `&&`.
    timeout: seconds for each command, one number for all or one for each; it is then ended with code 124.
    """
    limits = limits_of(commands, timeout)
    texts = [
        line(command) if limit is None else line(command, f"limit {whole_seconds(limit)} ")
        for command, limit in zip(commands, limits, strict=True)
    ]
    lines = [_script_line(i, text, parallel, stop) for i, text in enumerate(texts)]
    if parallel:
        lines.append(EMIT_ALL.format(count=len(commands)))
    head = HEAD if all(limit is None for limit in limits) else HEAD + LIMIT
    return (head + "\n".join(lines) + "\n" + TAIL).encode()


def limits_of(commands: Sequence[Command], timeout: float | Sequence[float | None] | None) -> list[float | None]:
    """The limit of each command, None for none."""
    if timeout is None or isinstance(timeout, int | float):
        return [timeout or None] * len(commands)
    return list(timeout)


def longest(
    commands: Sequence[Command], timeout: float | Sequence[float | None] | None, parallel: bool
) -> float | None:
    """Seconds after which all of them have ended; None when one of them has no limit.

    >>> longest([("a",), ("b",)], [1, 2], True), longest([("a",), ("b",)], 2, False), longest([("a",)], None, True)
    (2, 4, None)
    """
    limits = limits_of(commands, timeout)
    known = [limit for limit in limits if limit is not None]
    if len(known) < len(limits) or not known:
        return None
    return max(known) if parallel else sum(known)


def _script_line(i: int, command: str, parallel: bool, stop: bool) -> str:
    run = f'{command} >"$d/{i}.o" 2>"$d/{i}.e" </dev/null'
    if parallel:
        return f'( {run}; printf "%s\\n" $? >"$d/{i}.c" ) &'
    return f"{run}; c=$?; emit {i} $c" + ("; [ $c = 0 ] || exit 0" if stop else "")


class ResultReader:
    """Parses results from a byte stream that arrives in pieces of any size."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, chunk: bytes) -> Iterator[Result]:
        """The results that `chunk` completes. Raises ConnectionLost for anything but a result."""
        self._buffer += chunk
        while (result := self._next()) is not None:
            yield result

    def _next(self) -> Result | None:
        end = self._buffer.find(b"\n")  # not partition(): that copies the whole buffer at every chunk
        if end < 0:
            return None
        head = self._buffer[:end]
        try:
            code, out, err = (int(word) for word in head.split())
        except ValueError:
            raise ConnectionLost(f"expected a result from the server's shell, got {bytes(head[:80])!r}") from None
        start = len(head) + 1
        if len(self._buffer) < start + out + err:
            return None
        body = bytes(self._buffer[start : start + out + err])
        del self._buffer[: start + out + err]
        return Result(code, body[:out], body[out:])
