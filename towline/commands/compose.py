"""Commands of docker compose. They run in the stack's folder, where Compose finds its files; the project is always given."""

from __future__ import annotations

from collections.abc import Sequence

from towline.commands.shell import Command


def compose(project: str, *words: str) -> Command:
    """`docker compose` for one project.

    >>> compose("whoami", "ps")
    ('docker', 'compose', '--project-name', 'whoami', 'ps')
    """
    return ("docker", "compose", "--project-name", project, *words)


def build(project: str, *, cache: bool = True, pull: bool = False) -> Command:
    """Build the images of all services that have a `build`. pull: from the newest images that their Dockerfiles name."""
    return compose(project, "build", *(() if cache else ("--no-cache",)), *(("--pull",) if pull else ()))


def down(project: str) -> Command:
    """Remove containers and networks; volumes are always kept."""
    return compose(project, "down", "--remove-orphans")


def up(project: str, services: Sequence[str] = ()) -> Command:
    """Start the containers in the background, with the images that are there; remove those of services that are no longer in
    the compose files. services: only these, without what they depend on.
    """
    chosen = ("--no-deps", *services) if services else ()
    return compose(project, "up", "--detach", "--remove-orphans", "--no-build", "--pull", "never", *chosen)
