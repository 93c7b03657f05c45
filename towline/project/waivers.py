"""What a stack waives under `x-towline.waive`: findings that are known, for a time. Every error is a StackError of one line."""

from __future__ import annotations

from datetime import date

import msgspec

from towline.project.yaml_file import Place, describe, list_at, parse_keys


class Waiver(msgspec.Struct, frozen=True):
    """Failures and warnings whose id matches the pattern `check` are known, for `reason`, up to and including the day `until`."""

    check: str
    reason: str
    until: date


class _WaiverKeys(msgspec.Struct):
    check: str
    reason: str
    until: str


def parse_waivers(raw: object, place: Place) -> tuple[Waiver, ...]:
    """The waivers in `x-towline.waive`. Raises the place's error."""
    return tuple(_parse_waiver(entry, place.at(i)) for i, entry in enumerate(list_at(raw, place)))


def _parse_waiver(raw: object, place: Place) -> Waiver:
    keys = parse_keys(raw, _WaiverKeys, place)
    if not keys.check.strip():
        raise place.at("check").wrong(f"{describe(keys.check)}: expected the id of a finding, or a pattern of ids")
    if not keys.reason.strip():
        raise place.at("reason").wrong(f"{describe(keys.reason)}: expected why the finding is known")
    try:
        until = date.fromisoformat(keys.until)
    except ValueError:
        raise place.at("until").wrong(f"{describe(keys.until)}: expected a day such as 2027-01-31") from None
    return Waiver(keys.check.strip(), keys.reason.strip(), until)
