"""Declared checks that are probed over TCP (`http`, `tcp`, `tls`): the probes of each, and what the answers mean.

Those that run as commands on the server are in declared_commands.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import quote, urljoin, urlsplit

from towline.checks.finding import Finding, Subject, listed
from towline.errors import closest
from towline.facts.probe import Answer, Probe
from towline.facts.survey import Survey
from towline.project.declared_checks import Check, Http, Tcp, Tls
from towline.project.stack import Stack


@dataclass(frozen=True)
class CheckContext:
    """What a declared check's probes are made from. routes: router → one probe for each of its example requests."""

    host: str
    stack: Stack
    survey: Survey
    routes: Mapping[str, Sequence[Probe]] = field(default_factory=dict)

    def subject(self, check: Check) -> Subject:
        return Subject(f"stack.{self.stack.name}.check", self.host, self.stack.name, getattr(check, "service", ""))

    def address(self, name: str) -> str:
        """Where the host reaches it: a service of the stack at its container, '' when it has none; any other name is itself."""
        if name not in {service.name for service in self.stack.services}:
            return name
        containers = self.survey.containers_of(self.stack.project, name)
        return next((each.address for each in containers if each.running and each.address), "")

    def server_name(self, check: Tls) -> str:
        """The name that its certificate must be for, '' for any."""
        services = {service.name for service in self.stack.services}
        return check.server_name or ("" if check.host in services else check.host)


def probes(check: Check, context: CheckContext) -> tuple[Probe, ...]:
    """The probes of a check; none when its service has no container to probe, or no route has the path."""
    if isinstance(check, Http) and check.url.startswith("/"):
        return tuple(_on_path(probe, check.url) for probe in _route_probes(check, context))
    if isinstance(check, Tcp):
        address, probe = context.address(check.host), Probe("", check.port, http=False)
    elif isinstance(check, Tls):
        name = context.server_name(check)
        address, probe = context.address(check.host), Probe("", check.port, name, tls=True, http=False)
    elif isinstance(check, Http):
        address, probe = _of_url(check.url, context)
    else:
        return ()
    return (replace(probe, address=address),) if address else ()


def _route_probes(check: Http, context: CheckContext) -> list[Probe]:
    return [probe for router, probes in context.routes.items() if check.route in ("", router) for probe in probes]


def _on_path(probe: Probe, path: str) -> Probe:
    return Probe(probe.address, probe.port, probe.name, probe.tls, path=path, headers=probe.headers)


def _of_url(url: str, context: CheckContext) -> tuple[str, Probe]:
    """(the address to connect to, the probe without it)"""
    parts = urlsplit(url)
    tls = parts.scheme == "https"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    name = parts.hostname or ""
    return context.address(name), Probe("", parts.port or (443 if tls else 80), name, tls, path=path)


def redirects(answer: Answer) -> bool:
    return answer.status in (301, 302, 303, 307, 308) and bool(answer.headers.get("location"))


def follow(answer: Answer, probe: Probe, context: CheckContext) -> Probe | None:
    """The probe of a redirect's target, None when it cannot be probed; within the same host it keeps address and port."""
    target = quote(answer.headers["location"], safe="%:/?#[]@!$&'()*+,;=~")
    try:
        parts = urlsplit(target)
        scheme = parts.scheme or ("https" if probe.tls else "http")
        if not parts.netloc and not parts.scheme:
            return _on_path(probe, urljoin(probe.path, target).partition("#")[0])
        if scheme not in ("http", "https") or not parts.hostname:
            return None
        address, following = _of_url(parts._replace(scheme=scheme).geturl(), context)
    except ValueError:
        return None
    same_server = (
        known
        for probes in context.routes.values()
        for known in probes
        if (known.name, known.tls) == (following.name, following.tls)
    )
    if known := next(same_server, None):
        return _on_path(known, following.path)
    return replace(following, address=address) if address else None


def judge_answers(check: Check, context: CheckContext, answers: Sequence[tuple[Probe, Answer]]) -> Finding:
    """The finding out of the answers to `probes`."""
    subject = context.subject(check)
    if not answers:
        return _unprobed(subject, check, context)
    now = context.survey.host.now
    wrong = [(probe, why) for probe, answer in answers if (why := _wrong_answer(check, probe, answer, now))]
    evidence = listed([_evidence(probe, answer) for probe, answer in answers])
    if wrong:
        probe, why = wrong[0]
        return subject.fail(check.name, f"{_target(probe)}: {why}", evidence)
    return subject.ok(check.name, _holds(check), evidence)


def _unprobed(subject: Subject, check: Check, context: CheckContext) -> Finding:
    if not (isinstance(check, Http) and check.url.startswith("/")):
        return subject.skip(check.name, "its service does not run")
    if not context.routes:
        hint = "a whole URL, such as http://web:8080/, needs no route"
        return subject.fail(
            check.name, f"no Traefik serves a route of {subject.stack}, so {check.url} cannot be requested", hint=hint
        )
    if check.route and check.route not in context.routes:
        return subject.fail(check.name, f"there is no route {check.route!r}; {closest(check.route, context.routes)}")
    return subject.skip(check.name, "no request could be sent to its route")


def _target(probe: Probe) -> str:
    return f"{probe.name or probe.shown}{probe.path if probe.http else ''}"


def _evidence(probe: Probe, answer: Answer) -> str:
    outcome = answer.problem or (f"{answer.status}" if probe.http else "open")
    return f"{_target(probe)} at {probe.shown}: {outcome} in {answer.seconds:.3f} s"


def _holds(check: Check) -> str:
    return {"Http": "it answers as it should", "Tcp": "it listens", "Tls": "its certificate is good"}[
        type(check).__name__
    ]


def _wrong_answer(check: Check, probe: Probe, answer: Answer, now: float) -> str:
    if answer.problem:
        return answer.problem
    if isinstance(check, Tls):
        return _wrong_certificate(check, answer, probe.name, now)
    return _wrong_http(check, answer) if isinstance(check, Http) and probe.http else ""


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
