"""The routes that Traefik serves on a host: which there should be, what is asked of each, and what the answers mean."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from towline.catalog import Stack
from towline.checks.finding import About, Finding, listed
from towline.checks.here import Here
from towline.config import Host
from towline.facts import certificate
from towline.facts.certificate import Certificate
from towline.facts.probe import Answer, Question
from towline.facts.surroundings import WILDCARDS
from towline.facts.survey import Container, Survey
from towline.traefik.labels import Labelled
from towline.traefik.routes import Ask, Route, parse_dynamic, parse_routes
from towline.traefik.static import ConfigFile, EntryPoint, Traefik, config_paths, parse_traefik

FEW_DAYS = 14
OWN_404 = b"404 page not found"
LOCAL = (".localhost", ".local", ".internal", ".test", ".home.arpa")  # no public authority signs for these
UNTOLD = "Traefik gives it no request that could be asked"


@dataclass(frozen=True)
class Front:
    """One Traefik of the host's stacks. container None: there is none at the moment; its routes should still be."""

    stack: Stack
    service: str
    traefik: Traefik
    container: Container | None

    def where(self, entry_point: EntryPoint) -> tuple[str, int]:
        """The address at which the host reaches the entry point: the published port, else the container's own; '' for nowhere."""
        if self.container is None:
            return "", 0
        for held in self.container.held:
            if held.inside == f"{entry_point.port}/tcp":
                return reached(held.outside.address), held.outside.port
        return self.container.address, entry_point.port


@dataclass(frozen=True)
class Served:
    """One route at one entry point, and the questions that its requests come to. here: asked from this machine."""

    stack: Stack
    front: Front
    route: Route
    entry_point: str
    questions: tuple[Question, ...] = ()
    here: bool = False

    @property
    def tls(self) -> bool:
        return self.entry_point in self.route.tls_on

    @property
    def name(self) -> str:
        """What its findings are called by: `route.whoami.web`."""
        kind = "" if self.route.protocol == "http" else f"{self.route.protocol}."
        where = f"{self.entry_point or 'nowhere'}{'.from-here' if self.here else ''}"
        return f"route.{kind}{self.route.router or 'unreadable'}.{where}"


def reached(address: str) -> str:
    """Where the host itself reaches what is bound to `address`.

    >>> reached("0.0.0.0"), reached("::"), reached("192.0.2.1")
    ('127.0.0.1', '::1', '192.0.2.1')
    """
    return {WILDCARDS[0]: "127.0.0.1", WILDCARDS[1]: "::1"}.get(address, address)


# ------------------------------------------------------------------------------------------------------- which there are


def fronts(stacks: Sequence[Stack], heres: Mapping[str, Here], survey: Survey) -> list[Front]:
    """The Traefiks of the stacks, those that have no container too."""
    found = []
    for stack in stacks:
        model = survey.stacks[stack.name].model
        for name, keys in sorted((model.services if model else {}).items()):
            containers = survey.of(stack.project, name)
            image = containers[0].image if containers else str(keys.get("image") or "")
            if posixpath.basename(image.partition("@")[0]).partition(":")[0] == "traefik":
                found.append(_front(stack, name, keys, containers, heres[stack.name]))
    return found


def _front(stack: Stack, name: str, keys: Mapping[str, Any], containers: Sequence[Container], here: Here) -> Front:
    by_state = sorted(containers, key=lambda one: not one.running)
    container = by_state[0] if by_state else None
    words = container.command if container else tuple(map(str, keys.get("command") or ()))
    environment = {key: str(value) for key, value in (keys.get("environment") or {}).items() if value is not None}
    file = _static_file(config_paths(words), keys, here)
    image = container.image if container else str(keys.get("image") or "")
    return Front(stack, name, parse_traefik(words, environment, file, image), container)


def _static_file(paths: Iterable[str], keys: Mapping[str, Any], here: Here) -> ConfigFile | None:
    for path in paths:
        text = _mounted(path, keys, here)
        if text is not None:
            return ConfigFile(path, text)
    return None


def _mounted(path: str, keys: Mapping[str, Any], here: Here) -> str | None:
    """The text of the stack's own file that the service sees at `path`."""
    return next((text for inside, text in _seen(keys, here) if inside == path), None)


def _seen(keys: Mapping[str, Any], here: Here) -> Iterator[tuple[str, str]]:
    """The service's mounted texts: path in the container, text."""
    for mount in keys.get("volumes") or ():
        source, target = posixpath.normpath(str(mount.get("source") or "")), str(mount.get("target") or "")
        for path, text in here.texts.items():
            if path == source:
                yield target, text
            elif path.startswith(f"{source}/"):
                yield posixpath.join(target, path[len(source) + 1 :]), text


