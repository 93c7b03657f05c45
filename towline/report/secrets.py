"""Secrets that must not be shown: what a stack's env files hold under names that tell of a secret, and its secrets' files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from types import MappingProxyType

from towline.checks.finding import Report
from towline.facts.file_texts import LARGEST, as_text
from towline.project.catalog import Stack
from towline.project.env_file import read_env

_TELLING = re.compile(r"PASS|PWD|SECRET|TOKEN|KEY|CREDENTIAL|PRIVATE|AUTH|DSN|_URL$", re.IGNORECASE)
_VARIABLE = re.compile(r"\$\{[^}]*\}|\$\w+")
SHORTEST = 4  # characters; shorter values would blot out half of every line
HIDDEN = "[secret]"
NOTHING: Mapping[str, str] = MappingProxyType({})


def redactor(stack: Stack, before: Mapping[str, str] = NOTHING) -> Callable[[str], str]:
    """A function that blots the stack's secrets out of a text. before: path → text on the server, whose secrets go too."""
    found = {
        part.strip()  # output comes line by line, and so do keys of several lines
        for value in _secrets(stack, before)
        for part in (value, *value.splitlines())
        if len(part.strip()) >= SHORTEST
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


def _secrets(stack: Stack, before: Mapping[str, str]) -> Iterator[str]:
    for text in (*_texts(stack, (".env", *stack.env_files), before), *_root_env(stack)):
        yield from _telling(text)
    yield from _texts(stack, stack.secret_files, before)


def _telling(text: str) -> Iterator[str]:
    return (value for name, value in read_env(text.encode()).items() if value and _TELLING.search(name))


def _root_env(stack: Stack) -> Iterator[str]:
    if stack.root_env and stack.root_env.is_file():
        yield stack.root_env.read_text(encoding="utf-8-sig", errors="replace")


def _texts(stack: Stack, names: Iterable[str], before: Mapping[str, str]) -> Iterator[str]:
    """The texts of the files that the names may mean: a variable in one may be anything."""
    for pattern in {_VARIABLE.sub("*", name) for name in names}:
        for file in [stack.folder / pattern] if "*" not in pattern else stack.folder.glob(pattern):
            if file.is_file() and file.stat().st_size <= LARGEST:
                yield as_text(file.read_bytes()) or ""
        yield from (text for path, text in before.items() if fnmatchcase(path, pattern))
