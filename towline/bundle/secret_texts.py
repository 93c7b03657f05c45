"""The texts of a stack that hold secrets: its env files, and the files of its `secrets:`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from towline.project.stack import Stack
from towline.text.lines import as_text

LARGEST = 256 << 10  # bytes; no secret is larger
_VARIABLE = re.compile(r"\$\{[^}]*\}|\$\w+")


@dataclass(frozen=True, repr=False)
class SecretTexts:
    """env: texts of env files, where a variable's name tells of a secret. files: texts that are secret as a whole."""

    env: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


def read_secret_texts(stack: Stack, read: Callable[[Path], bytes] = Path.read_bytes) -> SecretTexts:
    """What the stack's folder holds now, ignored files too: what a person copied to the server may stand in them."""
    env = [_decoded(content) for content in _read(stack, _env_names(stack), read)]
    if stack.root_env and stack.root_env.is_file():
        env.append(_decoded(read(stack.root_env)))
    files = (as_text(content) or "" for content in _read(stack, stack.secret_files, read))
    return SecretTexts(tuple(env), tuple(files))


def _decoded(content: bytes) -> str:
    """The text of an env file; one that is not UTF-8 has secrets all the same, and output is decoded in the same way."""
    return content.decode("utf-8-sig", errors="replace")


def pick_secret_texts(stack: Stack, texts: Mapping[str, str]) -> SecretTexts:
    """Those among `texts`: path → text."""
    env, files = (
        tuple(text for name in names for path, text in texts.items() if fnmatchcase(path, pattern_of(name)))
        for names in (_env_names(stack), stack.secret_files)
    )
    return SecretTexts(env, files)


def pattern_of(name: str) -> str:
    """The name of a file as a pattern: a variable in it may be anything.

    >>> pattern_of("conf/${STAGE:-dev}.env")
    'conf/*.env'
    """
    return _VARIABLE.sub("*", name)


def _env_names(stack: Stack) -> tuple[str, ...]:
    return (".env", *stack.env_files)


def _read(stack: Stack, names: Iterable[str], read: Callable[[Path], bytes]) -> Iterator[bytes]:
    for pattern in {pattern_of(name) for name in names}:
        for file in [stack.folder / pattern] if "*" not in pattern else stack.folder.glob(pattern):
            if file.is_file() and file.stat().st_size <= LARGEST:
                yield read(file)
