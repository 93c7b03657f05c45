"""The routes that Traefik serves on a host: which there should be, what is asked of each, and what the answers mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from towline.checks.certificate import judge_age, judge_served, shown
from towline.checks.finding import Finding, Subject, listed
from towline.checks.here import Here
from towline.checks.proxy import Proxy, fronts, reached, routes_in_files
from towline.facts import certificate
from towline.facts.probe import Answer, Probe
from towline.facts.survey import Survey
from towline.project.catalog import Stack
from towline.project.settings import Host
from towline.traefik.labels import LabelledContainer
from towline.traefik.routers import ExampleRequest, Route, parse_routes

__all__ = ["Proxy", "ServedRoute", "because", "from_here", "fronts", "judge", "reached", "served"]

OWN_404 = b"404 page not found"
UNTOLD = "Traefik gives it no request that could be asked"
NOWHERE = "its Traefik cannot be reached from the host: it has no port and no address there"


@dataclass(frozen=True)
class ServedRoute:
    """One route at one entry point, and the questions that its requests come to. here: asked from this machine."""

    stack: Stack
    front: Proxy
    route: Route
    entry_point: str
    questions: tuple[Probe, ...] = ()
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


# ------------------------------------------------------------------------------------------------------- which there are


def served(stacks: Sequence[Stack], heres: Mapping[str, Here], survey: Survey) -> list[ServedRoute]:
    """Every route of the stacks, at each of its entry points, with its questions. One that nothing serves has no questions."""
    by_project = {stack.project: stack for stack in stacks}
    labelled = list(_labelled(stacks, survey))
    found: dict[tuple[str, str], ServedRoute] = {}
    for front in fronts(stacks, heres, survey):
        routes = [*parse_routes(labelled, front.traefik), *routes_in_files(front, heres[front.stack.name], survey)]
        for route in routes:
            if route.project in by_project:
                for one in _at_entry_points(by_project[route.project], front, route):
                    found.setdefault((one.stack.name, one.name), one)
    return list(found.values())


def _labelled(stacks: Sequence[Stack], survey: Survey) -> Iterator[LabelledContainer]:
    """Every container with its labels; a service that has none as its compose file has them."""
    for one in survey.containers:
        if not one.oneoff:
            yield LabelledContainer(one.name, one.project, one.service, one.labels)
    for stack in stacks:
        model = survey.stacks[stack.name].model
        for name, keys in (model.services if model else {}).items():
            if not survey.of(stack.project, name):
                yield LabelledContainer(f"{stack.project}-{name}-1", stack.project, name, keys.get("labels") or {})


def _at_entry_points(stack: Stack, front: Proxy, route: Route) -> Iterator[ServedRoute]:
    if route.problem or not route.entry_points:
        yield ServedRoute(stack, front, route, "")
        return
    points = {one.name: one for one in front.traefik.entry_points}
    for name in route.entry_points:
        questions = tuple(_question(ask, route, name, front.where(points[name])) for ask in route.requests if ask.safe)
        yield ServedRoute(stack, front, route, name, tuple(one for one in questions if one.address))


def from_here(one: ServedRoute, address: str) -> ServedRoute:
    """The same, asked as its users ask: by its name, at the published port. address: of the host, for names that need no DNS.

    What is published on the host's own 127.0.0.1 alone is not asked.
    """
    port = one.front.public_port(one.entry_point, address)
    questions = [replace(q, address=_name_or(q.name, address), port=port) for q in one.questions] if port else []
    return replace(one, questions=tuple(dict.fromkeys(questions)), here=True)


def _name_or(name: str, address: str) -> str:
    """Names of .localhost are the asking machine's own: there it would ask itself."""
    return address if not name or name == "localhost" or name.endswith(".localhost") else name


def _question(ask: ExampleRequest, route: Route, entry_point: str, where: tuple[str, int]) -> Probe:
    return Probe(
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
    routes: Sequence[ServedRoute],
    answers: Mapping[Probe, Answer],
    bad: Mapping[tuple[str, str], str],
    survey: Survey,
) -> Iterator[Finding]:
    """The findings `stack.STACK.route.*`. bad: (stack, service) → the id of the finding that tells why it cannot answer."""
    named: set[str] = set()
    for one in routes:
        about = Subject(f"stack.{one.stack.name}", host.name, one.stack.name, ", ".join(one.route.services))
        yield _answers(about, one, answers, bad)
        if one.tls and one.questions:
            yield _certificate(about, one, answers, bad, survey)
        key = f"{about.prefix}.{one.name.rpartition('.')[0]}"
        if key not in named and not one.route.problem and not one.here:
            named.add(key)
            yield from _names(about, one, survey)


def because(one: ServedRoute, bad: Mapping[tuple[str, str], str]) -> str:
    """The finding that explains why the route cannot answer, '' when nothing does."""
    concerned = [(one.front.stack.name, one.front.service), *((one.stack.name, name) for name in one.route.services)]
    return next((bad[key] for key in concerned if key in bad), "")


