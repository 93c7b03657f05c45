"""x-towline.modes: the modes and owners that a stack's files get on the server, by patterns."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TypeVar

from towline.project.ignore_file import matched_by
from towline.project.yaml_file import Place, describe


def parse_modes(raw: Mapping[str, object], place: Place) -> tuple[Mapping[str, int], Mapping[str, str]]:
    """Pattern → mode, and pattern → owner as `UID:GID`.

    Raises the place's error for what is neither or no pattern, and for a mode that its owner could not read.
    """
    modes, owners = {}, {}
    for pattern, value in raw.items():
        where = place.at(pattern)
        found = _VALUE.fullmatch(value) if isinstance(value, str) else None  # YAML makes another number of 0640
        if not found:
            expected = 'a mode in quotes, such as "0640", or with an owner, such as "0640 999:999"'
            raise where.wrong(f"expected {expected}, got {describe(value)}")
        mode, owner = found["mode"], found["owner"] or found["only_owner"]
        if mode and not int(mode, 8) & 0o400:
            raise where.wrong(f"{mode!r}: its owner could not read it, so it could not be deployed")
        try:
            matched_by([pattern])
        except ValueError:
            raise where.wrong("is not a gitignore pattern") from None
        if mode:
            modes[pattern] = int(mode, 8)
        if owner:
            owners[pattern] = owner
    return modes, owners


_VALUE = re.compile(
    r"(?P<mode>0?[0-7]{3})(?: +(?P<owner>[0-9]{1,10}:[0-9]{1,10}))?|(?P<only_owner>[0-9]{1,10}:[0-9]{1,10})"
)
T = TypeVar("T")


def chooser(values: Mapping[str, T]) -> Callable[[str], T | None]:
    """The value that the last pattern which matches a path gives, None without one; patterns as in a .gitignore."""
    specs = [(matched_by([pattern]), value) for pattern, value in values.items()]
    return lambda path: next((value for matches, value in reversed(specs) if matches(path)), None)