def served(stacks: Sequence[Stack], heres: Mapping[str, Here], survey: Survey) -> list[Served]:
    """Every route of the stacks, at each of its entry points, with its questions. One that nothing serves has no questions."""
    by_project = {stack.project: stack for stack in stacks}
    labelled = list(_labelled(stacks, survey))
    found: dict[tuple[str, str], Served] = {}
    for front in fronts(stacks, heres, survey):
        routes = [*parse_routes(labelled, front.traefik), *_from_files(front, heres[front.stack.name], survey)]
        for route in routes:
            if route.project in by_project:
                for one in _at_entry_points(by_project[route.project], front, route):
                    found.setdefault((one.stack.name, one.name), one)
    return list(found.values())


def _labelled(stacks: Sequence[Stack], survey: Survey) -> Iterator[Labelled]:
    """Every container with its labels; a service that has none as its compose file has them."""
    for one in survey.containers:
        if not one.oneoff:
            yield Labelled(one.name, one.project, one.service, one.labels)
    for stack in stacks:
        model = survey.stacks[stack.name].model
        for name, keys in (model.services if model else {}).items():
            if not survey.of(stack.project, name):
                yield Labelled(f"{stack.project}-{name}-1", stack.project, name, keys.get("labels") or {})


def _from_files(front: Front, here: Here, survey: Survey) -> Iterator[Route]:
    """The routers of the file provider's files, as far as they are the stack's own."""
    model = survey.stacks[front.stack.name].model
    keys = model.services[front.service] if model else {}
    for path, text in _seen(keys, here):
        if path.endswith((".yml", ".yaml", ".toml")) and path not in config_paths(()):
            for route in parse_dynamic(text, front.traefik, project=front.stack.project, name=posixpath.basename(path)):
                if route.router:
                    yield route


def _at_entry_points(stack: Stack, front: Front, route: Route) -> Iterator[Served]:
    if route.problem or not route.entry_points:
        yield Served(stack, front, route, "")
        return
    points = {one.name: one for one in front.traefik.entry_points}
    for name in route.entry_points:
        questions = tuple(_question(ask, route, name, front.where(points[name])) for ask in route.asks if ask.safe)
        yield Served(stack, front, route, name, tuple(one for one in questions if one.address))


def from_here(one: Served, address: str) -> Served:
    """The same, asked as its users ask: by its name, at the published port. address: of the host, for names that need no DNS.

    What is published on the host's own 127.0.0.1 alone is not asked.
    """
    held = one.front.container.held if one.front.container else ()
    port = next((point.port for point in one.front.traefik.entry_points if point.name == one.entry_point), 0)
    inside = f"{port}/tcp"
    public = [it.outside.port for it in held if it.inside == inside and _public(it.outside.address, address)]
    questions = [replace(q, address=_name_or(q.name, address), port=public[0]) for q in one.questions] if public else []
    return replace(one, questions=tuple(dict.fromkeys(questions)), here=True)


def _public(bound: str, address: str) -> bool:
    return not bound.startswith("127.") or address in ("127.0.0.1", "localhost")


def _name_or(name: str, address: str) -> str:
    """Names of .localhost are the asking machine's own: there it would ask itself."""
    return address if not name or name == "localhost" or name.endswith(".localhost") else name


def _question(ask: Ask, route: Route, entry_point: str, where: tuple[str, int]) -> Question:
    return Question(
        *where,
        name=ask.host,
        tls=entry_point in route.tls_on,
        http=route.protocol == "http",
        method=ask.method or "GET",
        path=ask.path or "/",
        headers=dict(ask.headers),
    )


# ------------------------------------------------------------------------------------------------------- what they mean


def judge(
    host: Host,
    routes: Sequence[Served],
    answers: Mapping[Question, Answer],
    bad: Mapping[tuple[str, str], str],
    survey: Survey,
) -> Iterator[Finding]:
    """The findings `stack.STACK.route.*`. bad: (stack, service) → the id of the finding that tells why it cannot answer."""
    named: set[tuple[str, str]] = set()
    for one in routes:
        about = About(f"stack.{one.stack.name}", host.name, one.stack.name, ", ".join(one.route.services))
        yield _answers(about, one, answers, bad)
        if one.tls and one.questions:
            yield _certificate(about, one, answers, bad, survey)
        key = (one.stack.name, one.route.router)
        if key not in named and not one.route.problem and not one.here:
            named.add(key)
            yield from _names(about, one, survey)


def because(one: Served, bad: Mapping[tuple[str, str], str]) -> str:
    """The finding that explains why the route cannot answer, '' when nothing does."""
    concerned = [(one.front.stack.name, one.front.service), *((one.stack.name, name) for name in one.route.services)]
    return next((bad[key] for key in concerned if key in bad), "")