def _answers(
    about: Subject, one: ServedRoute, answers: Mapping[Probe, Answer], bad: Mapping[tuple[str, str], str]
) -> Finding:
    name = f"{one.name}.answers"
    if one.route.problem:
        return about.fail(
            name, f"Traefik does not serve the router {one.route.router}: {one.route.problem}", one.route.rule
        )
    if why := because(one, bad):
        return about.skip(name, f"see {why}")
    got = [(question, answers[question]) for question in one.questions if question in answers]
    if not got and one.here and one.route.requests:
        return about.skip(name, "its entry point is published for the host alone")
    if not got:
        unreached = NOWHERE if one.route.requests and not one.questions else UNTOLD
        return about.skip(name, one.route.reasons[0] if one.route.reasons else unreached)
    point = one.front.point(one.entry_point)
    onward = point.redirect_to if point and one.route.protocol == "http" else ""
    wrong = [(question, why) for question, answer in got if (why := _wrong(answer, onward))]
    seen = listed([_seen_answer(question, answer) for question, answer in got])
    if wrong:
        question, why = wrong[0]
        return about.fail(name, f"{question.name or question.shown}{question.path}: {why}", seen, _hint(one))
    where = f"{one.entry_point}, asked from here" if one.here else one.entry_point
    return about.ok(name, f"the route {one.route.router} answers at {where}", seen)


def _hint(one: ServedRoute) -> str:
    return f"docker logs of {one.front.stack.name}'s {one.front.service} and of {', '.join(one.route.services) or 'its service'}"


def _wrong(answer: Answer, onward: str) -> str:
    """onward: where the entry point sends every request, '' when it does not."""
    if answer.problem:
        return answer.problem
    if answer.status >= 500:
        return f"status {answer.status}" + (
            ", Traefik does not reach the service" if answer.status in (502, 504) else ""
        )
    if answer.status == 404 and answer.body.strip() == OWN_404:
        return "Traefik answers 404 itself: it does not have the router, or no healthy container for it"
    if onward and not (300 <= answer.status < 400 and answer.headers.get("location")):
        return f"status {answer.status}, though the entry point sends every request on to {onward}"
    return ""


def _seen_answer(question: Probe, answer: Answer) -> str:
    what = answer.problem or (str(answer.status) if question.http else "open")
    return f"{question.name or '*'}{question.path} at {question.shown}: {what} in {answer.seconds:.3f} s"


def _certificate(
    about: Subject,
    one: ServedRoute,
    answers: Mapping[Probe, Answer],
    bad: Mapping[tuple[str, str], str],
    survey: Survey,
) -> Finding:
    name = f"{one.name}.certificate"
    if why := because(one, bad):
        return about.skip(name, f"see {why}")
    got = [(question, answers[question].certificate) for question in one.questions if question in answers]
    found = [(question.name, served) for question, served in got if served]
    if not found:
        return about.skip(name, f"see {about.prefix}.{one.name}.answers")
    now = survey.host.now
    told = _told_files(one, survey)
    seen = listed([f"{label}: {shown(served, now)}" for label, served in found])
    old = [
        told[served.fingerprint]
        for _, served in found
        if judge_age(served, now)[0] != "pass" and served.fingerprint in told
    ]
    if old:
        return about.skip(name, f"see {old[0]}")
    judged = [(*judge_served(label, served, now), label) for label, served in found]
    wrong = sorted(row for row in judged if row[0] != "pass")  # fail comes before warn
    if wrong:
        result, why, label = wrong[0]
        make = about.fail if result == "fail" else about.warn
        return make(name, f"{label}: {why}", seen, "see the certificate resolver in Traefik's log")
    return about.ok(name, f"the certificate at {one.entry_point} is good", seen)


def _told_files(one: ServedRoute, survey: Survey) -> dict[str, str]:
    """Fingerprint → finding, of the certificate files that the Traefik's own stack has: the age of each is judged as a file."""
    found = {}
    for stack in {one.stack.name, one.front.stack.name}:
        for path, der in survey.stacks[stack].certs.items():
            try:
                found[certificate.parse(der).fingerprint] = f"stack.{stack}.certificate.{path}"
            except ValueError:
                continue
    return found


def _names(about: Subject, one: ServedRoute, survey: Survey) -> Iterator[Finding]:
    """Of the names that the host was asked to resolve: those in labels, but .localhost, which is every machine itself."""
    hosts = sorted({ask.host for ask in one.route.requests} & survey.names.keys())
    if not hosts:
        return
    name = f"{one.name.rpartition('.')[0]}.names"
    unknown = [host for host in hosts if not survey.names[host]]
    if unknown:
        hint = "add a DNS record that points to this server"
        yield about.warn(name, "names of the route do not resolve", listed(unknown), hint)
    else:
        evidence = listed([f"{host}: {', '.join(survey.names[host])}" for host in hosts])
        yield about.ok(name, "the names of the route resolve", evidence)
