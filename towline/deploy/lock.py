"""A person's lock on a stack: a line of text in a file on the host; a deploy that finds one does not start."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from towline.commands.shell import Command, script
from towline.deploy.upload import sender
from towline.errors import LockHeld, RemoteFailed
from towline.facts import interrupted
from towline.remote.paths import StackPaths
from towline.ssh.connection import ANSWER_WITHIN, Connection
from towline.ssh.session import Result

# `set -C` makes the redirection fail where the file is there: two people cannot both get the lock. Where it fails for
# another reason, such as a read-only disk, there is no file.
_LOCK = """
(umask 077; mkdir -p "$1") || exit 1
set -C
printf "%s\\n" "$2" 2>/dev/null >"$1/held" && exit 0
cat "$1/held" 2>/dev/null && exit 4
printf "%s cannot be written\\n" "$1/held" >&2
exit 1
"""
_UNLOCK = 'cat "$1/held" 2>/dev/null; rm -f "$1/held"'


def lock(connection: Connection, stack: str, message: str, note: Callable[[str], None]) -> str:
    """Lock the stack; the lock's text: who, since when, the message. One session.

    `note` is told of interrupted deploys. Raises LockHeld with the text of a lock that is there, RemoteFailed.
    """
    at = datetime.now(UTC).isoformat(timespec="seconds")
    text = " ".join(f"by {sender()} since {at}: {message or 'no message'}".split())
    result = _run(connection, script(_LOCK, StackPaths(connection.host.root, stack).home, text), note)
    if result.code == LockHeld.exit_code:
        raise LockHeld(f"{stack}: locked already: {result.out.strip()}", f"`inv unlock --stack={stack}` removes it")
    if not result.ok:
        raise RemoteFailed(f"{stack}: the lock could not be written: {result.err.strip()}")
    return text


def unlock(connection: Connection, stack: str, note: Callable[[str], None]) -> str:
    """Remove the lock; its text, '' when there was none. One session."""
    return _run(connection, script(_UNLOCK, StackPaths(connection.host.root, stack).home), note).out.strip()


def _run(connection: Connection, command: Command, note: Callable[[str], None]) -> Result:
    result, interruptions = connection.batch(
        [command, interrupted.command(connection.host.root)], timeout=ANSWER_WITHIN, name="lock"
    )
    interrupted.tell(interruptions, note)
    return result