def _answers(
    about: About, one: Served, answers: Mapping[Question, Answer], bad: Mapping[tuple[str, str], str]
) -> Finding:
    name = f"{one.name}.answers"
    if one.route.problem:
        return about.fail(
            name, f"Traefik does not serve the router {one.route.router}: {one.route.problem}", one.route.rule
        )
    if why := because(one, bad):
        return about.skip(name, f"see {why}")
    got = [(question, answers[question]) for question in one.questions if question in answers]
    if not got and one.here and one.route.asks:
        return about.skip(name, "its entry point is published for the host alone")
    if not got:
        return about.skip(name, one.route.reasons[0] if one.route.reasons else UNTOLD)
    wrong = [(question, why) for question, answer in got if (why := _wrong(answer))]
    seen = listed([_seen_answer(question, answer) for question, answer in got])
    if wrong:
        question, why = wrong[0]
        return about.fail(name, f"{question.name or question.shown}{question.path}: {why}", seen, _hint(one))
    where = f"{one.entry_point}, asked from here" if one.here else one.entry_point
    return about.ok(name, f"the route {one.route.router} answers at {where}", seen)


def _hint(one: Served) -> str:
    return f"docker logs of {one.front.stack.name}'s {one.front.service} and of {', '.join(one.route.services) or 'its service'}"


def _wrong(answer: Answer) -> str:
    if answer.problem:
        return answer.problem
    if answer.status >= 500:
        return f"status {answer.status}" + (
            ", Traefik does not reach the service" if answer.status in (502, 504) else ""
        )
    if answer.status == 404 and answer.body.strip() == OWN_404:
        return "Traefik answers 404 itself: it does not have the router, or no healthy container for it"
    return ""


def _seen_answer(question: Question, answer: Answer) -> str:
    what = answer.problem or (str(answer.status) if question.http else "open")
    return f"{question.name or '*'}{question.path} at {question.shown}: {what} in {answer.seconds:.3f} s"


def _certificate(
    about: About, one: Served, answers: Mapping[Question, Answer], bad: Mapping[tuple[str, str], str], survey: Survey
) -> Finding:
    name = f"{one.name}.certificate"
    if why := because(one, bad):
        return about.skip(name, f"see {why}")
    got = [(question, answers[question].certificate) for question in one.questions if question in answers]
    found = [(question, served) for question, served in got if served]
    if not found:
        return about.skip(name, f"see {about.prefix}.{one.name}.answers")
    expired = _expired_files(one, survey)
    judged = [(question, served, *_judge(question.name, served, survey.host.now)) for question, served in found]
    seen = listed([f"{question.name}: {_shown(served, survey.host.now)}" for question, served, _, _ in judged])
    for question, served, result, why in sorted(judged, key=lambda row: row[2]):  # fail, pass, warn: see below
        if result == "fail" and served.fingerprint in expired:
            return about.skip(name, f"see {expired[served.fingerprint]}")
        if result != "pass":
            make = about.fail if result == "fail" else about.warn
            return make(name, f"{question.name}: {why}", seen, "see the certificate resolver in Traefik's log")
    return about.ok(name, f"the certificate at {one.entry_point} is good", seen)


def _expired_files(one: Served, survey: Survey) -> dict[str, str]:
    """Fingerprint → finding, of the certificate files that the Traefik's own stack has: each is judged as a file already."""
    found = {}
    for stack in {one.stack.name, one.front.stack.name}:
        for path, der in survey.stacks[stack].certs.items():
            try:
                found[certificate.parse(der).fingerprint] = f"stack.{stack}.certificate.{path}"
            except ValueError:
                continue
    return found


def _shown(served: Certificate, now: float) -> str:
    return f"{', '.join(served.names) or served.subject}, from {served.issuer or 'nobody'}, {served.days_left(now):.0f} days left"


def _judge(name: str, served: Certificate, now: float) -> tuple[str, str]:
    days = served.days_left(now)
    if days <= 0:
        return "fail", "the certificate has expired"
    if days < FEW_DAYS:
        return "warn", f"the certificate expires in {days:.0f} days"
    if not name or name.endswith(LOCAL) or "." not in name:
        return "pass", ""
    if served.self_signed:
        return "warn", "the certificate is signed by nobody but itself"
    return (
        ("pass", "")
        if served.covers(name)
        else ("fail", f"the certificate is for {', '.join(served.names) or 'no name'}")
    )


def _names(about: About, one: Served, survey: Survey) -> Iterator[Finding]:
    hosts = sorted({ask.host for ask in one.route.asks if ask.host})
    if not hosts:
        return
    name = f"{one.name.rpartition('.')[0]}.names"
    unknown = [
        host
        for host in hosts
        if not host.endswith(".localhost") and host != "localhost" and not _resolved(host, survey)
    ]
    if unknown:
        hint = "add a DNS record that points to this server"
        yield about.warn(name, "names of the route do not resolve", listed(unknown), hint)
    else:
        evidence = listed(
            [f"{host}: {', '.join(survey.names.get(host, ())) or 'this machine itself, by RFC 6761'}" for host in hosts]
        )
        yield about.ok(name, "the names of the route resolve", evidence)


def _address_of(host: str, survey: Survey) -> str:
    return f"{host}: {', '.join(survey.names.get(host, ())) or 'this machine itself (RFC 6761)'}"


def _resolved(host: str, survey: Survey) -> bool:
    return bool(survey.names.get(host)) or host.replace(".", "").isdigit()
