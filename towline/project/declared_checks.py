"""What a stack declares under `x-towline`: its own checks. Every error is a StackError of one line."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec
from msgspec import structs

from towline.errors import UsageError, closest
from towline.project.check_names import default_name, numbered
from towline.project.yaml_file import Place, describe, list_at, mapping_at, parse_keys

Seconds = Annotated[float, msgspec.Meta(gt=0, le=3600)]


class Retry(msgspec.Struct, frozen=True):
    """A check that fails is repeated up to `times` times, `pause` seconds apart, until it passes."""

    times: Annotated[int, msgspec.Meta(ge=0, le=100)] = 0
    pause: Seconds = 1.0


class Check(msgspec.Struct, frozen=True):
    """What all declared checks have. name: its id within the stack, by default made from its kind and target."""

    name: str = ""
    retry: Retry = Retry()


class Http(Check, frozen=True):
    """A request for `url` gets a response as described.

    url: a URL, or a path, which is requested from each route of the stack (only from the router `route`, if given). When
    its host is one of the stack's services, the request goes to that container. status: those accepted, by default any
    below 400. follow: follow redirects. max_seconds: 0 for any.
    """

    url: str = "/"
    route: str = ""
    status: tuple[int, ...] = ()
    contains: str = ""
    header: Mapping[str, str] = {}
    max_seconds: float = 0.0
    follow: bool = False


class Tcp(Check, frozen=True):
    """host:port accepts a TCP connection; the host may be one of the stack's services."""

    host: str = ""
    port: int = 0


class Dns(Check, frozen=True):
    """The server resolves the name (to `address`, if given)."""

    host: str = ""
    address: str = ""


class Tls(Check, frozen=True):
    """host:port serves a certificate that is valid for at least `min_days` more, and for `server_name`.

    server_name '': valid for the host itself; for any name when the host is one of the stack's services.
    """

    host: str = ""
    port: int = 443
    server_name: str = ""
    min_days: int = 14


class Command(Check, frozen=True):
    """The command `words`, run in the live folder on the server or in a container of `service`, ends with `exit_code`.

    contains: a text in its output. timeout: seconds for each attempt. from_variables: a variable was filled in to the words.
    """

    words: tuple[str, ...] = ()
    service: str = ""
    exit_code: int = 0
    contains: str = ""
    timeout: float = 10.0
    from_variables: bool = False


class File(Check, frozen=True):
    """A file on the server is as described.

    path: absolute, or relative to the live folder; a pattern (`backup/*.gz`) means the newest match.
    max_age: seconds since its last change, 0 for any.
    """

    path: str = ""
    exists: bool = True
    mode: str = ""
    owner: str = ""
    max_age: float = 0.0
    min_bytes: int = 0


# ----------------------------------------------------------------------------------------------------- checks


class _CommonKeys(msgspec.Struct):
    name: str | None = None
    retry: Any = None


_Status = Annotated[int, msgspec.Meta(ge=100, le=599)]


class _HttpKeys(_CommonKeys, kw_only=True):
    http: str
    route: str = ""
    status: _Status | list[_Status] = []
    contains: str = ""
    header: dict[str, str] = {}
    max_seconds: Annotated[float, msgspec.Meta(ge=0)] = 0
    follow: bool = False


class _TcpKeys(_CommonKeys, kw_only=True):
    tcp: str


class _DnsKeys(_CommonKeys, kw_only=True):
    dns: str
    address: str = ""


class _TlsKeys(_CommonKeys, kw_only=True):
    tls: str
    server_name: str = ""
    min_days: Annotated[int, msgspec.Meta(ge=0)] = 14


class _CommandKeys(_CommonKeys, kw_only=True):
    command: str | list[str]
    service: str = ""
    exit_code: int = 0
    contains: str = ""
    timeout: Seconds = 10


class _FileKeys(_CommonKeys, kw_only=True):
    file: str
    exists: bool = True
    mode: str | int = ""
    owner: str = ""
    max_age: str | int = 0
    min_bytes: Annotated[int, msgspec.Meta(ge=0)] = 0


