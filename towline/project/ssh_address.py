"""Parses the address of a host, `[user@]address[:port]`; every error is one line."""

from __future__ import annotations

import re

from towline.project.yaml_file import Place

EXPECTED = "expected [user@]address[:port] or an alias of ~/.ssh/config"


def parse_ssh(text: str, place: Place) -> tuple[str | None, str, int | None]:
    """(user, address, port) of `[user@]address[:port]`, `[v6]:port`, `ssh://…` or an ssh_config alias; None where not given."""
    scheme, _, rest = text.rpartition("://")
    rest = rest.removesuffix("/") if scheme else rest
    if scheme not in ("", "ssh"):
        raise place.wrong(f"{scheme}:// is not ssh; {EXPECTED}")
    if not rest or re.search(r"[\s\x00-\x1f\x7f/]", rest):
        raise place.wrong(f"{_masked(rest)!r} is {'empty' if not rest else 'not an address'}; {EXPECTED}")
    if rest.count("@") > 1:
        raise place.wrong(f"{_masked(rest)!r} has several '@'; {EXPECTED}")
    login, at, server = rest.rpartition("@")
    user = parse_user(login, place) if at else None
    address, port = _address(server, place)
    return user, address, port


def _masked(text: str) -> str:
    """`text` without what may be a password (`user:secret@host`)."""
    return re.sub(r"^([^:@]*):.*@", r"\1:***@", text, flags=re.DOTALL)


def parse_user(text: str, place: Place) -> str:
    if ":" in text:  # not quoted: what follows the colon is a password
        raise place.wrong("a password does not belong here; log in with a key (identity, ssh-agent)")
    if not re.fullmatch(r"[\w.+][\w.+\\-]*\$?", text):
        raise place.wrong(f"user {text!r}: expected a login name of letters, digits and ._- only")
    return text


def _address(text: str, place: Place) -> tuple[str, int | None]:
    v6 = re.fullmatch(r"\[([^\]]*)\](?::(.*))?", text)
    if v6:
        if not _is_ip(v6[1], 6):
            raise place.wrong(f"{v6[1]!r} is not an IPv6 address; {EXPECTED}")
        return v6[1], None if v6[2] is None else parse_port(v6[2], place)
    if text.count(":") > 1:
        raise place.wrong(f"{text!r}: write an IPv6 address in brackets, as in [2001:db8::1]:22")
    address, colon, port = text.partition(":")
    labels = re.fullmatch(r"[\w-]+(\.[\w-]+)*\.?", address)
    if not labels or address[0] == "-" or (re.fullmatch(r"[0-9.]+", address) and not _is_ip(address, 4)):
        raise place.wrong(f"{address!r} is not an address; {EXPECTED}")
    return address, parse_port(port, place) if colon else None


def _is_ip(text: str, version: int) -> bool:
    import ipaddress

    try:
        return ipaddress.ip_address(text).version == version
    except ValueError:
        return False


def parse_port(text: str, place: Place) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:
        raise place.wrong(f"port {text!r}: expected a number from 1 to 65535")
    return int(text)
