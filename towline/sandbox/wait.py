"""Wait for something to become so, for a while."""

from __future__ import annotations

import time
from collections.abc import Callable

INTERVAL = 0.02  # seconds between two looks


def until(condition: Callable[[], bool], seconds: float) -> bool:
    """True as soon as `condition()` is true; False if it is not so after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(INTERVAL)
    return True
