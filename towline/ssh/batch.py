"""Many commands in one session: each with its own exit code, stdout and stderr, whatever bytes they hold.

The commands are sent as one script to `sh -s`, inside braces: sh reads all of it before it starts, so nothing runs when
the connection is lost half-way. Each result comes back as a header line `code stdout-size stderr-size`, followed by the
bytes themselves. Where the temporary folder is full or read-only, the script and its commands use /dev/shm.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from towline.commands.shell import Command, limited, line
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
emit() { wc -c "$d/$1.o" "$d/$1.e" | { read -r o _; read -r e _; echo "$2 $o $e"; }; cat "$d/$1.o" "$d/$1.e"; }
"""
TAIL = "exit 0\n}\n"


def script(commands: Sequence[Command], *, parallel: bool, stop: bool, timeout: float | None) -> bytes:
    """The script for `sh -s`.

    parallel: all run at the same time (for reading facts). stop: nothing runs after the first failure, as with `&&`.
    timeout: seconds for each command, which is then ended with code 124.
    """
    if timeout:
        commands = [limited(timeout, command) for command in commands]
    lines = [_script_line(i, line(command), parallel, stop) for i, command in enumerate(commands)]
    if parallel:
        lines += ["wait"] + [f'read -r c <"$d/{i}.c"; emit {i} "$c"' for i in range(len(commands))]
    return (HEAD + "\n".join(lines) + "\n" + TAIL).encode()


def _script_line(i: int, command: str, parallel: bool, stop: bool) -> str:
    run = f'{command} >"$d/{i}.o" 2>"$d/{i}.e" </dev/null'
    if parallel:
        return f'( {run}; echo $? >"$d/{i}.c" ) &'
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
