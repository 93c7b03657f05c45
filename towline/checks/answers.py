"""What came back to the probes of one run of the checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from towline.facts.probe import Answer, Probe

NOT_PROBED = "not probed"
CheckKey = tuple[str, str]  # stack, name of a declared check


@dataclass(frozen=True)
class Answers:
    """by_probe: to the probes of routes and ports. declared: to those of declared checks, after redirects and retries.

    forbidden: why sshd opened no connection, '' when it did. A probe that was not sent has no answer.
    """

    by_probe: Mapping[Probe, Answer] = field(default_factory=dict)
    declared: Mapping[CheckKey, Sequence[tuple[Probe, Answer]]] = field(default_factory=dict)
    forbidden: str = ""

    @property
    def missing(self) -> str:
        """Why a probe has no answer."""
        return self.forbidden or NOT_PROBED
