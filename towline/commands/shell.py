"""Commands as shell text; the only module that quotes."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from typing import Self

Command = tuple[str, ...]


def quote(command: Iterable[str]) -> str:
    """The words as one line that any POSIX shell splits into the same words.

    >>> quote(["echo", "it's", "$HOME"])
    'echo \\'it\\'"\\'"\\'s\\' \\'$HOME\\''
    """
    return shlex.join(command)


def for_login_shell(command: Iterable[str]) -> str:
    """The words as one line that a login shell of any kind passes on as they are, to a POSIX sh where its own quoting differs.

    csh and tcsh read line feeds and `!` inside single quotes, fish reads backslashes and has no `'"'"'` inside them.

    >>> for_login_shell(["docker", "ps", "--format", "{{json .}}"])
    "docker ps --format '{{json .}}'"
    >>> print(for_login_shell(["echo", "a!"]))
    sh -c 'eval "exec $(printf %b "$1")"' towline 'echo \\0047a\\0041\\0047'
    """
    line = quote(command)
    if not set(line) & _READ_DIFFERENTLY and "''" not in line and "'\"'" not in line:
        return line
    escaped = "".join(f"\\0{ord(character):03o}" if character in _ESCAPED else character for character in line)
    return f"""sh -c 'eval "exec $(printf %b "$1")"' towline '{escaped}'"""


_READ_DIFFERENTLY = set("\n\r\\!")
_ESCAPED = _READ_DIFFERENTLY | set("'\"`$")


class WithEnvironment(tuple[str, ...]):
    """A command with variables that it is started with: what must not stand in a command line, where every login may read it.

    Only in a batch: there the shell that starts it reads them from its stdin. Elsewhere sshd's own would have them.
    """

    environment: Mapping[str, str]

    def __new__(cls, command: Iterable[str], environment: Mapping[str, str]) -> Self:
        self = super().__new__(cls, command)
        self.environment = environment
        return self


def line(command: Command, prefix: str = "") -> str:
    """A command, and the variables that it is started with, as a line of a script. prefix: what it is run by.

    >>> line(WithEnvironment(("sh", "-c", "echo $A"), {"A": "it is"}), "limit 5 ")
    "(export A='it is'; limit 5 sh -c 'echo $A')"
    """
    text = f"{prefix}{quote(command)}"
    if not isinstance(command, WithEnvironment):
        return text
    given = " ".join(f"{name}={shlex.quote(value)}" for name, value in command.environment.items())
    return f"(export {given}; {text})" if given else text


# Variables with which a login would make `cd` print, tar do more than it is told, and Compose go by other rules and names
_MISLEADING = (
    "CDPATH",
    "TAR_OPTIONS",
    "GZIP",
    "COMPOSE_IGNORE_ORPHANS",
    "COMPOSE_REMOVE_ORPHANS",
    "COMPOSE_COMPATIBILITY",
)


def without_misleading_variables(command: Command) -> Command:
    """`command`, started without those variables of the login that would make it do something else."""
    return ("env", *(word for name in _MISLEADING for word in ("-u", name)), *command)


def script(text: str, *words: str) -> Command:
    """Run `text` in `sh` with `words` as $1, $2, …; stdin stays free for data."""
    return ("sh", "-c", text, "towline", *words)


def login_shell(text: str) -> Command:
    """Run `text` in the user's login shell, as `ssh host TEXT` does."""
    return ("sh", "-c", 'exec "${SHELL:-/bin/sh}" -c "$1"', "towline", text)


def limited(seconds: float, command: Command) -> Command:
    """`command`, ended on the server after `seconds` (exit code 124)."""
    return script(f'{LIMIT}limit "$@"', whole_seconds(seconds), *command)


def whole_seconds(seconds: float) -> str:
    return str(max(1, round(seconds)))


# Defines `end_tree SIGNAL PID`: it, then its descendants, as one look at all processes finds them.
END_TREE = """
end_tree() {
    kill -"$1" $(cat /proc/[0-9]*/stat 2>/dev/null | sed -n 's/^\\([0-9]*\\) (.*) [A-Z] \\([0-9]*\\) .*/\\1 \\2/p' |
        awk -v top="$2" '
            { parent[$1] = $2 }
            END {
                if (top in parent) print top        # else it could end well, since what it waits for ends
                for (id in parent) {
                    for (above = id; above != top && above in parent; ) above = parent[above]
                    if (above == top && id != top) print id
                }
            }') 2>/dev/null
}
"""
# Defines `limit SECONDS COMMAND…`. GNU's timeout ends a command with what it started; busybox's leaves that behind, and some
# servers have none: there the processes are found in /proc. -k: a command that does not exit on TERM is killed 5 s later.
# timeout_option may hold --foreground: then the command stays in its process group, and its children are not ended.
LIMIT = (
    END_TREE
    + """
if timeout --foreground -k 1 1 true 2>/dev/null; then       # GNU
    limit() { timeout ${timeout_option:-} -k 5 "$@"; }
else
    limit() {
        limit_seconds=$1 limit_code=0
        shift
        read -r limit_began _ </proc/uptime
        { "$@" <&3 3<&- & } 3<&0
        limit_job=$!
        (
            sleep "$limit_seconds"; end_tree TERM "$limit_job"
            sleep 5; end_tree KILL "$limit_job"
        ) >/dev/null 2>&1 </dev/null &
        limit_guard=$!
        wait "$limit_job" || limit_code=$?
        end_tree TERM "$limit_guard"
        read -r limit_now _ </proc/uptime
        [ "$limit_code" -le 128 ] || [ $((${limit_now%.*} - ${limit_began%.*})) -lt "$limit_seconds" ] || return 124
        return "$limit_code"
    }
fi
"""
)


def assignments(values: dict[str, str]) -> str:
    """Shell assignments, one per line, for a script to source.

    >>> assignments({"by": "ann o'brien"})
    'by=\\'ann o\\'"\\'"\\'brien\\'\\n'
    """
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())


def joined_by_and(texts: Iterable[str]) -> str:
    """Shell texts as one that stops at the first failure. Each is on its own lines, since it may end in a comment.

    >>> print(joined_by_and(["cd /srv # there", "ls"]))
    {
    cd /srv # there
    } && {
    ls
    }
    """
    return "{\n" + "\n} && {\n".join(texts) + "\n}"
