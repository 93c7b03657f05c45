"""Every exception that towline raises on purpose, and the exit code that each stands for.

TowlineError                     1
  UsageError                     2   wrong usage or settings; nothing touched, no connection opened
    SettingsError                    towline.yaml, .env, ssh address, identity
    StackError                       a stack's folder, compose file or x-towline
  ConnectionFailed               3   no connection
    HostUnreachable                  refused, reset, timed out; retried before it is raised
    HostKeyUnknown                   in no known_hosts file: refused, never retried
    HostKeyChanged                   differs from the pinned one: refused, never retried
    HostKeyRevoked                   marked @revoked: refused, never retried
    AuthenticationRefused            never retried
    SessionRefused                   the server's MaxSessions stayed in use for 30 s
    ConnectionLost                   the connection was lost while a command may have run
    ForwardingForbidden              sshd opens no TCP connections for this login
  RemoteFailed                   1   a remote command exited non-zero
    ComposeRejected              2   the server's Compose refuses a stack's files; nothing touched
  LockHeld                       4   another deploy of the stack is running
  DeployRolledBack               5   the deploy failed, the release before it runs
  DeployFailed                   6   the deploy failed, the stack is down
  DeployedInPart             1..6   deploy-all: some stacks failed; the highest of their codes
  ChangesPending                10   `plan --check` found changes
  Detached                     130   Ctrl-C twice: the deploy continues on the server
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from towline.text.printable import printable


class TowlineError(Exception):
    """An error for the user: `message` says what is wrong, `hint` what to do about it ('' for none)."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return printable(f"{self.message}\n  hint: {self.hint}" if self.hint else self.message)


class UsageError(TowlineError):
    """Wrong usage or settings: nothing has been touched."""

    exit_code = 2


class SettingsError(UsageError):
    """towline.yaml, .env, an ssh address or a key file is wrong."""


class StackError(UsageError):
    """A stack's folder, compose file or x-towline block is wrong."""


class ConnectionFailed(TowlineError):
    """There is no usable connection to the host."""

    exit_code = 3


class HostUnreachable(ConnectionFailed):
    """The connection was refused or reset, or timed out, also after the retries; or the name did not resolve for now."""


class HostKeyUnknown(ConnectionFailed):
    """The host's key is in no known_hosts file."""


class HostKeyChanged(ConnectionFailed):
    """The host's key differs from the pinned one."""


class HostKeyRevoked(ConnectionFailed):
    """A known_hosts file says that the host's key is not to be trusted any more."""


class AuthenticationRefused(ConnectionFailed):
    """The host accepted none of the keys offered."""


class SessionRefused(ConnectionFailed):
    """The host refused a session for 30 s: its MaxSessions are in use."""


class ConnectionLost(ConnectionFailed):
    """The connection was lost while a command may have been running; it is never sent again."""


class ForwardingForbidden(ConnectionFailed):
    """The host's sshd opens no TCP connections for this login."""


class RemoteFailed(TowlineError):
    """A remote command exited non-zero."""


class ComposeRejected(RemoteFailed):
    """The server's Compose refuses a stack's files; nothing has been touched."""

    exit_code = 2


class LockHeld(TowlineError):
    """Another deploy of the same stack holds its lock."""

    exit_code = 4


class DeployRolledBack(TowlineError):
    """The deploy failed; what ran before runs, or at least something of the stack does."""

    exit_code = 5


class DeployFailed(TowlineError):
    """The deploy failed and nothing of the stack runs, or its runner was killed."""

    exit_code = 6


class DeployedInPart(TowlineError):
    """A task has come to its end, and some stacks failed. of: the number of stacks in the run; did: what those did."""

    def __init__(self, failed: Sequence[TowlineError], of: int, did: str = "failed") -> None:
        lines = "".join(f"\n  {error.message}" for error in failed)
        super().__init__(f"{len(failed)} of {of} stacks {did}:{lines}")
        self.exit_code = max(error.exit_code for error in failed)


class ChangesPending(TowlineError):
    """`plan --check` found changes."""

    exit_code = 10


class Detached(TowlineError):
    """Ctrl-C was pressed twice: the deploy continues on the server, unobserved."""

    exit_code = 130


def closest(name: str, known: Iterable[str]) -> str:
    """A suggestion for the unknown `name`: the most similar name of `known`, or all of them.

    >>> closest("treafik", ["traefik", "whoami"])
    'did you mean traefik?'
    >>> closest("x", ["traefik", "whoami"])
    'known: traefik, whoami'
    """
    names = sorted(known)
    similar = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if similar:
        return f"did you mean {similar[0]}?"
    return f"known: {', '.join(names)}" if names else "there are none"
