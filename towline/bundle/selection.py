"""What of a folder a stack needs, where it shares the folder with others: what Compose reads, mounts, and a Dockerfile copies."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from fnmatch import translate
from pathlib import Path

from towline.bundle.dockerfile import copied_by
from towline.bundle.dockerignore import Belongs, ignored_by
from towline.bundle.secret_texts import pattern_of
from towline.project.stack import Stack


@dataclass
class Selection:
    """roots: files and folders that are needed as a whole; `.` for everything. names: patterns of files. contexts: of builds."""

    roots: set[str]
    names: re.Pattern[str]
    starts: tuple[str, ...]
    contexts: list[Context] = field(default_factory=list)

    def needs(self, path: str) -> bool:
        return (
            is_below_any(path, self.roots)
            or self.names.match(path) is not None
            or any(context.needs(path) for context in self.contexts)
        )

    def lead_on(self, link: str, target: str) -> None:
        """What is needed at or below a symlink is needed where it leads to; all of that where the symlink is in what is needed."""
        inside = f"{link}/"
        below = {f"{target}/{root[len(inside) :]}" for root in self.roots if root.startswith(inside)}
        self.roots |= below or {target}

    def may_need_below(self, folder: str) -> bool:
        """Whether something in the folder may be needed."""
        inside = f"{folder}/"
        return (
            is_below_any(folder, self.roots)
            or any(root.startswith(inside) for root in self.roots)
            or any(start.startswith(inside) or inside.startswith(start) for start in self.starts)
            or any(context.may_need_below(folder) for context in self.contexts)
        )


@dataclass(frozen=True)
class Context:
    """A build context. copied: what the Dockerfile may copy. whole: .dockerignore has no `!`, so a folder in it is out."""

    folder: str
    copied: Belongs
    ignored: Belongs
    whole: bool

    def needs(self, path: str) -> bool:
        inside = self._inside(path)
        return inside == ".dockerignore" or (inside is not None and self.copied(inside) and not self.ignored(inside))

    def may_need_below(self, folder: str) -> bool:
        if self.folder.startswith(f"{folder}/"):
            return True
        inside = self._inside(folder)
        return inside is not None and not (self.whole and self.ignored(inside))

    def _inside(self, path: str) -> str | None:
        if self.folder == ".":
            return path
        return (
            path[len(self.folder) + 1 :] if path.startswith(f"{self.folder}/") else "" if path == self.folder else None
        )


def select(stack: Stack) -> Selection:
    """What of the stack's folder it needs. Raises nothing: what is named and not there has been refused before."""
    ignore_files = [f"{dockerfile}.dockerignore" for _, dockerfile in stack.contexts if dockerfile]
    dockerfiles = [dockerfile for _, dockerfile in stack.contexts if dockerfile]
    patterns = [pattern_of(name) for name in (*stack.read_by_compose, ".env.example", *dockerfiles, *ignore_files)]
    return Selection(
        set(stack.mounts),
        re.compile("|".join(translate(pattern) for pattern in patterns)),
        tuple(pattern.partition("*")[0] for pattern in patterns),
        [_context(stack.folder, folder, dockerfile) for folder, dockerfile in stack.contexts],
    )


def is_below_any(path: str, roots: Collection[str]) -> bool:
    """Whether a path is one of the roots or below it; `.` is everything."""
    return "." in roots or path in roots or any(path.startswith(f"{root}/") for root in roots)


def _context(top: Path, folder: str, dockerfile: str) -> Context:
    ignore = read_ignores(top, folder, dockerfile)
    text = _text(top / dockerfile) if dockerfile else None
    return Context(folder, (copied_by(text) if text else None) or _everything, ignored_by(ignore), "!" not in ignore)


def read_ignores(top: Path, folder: str, dockerfile: str) -> str:
    """The text of a build context's .dockerignore; the Dockerfile's own counts first."""
    names = [f"{dockerfile}.dockerignore"] if dockerfile else []
    return next((text for name in (*names, f"{folder}/.dockerignore") if (text := _text(top / name)) is not None), "")


def _text(file: Path) -> str | None:
    return file.read_text(encoding="utf-8-sig", errors="replace") if file.is_file() else None


def _everything(_: str) -> bool:
    return True
