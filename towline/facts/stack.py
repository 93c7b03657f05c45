"""The state of one stack on the server: its releases, which one is live, the lock, the last run."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from towline.bundle.manifest import Manifest
from towline.commands.shell import Command, script
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
    """`now` is the server's clock, UTC, as a release's id begins. `current` and `before` are the live good release and the good one
    before it; `holder` and `held` say who locks; '' for none. `broken`: a sentence for each file that is empty or not what it
    should be, and what was done about it."""

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
    broken: tuple[str, ...] = ()

    @property
    def running(self) -> RunFact | None:
        return self.last_run if self.last_run and self.last_run.outcome == "running" else None


def commands(paths: StackPaths) -> tuple[Command, ...]:
    """The state, and the live release's manifest and compose model."""
    return script(remote_script("runs", "current", "state"), paths.root, paths.stack), *release.commands(paths)


def parse(results: list[Result]) -> StackFact:
    """The fact from the results of `commands()`, in their order."""
    state, *files = results
    live = release.parse(files)
    words = [line.split("\t") for line in state.out.split("\n")]
    first = {word[0]: word for word in words}
    run, lock, current = first.get("run"), first["lock"], _none_if_dash(first["current"][1])
    read = [_read_release(word, current) for word in words if word[0] == "release"]
    broken = [*_broken_live(current, live, "broken" in first), *(sentence for _, why in read for sentence in why)]
    return StackFact(
        now=first["now"][1],
        live=first["live"][1] == "yes",
        current=current,
        before=_none_if_dash(first["before"][1]),
        holder=" ".join(lock[2:]).strip() if lock[1] == "held" else "",
        held=first["held"][1] if "held" in first else "",
        last_run=RunFact(*run[1:5]) if run else None,
        releases=tuple(fact for fact, _ in read),
        manifest=live.manifest,
        model=live.model,
        broken=tuple(broken),
    )


def _broken_live(current: str, live: release.ReleaseFiles, derived: bool) -> Iterator[str]:
    if derived:
        taken = f"release {current} is taken for the live one" if current else "no release is taken for the live one"
        yield f"the file `current` is empty or broken: {taken}"
    if current and live.manifest is None:
        yield f"release {current}: its manifest is empty or broken: every file is uploaded again"
    if "model" in live.broken:
        yield f"release {current}: its model is broken: every service counts as changed"


def _read_release(word: list[str], current: str) -> tuple[ReleaseFact, list[str]]:
    """The release, and a sentence for each of its files that is empty or broken; that file counts as if it were not there."""
    _, name, outcome, seconds, built, downtime, meta = word
    fact = ReleaseFact(
        name,
        outcome or ("good" if name == current else "-"),
        _number(seconds) or 0.0,
        int(_number(built) or 0),
        _downtime(downtime) or {},
        _meta(meta) or {},
    )
    read = {
        "outcome": outcome or None,
        "seconds": _number(seconds),
        "built": _number(built),
        "downtime": _downtime(downtime),
        "meta.json": _meta(meta),
    }
    broken = [file for file, value in read.items() if value is None]
    return fact, [f"release {name}: its file `{file}` is empty or broken: left out" for file in broken]


def _none_if_dash(text: str) -> str:
    return "" if text == "-" else text


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 <= number < math.inf else None


def _downtime(text: str) -> dict[str, float] | None:
    pairs = [pair.rpartition("=") for pair in text.split()]
    numbers = {service: _number(seconds) for service, _, seconds in pairs if service}
    found = {service: seconds for service, seconds in numbers.items() if seconds is not None}
    return found if len(found) == len(pairs) else None


def _meta(text: str) -> dict[str, object] | None:
    try:
        meta = json.loads(text)
    except ValueError:
        return None
    return meta if isinstance(meta, dict) else None
