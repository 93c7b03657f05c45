"""Many commands in one session: each with its own exit code, stdout and stderr, whatever bytes they hold.

The commands travel as one script through `sh -s`, inside braces: sh reads all of it before it starts, so a line
that breaks half-way runs nothing. Each result comes back as a header line `code stdout-size stderr-size` and the
bytes themselves. Where the temporary folder takes no more, all of it, the commands too, use memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from towline.commands.shell import Command, limited, quote
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


def script(commands: Sequence[Command], *, together: bool, stop: bool, timeout: float | None) -> bytes:
    """The text for `sh -s`.

    together: all at the same time (for reading facts). stop: nothing after the first failure, as `&&` does.
    timeout: seconds for each command; it is ended with code 124 then.
    """
    if timeout:
        commands = [limited(timeout, command) for command in commands]
    lines = [_line(i, quote(command), together, stop) for i, command in enumerate(commands)]
    if together:
        lines += ["wait"] + [f'read -r c <"$d/{i}.c"; emit {i} "$c"' for i in range(len(commands))]
    return (HEAD + "\n".join(lines) + "\n" + TAIL).encode()


def _line(i: int, command: str, together: bool, stop: bool) -> str:
    run = f'{command} >"$d/{i}.o" 2>"$d/{i}.e" </dev/null'
    if together:
        return f'( {run}; echo $? >"$d/{i}.c" ) &'
    return f"{run}; c=$?; emit {i} $c" + ("; [ $c = 0 ] || exit 0" if stop else "")


class Frames:
    """Results out of a byte stream that arrives in any pieces."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def add(self, chunk: bytes) -> Iterator[Result]:
        """The results that are complete now."""
        self._buffer += chunk
        while (result := self._take()) is not None:
            yield result

    def _take(self) -> Result | None:
        end = self._buffer.find(b"\n")  # not partition(): that copies all that has come so far, at every chunk
        if end < 0:
            return None
        head = self._buffer[:end]
        try:
            code, out, err = (int(word) for word in head.split())
        except ValueError:
            raise ConnectionLost(f"the server's shell answered {bytes(head[:80])!r} where a result was due") from None
        start = len(head) + 1
        if len(self._buffer) < start + out + err:
            return None
        body = bytes(self._buffer[start : start + out + err])
        del self._buffer[: start + out + err]
        return Result(code, body[:out], body[out:])
