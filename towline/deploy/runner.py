"""Carries a plan out: sends the release, starts the runner, follows it to its end, over whatever the line does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from towline.bundle.manifest import Manifest
from towline.commands.shell import Command, script
from towline.deploy.events import Event, FollowPosition, follow
from towline.deploy.planning.plan import Options, Plan
from towline.deploy.upload import release_stream, run_archive
from towline.errors import ConnectionFailed, ConnectionLost, Detached, RemoteFailed
from towline.project.catalog import Stack
from towline.remote import script as remote_script
from towline.remote.paths import StackPaths
from towline.ssh.connection import Connection
from towline.ssh.session import Session
from towline.text.lines import last_lines

_Opener = Callable[[], AbstractContextManager[Session]]


class ProgressView(Protocol):
    """Who looks on while a plan is carried out."""

    def planned(self, plan: Plan) -> None: ...
    def agreed(self, plan: Plan) -> bool: ...
    def sent(self, plan: Plan, size: int, seconds: float) -> None: ...
    def event(self, event: Event) -> None: ...
    def output(self, text: bytes) -> None: ...
    def note(self, text: str) -> None: ...
    def cancelling(self) -> None: ...
    def ended(self, plan: Plan, outcome: Outcome) -> None: ...


@dataclass
class Outcome:
    """How a run ended.

    result: deployed, kept (the old release was never touched), restored, down, locked, or died (the runner was killed).
    events: all of them. seconds: what each step took, by name; steps that put things back as `undo.<name>`.
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
        return {event.values["service"]: float(event.values["seconds"]) for event in self.named("downtime")}

    @property
    def failed_step(self) -> str:
        bad = [e.values["name"] for e in self.named("step") if e.values["state"] not in ("begin", "done")]
        return bad[0] if bad else ""

    @property
    def cancelled(self) -> bool:
        return any(event.values["state"] == "cancelled" for event in self.named("step"))


def send_release(connection: Connection, stack: Stack, manifest: Manifest, plan: Plan, watch: ProgressView) -> None:
    """Put the tarball: one session; unpacked, verified and named on the server, beside the live folder.

    Raises RemoteFailed when what arrived is not what was sent or the disk is full: nothing has changed then.
    """
    before, start = connection.ledger.bytes_up, time.monotonic()
    words = (connection.host.root, plan.stack, plan.release, plan.previous or "-", manifest.digest)
    command = script(remote_script("receive"), *words)
    result = connection.upload(release_stream(stack, manifest, plan), command)
    if not result.ok:
        raise RemoteFailed(
            f"{plan.stack}: the release could not be put on {connection.host.name}; nothing has changed there",
            hint=" / ".join(last_lines(result.err, 3)) or f"exit code {result.code}",
        )
    watch.sent(plan, connection.ledger.bytes_up - before, time.monotonic() - start)


def carry_out(connection: Connection, plan: Plan, options: Options, watch: ProgressView) -> Outcome:
    """Start the runner and follow it to its end: one session, more only after the line was cut or Ctrl-C.

    Raises Detached, and ConnectionFailed when the host cannot be reached again.
    """
    paths = StackPaths(connection.host.root, plan.stack)
    start = script(remote_script("start"), paths.root, plan.stack, plan.run)
    return _follow_over(
        connection, paths, plan.run, watch, _opener(connection, lambda: start, run_archive(plan, options))
    )


def attach(connection: Connection, paths: StackPaths, run: str, watch: ProgressView) -> Outcome:
    """Follow a run that somebody started, from its beginning."""
    return _follow_over(connection, paths, run, watch, None)


def _opener(connection: Connection, command: Callable[[], Command], stdin: bytes) -> _Opener:
    @contextmanager
    def opened() -> Iterator[Session]:
        connection.ledger.command_ran()
        with connection.session(command(), "run") as session:
            session.feed([stdin] if stdin else [])
            yield session

    return opened


def _follow_over(
    connection: Connection, paths: StackPaths, run: str, watch: ProgressView, start: _Opener | None
) -> Outcome:
    """Follow until the runner has ended. `start` opens the session that starts it; every other one only follows.

    When the line is cut before the start has answered, it may or may not have arrived: look first, then start again
    (`mkdir` of the run's folder lets only one start through), then look again.
    """
    outcome, followed, cancels = Outcome(), FollowPosition(), 0
    follow_on = _opener(connection, lambda: _follow_command(paths, run, followed), b"")
    ways = [start, follow_on, start, follow_on] if start else [follow_on]
    while not followed.ended:
        try:
            with (ways.pop(0) if ways else follow_on)() as session:
                for news in follow(session, followed):
                    ways = []
                    _tell(news, outcome, watch)
        except ConnectionLost as error:
            _reconnect(connection, watch, error)
        except RemoteFailed:
            if not ways:
                raise
        except KeyboardInterrupt:
            cancels += 1
            if cancels > 1:
                raise _detached(paths.stack) from None
            watch.cancelling()
            _cancel(connection, paths, run)
    return outcome


def _detached(stack: str) -> Detached:
    return Detached(f"{stack}: left to the server, which goes on", f"`inv attach --stack={stack}` follows it again")


def _follow_command(paths: StackPaths, run: str, followed: FollowPosition) -> Command:
    return script(remote_script("follow"), paths.run(run), str(followed.events), str(followed.output))


def _tell(news: Event | bytes, outcome: Outcome, watch: ProgressView) -> None:
    if isinstance(news, bytes):
        watch.output(news)
    else:
        outcome.add(news)
        watch.event(news)


RECONNECT_FOR = 600  # seconds; the run goes on there all the while


def _reconnect(connection: Connection, watch: ProgressView, error: ConnectionLost) -> None:
    watch.note(f"{error.message}; the server goes on by itself")
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


def _cancel(connection: Connection, paths: StackPaths, run: str) -> None:
    connection.run(script('kill -TERM "$(cat "$1/pid")"', paths.run(run)), name="cancel")
