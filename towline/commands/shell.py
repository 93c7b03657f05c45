"""Words to shell text: the one place where anything is quoted."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

Command = tuple[str, ...]


def quote(command: Iterable[str]) -> str:
    """The words as one line that any POSIX shell reads back as the same words.

    >>> quote(["echo", "it's", "$HOME"])
    'echo \\'it\\'"\\'"\\'s\\' \\'$HOME\\''
    """
    return shlex.join(command)


def script(text: str, *words: str) -> Command:
    """Run `text` under `sh` with `words` as $1, $2, …; its own stdin stays free for bytes."""
    return ("sh", "-c", text, "towline", *words)


def login_shell(text: str) -> Command:
    """What `ssh host TEXT` would run: the text, read by the login's own shell."""
    return ("sh", "-c", 'exec "${SHELL:-/bin/sh}" -c "$1"', "towline", text)


def limited(seconds: float, command: Command) -> Command:
    """`command`, ended on the server after `seconds` (code 124). Where the server has no `timeout`, without a limit."""
    return script(_LIMITED, str(max(1, round(seconds))), *command)


# -k: a command that does not leave on TERM is killed 5 s later; older busybox has no -k.
_LIMITED = """
n=$1; shift
if timeout -k 1 1 true 2>/dev/null; then exec timeout -k 5 "$n" "$@"; fi
if timeout 1 true 2>/dev/null; then exec timeout "$n" "$@"; fi
exec "$@"
"""


def assignments(values: dict[str, str]) -> str:
    """Shell assignments, a line each, for a script to source.

    >>> assignments({"by": "ann o'brien"})
    'by=\\'ann o\\'"\\'"\\'brien\\'\\n'
    """
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())


def joined_by_and(texts: Iterable[str]) -> str:
    """Shell texts as one that stops at the first failure. Each on lines of its own: a text may end in a comment.

    >>> print(joined_by_and(["cd /srv # there", "ls"]))
    {
    cd /srv # there
    } && {
    ls
    }
    """
    return "{\n" + "\n} && {\n".join(texts) + "\n}"
