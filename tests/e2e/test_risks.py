"""What is found on a real engine before anything happens."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.conftest import Ran
from tests.e2e.conftest import Project, free_port

ANSWERS = {"there": (200, {"schemaVersion": 2}), "gone": (404, {"errors": [{"code": "MANIFEST_UNKNOWN"}]})}
DENIED = (401, {"errors": [{"code": "UNAUTHORIZED"}]})
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


class Registry(BaseHTTPRequestHandler):
    """As much of a registry as is asked before a pull. Docker takes one on 127.0.0.1 over plain HTTP."""

    def do_GET(self) -> None:
        name = self.path.split("/")[2]
        status, content = (200, {}) if not name else ANSWERS.get(name, DENIED)
        body = json.dumps({"mediaType": MANIFEST, **content}).encode()
        self.send_response(status)
        self.send_header("Content-Type", MANIFEST)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815 - http.server's names

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def registry() -> Iterator[str]:
    """Its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Registry) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def risks(ran: Ran) -> list[tuple[str, str, bool]]:
    (plan,) = json.loads(ran.out)
    return [(risk["name"], risk["sentence"], risk["stops"]) for risk in plan["risks"]]


def test_images_that_cannot_be_pulled_stop_the_deploy_before_anything_is_touched(
    project: Project, registry: str
) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    images = {
        "a": f"{registry}/there:1",
        "b": f"{registry}/gone:1",
        "c": f"{registry}/secret:1",
        "d": f"{nobody}/x:${{TAG}}",
    }
    services = "".join(f"  {name}: {{image: '{image}'}}\n" for name, image in images.items())
    project.write("web", {"compose.yaml": f"services:\n{services}", ".env": "TAG=1\n"})
    stack = f"--stack={project.name('web')}"
    planned = project.tow("plan", stack, "--format=json")
    assert planned.code == 0, planned.err
    start = "is not on the server, and its registry"
    assert risks(planned) == [
        ("image-missing", f"b: image {registry}/gone:1 {start} has no such image; check its name and tag", True),
        (
            "image-missing",
            f"c: image {registry}/secret:1 {start} does not give it to this login; "
            "check its name, or log in there: docker login",
            True,
        ),
        (
            "image-missing",
            f"d: image {nobody}/x:1 {start} cannot be reached from there (connection refused); "
            "see that it can, or load the image there: docker load",
            True,
        ),
    ]
    ran = project.tow("deploy", stack)
    assert ran.code == 1
    assert "nothing has been touched: b: image" in ran.err
    assert "1 login · 3 sessions, peak 1" in ran.err
    assert list(project.root.iterdir()) == []


MOUNTING = """
services:
  web:
    image: busybox:1.37
    init: true
    command: sleep 600
    volumes: ["./data:/data"{more}]
x-towline: {{strategy: update}}
"""


def test_a_plan_names_what_it_pulls_and_creates_and_a_deploy_leaves_nothing_of_it(
    project: Project, registry: str
) -> None:
    name = project.name("web")
    compose = MOUNTING.format(more=", 'store:/store'") + "volumes: {store: {}}\n"
    project.write("web", {"compose.yaml": compose})

    def additions(ran: Ran) -> dict[str, object]:
        (plan,) = json.loads(ran.out)
        return {key: plan[key] for key in ("images", "networks", "volumes", "steps")}

    made = {"networks": {"create": [f"{name}_default"]}, "volumes": {"create": [f"{name}_store"]}}
    planned = project.tow("plan", f"--stack={name}", "--format=json")
    assert additions(planned) == {
        "images": {"pull": []},
        **made,
        "steps": ["build", "pull", "stage", "apply", "up", "mounts", "health", "downtime", "keep"],
    }
    shown = project.tow("plan", f"--stack={name}")
    assert f"  create: network {name}_default, volume {name}_store\n" in shown.err
    assert "  steps: build, pull, stage, apply, up, " in shown.err
    assert project.tow("deploy", f"--stack={name}").code == 0
    nothing = {"images": {"pull": []}, "networks": {"create": []}, "volumes": {"create": []}, "steps": []}
    assert additions(project.tow("plan", f"--stack={name}", "--format=json")) == nothing
    project.write("web", {"compose.yaml": compose.replace("busybox:1.37", f"{registry}/there:1")})
    assert f"  pull: {registry}/there:1\n" in project.tow("plan", f"--stack={name}").err


def test_mounts_and_volumes_that_are_not_on_the_server_are_found(project: Project) -> None:
    stack = f"--stack={project.name('web')}"
    project.write("web", {"compose.yaml": MOUNTING.format(more="")})
    assert project.tow("deploy", stack).code == 0
    (project.live() / "there.json").write_text("")
    nowhere = f"{project.root}/nowhere.conf"
    more = ["./there.json:/a", "./acme.json:/b", f"{nowhere}:/c", "store:/d"]
    compose = MOUNTING.format(more="".join(f", '{mount}'" for mount in more))
    compose += f"volumes: {{store: {{external: true, name: {project.name('store')}}}}}\n"
    project.write("web", {"compose.yaml": compose})
    (project.live() / "data").rmdir()
    planned = project.tow("plan", stack, "--format=json")
    told = [(name, sentence.partition(";")[0], stops) for name, sentence, stops in risks(planned)]
    assert told == [
        (
            "volume-missing",
            f"the external volume {project.name('store')} does not exist on the server, and Compose makes none",
            True,
        ),
        ("mount-missing", f"web: mounts {nowhere}, which is not on the server", False),
        ("mount-missing", "web: mounts ./acme.json, which is neither in the release nor on the server", False),
        ("mount-missing", "web: mounts ./data, which the live release has, and which is gone from the server", False),
    ]
