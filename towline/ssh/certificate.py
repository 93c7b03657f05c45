"""OpenSSH's certificates: what one says, and whether one proves a host; Paramiko verifies the key exchange, and nothing of it.

https://github.com/openssh/openssh-portable/blob/master/PROTOCOL.certkeys
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase

import paramiko

SUFFIX = "-cert-v01@openssh.com"
_HOST = 2  # the certificate's type; 1 is a user's
# how many strings the public key of a kind is made of: the modulus and the exponent of RSA, the curve and the point
_PARTS = {"ssh-rsa": 2, "ssh-ed25519": 1, "ecdsa-sha2-nistp256": 2, "ecdsa-sha2-nistp384": 2, "ecdsa-sha2-nistp521": 2}


@dataclass(frozen=True)
class Certificate:
    """What it says, the signature not checked. key: the public key that it is about. since, until: seconds since 1970."""

    key: bytes
    kind: int
    principals: tuple[str, ...]
    since: int
    until: int
    critical: bytes
    authority: bytes
    signed: bytes
    signature: bytes


def certificate_of(key: paramiko.PKey) -> Certificate | None:
    """The certificate that a server sent with its key; None when it sent the key alone."""
    blob = getattr(key, "public_blob", None)
    return parse_certificate(blob.key_blob) if blob and blob.key_type.endswith(SUFFIX) else None


def parse_certificate(data: bytes) -> Certificate:
    """The certificate's fields. Raises struct.error, UnicodeDecodeError for what is none."""
    message, key = paramiko.Message(data), paramiko.Message()
    kind = message.get_text().removesuffix(SUFFIX)
    key.add_string(kind)
    message.get_string()  # the nonce
    for _ in range(_PARTS.get(kind, 1)):
        key.add_string(message.get_string())
    message.get_int64()  # serial
    role = message.get_int()
    message.get_string()  # the key's id
    names = paramiko.Message(message.get_string())
    principals = []
    while names.get_remainder():
        principals.append(names.get_text())
    since, until, critical = message.get_int64(), message.get_int64(), message.get_string()
    message.get_string(), message.get_string()  # extensions, reserved
    authority = message.get_string()
    signed = data[: len(data) - len(message.get_remainder())]
    return Certificate(
        key.asbytes(), role, tuple(principals), since, until, critical, authority, signed, message.get_string()
    )


def problem_of(certificate: Certificate, name: str, authorities: Collection[bytes]) -> str:
    """Why it does not prove that a host is `name`; '' when it does. authorities: the keys that may sign it."""
    if certificate.authority not in authorities:
        return "it is signed by another authority"
    if certificate.kind != _HOST:
        return "it is a user's, not a host's"
    if certificate.principals and not any(fnmatchcase(name.lower(), p.lower()) for p in certificate.principals):
        return f"it is for {', '.join(certificate.principals)}"
    if not certificate.since <= time.time() < certificate.until:
        return "it is not valid at this time"
    if certificate.critical:
        return "it has conditions that are not known here"
    return "" if _is_signed(certificate) else "its signature is wrong"


def _is_signed(certificate: Certificate) -> bool:
    kind = paramiko.Message(certificate.authority).get_text()
    authority = paramiko.PKey.from_type_string(kind, certificate.authority)
    return bool(authority.verify_ssh_sig(certificate.signed, paramiko.Message(certificate.signature)))
