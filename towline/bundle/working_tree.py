"""A stack's folder as it was when its manifest was made: every file read once, the texts that are needed later kept."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import translate
from functools import cached_property
from pathlib import Path

from towline.bundle.container_data import container_data
from towline.bundle.dockerignore import Belongs
from towline.bundle.hashing import hash_files, read_unchanged
from towline.bundle.manifest import Entry, Manifest, path_order
from towline.bundle.secret_texts import SecretTexts, pattern_of, read_secret_texts
from towline.bundle.walk import list_files
from towline.project.env_file import read_env
from towline.project.stack import Stack
from towline.project.variables import interpolate
from towline.text.lines import as_text

MOST_TEXT = 1 << 17  # bytes; larger files are not kept
_TEXT_NAMES = r"(.*/)?(\.env[^/]*|[^/]*\.(env|ya?ml|toml|dockerignore)|[^/]*(docker|container)file[^/]*)"


@dataclass(frozen=True)
class WorkingTree:
    """What is deployed, and what a host is compared with.

    networks: external ones that no stack creates, made on the host before the stack. makers: other external network → the stack
    that creates it. kept: path → content of the files that may
    be needed as text. secrets: what must not be shown. tracked, links_out, unsendable, not_executable: see `Listing`.
    """

    stack: Stack
    manifest: Manifest
    networks: frozenset[str] = frozenset()
    kept: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    secrets: SecretTexts = field(default_factory=SecretTexts)
    tracked: frozenset[str] = frozenset()
    links_out: tuple[str, ...] = ()
    unsendable: tuple[str, ...] = ()
    not_executable: tuple[str, ...] = ()
    makers: Mapping[str, str] = field(default_factory=dict)

    def content(self, path: str) -> bytes:
        """The content that was hashed of the file that `path` comes to, symlinks followed; b"" when there is none.

        A file that was not kept is read again. Raises StackError when it is no longer what was hashed.
        """
        entry = self.manifest.file(path)
        if entry is None:
            return b""
        return self.kept[entry.path] if entry.path in self.kept else read_unchanged(entry, self.stack.label)

    def text(self, path: str) -> str:
        """The same as text, lines ended by `\\n` alone; what is not UTF-8 is replaced."""
        text = self.content(path).decode("utf-8-sig", errors="replace")
        return text.replace("\r\n", "\n").replace("\r", "\n")

    def texts(self, paths: Iterable[str]) -> dict[str, str]:
        """Path → text, exactly as it is, of those files that are text."""
        texts = {path: as_text(self.content(path)) for path in paths}
        return {path: text for path, text in texts.items() if text is not None}

    @cached_property
    def is_data(self) -> Belongs:
        """Whether a path is container data, see `container_data`."""
        return container_data(self.stack, self.tracked)

    @cached_property
    def data(self) -> frozenset[str]:
        """The paths that are sent although they are container data, as far as the host has none of its own."""
        return frozenset(entry.path for entry in self.manifest.entries if self.is_data(entry.path))

    @property
    def unsettled(self) -> frozenset[str]:
        """The paths that may differ on the host although all is as it should be: container data, and the repository's .env."""
        return self.data | {".env"} if self.stack.root_env else self.data

    @cached_property
    def variables(self) -> Mapping[str, str] | None:
        """The variables of its .env, nothing interpolated; None when it is not UTF-8."""
        try:
            return read_env(self.content(".env"))
        except UnicodeDecodeError:
            return None

    @property
    def images(self) -> tuple[str, ...]:
        """The images that the stack does not build, but for those whose names only the server can tell."""
        variables = self.variables or {}
        named = [service.image for service in self.stack.services if service.image and not service.builds]
        images = {interpolate(name, variables) for name in named}
        return tuple(sorted(name for name in images if "$" not in name))


def load_working_tree(stack: Stack, networks: frozenset[str] = frozenset()) -> WorkingTree:
    """The stack's folder, read and checked: bad input ends here, before any network.

    Raises StackError, naming the path, for what cannot be uploaded (see `list_files`) and for a file that cannot be read or
    changes meanwhile.
    """
    is_kept, listing = _kept_files(stack), list_files(stack)
    entries: list[Entry] = []
    kept: dict[str, bytes] = {}
    unsendable = list(listing.unsendable)
    for entry, content in hash_files(listing.entries, stack.label, container_data(stack, listing.tracked)):
        if content is None:
            unsendable.append(entry.path)
            continue
        entries.append(entry)
        if entry.kind == "f" and entry.size <= MOST_TEXT and is_kept(entry.path):
            kept[entry.path] = content
    manifest = Manifest(tuple(sorted(entries, key=path_order)))
    tree = WorkingTree(stack, manifest, networks, kept, tracked=listing.tracked, links_out=listing.links_out)
    tree = replace(tree, unsendable=tuple(sorted(unsendable)), not_executable=listing.not_executable)
    return replace(tree, secrets=read_secret_texts(stack, _reader(tree)))


def _kept_files(stack: Stack) -> Callable[[str], object]:
    """Whether a path is one that may be needed as text: by its name, or since a compose file names it."""
    named = (*stack.env_files, *stack.secret_files, *stack.text_files)
    patterns = [_TEXT_NAMES, *(translate(pattern_of(name)) for name in named)]
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns), re.IGNORECASE).fullmatch


def _reader(tree: WorkingTree) -> Callable[[Path], bytes]:
    """Reads a file of the folder: what was hashed of it, from the disk when it is ignored."""

    def read(file: Path) -> bytes:
        if file == tree.stack.root_env:
            return tree.content(".env") if tree.manifest.file(".env") else file.read_bytes()
        path = file.relative_to(tree.stack.folder).as_posix()
        return tree.content(path) if tree.manifest.file(path) else file.read_bytes()

    return read
