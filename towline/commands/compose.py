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


def build(project: str, services: Sequence[str] = (), *, cache: bool = True, pull: bool = False) -> Command:
    """Build the images of all services that have a `build`, or of those in `services`.

    pull: from the newest images that their Dockerfiles name.
    """
    options = (*(() if cache else ("--no-cache",)), *(("--pull",) if pull else ()))
    return compose(project, "build", *options, *services)


def down(project: str) -> Command:
    """Remove containers and networks; volumes are always kept."""
    return compose(project, "down", "--remove-orphans")


def up(project: str, services: Sequence[str] = (), *, orphans: bool = False) -> Command:
    """Start the containers in the background, with the images that are there; remove those of services that are no longer in
    the compose files. services: only these, without what they depend on. orphans: those containers stay.
    """
    chosen = ("--no-deps", *services) if services else ()
    removing = () if orphans else ("--remove-orphans",)
    return compose(project, "up", "--detach", *removing, "--no-build", "--pull", "never", *chosen)
