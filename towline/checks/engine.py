"""The Docker Engine of a host."""

from __future__ import annotations

import re
from collections.abc import Iterator

from towline.checks.finding import Finding, Subject, listed
from towline.facts.container import Container
from towline.facts.survey import Survey
from towline.project.settings import Host
from towline.text import size_text

SLOW_DRIVERS = {"vfs", "devicemapper", "aufs", "overlay"}  # deprecated, or a copy of each layer
OLDEST_COMPOSE = (2, 20)
MOST_UNNAMED = 5 << 30
MOST_LOG = 200 << 20


def check_engine(host: Host, survey: Survey) -> Iterator[Finding]:
    """The findings `engine.*`. When it does not answer, that is the one that fails."""
    about = Subject("engine", host.name)
    engine = survey.engine
    if engine.problem:
        if engine_trouble(survey) == "host.docker":
            yield about.skip("running", "see host.docker")
        else:
            yield about.fail(
                "running", "the Docker Engine does not answer", engine.problem, "on the server: systemctl status docker"
            )
        return
    yield about.ok("running", "the Docker Engine answers")
    yield about.ok("version", "the engine tells its version", f"Docker Engine {engine.version}")
    yield _compose(about, survey)
    yield _storage(about, survey)
    yield _unnamed(about, survey)
    yield _logs(about, survey)


def engine_trouble(survey: Survey) -> str:
    """The id of the finding that tells why the engine cannot be asked, '' when it can."""
    if not survey.engine.problem:
        return ""
    return "host.docker" if survey.engine.socket in ("denied", "none") else "engine.running"


def _compose(about: Subject, survey: Survey) -> Finding:
    made = sorted({one.compose for one in survey.containers if one.compose}, key=_version)
    if not survey.compose:
        hint = "install the package docker-compose-plugin (or docker-compose-v2)"
        return about.fail("compose", "docker compose v2 is missing", hint=hint)
    evidence = f"{survey.compose}" + (f"; containers were made by {made[-1]}" if made else "")
    if made and _version(made[-1]) < OLDEST_COMPOSE:
        return about.warn("compose", "docker compose is old", evidence, "2.20 and later are known to work")
    return about.ok("compose", "docker compose is installed", evidence)


def _version(text: str) -> tuple[int, ...]:
    """
    >>> _version("2.40.3-desktop.1")
    (2, 40, 3)
    """
    return tuple(int(word) for word in re.findall(r"\d+", text)[:3])


def _storage(about: Subject, survey: Survey) -> Finding:
    driver = survey.engine.driver
    if driver in SLOW_DRIVERS:
        return about.warn(
            "storage", f"the storage driver {driver} is slow or deprecated", hint="overlay2 is Docker's default"
        )
    return about.ok("storage", "the storage driver is one for production", driver)


def _unnamed(about: Subject, survey: Survey) -> Finding:
    used = {one.image_id for one in survey.containers}
    sizes = [size for image, size in survey.engine.unnamed.items() if image not in used]
    evidence = f"{len(sizes)} images without a name, {size_text(sum(sizes))} at most"
    if sum(sizes) > MOST_UNNAMED:
        return about.warn("unnamed-images", "images that nothing uses fill the disk", evidence, "docker image prune")
    return about.ok("unnamed-images", "few images lie about without a name", evidence)


def _logs(about: Subject, survey: Survey) -> Finding:
    growing = [one for one in survey.containers if not one.log_limited]
    large = sorted((one for one in growing if one.log_bytes > MOST_LOG), key=lambda one: -one.log_bytes)
    if large:
        hint = 'limit them: logging: {options: {max-size: 10m, max-file: "3"}}, or log-opts in /etc/docker/daemon.json'
        return about.warn("logs", "logs grow without a limit", listed([_log(one) for one in large]), hint)
    size = size_text(sum(one.log_bytes for one in growing))
    evidence = f"{len(growing)} of {len(survey.containers)} containers have no limit, {size} in all"
    return about.ok("logs", "the containers' logs are small or limited", evidence)


def _log(one: Container) -> str:
    return f"{one.name}: {size_text(one.log_bytes)}"
