"""Secrets that must not be shown: what a stack's .env holds under names that tell of a secret."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace

from towline.catalog import Stack
from towline.checks.finding import Report

_TELLING = re.compile(r"PASS|PWD|SECRET|TOKEN|KEY|CREDENTIAL|PRIVATE|AUTH|DSN|_URL$", re.IGNORECASE)
SHORTEST = 4  # characters; shorter values would blot out half of every line
HIDDEN = "[secret]"


def redactor(stack: Stack) -> Callable[[str], str]:
    """A function that blots the stack's secrets out of a text."""
    from dotenv import dotenv_values

    files = [file for file in (stack.folder / ".env", stack.root_env) if file and file.is_file()]
    found = {
        part  # output comes line by line, and so do keys of several lines
        for file in files
        for name, value in dotenv_values(file, interpolate=False).items()
        if value and _TELLING.search(name)
        for part in (value, *value.splitlines())
        if len(part) >= SHORTEST
    }
    if not found:
        return lambda text: text
    pattern = re.compile("|".join(re.escape(value) for value in sorted(found, key=len, reverse=True)))
    return lambda text: pattern.sub(HIDDEN, text)


def redacted(report: Report, stacks: Iterable[Stack]) -> Report:
    """The report without the stacks' secrets: what a health check or a command printed may hold one."""
    plain = [redactor(stack) for stack in stacks]

    def blot(text: str) -> str:
        for one in plain:
            text = one(text)
        return text

    findings = (replace(one, sentence=blot(one.sentence), evidence=blot(one.evidence)) for one in report.findings)
    return replace(report, findings=tuple(findings))
