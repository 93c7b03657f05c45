"""Whether a certificate is good: one that is served for a name, or one that lies in a file."""

from __future__ import annotations

from towline.checks.finding import Result
from towline.facts.certificate import Certificate

FEW_DAYS = 14
LOCAL = (".localhost", ".local", ".internal", ".test", ".home.arpa")  # no public authority signs for these


def judge_age(certificate: Certificate, now: float) -> tuple[Result, str]:
    """A result, and why: it has expired, or expires within FEW_DAYS."""
    days = certificate.days_left(now)
    if days <= 0:
        return "fail", "has expired"
    return ("warn", f"expires in {days:.0f} days") if days < FEW_DAYS else ("pass", "")


def judge_served(name: str, certificate: Certificate, now: float) -> tuple[Result, str]:
    """The same of one that is served for `name` ('': for any): the worst that is wrong with it."""
    age, why = judge_age(certificate, now)
    public = bool(name) and "." in name and not name.endswith(LOCAL)
    if age == "fail" or not public:
        return age, why and f"the certificate {why}"
    if certificate.self_signed:
        return "warn", "the certificate is self-signed"
    if not certificate.covers(name):
        return "fail", f"the certificate is for {', '.join(certificate.names) or 'no name'}"
    return age, why and f"the certificate {why}"


def shown(certificate: Certificate, now: float) -> str:
    names = ", ".join(certificate.names) or certificate.subject
    return f"{names}, issued by {certificate.issuer or 'nobody'}, {certificate.days_left(now):.0f} days left"
