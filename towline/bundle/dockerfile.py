"""Which files of its build context a Dockerfile copies. Pure."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator

from towline.bundle.dockerignore import Belongs
from towline.bundle.manifest import folders_of

# Instructions that copy no file of the context (ONBUILD: not in this build), and flags of COPY and ADD that leave the sources
# as they are named.
_PLAIN = {"ARG", "CMD", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "MAINTAINER", "ONBUILD"}
_PLAIN |= {"RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"}
_FLAGS = ("--chown=", "--chmod=", "--link")


def copied_by(text: str) -> Belongs | None:
    """Whether a path of the context may be copied into the image; None when the Dockerfile does not say so for sure.

    Only literal sources are understood, with `*` and `?` at most. What ONBUILD of a base image copies is not known.
    https://docs.docker.com/reference/dockerfile/#copy

    >>> copied = copied_by("FROM a AS b\\nCOPY --chown=1 app *.txt /srv/\\nCOPY --from=b /etc /etc")
    >>> [copied(path) for path in ("app/x/y.py", "a.txt", "README.md", "d/a.txt")]
    [True, True, False, False]
    >>> copied_by("FROM a\\nCOPY $WHAT /srv/") is None
    True
    """
    patterns: list[re.Pattern[str]] = []
    try:
        for word, rest in _instructions(text):
            patterns += map(_pattern, _sources(word, rest))
    except _Unsure:
        return None
    return lambda path: any(pattern.fullmatch(part) for pattern in patterns for part in (path, *folders_of(path)))


def copies(text: str) -> list[tuple[str, str]]:
    """What a Dockerfile copies of its context: (source, absolute destination); nothing where it does not say so for sure.

    >>> copies("FROM a\\nWORKDIR /app\\nCOPY . .\\nCOPY x.js /static/\\nCOPY --from=b /etc /etc")
    [('.', '/app'), ('x.js', '/static/')]
    """
    found: list[tuple[str, str]] = []
    folder = "/"
    try:
        for word, rest in _instructions(text):
            if word == "FROM":
                folder = "/"
            elif word == "WORKDIR":
                folder = posixpath.normpath(posixpath.join(folder, rest))
            elif word in ("COPY", "ADD") and (sources := _sources(word, rest)):
                last = _flags(rest)[1][-1]
                slash = "/" if last.endswith("/") or len(sources) > 1 else ""
                to = posixpath.normpath(posixpath.join(folder, last))
                found += [(posixpath.normpath(source), to.rstrip("/") + slash) for source in sources]
    except _Unsure:
        return []
    return found


class _Unsure(Exception):
    pass


def _instructions(text: str) -> Iterator[tuple[str, str]]:
    """Each instruction with its arguments, continued lines joined."""
    # another escape character, or another reader than Docker's own
    if re.match(r"(#.*\n)*#\s*(escape|syntax)\s*=(?!\s*docker/dockerfile\b)", text, re.IGNORECASE):
        raise _Unsure
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\[ \t]*\n", " ", "\n".join(line for line in lines if line.strip()))
    for line in joined.splitlines():
        word, _, rest = line.strip().partition(" ")
        yield word.upper(), rest.strip()


def _sources(word: str, rest: str) -> list[str]:
    """The sources that an instruction copies from the context, as they are written."""
    if word == "RUN" and re.search(r"--mount=\S*type=bind|--mount=(?!\S*type=)|<<", rest):
        raise _Unsure
    if word in _PLAIN:
        return []
    if word not in ("COPY", "ADD") or "<<" in rest:
        raise _Unsure
    flags, words = _flags(rest)
    if any(flag.startswith("--from=") for flag in flags):
        return []
    if not all(flag.startswith(_FLAGS) for flag in flags) or len(words) < 2:
        raise _Unsure
    return [source for source in words[:-1] if not re.match(r"https?://|git@|[a-z]+://", source)]


def _flags(rest: str) -> tuple[list[str], list[str]]:
    """The --flags, and the words after them: `a b`, or `["a", "b"]`."""
    flags: list[str] = []
    while rest.startswith("--"):
        flag, _, rest = rest.partition(" ")
        flags, rest = [*flags, flag], rest.strip()
    if not rest.startswith("["):
        return flags, rest.split()
    try:
        words = json.loads(rest)
    except ValueError:
        raise _Unsure from None
    return flags, [str(word) for word in words]


def _pattern(source: str) -> re.Pattern[str]:
    """A source as a pattern from the context's top; what matches a folder matches all below it."""
    if re.search(r"[$\[\]\\'\"]", source) or "**" in source:
        raise _Unsure
    path = posixpath.normpath(f"/{source.lstrip('/')}")[1:]
    if not path:
        return re.compile(".*", re.DOTALL)
    return re.compile("".join({"*": "[^/]*", "?": "[^/]"}.get(letter, re.escape(letter)) for letter in path))
