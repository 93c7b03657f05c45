"""The routes that Traefik serves on a host: which are expected, the probes of each, and what the answers mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from towline.checks.answers import Answers
from towline.checks.baseline import Baseline
from towline.checks.causes import Causes
from towline.checks.certificate import judge_age, judge_served, shown
from towline.checks.finding import Finding, Subject, listed
from towline.checks.proxy import Proxy, routes_in_files
from towline.facts import certificate
from towline.facts.probe import Answer, Probe
from towline.facts.survey import Survey
from towline.project.settings import Host
from towline.project.stack import Stack
from towline.traefik.labels import LabelledContainer
from towline.traefik.routers import ExampleRequest, Route, parse_routes

OWN_404 = b"404 page not found"
UNTOLD = "no example request follows from its rule"
NOWHERE = "its Traefik cannot be reached from the host: it has neither a published port nor an address"


@dataclass(frozen=True)
class ServedRoute:
    """One route at one entry point, and the probes that its example requests come to. local: sent from this machine."""

    stack: Stack
    proxy: Proxy
    route: Route
    entry_point: str
    probes: tuple[Probe, ...] = ()
    local: bool = False

    @property
    def tls(self) -> bool:
        return self.entry_point in self.route.tls_on

    @property
    def name(self) -> str:
        """The part of its findings' ids that names it: `route.whoami.web`."""
        kind = "" if self.route.protocol == "http" else f"{self.route.protocol}."
        where = f"{self.entry_point or 'nowhere'}{'.from-here' if self.local else ''}"
        return f"route.{kind}{self.route.router or 'unreadable'}.{where}"

    def cause(self, causes: Causes) -> str:
        """The id of the finding that explains why the route cannot answer, '' when none does."""
        services = [(self.proxy.stack.name, self.proxy.service)]
        services += ((self.stack.name, name) for name in self.route.services)
        return next((causes[key] for key in services if key in causes), "")


# ----------------------------------------------------------------------------------------------- the expected routes


def find_routes(
    stacks: Sequence[Stack], proxies: Sequence[Proxy], baselines: Mapping[str, Baseline], survey: Survey
) -> list[ServedRoute]:
    """Every route of the stacks, at each of its entry points, with its probes. One that nothing serves has no probes."""
    by_project = {stack.project: stack for stack in stacks}
    containers = list(_labelled(stacks, survey))
    routes: dict[tuple[str, str], ServedRoute] = {}
    for proxy in proxies:
        files = routes_in_files(proxy, baselines[proxy.stack.name], survey)
        for route in (*parse_routes(containers, proxy.traefik), *files):
            if route.project in by_project:
                for served in _at_entry_points(by_project[route.project], proxy, route):
                    routes.setdefault((served.stack.name, served.name), served)
    return list(routes.values())


def _labelled(stacks: Sequence[Stack], survey: Survey) -> Iterator[LabelledContainer]:
    """Every container with its labels; for a service without one, the labels of its compose file."""
    for container in survey.containers:
        if not container.oneoff:
            yield LabelledContainer(container.name, container.project, container.service, container.labels)
    for stack in stacks:
        model = survey.stacks[stack.name].model
        for name, keys in (model.services if model else {}).items():
            if not survey.containers_of(stack.project, name):
                yield LabelledContainer(f"{stack.project}-{name}-1", stack.project, name, keys.get("labels") or {})


def _at_entry_points(stack: Stack, proxy: Proxy, route: Route) -> Iterator[ServedRoute]:
    if route.problem or not route.entry_points:
        yield ServedRoute(stack, proxy, route, "")
        return
    points = {point.name: point for point in proxy.traefik.entry_points}
    for name in route.entry_points:
        address = proxy.address_of(points[name])
        probes = tuple(_probe(request, route, name, address) for request in route.requests if request.safe)
        yield ServedRoute(stack, proxy, route, name, tuple(probe for probe in probes if probe.address))


def from_this_machine(served: ServedRoute, address: str) -> ServedRoute:
    """The same route, probed as its users reach it: by its name, at the published port.

    address: of the host, for names that need no DNS. What is published on the host's own 127.0.0.1 alone has no probes.
    """
    port = served.proxy.public_port(served.entry_point, address)
    probes = (replace(probe, address=_name_or(probe.name, address), port=port) for probe in served.probes if port)
    return replace(served, probes=tuple(dict.fromkeys(probes)), local=True)


def _name_or(name: str, address: str) -> str:
    """Names of .localhost resolve to this machine, not to the host."""
    return address if not name or name == "localhost" or name.endswith(".localhost") else name


def _probe(request: ExampleRequest, route: Route, entry_point: str, address: tuple[str, int]) -> Probe:
    return Probe(
        *address,
        name=request.host,
        tls=entry_point in route.tls_on,
        http=route.protocol == "http",
        method=request.method or "GET",
        path=request.path or "/",
        headers=dict(request.headers),
    )


# ------------------------------------------------------------------------------------------------- the findings


