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
from towline.text.printable import printable

# Written beside, then linked: a hard link fails where the name is there, so two people cannot both get the lock, and what bears
# the name is whole. An empty one is what a full disk left. Where there are no hard links `set -C` does the same.
_LOCK = """
held=$1/held new=$1/held.$$
(umask 077; mkdir -p "$1") || exit 1
if [ -e "$held" ] && [ ! -s "$held" ]; then rm -f "$held" || exit 1; fi
[ ! -e "$held" ] || { cat "$held"; exit 4; }
trap 'rm -f "$new"' EXIT
printf '%s\\n' "$2" >"$new" || exit 1
sync "$new" 2>/dev/null || sync
if ln "$new" "$held" 2>/dev/null; then exit 0; fi
[ ! -s "$held" ] || { cat "$held"; exit 4; }
set -C
printf '%s\\n' "$2" >"$held" || exit 1
"""
_UNLOCK = '[ ! -e "$1/held" ] || { cat "$1/held"; rm -f "$1/held"; }'


def lock(connection: Connection, stack: str, message: str, note: Callable[[str], None]) -> str:
    """Lock the stack; the lock's text: who, since when, the message. One session.

    `note` is told of interrupted deploys. Raises LockHeld with the text of a lock that is there, RemoteFailed.
    """
    at = datetime.now(UTC).isoformat(timespec="seconds")
    text = " ".join(printable(f"by {sender()} since {at}: {message or 'no message'}").split())
    result = _run(connection, script(_LOCK, StackPaths(connection.host.root, stack).home, text), note)
    if result.code == LockHeld.exit_code:
        raise LockHeld(f"{stack}: locked already: {result.out.strip()}", f"`inv unlock --stack={stack}` removes it")
    if not result.ok:
        raise RemoteFailed(f"{stack}: the lock could not be written: {result.last_line}")
    return text


def unlock(connection: Connection, stack: str, note: Callable[[str], None]) -> str:
    """Remove the lock; its text, '' when there was none. One session. Raises RemoteFailed when it is still there."""
    result = _run(connection, script(_UNLOCK, StackPaths(connection.host.root, stack).home), note)
    if not result.ok:
        raise RemoteFailed(f"{stack}: the lock could not be removed: {result.last_line}")
    return result.out.strip()


def _run(connection: Connection, command: Command, note: Callable[[str], None]) -> Result:
    result, interruptions = connection.batch(
        [command, interrupted.command(connection.host.root)], timeout=ANSWER_WITHIN, name="lock"
    )
    interrupted.tell(interruptions, note)
    return result
