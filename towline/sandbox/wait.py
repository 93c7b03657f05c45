"""Wait for a condition, for a limited time."""

from __future__ import annotations

import time
from collections.abc import Callable

INTERVAL = 0.02  # seconds between two evaluations


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """True as soon as `condition()` is; False when it is not after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(INTERVAL)
    return True