@dataclass(frozen=True)
class RouteChecks:
    """What the findings `stack.STACK.route.*` are made from."""

    host: Host
    survey: Survey
    answers: Answers
    causes: Causes

    def check(self, routes: Sequence[ServedRoute]) -> Iterator[Finding]:
        """Whether each route answers, its certificate, and once per router whether its names resolve."""
        routers: set[str] = set()
        for served in routes:
            stack = served.stack.name
            subject = Subject(f"stack.{stack}", self.host.name, stack, ", ".join(served.route.services))
            yield self._answers(subject, served)
            if served.tls and served.probes:
                yield self._certificate(subject, served)
            router = f"{subject.prefix}.{served.name.rpartition('.')[0]}"
            if router not in routers and not served.route.problem and not served.local:
                routers.add(router)
                yield from _names(subject, served, self.survey)

    def _answers(self, subject: Subject, served: ServedRoute) -> Finding:
        name, route = f"{served.name}.answers", served.route
        if route.problem:
            return subject.fail(name, f"Traefik does not serve the router {route.router}: {route.problem}", route.rule)
        if cause := served.cause(self.causes):
            return subject.explained(name, cause)
        answers = self._answered(served)
        if not answers:
            return subject.skip(name, self.answers.forbidden or _unprobed(served, self.answers.missing))
        point = served.proxy.entry_point(served.entry_point)
        redirect = point.redirect_to if point and route.protocol == "http" else ""
        wrong = [(probe, why) for probe, answer in answers if (why := _wrong(answer, redirect))]
        evidence = listed([_evidence(probe, answer) for probe, answer in answers])
        if wrong:
            probe, why = wrong[0]
            return subject.fail(name, f"{probe.name or probe.shown}{probe.path}: {why}", evidence, _hint(served))
        where = f"{served.entry_point}, from this machine" if served.local else served.entry_point
        return subject.ok(name, f"the route {route.router} answers at {where}", evidence)

    def _answered(self, served: ServedRoute) -> list[tuple[Probe, Answer]]:
        by_probe = self.answers.by_probe
        return [(probe, by_probe[probe]) for probe in served.probes if probe in by_probe]

    def _certificate(self, subject: Subject, served: ServedRoute) -> Finding:
        name, now = f"{served.name}.certificate", self.survey.host.now
        if cause := served.cause(self.causes):
            return subject.explained(name, cause)
        certificates = [
            (probe.name, answer.certificate) for probe, answer in self._answered(served) if answer.certificate
        ]
        if not certificates:
            return subject.explained(name, f"{subject.prefix}.{served.name}.answers")
        files = _certificate_files(served, self.survey)
        for _, served_certificate in certificates:
            file = files.get(served_certificate.fingerprint)
            if file and judge_age(served_certificate, now)[0] != "pass":
                return subject.explained(name, file)
        evidence = listed([f"{label}: {shown(each, now)}" for label, each in certificates])
        judged = [(*judge_served(label, each, now), label) for label, each in certificates]
        wrong = sorted(row for row in judged if row[0] != "pass")  # fail comes before warn
        if wrong:
            result, why, label = wrong[0]
            make = subject.fail if result == "fail" else subject.warn
            return make(name, f"{label}: {why}", evidence, "see the certificate resolver in Traefik's log")
        return subject.ok(name, f"the certificate at {served.entry_point} is good", evidence)


def _unprobed(served: ServedRoute, missing: str) -> str:
    """Why a route has no answer."""
    route = served.route
    if served.local and route.requests:
        return "its entry point is published for the host alone"
    if served.probes:
        return missing
    return route.reasons[0] if route.reasons else NOWHERE if route.requests else UNTOLD


def _hint(served: ServedRoute) -> str:
    services = ", ".join(served.route.services) or "its service"
    return f"docker logs of {served.proxy.stack.name}'s {served.proxy.service} and of {services}"


def _wrong(answer: Answer, redirect: str) -> str:
    """redirect: where the entry point sends every request, '' when it does not."""
    if answer.problem:
        return answer.problem
    if answer.status >= 500:
        unreached = ", Traefik does not reach the service" if answer.status in (502, 504) else ""
        return f"status {answer.status}{unreached}"
    if answer.status == 404 and answer.body.strip() == OWN_404:
        return "Traefik answers 404 itself: it does not have the router, or no healthy container for it"
    if redirect and not (300 <= answer.status < 400 and answer.headers.get("location")):
        return f"status {answer.status}, though the entry point sends every request on to {redirect}"
    return ""


def _evidence(probe: Probe, answer: Answer) -> str:
    outcome = answer.problem or (str(answer.status) if probe.http else "open")
    return f"{probe.name or '*'}{probe.path} at {probe.shown}: {outcome} in {answer.seconds:.3f} s"


def _certificate_files(served: ServedRoute, survey: Survey) -> dict[str, str]:
    """Fingerprint → finding, of the certificate files of the route's and of Traefik's stack: their age is checked as a file's."""
    files = {}
    for stack in {served.stack.name, served.proxy.stack.name}:
        for path, der in survey.stacks[stack].certs.items():
            try:
                files[certificate.parse(der).fingerprint] = f"stack.{stack}.certificate.{path}"
            except ValueError:
                continue
    return files


def _names(subject: Subject, served: ServedRoute, survey: Survey) -> Iterator[Finding]:
    """Of the names that the host was asked to resolve: those in labels, but .localhost, which every machine resolves to itself."""
    hosts = sorted({request.host for request in served.route.requests} & survey.names.keys())
    if not hosts:
        return
    name = f"{served.name.rpartition('.')[0]}.names"
    unknown = [host for host in hosts if not survey.names[host]]
    if unknown:
        hint = "add a DNS record that points to this server"
        yield subject.warn(name, "names of the route do not resolve", listed(unknown), hint)
    else:
        evidence = listed([f"{host}: {', '.join(survey.names[host])}" for host in hosts])
        yield subject.ok(name, "the names of the route resolve", evidence)
