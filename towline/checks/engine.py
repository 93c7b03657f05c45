"""The Docker Engine of a host."""

from __future__ import annotations

import re
from collections.abc import Iterator

from towline.checks.finding import Finding, Subject, listed
from towline.facts.container import Container
from towline.facts.survey import Survey
from towline.project.settings import Host
from towline.text.amounts import size_text

SLOW_DRIVERS = {"vfs", "devicemapper", "aufs", "overlay"}  # deprecated, or a copy of each layer
OLDEST_COMPOSE = (2, 20)
MOST_UNNAMED = 5 << 30
MOST_LOG = 200 << 20


def check_engine(host: Host, survey: Survey) -> Iterator[Finding]:
    """The findings `engine.*`. When it does not answer, that is the one that fails."""
    subject = Subject("engine", host.name)
    engine = survey.engine
    if engine.problem:
        if engine_trouble(survey) == "host.docker":
            yield subject.explained("running", "host.docker")
        else:
            yield subject.fail(
                "running", "the Docker Engine does not answer", engine.problem, "on the server: systemctl status docker"
            )
        return
    yield subject.ok("running", "the Docker Engine answers")
    yield subject.ok("version", "the engine's version is known", f"Docker Engine {engine.version}")
    yield _compose(subject, survey)
    yield _storage(subject, survey)
    yield _unnamed(subject, survey)
    yield _logs(subject, survey)


def engine_trouble(survey: Survey) -> str:
    """The id of the finding that tells why the engine cannot be asked, '' when it can."""
    if not survey.engine.problem:
        return ""
    return "host.docker" if survey.engine.socket in ("denied", "none") else "engine.running"


def _compose(subject: Subject, survey: Survey) -> Finding:
    made = sorted({container.compose for container in survey.containers if container.compose}, key=_version)
    if not survey.engine.compose:
        hint = "install the package docker-compose-plugin (or docker-compose-v2)"
        return subject.fail("compose", "docker compose v2 is missing", hint=hint)
    evidence = f"{survey.engine.compose}" + (f"; containers were made by {made[-1]}" if made else "")
    if made and _version(made[-1]) < OLDEST_COMPOSE:
        return subject.warn("compose", "docker compose is old", evidence, "2.20 and later are known to work")
    return subject.ok("compose", "docker compose is installed", evidence)


def _version(text: str) -> tuple[int, ...]:
    """
    >>> _version("2.40.3-desktop.1")
    (2, 40, 3)
    """
    return tuple(int(word) for word in re.findall(r"\d+", text)[:3])


def _storage(subject: Subject, survey: Survey) -> Finding:
    driver = survey.engine.driver
    if driver in SLOW_DRIVERS:
        return subject.warn(
            "storage", f"the storage driver {driver} is slow or deprecated", hint="overlay2 is Docker's default"
        )
    return subject.ok("storage", "the storage driver is suited to production", driver)


def _unnamed(subject: Subject, survey: Survey) -> Finding:
    used = {container.image_id for container in survey.containers}
    sizes = [size for image, size in survey.engine.unnamed.items() if image not in used]
    evidence = f"{len(sizes)} images without a name, {size_text(sum(sizes))} at most"
    if sum(sizes) > MOST_UNNAMED:
        return subject.warn("unnamed-images", "images that nothing uses fill the disk", evidence, "docker image prune")
    return subject.ok("unnamed-images", "few images are left without a name", evidence)


def _logs(subject: Subject, survey: Survey) -> Finding:
    growing = [container for container in survey.containers if not container.log_limited]
    large = sorted(
        (container for container in growing if container.log_bytes > MOST_LOG),
        key=lambda container: -container.log_bytes,
    )
    if large:
        hint = 'limit them: logging: {options: {max-size: 10m, max-file: "3"}}, or log-opts in /etc/docker/daemon.json'
        return subject.warn("logs", "logs grow without a limit", listed([_log(container) for container in large]), hint)
    size = size_text(sum(container.log_bytes for container in growing))
    evidence = f"{len(growing)} of {len(survey.containers)} containers have no limit, {size} in all"
    return subject.ok("logs", "the containers' logs are small or limited", evidence)


def _log(container: Container) -> str:
    return f"{container.name}: {size_text(container.log_bytes)}"
