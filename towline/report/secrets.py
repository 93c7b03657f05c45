"""Secrets are blotted out of what is shown: values in env files whose names tell of a secret, and the files of `secrets:`.

They are found as they are, as they look when they have been made printable, broken over lines, and in the ways in which programs
write a text: JSON, URLs, shell, YAML, HTML.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from urllib.parse import quote, quote_plus

from towline.bundle.secret_texts import SecretTexts
from towline.checks.finding import Report
from towline.project.env_file import read_env
from towline.project.variables import interpolate
from towline.text.printable import REPLACEMENT, one_line, printable, unseen_left_out

_TELLING = re.compile(r"PASS|PWD|SECRET|TOKEN|KEY|CREDENTIAL|PRIVATE|AUTH|DSN|_URL$", re.IGNORECASE)
_WRITTEN = re.compile(r"^\s*(?:export\s+)?([\w.-]+)\s*[=:]\s*(.*?)\s*$", re.MULTILINE)
_VARIABLE = re.compile(r"\$\{[^}]*\}|\$\w+")
SHORTEST = 4  # characters; shorter values would blot out half of every line
MOST_FORMS = 500  # parts of values; of more (a file of many lines) only the plain form is known
HIDDEN = "[secret]"
Redact = Callable[[str], str]


def redactor(*held: SecretTexts) -> Redact:
    """A function that makes a text printable and blots the secrets in those texts out of it."""
    parts = dict.fromkeys(
        part.strip()  # output comes line by line, and so do keys of several lines
        for texts in held
        for value in _secret_values(texts)
        for part in (value, *value.splitlines())
        if len(part.strip()) >= SHORTEST
    )
    if not parts:
        return printable
    forms = {form for part in parts for form in (_forms(part) if len(parts) <= MOST_FORMS else (part, printable(part)))}
    plain, flat = _any_of(forms), _any_of(unseen_left_out(form)[0] for form in forms)

    def redact(text: str) -> str:
        shown = plain.sub(HIDDEN, printable(text))
        return _blotted(shown, flat) if REPLACEMENT in shown or "\n" in shown else shown

    return redact


def _any_of(texts: Iterable[str]) -> re.Pattern[str]:
    wanted = sorted({text for text in texts if len(text) >= SHORTEST}, key=lambda text: (-len(text), text))
    return re.compile("|".join(map(re.escape, wanted)) or "(?!)")


def _blotted(text: str, pattern: re.Pattern[str]) -> str:
    """The text without what matches in it when line ends and unprintable characters are left out."""
    seen, places = unseen_left_out(text)
    for match in reversed([*pattern.finditer(seen)]):
        start, end = places[match.start()], places[match.end() - 1] + 1
        text = text[:start] + HIDDEN + text[end:]
    return text


def _forms(value: str) -> Iterator[str]:
    """The ways in which a value may be written in a program's output."""
    controls = re.compile(r"[\0-\x1f]")
    as_json = json.dumps(value)[1:-1]
    in_url = (quote(value), quote(value, safe=""), quote_plus(value))
    yield from (value, printable(value), one_line(value))
    yield from (controls.sub("", value), controls.sub(" ", value))
    yield from (as_json, json.dumps(value, ensure_ascii=False)[1:-1], json.dumps(as_json)[1:-1], _as_go_writes(as_json))
    yield from (repr(value)[1:-1], repr(value + "'")[1:-2], repr(value.encode(errors="replace"))[2:-1])
    yield from in_url
    yield from (re.sub("%..", lambda match: match[0].lower(), each) for each in in_url)
    yield from (html.escape(value), html.escape(value, quote=False))
    yield from (value.replace("'", "'\"'\"'"), value.replace("'", "'\\''"), value.replace("'", "''"))
    yield from (value.replace("$", "$$"), value.replace("\\", "\\\\"), value.replace('"', '\\"'))
    yield re.sub(r"([^\w@%+=:,./-])", r"\\\1", value)


def _as_go_writes(as_json: str) -> str:
    for letter in "<>&":
        as_json = as_json.replace(letter, f"\\u{ord(letter):04x}")
    return as_json


def redacted(report: Report, redact: Redact) -> Report:
    """The report without secrets: what a health check or a command printed may hold one."""
    findings = (
        replace(
            finding,
            sentence=redact(finding.sentence),
            evidence=redact(finding.evidence),
            hint=redact(finding.hint),
        )
        for finding in report.findings
    )
    return replace(report, findings=tuple(findings))


def _secret_values(texts: SecretTexts) -> Iterator[str]:
    for text in texts.env:
        values = read_env(text.encode(errors="replace"))
        for name, value in values.items():
            if value and _TELLING.search(name):
                yield from _read_as(value, values)
        yield from (written.strip("'\"") for name, written in _WRITTEN.findall(text) if _TELLING.search(name))
    yield from texts.files


def _read_as(value: str, values: Mapping[str, str]) -> tuple[str, ...]:
    """A value as it is written, and as Compose reads it: variables filled in, unknown ones empty, `$$` for a dollar sign."""
    filled = interpolate(value, values)
    return value, filled, _VARIABLE.sub("", filled), value.replace("$$", "$")
