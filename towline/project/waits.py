"""x-towline keys that say how long a stack or a service may take, and its release commands."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec

from towline.errors import StackError, closest
from towline.project.yaml_file import Place, list_at, mapping_at, parse_keys

JOB_LIMIT = 1800  # seconds for a release command; as long as a one-shot has in health.sh
LONGEST = 86400


@dataclass(frozen=True)
class Waits:
    """Seconds, None for the default. timeout: to become healthy; watch: for how long what has no health check has to run.

    timeouts, watches: those of single services.
    """

    timeout: int | None = None
    watch: int | None = None
    timeouts: Mapping[str, int] = field(default_factory=dict)
    watches: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class ReleaseCommand:
    """A command that a deploy runs with the new image of a service before anything stops. timeout: seconds."""

    service: str
    command: tuple[str, ...]
    timeout: int = JOB_LIMIT


class _Seconds(msgspec.Struct):
    timeout: Annotated[int, msgspec.Meta(ge=1, le=LONGEST)] | None = None
    watch: Annotated[int, msgspec.Meta(ge=0, le=LONGEST)] | None = None


class _CommandKeys(msgspec.Struct):
    service: str
    command: str | list[str]
    timeout: Annotated[int, msgspec.Meta(ge=1, le=LONGEST)] = JOB_LIMIT


def parse_waits(own: Mapping[str, object], services: object, place: Place) -> Waits:
    """From x-towline's `timeout` and `watch`, a number or a mapping of services, and the x-towline of each service.

    place: that of the compose file. Raises StackError.
    """
    document = mapping_at(services, place.at("services"))
    common: dict[str, object] = {}
    single: dict[str, dict[str, object]] = {"timeout": {}, "watch": {}}
    for key, value in own.items():
        if isinstance(value, dict):
            single[key] = {_known(name, document, place.at("x-towline").at(key)): value[name] for name in value}
        else:
            common[key] = value
    for name, keys in document.items():
        if isinstance(keys, dict) and keys.get("x-towline") is not None:
            where = place.at("services").at(name).at("x-towline")
            for key, seconds in _given(parse_keys(keys["x-towline"], _Seconds, where)).items():
                single[key][str(name)] = seconds
    stack = parse_keys(common, _Seconds, place.at("x-towline"))
    return Waits(
        stack.timeout,
        stack.watch,
        {name: _seconds("timeout", name, value, place) for name, value in single["timeout"].items()},
        {name: _seconds("watch", name, value, place) for name, value in single["watch"].items()},
    )


def _given(keys: _Seconds) -> dict[str, int]:
    pairs = {"timeout": keys.timeout, "watch": keys.watch}
    return {key: value for key, value in pairs.items() if value is not None}


def _seconds(key: str, service: str, value: object, place: Place) -> int:
    where = place.at("x-towline").at(key)
    if value is None:
        raise where.at(service).wrong("expected seconds, got nothing")
    try:
        return _given(parse_keys({key: value}, _Seconds, place))[key]
    except StackError as error:
        raise where.at(service).wrong(str(error.message).rpartition(f"{key}: ")[2]) from None


def _known(name: object, services: Collection[Any], place: Place) -> str:
    if name not in services:
        raise place.wrong(f"no service {name!r}; {closest(str(name), map(str, services))}")
    return str(name)


def parse_release_commands(raw: object, services: Collection[str], place: Place) -> tuple[ReleaseCommand, ...]:
    """From x-towline.before. Raises the place's error."""
    return tuple(_parse_command(item, services, place.at(index)) for index, item in enumerate(list_at(raw, place)))


def _parse_command(raw: object, services: Collection[str], place: Place) -> ReleaseCommand:
    keys = parse_keys(raw, _CommandKeys, place)
    service = _known(keys.service, services, place.at("service"))
    try:
        words = shlex.split(keys.command) if isinstance(keys.command, str) else keys.command
    except ValueError as error:
        raise place.at("command").wrong(f"{error}: {keys.command!r}") from None
    if not words:
        raise place.at("command").wrong("is empty")
    if any("\0" in word or "\n" in word or "\t" in word for word in words):
        raise place.at("command").wrong("has a line break or a tab in it; put it into a script of the image")
    return ReleaseCommand(service, tuple(word.replace("$$", "$") for word in words), keys.timeout)
