"""The images that stacks name: pulled where a registry answers, else replaced by a stand-in under the same tag."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from towline.project.compose_file import COMPOSE_FILES
from towline.sandbox.lock import locked
from towline.sandbox.stand_ins.build import LABEL, build, last_line, run

PULL_SECONDS = 120
"""The limit for one pull: 100 MB at 8 Mbit/s. A registry whose name cannot be resolved fails at once."""


def ensure(names: Iterable[str], say: Callable[[str], None] = print) -> list[str]:
    """Pull or build each image that this machine's engine lacks; returns those of `names` that are stand-ins.

    An image that exists costs one `docker image inspect`. After a failed pull from a registry that does not answer, no
    other pull is tried. `say` gets a line for each image that was pulled or built. Raises TowlineError for an image
    that can neither be pulled nor built.
    """
    names = list(dict.fromkeys(names))
    if any(stand_in_label(name) is None for name in names):
        # two programs that build the same image would remove each other's files
        with locked(Path(tempfile.gettempdir(), f"towline-images-{os.getuid()}.lock")):
            _pull_or_build([name for name in names if stand_in_label(name) is None], say)
    return [name for name in names if stand_in_label(name)]


def _pull_or_build(names: Iterable[str], say: Callable[[str], None]) -> None:
    pulling = True
    for name in names:
        failure = _pull(name) if pulling else "no registry can be reached"
        if not failure:
            say(f"pulled {name}")
            continue
        pulling = pulling and _registry_answers(name)
        say(f"stand-in for {name}: {build(name, failure)}")


def shipped_images(top: Path) -> list[str]:
    """The public images that the stacks in `top` use, and the base images of their Dockerfiles."""
    folders = [folder for kind in ("infrastructure", "stacks") for folder in sorted((top / kind).glob("*"))]
    files = [folder / name for folder in folders for name in COMPOSE_FILES if (folder / name).is_file()]
    return list(dict.fromkeys(image for file in files for image in _images_of(file)))


def stand_in_label(name: str) -> bool | None:
    """Whether the image is a stand-in; None when the engine has no image of that name."""
    inspected = run(["docker", "image", "inspect", "-f", f'{{{{index .Config.Labels "{LABEL}"}}}}', name])
    return inspected.stdout.strip() == "true" if inspected.returncode == 0 else None


def _images_of(compose_file: Path) -> Iterator[str]:
    """The images that a compose file names, and the base images of its services' Dockerfiles."""
    text = yaml.safe_load(compose_file.read_text(encoding="utf-8")) or {}
    for service in (text.get("services") or {}).values():
        if not service.get("build"):
            yield from filter(None, [resolve(service.get("image", ""))])
        else:
            yield from base_images(_dockerfile(compose_file.parent, service["build"]))


def _dockerfile(folder: Path, build: str | dict[str, Any]) -> str:
    """The text of the Dockerfile of a service's `build`; '' if there is none."""
    settings = {"context": build} if isinstance(build, str) else build
    if "dockerfile_inline" in settings:
        return str(settings["dockerfile_inline"])
    path = folder / resolve(settings.get("context", ".")) / resolve(settings.get("dockerfile", "Dockerfile"))
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def base_images(dockerfile: str) -> list[str]:
    """The images of a Dockerfile's FROM and COPY --from, without its own stages and `scratch`.

    >>> base_images("ARG V=3.13\\nFROM python:$V-slim AS base\\nFROM base\\nCOPY --from=busybox:1 /bin/sh /")
    ['python:3.13-slim', 'busybox:1']
    """
    images: list[str] = []
    stages, values = {"scratch"}, {}
    for word, *rest in (line.split() for line in dockerfile.splitlines() if line.strip()):
        names = [part for part in rest if not part.startswith("--")]
        if word.upper() == "ARG" and rest and "=" in rest[0]:
            name, _, value = rest[0].partition("=")
            values[name] = value.strip("\"'")
        elif word.upper() == "FROM" and names:
            images += [resolve(names[0], values)]
            stages |= {names[2]} if len(names) > 2 else set()
        elif word.upper() == "COPY":
            images += [resolve(part[7:], values) for part in rest if part.startswith("--from=")]
    return [name for name in dict.fromkeys(images) if name and name not in stages and not name.isdigit()]


def resolve(text: str, values: dict[str, str] | None = None) -> str:
    """`text` with `$X`, `${X}` and `${X:-default}` replaced from `values`, else by the default.

    >>> resolve("redis:${TAG:-7}-alpine")
    'redis:7-alpine'
    """
    known = values or {}
    variable = re.compile(r"\$(?:(\w+)|\{(\w+)(?::?-([^}]*))?\})")
    return variable.sub(lambda m: known.get(m[1] or m[2]) or m[3] or "", text)


def _pull(name: str) -> str:
    """Pull the image; the reason when that failed, else ''."""
    try:
        pulled = run(["docker", "pull", "-q", name], seconds=PULL_SECONDS)
    except subprocess.TimeoutExpired:
        return f"docker pull took longer than {PULL_SECONDS} s"
    return "" if pulled.returncode == 0 else last_line(pulled.stderr)


def _registry_answers(name: str) -> bool:
    """Whether the image's registry accepts a TCP connection; a pull may also fail for that image only."""
    first = name.partition("/")[0]
    registry = first if "/" in name and re.search(r"[.:]|^localhost$", first) else "registry-1.docker.io"
    host, _, port = registry.partition(":")
    try:
        with socket.create_connection((host, int(port or 443)), timeout=3):
            return True
    except OSError:
        return False
