"""Which program `docker` is on a host, and which engine it asks: as the settings of the host say."""

from __future__ import annotations

from posixpath import basename

from towline.commands.shell import END_TREE, Command, quote, script

# What the programs there are started with, and sudo would take away
_KEPT = (
    *("COMPOSE_FILE", "COMPOSE_PATH_SEPARATOR", "COMPOSE_PROFILES", "COMPOSE_ENV_FILES", "COMPOSE_PROJECT_NAME"),
    *("COMPOSE_DISABLE_ENV_FILE", "COMPOSE_ANSI", "COMPOSE_PROGRESS", "COMPOSE_MENU", "BUILDKIT_PROGRESS"),
    *("DOCKER_CLI_HINTS", "DOCKER_HOST"),
)

# $1: the root folder. $2: the text of the program. It has to be a file: xargs and timeout start it, too
_WITH_PROGRAM = """
case $1 in /*) folder=$1/.towline/.bin ;; *) folder=$PWD/$1/.towline/.bin ;; esac
[ "$(cat "$folder/docker" 2>/dev/null)" = "$2" ] || {
    mkdir -p "$folder" && printf '%s\\n' "$2" >"$folder/docker.$$" && chmod 0700 "$folder/docker.$$" &&
        mv -f "$folder/docker.$$" "$folder/docker"
} || exit 125
PATH=$folder:$PATH
export PATH
shift 2
exec "$@"
"""

# What runs as root is ended by root only: a signal is passed on by `sudo kill`. sudo itself passes none on that comes from its own
# process group, and may not have started anything yet. What does not end within 4 s is killed: before this program is.
_AS_ROOT = """
kill() { SUDO kill "$@"; }
ended=''
trap 'ended=yes; end_tree TERM "$job"' TERM INT HUP
{ "$@" <&3 3<&- & } 3<&0
job=$!
wait "$job"
code=$?
[ -n "$ended" ] || exit "$code"
for second in 1 2 3 4; do
    sleep 0.2 2>/dev/null || sleep 1
    [ -d "/proc/$job" ] || exit 143
    end_tree TERM "$job"
    sleep 0.8 2>/dev/null || :
done
end_tree KILL "$job"
exit 143
"""


def on_engine(command: Command, docker: Command, docker_host: str, root: str) -> Command:
    """`command`, with `docker` and `docker_host` as the settings of a host have them. root: its root folder.

    >>> on_engine(("docker", "ps"), ("docker",), "", "stacks")
    ('docker', 'ps')
    >>> on_engine(("docker", "ps"), ("docker",), "unix:///run/d.sock", "stacks")
    ('env', 'DOCKER_HOST=unix:///run/d.sock', 'docker', 'ps')
    """
    if docker != ("docker",):
        command = script(_WITH_PROGRAM, root, _program(docker), *command)
    return ("env", f"DOCKER_HOST={docker_host}", *command) if docker_host else command


def _program(words: Command) -> str:
    """The text of a program that does what `words` and its own arguments say."""
    head = """#!/bin/sh
# What towline runs as `docker` here, by its settings. It is written anew when they change.
PATH=${PATH#"${0%/*}:"}     # it does not start itself"""
    if basename(words[0]) != "sudo":
        return f'{head}\nexec {quote(words)} "$@"'
    sudo = quote((words[0], "-n"))
    words = (words[0], f"--preserve-env={','.join(_KEPT)}", *words[1:])
    return f'{head}\nset -- {quote(words)} "$@"{END_TREE}{_AS_ROOT.replace("SUDO", sudo)}'.rstrip()
