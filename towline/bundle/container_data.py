"""Which paths of a stack are container data: what lies below a folder that a service mounts writable."""

from __future__ import annotations

import re
from collections.abc import Collection
from fnmatch import translate

from towline.bundle.dockerignore import Belongs
from towline.bundle.secret_texts import pattern_of
from towline.project.stack import Stack


def container_data(stack: Stack, tracked: Collection[str]) -> Belongs:
    """Whether a path (of a folder: with `/` at its end) is container data. Not what git tracks, nor what Compose itself reads."""
    folders = tuple("" if mount == "." else f"{mount}/" for mount, writable in stack.mounts.items() if writable)
    if not folders:
        return lambda _: False
    is_read = read_by_compose(stack)
    return lambda path: path.startswith(folders) and path not in tracked and not is_read(path)


def read_by_compose(stack: Stack) -> Belongs:
    """Whether Compose itself reads a path: compose files, .env and env files, configs and secrets, label files, Dockerfiles."""
    pattern = re.compile("|".join(translate(pattern_of(name)) for name in stack.read_by_compose))
    return lambda path: pattern.match(path) is not None
