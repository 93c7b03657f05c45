"""A stack's releases as rows, newest first."""

from __future__ import annotations

from towline.facts.stack import ReleaseFact, StackFact


def rows(stack: str, host: str, fact: StackFact) -> list[dict[str, object]]:
    """The rows of `inv releases`, in the shape of the design's contract."""
    return [_row(stack, host, fact, release) for release in sorted(fact.releases, key=_order, reverse=True)]


def _order(release: ReleaseFact) -> str:
    return release.id


def _row(stack: str, host: str, fact: StackFact, release: ReleaseFact) -> dict[str, object]:
    meta = release.meta
    return {
        "id": release.id,
        "stack": stack,
        "host": host,
        **{name: meta.get(name, "") for name in ("at", "by", "git", "strategy")},
        "outcome": _outcome(fact, release),
        "seconds": release.seconds,
        "live": release.id == fact.current,
        "downtime": dict(release.downtime),
    }


def _outcome(fact: StackFact, release: ReleaseFact) -> str:
    """good or failed; running or cut where the runner has not come to an end with it."""
    if release.outcome != "-":
        return release.outcome
    last = fact.last_run
    return last.outcome if last and last.release == release.id and last.outcome in ("running", "cut") else "cut"
