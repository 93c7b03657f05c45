"""The parts that the runner sources: one name space, so one meaning for each name."""

from __future__ import annotations

import re
from collections import Counter

from towline.remote import script

PARTS = re.findall(r"^\. \./(\w+)\.sh$", script("runner"), re.MULTILINE)


def test_the_runner_sources_its_parts() -> None:
    assert PARTS == ["live", "engine", "roll", "releases"]


def test_no_function_of_the_runner_hides_another() -> None:
    texts = "\n".join(script(name) for name in ("runner", *PARTS))
    defined = Counter(re.findall(r"^(\w+)\(\)", texts, re.MULTILINE))
    assert len(defined) > 30
    assert [name for name, times in defined.items() if times > 1] == []
