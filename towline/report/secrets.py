"""Secrets are blotted out of what is shown: values in env files whose names tell of a secret, and the files of `secrets:`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace

from towline.bundle.secret_texts import SecretTexts
from towline.checks.finding import Report
from towline.project.env_file import read_env

_TELLING = re.compile(r"PASS|PWD|SECRET|TOKEN|KEY|CREDENTIAL|PRIVATE|AUTH|DSN|_URL$", re.IGNORECASE)
SHORTEST = 4  # characters; shorter values would blot out half of every line
HIDDEN = "[secret]"


def redactor(*held: SecretTexts) -> Callable[[str], str]:
    """A function that blots the secrets in those texts out of another text."""
    secrets = {
        part.strip()  # output comes line by line, and so do keys of several lines
        for texts in held
        for value in _secret_values(texts)
        for part in (value, *value.splitlines())
        if len(part.strip()) >= SHORTEST
    }
    if not secrets:
        return lambda text: text
    pattern = re.compile("|".join(re.escape(value) for value in sorted(secrets, key=len, reverse=True)))
    return lambda text: pattern.sub(HIDDEN, text)


def redacted(report: Report, redact: Callable[[str], str]) -> Report:
    """The report without secrets: what a health check or a command printed may hold one."""
    findings = (
        replace(finding, sentence=redact(finding.sentence), evidence=redact(finding.evidence))
        for finding in report.findings
    )
    return replace(report, findings=tuple(findings))


def _secret_values(texts: SecretTexts) -> Iterator[str]:
    for text in texts.env:
        yield from (value for name, value in read_env(text.encode()).items() if value and _TELLING.search(name))
    yield from texts.files
