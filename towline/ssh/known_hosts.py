"""The keys that known_hosts files pin, read as OpenSSH reads them: byte for byte, with its patterns, hashes and markers.

Paramiko's own reader takes one key of each type for a host, knows no markers, and ends at bytes that are not UTF-8.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import translate
from pathlib import Path
from re import IGNORECASE, match, sub

import paramiko

from towline.commands.shell import quote
from towline.errors import HostKeyChanged, HostKeyRevoked, HostKeyUnknown

FILES = ("~/.ssh/known_hosts", "~/.ssh/known_hosts2", "/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")
AUTHORITY, REVOKED = "@cert-authority", "@revoked"
_RSA = ("rsa-sha2-512", "rsa-sha2-256", "ssh-rsa")


@dataclass(frozen=True)
class Line:
    """A line of a known_hosts file. place: `FILE:NUMBER`; key: None where it cannot be read; marker: '' for none."""

    place: str
    marker: str
    hosts: str
    kind: str
    key: bytes | None

    def names(self, host: str) -> bool:
        """Whether the line is about a host: `name`, or `[name]:port`."""
        if self.hosts.startswith("|1|"):
            return _is_hash_of(self.hosts, host)
        patterns = self.hosts.split(",")
        refused = any(_matches(pattern[1:], host) for pattern in patterns if pattern[:1] == "!")
        return not refused and any(_matches(pattern, host) for pattern in patterns if pattern[:1] != "!")


@dataclass(frozen=True)
class KnownHosts:
    """The lines of all files. unreadable: `FILE: why` of those that are there and cannot be read."""

    lines: Sequence[Line] = ()
    unreadable: Sequence[str] = ()

    def of(self, host: str) -> list[Line]:
        """The lines about a host. As with OpenSSH those of the name alone count for another port, where the port has none."""
        own = [line for line in self.lines if line.names(host)]
        if host.startswith("[") and not any(line.marker == "" for line in own):
            own += [line for line in self.lines if line.names(host[1 : host.rindex("]:")]) and line not in own]
        return own

    def key_types(self, host: str) -> set[str]:
        """The algorithms of the keys that are pinned for it."""
        kinds = {line.kind for line in self.of(host) if line.marker == ""}
        return kinds | (set(_RSA) if "ssh-rsa" in kinds else set())

    def check(self, host: str, key: paramiko.PKey) -> None:
        """Raises HostKeyRevoked, HostKeyUnknown or HostKeyChanged for a key that is not pinned, with what to do."""
        lines, told = self.of(host), key.asbytes()
        revoked = [line for line in lines if line.marker == REVOKED and line.key in (told, None)]
        if revoked:
            raise _revoked(host, key, revoked[0])
        pinned = [line for line in lines if line.marker == "" and line.key]
        if not pinned:
            raise self._unknown(host, key, lines)
        if not any(line.key == told for line in pinned):
            raise _changed(host, key, pinned)

    def _unknown(self, host: str, key: paramiko.PKey, lines: Iterable[Line]) -> HostKeyUnknown:
        reasons = [f"{line.place}: its key cannot be read" for line in lines if line.key is None]
        reasons += [
            f"{line.place}: a certificate authority is trusted for it, which towline (Paramiko) cannot check"
            for line in lines
            if line.marker == AUTHORITY
        ]
        why = f" ({'; '.join([*reasons, *self.unreadable])})" if reasons or self.unreadable else ""
        return HostKeyUnknown(
            f"{host}: its host key {fingerprint(key)} is not in any known_hosts file{why}",
            hint="compare the fingerprint with `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on the server, "
            f"then pin it: echo '{host} {key.get_name()} {key.get_base64()}' >> ~/.ssh/known_hosts",
        )


def _revoked(host: str, key: paramiko.PKey, line: Line) -> HostKeyRevoked:
    what = f"its host key {fingerprint(key)} is revoked" if line.key else "a key of it is revoked, and cannot be read"
    return HostKeyRevoked(f"{host}: {what} ({line.place})", "ask who runs the server; do not take the line out before")


def _changed(host: str, key: paramiko.PKey, pinned: Sequence[Line]) -> HostKeyChanged:
    alike = [line for line in pinned if line.kind == key.get_name()] or pinned
    entry = host if alike[0].names(host) else host[1 : host.rindex("]:")]
    were = " or ".join(dict.fromkeys(f"{line.kind} {_digest(line.key or b'')}" for line in alike))
    return HostKeyChanged(
        f"{host}: its host key changed: pinned {were}, now {fingerprint(key)} ({alike[0].place})",
        hint="either the server was reinstalled or somebody intercepts the connection; ask who runs the server, "
        f"then remove the old key with: ssh-keygen -R {quote([entry])}",
    )


def fingerprint(key: paramiko.PKey) -> str:
    """A key's type and fingerprint, `ssh-ed25519 SHA256:…`, as ssh-keygen prints them."""
    return f"{key.get_name()} {_digest(key.asbytes())}"


def _digest(key: bytes) -> str:
    return f"SHA256:{base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip('=')}"


# ----------------------------------------------------------------------------------------------------------- reading


def read_known_hosts(files: Iterable[Path] = ()) -> KnownHosts:
    """The user's and the system's files, and these."""
    lines: list[Line] = []
    unreadable: list[str] = []
    for file in (*(Path(os.path.expanduser(name)) for name in FILES), *files):  # noqa: PTH111  # Path's raises without a home
        try:
            if file.is_file():
                lines += parse(file.read_bytes(), str(file))
        except OSError as error:
            unreadable.append(f"{file}: {error.strerror}")
    return KnownHosts(lines, unreadable)


def parse(content: bytes, file: str) -> list[Line]:
    """The lines of a file that are about hosts; those that OpenSSH would not understand either are left out."""
    found = []
    for number, line in enumerate(content.decode(errors="surrogateescape").split("\n"), 1):
        words = line.split()
        marker = words.pop(0) if words and words[0] in (AUTHORITY, REVOKED) else ""
        if len(words) >= 2 and words[0][0] not in "#@":
            found.append(Line(f"{file}:{number}", marker, words[0], words[1], _decoded(words[2:3])))
    return found


def _decoded(words: Sequence[str]) -> bytes | None:
    try:
        return base64.b64decode(words[0], validate=True) or None
    except (binascii.Error, ValueError, IndexError):
        return None


def _is_hash_of(text: str, host: str) -> bool:
    try:
        _, _, salt, digest = text.split("|")
        told, wanted = base64.b64decode(salt, validate=True), base64.b64decode(digest, validate=True)
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(hmac.new(told, host.lower().encode(), "sha1").digest(), wanted)


def _matches(pattern: str, host: str) -> bool:
    """`*` and `?` alone have a meaning, the brackets of a port have none."""
    return bool(match(translate(sub(r"\[", "[[]", pattern)), host, IGNORECASE))
