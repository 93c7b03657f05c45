"""The state of one stack on the server: its releases, which one is live, the lock, the last run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from towline.bundle.manifest import Manifest
from towline.commands.shell import Command, script
from towline.errors import RemoteFailed
from towline.facts import release
from towline.facts.compose_model import Model
from towline.remote import script as remote_script
from towline.remote.paths import StackPaths
from towline.ssh.session import Result


@dataclass(frozen=True)
class RunFact:
    """One run of the runner.

    outcome: deployed, kept, restored, down, locked, running, or cut: it was interrupted, so it has no result.
    """

    id: str
    outcome: str
    step: str
    release: str


@dataclass(frozen=True)
class ReleaseFact:
    """One release on the server.

    outcome: good, failed, or - (never came to its end). seconds: what its last run took. built: bytes of the images that
    were built for it. downtime: seconds per service, as its last run measured. meta: as the client that sent it said.
    """

    id: str
    outcome: str
    seconds: float = 0.0
    built: int = 0
    downtime: Mapping[str, float] = field(default_factory=dict)
    meta: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class StackFact:
    """`now` is the server's clock, UTC, as a release's id begins; `newest` the highest id of a release or a run.

    `current` and `before` are the live good release and the good one before it; `holder` and `held` say who locks; '' for none.
    """

    now: str
    live: bool
    current: str
    before: str = ""
    holder: str = ""
    held: str = ""
    last_run: RunFact | None = None
    releases: tuple[ReleaseFact, ...] = ()
    manifest: Manifest | None = None
    model: Model | None = None
    newest: str = ""

    @property
    def running(self) -> RunFact | None:
        return self.last_run if self.last_run and self.last_run.outcome == "running" else None


def commands(paths: StackPaths) -> tuple[Command, ...]:
    """The state, and the live release's manifest and compose model."""
    return script(remote_script("runs", "state"), paths.root, paths.stack), *release.commands(paths)


def parse(results: list[Result]) -> StackFact:
    """The fact from the results of `commands()`, in their order. Raises RemoteFailed when it could not be read."""
    state, *files = results
    if not state.ok:
        raise RemoteFailed(f"the stack's state on the server could not be read: {state.last_line}")
    live = release.parse(files)
    words = [line.split("\t") for line in state.out.split("\n")]
    first = {word[0]: word for word in words}
    run = first.get("run")
    lock = first["lock"]
    return StackFact(
        now=first["now"][1],
        live=first["live"][1] == "yes",
        current=_none_if_dash(first["current"][1]),
        before=_none_if_dash(first["before"][1]),
        holder=" ".join(lock[2:]).strip() if lock[1] == "held" else "",
        held=first["held"][1] if "held" in first else "",
        last_run=RunFact(*run[1:5]) if run else None,
        releases=tuple(_release(word) for word in words if word[0] == "release"),
        newest=_none_if_dash(first["newest"][1]),
        manifest=live.manifest,
        model=live.model,
    )


def _release(word: list[str]) -> ReleaseFact:
    _, name, outcome, seconds, built, downtime, meta = word
    down = dict(pair.split("=") for pair in downtime.split())
    return ReleaseFact(
        name, outcome, float(seconds), int(built), {service: float(down[service]) for service in down}, _meta(meta)
    )


def _none_if_dash(text: str) -> str:
    return "" if text == "-" else text


def _meta(text: str) -> dict[str, object]:
    try:
        meta = json.loads(text)
    except ValueError:
        return {}
    return meta if isinstance(meta, dict) else {}
