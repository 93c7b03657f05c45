"""The parts of a certificate that are checked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256


@dataclass(frozen=True)
class Certificate:
    """names: the subject alternative names. issuer, subject: as RFC 4514 writes them. ends: seconds since 1970."""

    names: tuple[str, ...]
    subject: str
    issuer: str
    ends: float
    fingerprint: str

    def days_left(self, now: float) -> float:
        return (self.ends - now) / 86400

    def covers(self, name: str) -> bool:
        """
        >>> one = Certificate(("example.com", "*.example.com"), "", "", 0, "")
        >>> one.covers("www.example.com"), one.covers("a.b.example.com"), one.covers("EXAMPLE.com")
        (True, False, True)
        """
        name = name.lower().rstrip(".")
        wild = f"*.{name.partition('.')[2]}"
        return bool({name, wild} & {one.lower() for one in self.names})

    @property
    def self_signed(self) -> bool:
        return self.subject == self.issuer


def parse(der: bytes) -> Certificate:
    """Raises ValueError for what is no certificate."""
    try:
        return _parsed(x509.load_der_x509_certificate(der))
    except (x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise ValueError(str(error)) from None


def _parsed(certificate: x509.Certificate) -> Certificate:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = [*extension.get_values_for_type(x509.DNSName)]
        names += [str(address) for address in extension.get_values_for_type(x509.IPAddress)]
    except x509.ExtensionNotFound:
        names = []
    return Certificate(
        names=tuple(names),
        subject=certificate.subject.rfc4514_string(),
        issuer=certificate.issuer.rfc4514_string(),
        ends=_end(certificate),
        fingerprint=certificate.fingerprint(SHA256()).hex(),
    )


def _end(certificate: x509.Certificate) -> float:
    """Before cryptography 42 only the naive one is there, in UTC."""
    end: datetime = getattr(certificate, "not_valid_after_utc", None) or certificate.not_valid_after.replace(tzinfo=UTC)
    return end.timestamp()
