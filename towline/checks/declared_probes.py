"""Declared checks that are asked over TCP (`http`, `tcp`, `tls`): what is asked for each, and what the answers mean.

Those that run on the server are in ran.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote, urljoin, urlsplit

from towline.checks.finding import Finding, Subject, listed
from towline.errors import closest
from towline.facts.probe import Answer, Probe
from towline.facts.survey import Survey
from towline.project.catalog import Stack
from towline.project.declared_checks import Check, Http, Tcp, Tls


@dataclass(frozen=True)
class Where:
    """What a check's questions are made from. routes: router → one question for each of its asks."""

    host: str
    stack: Stack
    survey: Survey
    routes: Mapping[str, Sequence[Probe]] = field(default_factory=dict)

    def about(self, check: Check) -> Subject:
        return Subject(f"stack.{self.stack.name}.check", self.host, self.stack.name, getattr(check, "service", ""))

    def address(self, name: str) -> str:
        """Where the host reaches it: a service of the stack at its container, '' when that has none; any other name is itself."""
        if name not in {service.name for service in self.stack.services}:
            return name
        containers = self.survey.of(self.stack.project, name)
        return next((one.address for one in containers if one.running and one.address), "")

    def server_name(self, check: Tls) -> str:
        """The name that its certificate must be for, '' for any."""
        return check.server_name or ("" if check.host in {one.name for one in self.stack.services} else check.host)


def questions(check: Check, where: Where) -> tuple[Probe, ...]:
    """What is asked for a check; nothing when its service has no container to ask, or no route has the path."""
    if isinstance(check, Tcp):
        found = [(where.address(check.host), Probe("", check.port, http=False))]
    elif isinstance(check, Tls):
        found = [(where.address(check.host), Probe("", check.port, where.server_name(check), tls=True, http=False))]
    elif isinstance(check, Http) and check.url.startswith("/"):
        return tuple(_on_path(one, check.url) for one in _routes(check, where))
    elif isinstance(check, Http):
        found = [_of_url(check.url, where)]
    else:
        return ()
    return tuple(_at(address, question) for address, question in found if address)


def _at(address: str, question: Probe) -> Probe:
    return Probe(address, question.port, question.name, question.tls, question.http, path=question.path)


def _routes(check: Http, where: Where) -> list[Probe]:
    return [one for router, asked in where.routes.items() if check.route in ("", router) for one in asked]


def _on_path(one: Probe, path: str) -> Probe:
    return Probe(one.address, one.port, one.name, one.tls, path=path, headers=one.headers)


def _of_url(url: str, where: Where) -> tuple[str, Probe]:
    parts = urlsplit(url)
    tls = parts.scheme == "https"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    name = parts.hostname or ""
    return where.address(name), Probe("", parts.port or (443 if tls else 80), name, tls, path=path)


def redirects(answer: Answer) -> bool:
    return answer.status in (301, 302, 303, 307, 308) and bool(answer.headers.get("location"))


def follow(answer: Answer, question: Probe, where: Where) -> Probe | None:
    """The question that a redirect asks next, None when it cannot be asked; within the same host it stays on the same line."""
    target = quote(answer.headers["location"], safe="%:/?#[]@!$&'()*+,;=~")
    try:
        parts = urlsplit(target)
        scheme = parts.scheme or ("https" if question.tls else "http")
        if not parts.netloc and not parts.scheme:
            return _on_path(question, urljoin(question.path, target).partition("#")[0])
        if scheme not in ("http", "https") or not parts.hostname:
            return None
        address, then = _of_url(parts._replace(scheme=scheme).geturl(), where)
    except ValueError:
        return None
    known = [one for asked in where.routes.values() for one in asked if (one.name, one.tls) == (then.name, then.tls)]
    return _on_path(known[0], then.path) if known else _at(address, then) if address else None


def judge_answers(check: Check, where: Where, answers: Sequence[tuple[Probe, Answer]]) -> Finding:
    """The finding out of the answers to `questions`."""
    about = where.about(check)
    if not answers:
        return _unasked(about, check, where)
    now = where.survey.host.now
    wrong = [(question, why) for question, answer in answers if (why := _wrong_answer(check, question, answer, now))]
    seen = listed([_seen(question, answer) for question, answer in answers])
    if wrong:
        return about.fail(check.name, f"{_subject(wrong[0][0])}: {wrong[0][1]}", seen)
    return about.ok(check.name, _holds(check), seen)


def _unasked(about: Subject, check: Check, where: Where) -> Finding:
    if not (isinstance(check, Http) and check.url.startswith("/")):
        return about.skip(check.name, "its service does not run")
    if not where.routes:
        hint = "a whole URL, such as http://web:8080/, is asked without a route"
        return about.fail(check.name, f"no Traefik serves a route of {about.stack} to ask {check.url} of", hint=hint)
    if check.route and check.route not in where.routes:
        return about.fail(check.name, f"there is no route {check.route!r}; {closest(check.route, where.routes)}")
    return about.skip(check.name, "no request to its route could be asked")


def _subject(question: Probe) -> str:
    return f"{question.name or question.shown}{question.path if question.http else ''}"


def _seen(question: Probe, answer: Answer) -> str:
    what = answer.problem or (f"{answer.status}" if question.http else "open")
    return f"{_subject(question)} at {question.shown}: {what} in {answer.seconds:.3f} s"


def _holds(check: Check) -> str:
    return {"Http": "it answers as it should", "Tcp": "it listens", "Tls": "its certificate is good"}[
        type(check).__name__
    ]


def _wrong_answer(check: Check, question: Probe, answer: Answer, now: float) -> str:
    if answer.problem:
        return answer.problem
    if isinstance(check, Tls):
        return _wrong_certificate(check, answer, question.name, now)
    return _wrong_http(check, answer) if isinstance(check, Http) and question.http else ""


def _wrong_certificate(check: Tls, answer: Answer, name: str, now: float) -> str:
    served = answer.certificate
    if served is None:
        return "no certificate is served"
    days = served.days_left(now)
    if days < check.min_days:
        return "its certificate has expired" if days <= 0 else f"its certificate is good for {days:.0f} days only"
    return "" if not name or served.covers(name) else f"its certificate is for {', '.join(served.names) or 'no name'}"


def _wrong_http(check: Http, answer: Answer) -> str:
    if check.status and answer.status not in check.status:
        return f"status {answer.status}, expected {' or '.join(map(str, check.status))}"
    if not check.status and answer.status >= 400:
        return f"status {answer.status}"
    if check.contains and check.contains not in answer.text:
        return f"{check.contains!r} is not in the answer"
    for name, value in check.header.items():
        if value not in answer.headers.get(name.lower(), ""):
            return f"header {name} is {answer.headers.get(name.lower(), 'not there')!r}, expected {value!r}"
    slow = check.max_seconds and answer.seconds > check.max_seconds
    return f"it took {answer.seconds:.2f} s, expected at most {check.max_seconds:g}" if slow else ""
