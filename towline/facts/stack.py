"""The state of one stack on the server: its releases, which one is live, the lock, the last run."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from towline.bundle.manifest import Manifest
from towline.commands.shell import Command, script
from towline.errors import RemoteFailed
from towline.facts import release
from towline.facts.compose_model import Model
from towline.facts.release import ReleaseFiles
from towline.remote import script as remote_script
from towline.remote.paths import StackPaths
from towline.ssh.session import Result


@dataclass(frozen=True)
class RunFact:
    """One run of the runner.

    outcome: deployed, kept, restored, partly, down, locked, running, or cut: it was interrupted, so it has no result.
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
    """now: the server's clock, UTC, as a release's id begins. newest: the highest id of a release or a run.

    current and before: the live good release and the good one before it; holder and held: who locks; '' for none. made: ids of the
    containers that are kept as release 0. broken: a sentence for each file of towline's own there that is empty or broken, and what
    is done without it.
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
    made: frozenset[str] = frozenset()
    broken: tuple[str, ...] = ()

    @property
    def running(self) -> RunFact | None:
        return self.last_run if self.last_run and self.last_run.outcome == "running" else None


def commands(paths: StackPaths) -> tuple[Command, ...]:
    """The state, and the live release's manifest and compose model."""
    return script(remote_script("runs", "current", "state"), paths.root, paths.stack), *release.commands(paths)


def parse(results: list[Result]) -> StackFact:
    """The fact from the results of `commands()`, in their order. Raises RemoteFailed when the state was not told."""
    state, *files = results
    if not state.ok:
        raise RemoteFailed(f"the stack's state on the server could not be read: {state.last_line}")
    live = release.parse(files)
    rows = [line.split("\t") for line in state.out.split("\n")]
    first = {row[0]: [*row, "", "", "", "", ""] for row in rows}
    if not first.keys() >= {"now", "current", "lock"} or not _TIME.fullmatch(first["now"][1]):
        raise RemoteFailed(f"the server did not tell the state of the stack: {state.last_line}")
    newest = first.get("newest", [*"--"])[1]
    run, lock, current = first.get("run"), first["lock"], _none_if_dash(first["current"][1])
    read = [_release(row) for row in rows if row[0] == "release" and len(row) > 1]
    return StackFact(
        now=first["now"][1],
        live=first.get("live", lock)[1] == "yes",
        current=current,
        before=_none_if_dash(first.get("before", [*"--"])[1]),
        holder=" ".join(lock[2:]).strip() if lock[1] == "held" else "",
        held=first["held"][1] if "held" in first else "",
        last_run=RunFact(*(word or "-" for word in run[1:5])) if run else None,
        releases=tuple(fact for fact, _ in read),
        newest=newest if _TIME.match(newest) else "",
        made=frozenset(row[1] for row in rows if row[0] == "made"),
        manifest=live.manifest,
        model=live.model,
        broken=(*_broken_live(first, current, live), *(sentence for _, sentence in read if sentence)),
    )


def _broken_live(first: Mapping[str, Sequence[str]], current: str, live: ReleaseFiles) -> Iterator[str]:
    if "broken" in first or not first["current"][1]:
        taken = f"release {current} is taken for it" if current else "planned as if there were none"
        yield f"the file that names the live release is empty or broken there: {taken}; `inv rollback --to` names one"
    if current and live.manifest is None:
        yield f"the manifest of the live release {current} is empty or broken there: all is sent again, the run makes it anew"
    if current and live.broken_model:
        yield f"the compose model of the live release {current} is broken there: what changes for its services is not known"


def _release(row: list[str]) -> tuple[ReleaseFact, str]:
    """The fact, and a sentence about what of it is empty or broken."""
    name, outcome, seconds, built, downtime, meta = [*row[1:7], *[""] * 6][:6]
    numbers = {"seconds": _number(seconds), "built": _number(built)}
    down = {match[1]: float(match[2]) for match in map(_DOWN.fullmatch, downtime.split()) if match}
    about = _meta(meta)
    sound = {
        "outcome": bool(_OUTCOME.fullmatch(outcome)),
        **{file: number is not None for file, number in numbers.items()},
        "downtime": len(down) == len(downtime.split()),
        "meta.json": about is not None or not meta.strip(),
    }
    broken = [file for file, good in sound.items() if not good]
    fact = ReleaseFact(
        name,
        outcome if sound["outcome"] else "-",
        numbers["seconds"] or 0.0,
        int(numbers["built"] or 0),
        down,
        about or {},
    )
    return fact, f"release {name}: empty or broken there, and done without: {', '.join(broken)}" if broken else ""


_TIME = re.compile(r"\d{8}-\d{6}")
_OUTCOME = re.compile("[a-z-]{1,40}")
_DOWN = re.compile(r"([^=]+)=(\d{1,9}(?:\.\d{1,9})?)")


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _none_if_dash(text: str) -> str:
    return "" if text == "-" else text


def _meta(text: str) -> dict[str, object] | None:
    try:
        meta = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return meta if isinstance(meta, dict) else None
