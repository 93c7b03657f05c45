"""Runs a plan: starts the runner on the server and follows it to its end, however often the connection is lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from towline.commands.shell import Command, script
from towline.deploy.events import Event, FollowPosition, follow
from towline.deploy.planning.plan import Options, Plan
from towline.deploy.upload import Upload, run_archive
from towline.errors import ConnectionFailed, ConnectionLost, Detached, RemoteFailed
from towline.remote import script as remote_script
from towline.remote.paths import StackPaths
from towline.ssh.connection import Connection
from towline.ssh.session import Session

_OpenSession = Callable[[], AbstractContextManager[Session]]


class ProgressView(Protocol):
    """What shows a deploy to a person while it runs."""

    def planned(self, plan: Plan) -> None: ...
    def confirm(self, plan: Plan) -> bool: ...
    def uploaded(self, plan: Plan, upload: Upload) -> None: ...
    def event(self, event: Event) -> None: ...
    def output(self, text: bytes) -> None: ...
    def note(self, text: str) -> None: ...
    def cancelling(self) -> None: ...
    def ended(self, plan: Plan, outcome: Outcome) -> None: ...


@dataclass
class Outcome:
    """How a run ended.

    result: deployed, kept (the old release was never touched), restored, partly (not restored, but something runs), down,
    locked, or died (the runner was killed).
    events: all of them. seconds: what each step took, by name; those of the undo as `undo.<name>`.
    """

    result: str = "died"
    events: list[Event] = field(default_factory=list)

    def add(self, event: Event) -> None:
        self.events.append(event)
        if event.name == "end":
            self.result = event.values["outcome"]

    def named(self, name: str) -> list[Event]:
        return [event for event in self.events if event.name == name]

    @property
    def downtime(self) -> dict[str, float]:
        """Seconds that each service was down, as the server measured."""
        return {event.values["service"]: event.number("seconds") for event in self.named("downtime")}

    @property
    def failed_step(self) -> str:
        """The first step that failed; '' when none did."""
        failed = [
            step.values["name"] for step in self.named("step") if step.values["state"] not in ("begin", "done", "")
        ]
        return failed[0] if failed else ""

    @property
    def cancelled(self) -> bool:
        return any(event.values["state"] == "cancelled" for event in self.named("step"))


def run_plan(connection: Connection, plan: Plan, options: Options, view: ProgressView) -> Outcome:
    """Start the runner and follow it to its end: one session, more only after a lost connection or Ctrl-C.

    Raises Detached, and ConnectionFailed when the host cannot be reached again.
    """
    paths = StackPaths(connection.host.root, plan.stack)
    command = script(remote_script("start"), paths.root, plan.stack, plan.run)
    start = _opener(connection, lambda: command, run_archive(plan, options))
    return _follow_to_end(connection, paths, plan.run, view, start)


def follow_run(connection: Connection, paths: StackPaths, run: str, view: ProgressView) -> Outcome:
    """Follow a run that somebody started, from its beginning to its end. Raises as `run_plan` does."""
    return _follow_to_end(connection, paths, run, view, None)


def _opener(connection: Connection, command: Callable[[], Command], stdin: bytes) -> _OpenSession:
    @contextmanager
    def open_session() -> Iterator[Session]:
        connection.ledger.command_ran()
        with connection.session(command(), "run") as session:
            session.feed([stdin] if stdin else [])
            yield session

    return open_session


def _follow_to_end(
    connection: Connection, paths: StackPaths, run: str, view: ProgressView, start: _OpenSession | None
) -> Outcome:
    """Follow until the runner has ended. `start` opens the session that starts it; every other session only follows.

    When the connection is lost before the start has answered, the command may or may not have arrived: follow first, then
    start again (`mkdir` of the run's folder lets only one start through), then follow again. A start that answers that it
    failed is an error: a run of that id would be another's.
    """
    outcome, position, interrupts = Outcome(), FollowPosition(), 0
    resume = _opener(connection, lambda: _follow_command(paths, run, position), b"")
    attempts = [start] if start else []
    if_lost = [resume, start, resume] if start else []
    while not position.ended:
        try:
            with (attempts.pop(0) if attempts else resume)() as session:
                for news in follow(session, position):
                    attempts = if_lost = []
                    _show(news, outcome, view)
        except ConnectionLost as error:
            attempts, if_lost = attempts or if_lost, []
            _reconnect(connection, view, error)
        except RemoteFailed:
            if not attempts:
                raise
        except KeyboardInterrupt:
            interrupts += 1
            if interrupts > 1:
                raise _detached(paths.stack) from None
            view.cancelling()
            _cancel(connection, paths, run, view)
    if position.has_result and not outcome.named("end"):  # its last event was written by half, or not at all
        outcome.result = _read_result(connection, paths, run) or outcome.result
    return outcome


def _read_result(connection: Connection, paths: StackPaths, run: str) -> str:
    return connection.run(("cat", f"{paths.run(run)}/result"), name="result").out.strip()


def _detached(stack: str) -> Detached:
    return Detached(f"{stack}: left to the server, which goes on", f"`inv attach --stack={stack}` follows it again")


def _follow_command(paths: StackPaths, run: str, position: FollowPosition) -> Command:
    return script(remote_script("follow"), paths.run(run), str(position.events), str(position.output))


def _show(news: Event | bytes, outcome: Outcome, view: ProgressView) -> None:
    if isinstance(news, bytes):
        view.output(news)
    else:
        outcome.add(news)
        view.event(news)


RECONNECT_FOR = 600  # seconds; the run goes on on the server all the while


def _reconnect(connection: Connection, view: ProgressView, error: ConnectionLost) -> None:
    view.note(f"{error.message}; the server goes on by itself")
    connection.close()
    until, wait = time.monotonic() + RECONNECT_FOR, 1.0
    while True:
        try:
            connection.fabric()
            return
        except ConnectionFailed:
            if time.monotonic() > until:
                raise
            time.sleep(wait)
            wait = min(wait * 2, 15)


CANCEL_WITHIN = 30  # seconds


def _cancel(connection: Connection, paths: StackPaths, run: str, view: ProgressView) -> None:
    try:
        command = script('kill -TERM "$(cat "$1/pid")"', paths.run(run))
        connection.run(command, timeout=CANCEL_WITHIN, name="cancel")
    except ConnectionFailed as error:  # what follows notices it as well, and logs in again
        view.note(f"it may not have been cancelled: {error.message}")
