"""The keys that known_hosts files pin, read as OpenSSH reads them: byte for byte, with its patterns, hashes and markers.

Paramiko's own reader takes one key of each type for a host, knows no markers, and ends at bytes that are not UTF-8.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import translate
from pathlib import Path
from re import IGNORECASE, match, sub
from tempfile import NamedTemporaryFile

import paramiko

from towline.commands.shell import quote
from towline.errors import HostKeyChanged, HostKeyRevoked, HostKeyUnknown
from towline.ssh.certificate import SUFFIX, certificate_of, problem_of

AUTHORITY, REVOKED = "@cert-authority", "@revoked"
_KINDS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
)
_ANSWER_WITHIN = 30  # seconds for a KnownHostsCommand
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
    """The lines of all files. unreadable: `FILE: why` of those that are there and cannot be read.

    revoked: the file of RevokedHostKeys, public keys or a KRL. command: that of KnownHostsCommand, which prints more lines for a
    host and its key (`%H`, `%t`, `%K`, `%f`, `%I`); () for none.
    """

    lines: Sequence[Line] = ()
    unreadable: Sequence[str] = ()
    revoked: Path | None = None
    command: Sequence[str] = ()

    def of(self, host: str) -> list[Line]:
        """The lines about a host. As with OpenSSH those of the name alone count for another port, where the port has none."""
        own = [line for line in self.lines if line.names(host)]
        if host.startswith("[") and not any(line.marker == "" for line in own):
            own += [line for line in self.lines if line.names(_without_port(host)) and line not in own]
        return own

    def key_types(self, host: str) -> set[str]:
        """The algorithms of the keys that are pinned for it, and those of certificates where an authority is trusted for it."""
        lines = (self.asked(host) if self.command else self).of(host)
        kinds = {line.kind for line in lines if line.marker == ""}
        certified = {f"{kind}{SUFFIX}" for kind in _KINDS if any(line.marker == AUTHORITY for line in lines)}
        return kinds | certified | (set(_RSA) if "ssh-rsa" in kinds else set())

    def check(self, host: str, key: paramiko.PKey) -> None:
        """Raises HostKeyRevoked, HostKeyUnknown or HostKeyChanged for a key that is not pinned, with what to do."""
        if self.command:
            self.asked(host, key).check(host, key)
            return
        lines, told, certificate = self.of(host), key.asbytes(), certificate_of(key)
        withdrawn = (told, certificate and certificate.authority, None)
        revoked = [line for line in lines if line.marker == REVOKED and line.key in withdrawn]
        if revoked:
            raise _revoked(host, key, f"{revoked[0].place}", readable=bool(revoked[0].key))
        if self.revoked and _is_in(self.revoked, key):
            raise _revoked(host, key, str(self.revoked), readable=True)
        problem = ""
        if certificate:
            authorities = {line.key for line in lines if line.marker == AUTHORITY and line.key}
            problem = problem_of(certificate, _without_port(host), authorities)
            if not problem:
                return
        pinned = [line for line in lines if line.marker == "" and line.key]
        if not pinned:
            raise self._unknown(host, key, lines, problem)
        if not any(line.key == told for line in pinned):
            raise _changed(host, key, pinned)

    def asked(self, host: str, key: paramiko.PKey | None = None) -> KnownHosts:
        """With what the command prints. key: that the host has shown; before that ssh asks for the order of algorithms, too."""
        shown = (
            ("HOSTNAME", key.get_name(), key.get_base64(), _digest(key.asbytes())) if key else ("ORDER", *["NONE"] * 3)
        )
        tokens = {"H": host, **dict(zip("ItKf", shown, strict=True))}
        words = [sub("%([HItKf])", lambda found: tokens[found[1]], word) for word in self.command]
        try:
            done = subprocess.run(
                words, stdin=subprocess.DEVNULL, capture_output=True, timeout=_ANSWER_WITHIN, check=False
            )
            problem = f"exit code {done.returncode}" if done.returncode else ""
        except (OSError, subprocess.TimeoutExpired) as error:
            done, problem = None, getattr(error, "strerror", None) or f"no end within {_ANSWER_WITHIN} s"
        printed = parse(done.stdout, "KnownHostsCommand") if done else []
        unreadable = [f"KnownHostsCommand {words[0]}: {problem}"] if problem else []
        return KnownHosts((*self.lines, *printed), (*self.unreadable, *unreadable), self.revoked)

    def _unknown(self, host: str, key: paramiko.PKey, lines: Iterable[Line], problem: str) -> HostKeyUnknown:
        reasons = [f"{line.place}: its key cannot be read" for line in lines if line.key is None]
        authorities = [line.place for line in lines if line.marker == AUTHORITY]
        if authorities:
            reasons.append(
                f"{authorities[0]}: an authority is trusted for it, but {problem or 'it showed no certificate'}"
            )
        why = f" ({'; '.join([*reasons, *self.unreadable])})" if reasons or self.unreadable else ""
        return HostKeyUnknown(
            f"{host}: its host key {fingerprint(key)} is not in any known_hosts file{why}",
            hint="compare the fingerprint with `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on the server, "
            f"then pin it: echo '{host} {key.get_name()} {key.get_base64()}' >> ~/.ssh/known_hosts",
        )


def _without_port(host: str) -> str:
    return host[1 : host.rindex("]:")] if host.startswith("[") else host


def _is_in(file: Path, key: paramiko.PKey) -> bool:
    """Whether a file of revoked keys has the key: a key a line, or a KRL, which ssh-keygen reads. Also where it cannot be told."""
    try:
        content = file.read_bytes()
        if not content.startswith(b"SSHKRL"):
            return key.get_base64().encode() in content.split()
        with NamedTemporaryFile() as public:
            public.write(f"{key.get_name()} {key.get_base64()}\n".encode())
            public.flush()
            done = subprocess.run(("ssh-keygen", "-Q", "-f", file, public.name), capture_output=True, check=False)
            return done.returncode != 0
    except OSError:
        return True


def _revoked(host: str, key: paramiko.PKey, place: str, *, readable: bool) -> HostKeyRevoked:
    what = f"its host key {fingerprint(key)} is revoked" if readable else "a key of it is revoked, and cannot be read"
    return HostKeyRevoked(f"{host}: {what} ({place})", "ask who runs the server; do not take the line out before")


def _changed(host: str, key: paramiko.PKey, pinned: Sequence[Line]) -> HostKeyChanged:
    alike = [line for line in pinned if line.kind == key.get_name()] or pinned
    entry = host if alike[0].names(host) else _without_port(host)
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


def read_known_hosts(files: Iterable[Path], revoked: Path | None = None, command: Sequence[str] = ()) -> KnownHosts:
    """The lines of the files that are there."""
    lines: list[Line] = []
    unreadable: list[str] = []
    for file in files:
        try:
            if file.is_file():
                lines += parse(file.read_bytes(), str(file))
        except OSError as error:
            unreadable.append(f"{file}: {error.strerror}")
    return KnownHosts(lines, unreadable, revoked, command)


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
