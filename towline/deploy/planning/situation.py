"""What could go wrong with a deploy, in one line."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Risk:
    """stops: the deploy does not start; the others are asked about, or --yes."""

    name: str
    sentence: str
    stops: bool
