"""Docker's .dockerignore: which paths of a build context it leaves out. Pure."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator

from towline.bundle.manifest import folders_of

Belongs = Callable[[str], bool]


def ignored_by(text: str) -> Belongs:
    """Whether a .dockerignore leaves a path out. Docker's rules, not git's.

    Patterns are rooted at the context; what matches a folder matches all below it; the last match decides, also
    for `!`. https://docs.docker.com/build/concepts/context/#dockerignore-files

    >>> ignored = ignored_by("*.md\\n!README.md\\nnode_modules")
    >>> [ignored(path) for path in ("a.md", "README.md", "docs/a.md", "node_modules/x/y")]
    [True, False, False, True]
    """
    rules = [rule for line in text.splitlines() if (rule := _rule(line))]

    def ignored(path: str) -> bool:
        left_out = False
        for regex, leaves_out in rules:
            if left_out != leaves_out and any(regex.fullmatch(part) for part in (path, *folders_of(path))):
                left_out = leaves_out
        return left_out

    return ignored


def _rule(line: str) -> tuple[re.Pattern[str], bool] | None:
    pattern = line.strip()
    if not pattern or line.startswith("#"):
        return None
    leaves_out = not pattern.startswith("!")
    pattern = posixpath.normpath(pattern.lstrip("!").strip()).lstrip("/")
    if pattern in ("", "."):
        return None
    try:
        return re.compile("".join(_regex(pattern)), re.DOTALL), leaves_out
    except re.error:
        return None


_GLOB = re.compile(r"\*\*/|\*\*|\*|\?|\[\^?[^]]+\]|\\.|.", re.DOTALL)
_MEANS = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def _regex(pattern: str) -> Iterator[str]:
    for part in _GLOB.findall(pattern):
        if part in _MEANS:
            yield _MEANS[part]
        elif part[0] == "[" and len(part) > 1:
            yield part
        else:
            yield re.escape(part[1:] if part[0] == "\\" and len(part) > 1 else part)
