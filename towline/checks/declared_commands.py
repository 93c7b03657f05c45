"""Declared checks that run on the server (`command`, `file`, `dns`): what is run for each, and what its result means.

All of it runs in the one session of the survey, retries included.
"""

from __future__ import annotations

from functools import singledispatch

from towline.checks.declared_probes import CheckContext
from towline.checks.finding import Finding, Subject, listed
from towline.commands import shell
from towline.commands.docker import ONEOFF, PROJECT, SERVICE
from towline.project.declared_checks import Check, Command, Dns, File
from towline.project.stack import Stack
from towline.remote.paths import StackPaths
from towline.ssh.session import Result

NOT_RUNNING, NOT_FOUND = 125, 127  # exit codes
TOO_LATE = (124, 143)  # the second is what busybox's timeout gives
RESOLVING = 10.0  # seconds that a name may take
MOST_LINES = 10

# $1 how often to try again, $2 seconds to pause, $3 the exit code that is right, $4… the command; TOWLINE_HAS: what the
# output must contain. Prints the output of the last try, and exits with its code.
_TRY = """
times=$1 pause=$2 right=$3 has=$TOWLINE_HAS
unset TOWLINE_HAS
shift 3
while :; do
    out=$("$@" 2>&1)
    code=$?
    if [ "$code" = "$right" ]; then case $out in *"$has"*) break ;; esac; fi
    [ "$times" -gt 0 ] || break
    times=$((times - 1))
    sleep "$pause"
done
printf '%s\\n' "$out"
exit "$code"
"""

# $1 the live folder, $2… the command
_IN_LIVE = """
cd "$1" 2>/dev/null || :
shift
exec "$@"
"""

# $1 the project, $2 the service, $3… the command, run in its newest running container
_IN_SERVICE = f"""
id=$(
    docker ps --quiet --filter "label={PROJECT}=$1" --filter "label={SERVICE}=$2" \\
        --filter label={ONEOFF}=False | head -n 1
)
[ -n "$id" ] || exit {NOT_RUNNING}
shift 2
exec docker exec ${{TOWLINE_TEXT+-e TOWLINE_TEXT}} "$id" "$@"
"""

# What a check runs, from the environment: command lines can be read by every login, and a variable's value may be secret.
_FROM_ENVIRONMENT = 'towline_text=$TOWLINE_TEXT; unset TOWLINE_TEXT; eval "$towline_text"'
_SHELLS = ("sh", "ash", "bash", "dash", "ksh", "zsh", "/bin/sh", "/bin/bash", "/bin/ash", "/usr/bin/bash")

# $1 the live folder, $2 a path or a pattern: mode, owner, bytes, age (seconds) and path of the newest file that it matches
_NEWEST = """
case $2 in /*) ;; *) cd "$1" 2>/dev/null || exit 2 ;; esac
IFS=
newest=
for path in $2; do
    [ -e "$path" ] || [ -L "$path" ] || continue
    if [ -z "$newest" ] || [ "$path" -nt "$newest" ]; then newest=$path; fi
done
[ -n "$newest" ] || exit 2
stat -c "%a %U %s $(($(date +%s) - $(stat -c %Y -- "$newest"))) %n" -- "$newest"
"""


@singledispatch
def command(_check: Check, _stack: Stack, _root: str) -> shell.Command | None:
    """What is run on the server for a check; None: nothing, it is asked over TCP."""
    return None


@command.register
def _(check: Command, stack: Stack, root: str) -> shell.Command:
    words, text = _words_and_text(check)
    if check.service:
        words = shell.script(_IN_SERVICE, stack.project, check.service, *words)
    else:
        words = shell.script(_IN_LIVE, StackPaths(root, stack.name).live, *words)
    return _tried(check, shell.limited(check.timeout, words), str(check.exit_code), check.contains, text)


def _words_and_text(check: Command) -> tuple[shell.Command, str | None]:
    """What to run, and the text that it takes from the environment, None for none.

    A list of words needs a shell for that: where the words are as they are written, they are run without.
    """
    first, *rest = check.words
    if first in _SHELLS and len(rest) > 1 and rest[0] == "-c":
        _, text, *more = rest
        arguments = f"set -- {shell.quote(more[1:])}\n" if len(more) > 1 else ""
        return (first, "-c", _FROM_ENVIRONMENT, *more[:1]), arguments + text
    if check.from_variables:
        return ("sh", "-c", _FROM_ENVIRONMENT), f"exec {shell.quote(check.words)}"
    return check.words, None