def parse_checks(raw: object, services: Sequence[str], place: Place, filled: object = None) -> tuple[Check, ...]:
    """The checks in `x-towline.checks`, each with a unique name. filled: the same with variables filled in.

    What names a check, in its id and in an error, is what is written: a variable's value may be secret. Raises the place's error.
    """
    entries = list_at(raw, place)
    given = entries if filled is None else list_at(filled, place)
    named: dict[str, Check] = {}
    for i, (written, entry) in enumerate(zip(entries, given, strict=True)):
        item = place.at(i)
        check = _parse_filled(written, entry, services, item)
        name = check.name or _unique_name(written, entries[:i], named)
        if name in named:
            raise item.wrong(f"a second check named {name!r}; give it a name of its own with name:")
        named[name] = structs.replace(check, name=name)
    return tuple(named.values())


def _unique_name(written: Mapping[str, object], before: Sequence[object], named: Mapping[str, Check]) -> str:
    """The default name; a number makes two of it that only differ in what it leaves out."""
    name = default_name(_kind(written), written)
    same = any(_target(other) == _target(written) for other in before)
    return name if same else numbered(name, named)


def _target(keys: object) -> tuple[object, ...]:
    return (keys.get(_kind(keys)), keys.get("route")) if isinstance(keys, dict) else ()


def _parse_filled(written: object, entry: object, services: Sequence[str], place: Place) -> Check:
    try:
        check = _parse_check(entry, services, place)
    except UsageError:
        if entry != written:  # its message could quote a variable's value
            _parse_check(written, services, place)
            raise place.wrong(f"with its variables filled in it is no {_kind(written)} check that can be run") from None
        raise
    if isinstance(check, Command) and isinstance(written, dict) and isinstance(entry, dict):
        return structs.replace(check, from_variables=entry["command"] != written["command"])
    return check


def _kind(keys: object) -> str:
    return next(kind for kind in _PARSERS if isinstance(keys, dict) and kind in keys)


def _parse_check(raw: object, services: Sequence[str], place: Place) -> Check:
    keys = mapping_at(raw, place)
    kinds = [kind for kind in _PARSERS if kind in keys]
    if len(kinds) != 1:
        what = " and ".join(kinds) or ", ".join(map(str, keys)) or "nothing"
        raise place.wrong(f"a check has exactly one of {', '.join(_PARSERS)}; found {what}")
    return _PARSERS[kinds[0]](keys, services, place)


def _parse_http(raw: object, _services: Sequence[str], place: Place) -> Check:
    keys = parse_keys(raw, _HttpKeys, place)
    _check_url(keys.http, place.at("http"))
    status = (keys.status,) if isinstance(keys.status, int) else tuple(keys.status)
    return Http(
        **_common_fields(keys, place),
        url=keys.http,
        route=keys.route,
        status=status,
        contains=keys.contains,
        header=keys.header,
        max_seconds=keys.max_seconds,
        follow=keys.follow,
    )


def _check_url(text: str, place: Place) -> None:
    if re.search(r"[^!-~]", text):
        raise place.wrong(f"{text!r}: expected spaces and non-ASCII characters percent-encoded, such as %20")
    try:
        parts = urlsplit(text)
        absolute = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        absolute = False
    if not absolute and not text.startswith("/"):
        raise place.wrong(f"{text!r}: expected a path such as /health, or a URL such as http://backend:8000/health")


def _parse_tcp(raw: object, _services: Sequence[str], place: Place) -> Check:
    keys = parse_keys(raw, _TcpKeys, place)
    host, port = _parse_address(keys.tcp, place.at("tcp"))
    return Tcp(**_common_fields(keys, place), host=host, port=port)


def _parse_dns(raw: object, _services: Sequence[str], place: Place) -> Check:
    keys = parse_keys(raw, _DnsKeys, place)
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", keys.dns):
        raise place.at("dns").wrong(f"{keys.dns!r}: expected a name such as www.example.com")
    return Dns(**_common_fields(keys, place), host=keys.dns, address=keys.address)


