"""Volumes that hide the files of a new image."""

from __future__ import annotations

import pytest

from towline.bundle.manifest import Changes, Entry, Manifest
from towline.deploy.planning.comparison import ServicePlan
from towline.deploy.planning.situation import Release
from towline.deploy.planning.volume_notes import volume_notes
from towline.facts.compose_model import Model

REBUILT = [ServicePlan("app", "rebuild")]
CHANGED = Entry("f", 0o644, 1, "1" * 64, "static/app.js")


def notes(
    dockerfile: str, *, read_only: bool = False, existing: frozenset[str] = frozenset({"shop_static"})
) -> tuple[str, ...]:
    volume = {"type": "volume", "source": "static", "target": "/srv/static"}
    services = {
        "app": {"build": {"context": "."}, "volumes": [volume]},
        "web": {"image": "nginx", "volumes": [{**volume, "read_only": read_only}]},
    }
    model = Model(services=services, volumes={"static": {"name": "shop_static"}})
    entries = (Entry("f", 0o644, 1, "0" * 64, "Dockerfile"), CHANGED)
    release = Release(model, Manifest(entries), {"Dockerfile": dockerfile})
    return volume_notes(REBUILT, release, Changes(changed=(CHANGED,)), existing)


@pytest.mark.parametrize(
    "copy",
    ["COPY static /srv/static", "COPY . /srv", "COPY static/app.js /srv/static/", "WORKDIR /srv\nCOPY static/ static/"],
)
def test_changed_file_that_the_volume_hides_is_named(copy: str) -> None:
    (note,) = notes(f"FROM a\n{copy}\n")
    assert note.startswith("the volume shop_static keeps the /srv/static that it was first filled with: ")
    assert "the new image of app has another /srv/static/app.js there" in note


@pytest.mark.parametrize(
    "copy", ["COPY static /srv/other", "COPY . /app", "COPY --from=b /x /srv/static", "COPY $X /srv"]
)
def test_other_copies_are_not_hidden(copy: str) -> None:
    assert notes(f"FROM a\n{copy}\n") == ()


def test_what_another_service_only_reads_may_be_built() -> None:
    (note,) = notes("FROM a\nRUN make\n", read_only=True)
    assert "app is built anew, and web reads it" in note


def test_volume_that_is_not_there_yet_is_filled_from_the_image() -> None:
    assert notes("FROM a\nCOPY static /srv/static\n", existing=frozenset()) == ()
