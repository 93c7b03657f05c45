"""x-towline.modes: the modes that a stack's files get on the server, by patterns."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from towline.project.ignore_file import matched_by
from towline.project.yaml_file import Place, describe


def parse_modes(raw: Mapping[str, object], place: Place) -> Mapping[str, int]:
    """Pattern → mode. Raises the place's error for what is no mode or no pattern, and for a mode that its owner could not read."""
    modes = {}
    for pattern, mode in raw.items():
        where = place.at(pattern)
        if not isinstance(mode, str) or not re.fullmatch("0?[0-7]{3}", mode):  # YAML makes another number of 0640
            raise where.wrong(f'expected a mode in quotes, such as "0640", got {describe(mode)}')
        if not int(mode, 8) & 0o400:
            raise where.wrong(f"{mode!r}: its owner could not read it, so it could not be deployed")
        try:
            matched_by([pattern])
        except ValueError:
            raise where.wrong("is not a gitignore pattern") from None
        modes[pattern] = int(mode, 8)
    return modes


def mode_chooser(modes: Mapping[str, int]) -> Callable[[str], int | None]:
    """The mode that the last pattern which matches a path gives, None without one; patterns as in a .gitignore."""
    specs = [(matched_by([pattern]), mode) for pattern, mode in modes.items()]
    return lambda path: next((mode for matches, mode in reversed(specs) if matches(path)), None)