def _parse_tls(raw: object, _services: Sequence[str], place: Place) -> Check:
    keys = parse_keys(raw, _TlsKeys, place)
    host, port = _parse_address(keys.tls if ":" in keys.tls else f"{keys.tls}:443", place.at("tls"))
    common = _common_fields(keys, place)
    return Tls(**common, host=host, port=port, server_name=keys.server_name, min_days=keys.min_days)


def _parse_address(text: str, place: Place) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 1 <= int(port) <= 65535 or re.search(r"[\s/]", host):
        raise place.wrong(f"{text!r}: expected host:port, such as db:5432")
    return host.strip("[]"), int(port)


def _parse_command(raw: object, services: Sequence[str], place: Place) -> Check:
    keys = parse_keys(raw, _CommandKeys, place)
    words = ("sh", "-c", keys.command) if isinstance(keys.command, str) else tuple(keys.command)
    text = keys.command if isinstance(keys.command, str) else " ".join(keys.command)
    if not text.strip() or not words[0] or "\0" in text:
        raise place.at("command").wrong(f"{text!r}: expected a command line, or a list of words")
    if keys.service and keys.service not in services:
        raise place.at("service").wrong(f"no service {keys.service!r}; {closest(keys.service, services)}")
    return Command(
        **_common_fields(keys, place),
        words=words,
        service=keys.service,
        exit_code=keys.exit_code,
        contains=keys.contains,
        timeout=keys.timeout,
    )


def _parse_file(raw: object, _services: Sequence[str], place: Place) -> Check:
    keys = parse_keys(raw, _FileKeys, place)
    if not keys.file.strip() or "\0" in keys.file or "\n" in keys.file:
        raise place.at("file").wrong(f"{keys.file!r}: expected a path")
    mode = str(keys.mode)
    if mode and not re.fullmatch(r"0?[0-7]{3,4}", mode):
        raise place.at("mode").wrong(f"{mode!r}: expected octal digits, such as '0600'")
    return File(
        **_common_fields(keys, place),
        path=keys.file,
        exists=keys.exists,
        mode=mode and (mode.lstrip("0") or "0"),
        owner=keys.owner,
        max_age=parse_duration(keys.max_age, place.at("max_age")),
        min_bytes=keys.min_bytes,
    )


_PARSERS = {
    "http": _parse_http,
    "tcp": _parse_tcp,
    "dns": _parse_dns,
    "tls": _parse_tls,
    "command": _parse_command,
    "file": _parse_file,
}
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def parse_duration(value: str | int, place: Place) -> float:
    """A duration such as `26h`, `1d` or `90` (seconds), in seconds. Raises the place's error."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhdw]?)", str(value).strip())
    if not match:
        raise place.wrong(f"{value!r}: expected a time such as 90s, 26h or 1d")
    return float(match[1]) * _UNITS[match[2] or "s"]


def _common_fields(keys: _CommonKeys, place: Place) -> dict[str, Any]:
    """The keys of every kind of check: `name`, '' where none is given, and `retry`."""
    if keys.name is not None and not (re.fullmatch(r"[^\s*?\[\]]{1,80}", keys.name) and keys.name.isprintable()):
        raise place.at("name").wrong(
            f"{keys.name!r}: expected up to 80 characters without spaces, such as backup-is-fresh"
        )
    return {"name": keys.name or "", "retry": _parse_retry(keys.retry, place.at("retry"))}


def _parse_retry(raw: object, place: Place) -> Retry:
    if raw is None:
        return Retry()
    if isinstance(raw, int) and not isinstance(raw, bool):
        raw = {"times": raw}
    if not isinstance(raw, dict):
        raise place.wrong(f"expected a number of times, or {{times: 3, pause: 2}}, got {describe(raw)}")
    return parse_keys(raw, Retry, place)