@command.register
def _(check: File, stack: Stack, root: str) -> shell.Command:
    return _tried(
        check, shell.script(_NEWEST, StackPaths(root, stack.name).live, check.path), "0" if check.exists else "2"
    )


@command.register
def _(check: Dns, _stack: Stack, _root: str) -> shell.Command:
    return _tried(check, shell.limited(RESOLVING, ("getent", "ahosts", check.host)), "0", check.address)


def _tried(check: Check, words: shell.Command, right: str, has: str = "", text: str | None = None) -> shell.Command:
    tried = shell.script(_TRY, str(check.retry.times), f"{check.retry.pause:g}", right, *words)
    environment = {"TOWLINE_HAS": has} | ({} if text is None else {"TOWLINE_TEXT": text})
    return shell.WithEnvironment(tried, environment)


def judge_command(check: Check, context: CheckContext, result: Result) -> Finding:
    """The finding out of what `command` answered."""
    subject = context.subject(check)
    if isinstance(check, File):
        return _judge_file(subject, check, result)
    if isinstance(check, Dns):
        return _judge_dns(subject, check, result)
    return _judge_output(subject, check, result) if isinstance(check, Command) else subject.skip(check.name, "not run")


def _judge_output(subject: Subject, check: Command, result: Result) -> Finding:
    if check.service and result.code == NOT_RUNNING:
        return subject.skip(check.name, f"{check.service} does not run")
    said = _tail(result.out)
    if result.code != check.exit_code:
        late = f"did not end within {check.timeout:g} s" if result.code in TOO_LATE else f"ended with {result.code}"
        return subject.fail(check.name, f"the command {late}, expected {check.exit_code}", said)
    if check.contains and check.contains not in result.out:
        return subject.fail(check.name, f"the command does not say {check.contains!r}", said)
    return subject.ok(check.name, "the command does what it should", said)


def _tail(text: str) -> str:
    lines = text.strip().splitlines()
    return listed(lines[-MOST_LINES:])


def _judge_dns(subject: Subject, check: Dns, result: Result) -> Finding:
    if result.code == NOT_FOUND:
        return subject.skip(check.name, "the server has no getent to resolve names")
    addresses = list(dict.fromkeys(line.split()[0] for line in result.out.splitlines() if line.strip()))
    if result.code or not addresses:
        return subject.fail(check.name, f"the server does not resolve {check.host}", hint="see `getent ahosts` there")
    if check.address and check.address not in addresses:
        return subject.fail(check.name, f"{check.host} is not {check.address}", ", ".join(addresses))
    return subject.ok(check.name, f"the server resolves {check.host}", ", ".join(addresses))


def _judge_file(subject: Subject, check: File, result: Result) -> Finding:
    there = result.code == 0
    if there != check.exists:
        sentence = f"{check.path} does not exist" if check.exists else f"{check.path} exists, and should not"
        return subject.fail(check.name, sentence, "" if check.exists else result.out.strip())
    if not there:
        return subject.ok(check.name, f"{check.path} does not exist, as it should")
    mode, owner, size, age, path = [*result.out.strip().split(" ", 4), *[""] * 5][:5]
    evidence = f"{path}: mode {mode}, owner {owner}, {size} bytes, changed {_age(float(age))} ago"
    wrong = _wrong_file(check, mode, owner, int(size), float(age))
    return (
        subject.fail(check.name, f"{path} {wrong}", evidence)
        if wrong
        else subject.ok(check.name, f"{path} is as it should be", evidence)
    )


def _wrong_file(check: File, mode: str, owner: str, size: int, age: float) -> str:
    if check.mode and mode != check.mode:
        return f"has mode {mode}, expected {check.mode}"
    if check.owner and owner != check.owner:
        return f"is {owner}'s, expected {check.owner}"
    if check.max_age and age > check.max_age:
        return f"was changed {_age(age)} ago, expected at most {_age(check.max_age)}"
    return f"has {size} bytes, expected at least {check.min_bytes}" if size < check.min_bytes else ""


def _age(seconds: float) -> str:
    """
    >>> _age(90), _age(7200), _age(200000)
    ('2 min', '2.0 h', '2.3 days')
    """
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 86400 * 2 else f"{seconds / 86400:.1f} days"
