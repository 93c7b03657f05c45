"""Risks of a deploy that meets what somebody else runs: without a release, from another folder, of another repository. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from towline.deploy.planning.situation import Risk, Situation
from towline.facts.compose_model import replicas_of
from towline.facts.container import Container
from towline.text.amounts import comma_list


def takeover_risks(situation: Situation) -> Iterator[Risk]:
    """What the deploy would take from somebody, or could not give back."""
    yield from _other_repository(situation)
    yield from _running_elsewhere(situation)
    yield from _removed_services(situation)
    yield from _scaled_down(situation)
    yield from _running_jobs(situation)


def _other_repository(situation: Situation) -> Iterator[Risk]:
    fact, ours = situation.current.stack, situation.desired.repository
    live = next((release for release in fact.releases if release.id == fact.current), None)
    told = live.meta.get("repository") if live else None
    theirs = frozenset(map(str, told)) if isinstance(told, list) else frozenset[str]()
    if not live or not theirs or not ours or theirs & set(ours):
        return
    stack = situation.desired.stack.name
    sentence = (
        f"the {stack} that runs there is another repository's: {live.meta.get('by', 'somebody')} deployed {live.id}"
    )
    origin = next((name.partition(" ")[2] for name in sorted(theirs) if name.startswith("origin ")), "")
    sentence += f" from {origin}" if origin else ""
    # without git only the folder is known, and a folder may have been moved or be another clone's
    known = not any(name.startswith("folder ") for name in (*theirs, *ours))
    yield Risk("not-ours", f"{sentence}; give this stack another name, or its host another root", stops=known)


def _running_elsewhere(situation: Situation) -> Iterator[Risk]:
    running = situation.current.running
    if running is None or running.in_place or situation.adopting:
        return
    stack, folder = situation.desired.stack.name, running.origin.folder or "a folder that its containers do not tell"
    start = f"{stack} runs already, from {folder}"
    if running.data:
        data = comma_list(f"./{path} (now {source})" for source, path in running.data)
        mend = f"take it over with its data: inv adopt --stack={stack}"
        yield Risk(
            "runs-elsewhere", f"{start}; its new containers would not find what is in {data}; {mend}", stops=True
        )
    else:
        sentence = f"{start}; from now on it would run from the files here, and what is edited there no longer counts"
        yield Risk("runs-elsewhere", sentence, stops=False)


def _removed_services(situation: Situation) -> Iterator[Risk]:
    running = situation.current.running
    gone = sorted(set(running.services) - situation.model.services.keys()) if running else []
    if gone:
        sentence = f"would be removed, since the compose files here do not have it: {comma_list(gone)}"
        yield Risk("service-removed", sentence, stops=False)


def _scaled_down(situation: Situation) -> Iterator[Risk]:
    """Services that run more containers than the compose files make, as after `docker compose up --scale`."""
    running = situation.current.running
    runs = Counter(container.service for container in running.containers if container.active) if running else Counter()
    services = situation.model.services
    more = [name for name, count in sorted(runs.items()) if name in services and count > replicas_of(services[name])]
    if more:
        listed = comma_list(f"{name} ({runs[name]} → {replicas_of(services[name])})" for name in more)
        yield Risk("scaled-down", f"would run fewer containers than now: {listed}", stops=False)


def _running_jobs(situation: Situation) -> Iterator[Risk]:
    """`up` leaves what `compose run` started alone; `down` ends it."""
    if situation.strategy != "recreate":
        return
    jobs = [container for container in situation.inventory.containers if _is_job(container, situation.project)]
    if jobs:
        names = comma_list(f"{job.name} ({job.service})" for job in jobs)
        sentence = f"a job started with `docker compose run` would be ended: {names}"
        yield Risk("job-running", f"{sentence}; wait for it, or deploy with strategy: update", stops=False)


def _is_job(container: Container, project: str) -> bool:
    return container.project == project and container.oneoff and container.active
