"""Which files of a stack's folder are uploaded, each with its path, mode and size.

The same files give the same entries, whoever lists them and when.
"""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from towline.bundle.manifest import Entry
from towline.errors import StackError
from towline.project.catalog import Stack
from towline.project.ignore_file import IGNORE_FILE, read_ignore_file

# Never uploaded, at any depth: what tools leave behind. `node_modules/.cache` is matched as two names.
ALWAYS_IGNORED = frozenset(
    {".git", "__pycache__", ".DS_Store", ".pytest_cache", ".mypy_cache", ".ruff_cache", "node_modules/.cache"}
)
IGNORED_SUFFIX = ".pyc"
RESERVED = ".towline"


def list_files(stack: Stack) -> list[Entry]:
    """The entries of everything that is uploaded of `stack`, in no order; files without their sha256.

    Raises StackError, naming the path, for what cannot be uploaded: a symlink that leaves the folder, a
    device, a socket, a name with control characters, a folder that cannot be read.
    """
    walk = _Walk(stack)
    entries = list(walk.entries(str(stack.folder), ""))
    if stack.root_env and not walk.ignored(".env", ".env"):
        entries.append(_root_env(stack.root_env))
    return entries


def _root_env(path: Path) -> Entry:
    status = path.stat()
    return Entry("f", file_mode(".env", status.st_mode), status.st_size, "", ".env", "", path)


class _Walk:
    """Lists a stack's folder. Files come out without their sha256."""

    def __init__(self, stack: Stack) -> None:
        self.label = stack.label
        self.real = os.path.realpath(stack.folder)
        self.is_ignored = read_ignore_file(stack.folder, stack.label)

    def entries(self, folder: str, prefix: str) -> Iterator[Entry]:
        """The entries under `folder`, whose path in the manifest is `prefix` (empty, or ending in /)."""
        empty = True
        for item in self._scan(folder, prefix):
            path = prefix + item.name
            directory = item.is_dir(follow_symlinks=False)
            if self.ignored(item.name, path, directory):
                continue
            empty = False
            if path == "-" or "\\" in item.name or not item.name.isprintable():
                self._check_name(path)
            if directory:
                yield from self.entries(item.path, path + "/")
            else:
                yield self._entry(item, path)
        if empty and prefix:
            yield Entry("d", 0o755, 0, "-", prefix[:-1], "", Path(folder))

    def ignored(self, name: str, path: str, directory: bool = False) -> bool:
        if name in ALWAYS_IGNORED or name.endswith(IGNORED_SUFFIX) or path == IGNORE_FILE:
            return True
        if name == ".cache" and "/".join(path.split("/")[-2:]) in ALWAYS_IGNORED:
            return True
        if path == RESERVED:
            raise StackError(f"{self.label}/{path}: the name {RESERVED} is reserved; rename it")
        return self.is_ignored(path + "/" if directory else path)

    def _scan(self, folder: str, prefix: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(folder) as items:
                return list(items)
        except OSError as e:
            raise StackError(f"{self.label}/{prefix}: cannot be read: {e.strerror}") from None

    def _entry(self, item: os.DirEntry[str], path: str) -> Entry:
        try:
            status = item.stat(follow_symlinks=False)
        except OSError as e:
            raise StackError(f"{self.label}/{path}: cannot be read: {e.strerror}") from None
        if stat.S_ISREG(status.st_mode):
            mode = file_mode(item.name, status.st_mode)
            return Entry("f", mode, status.st_size, "", path, "", Path(item.path))
        if stat.S_ISLNK(status.st_mode):
            return Entry("l", 0o777, 0, "-", path, self._target(item.path, path), Path(item.path))
        raise StackError(f"{self.label}/{path}: is a {_special(status.st_mode)}; only files can be sent")

    def _target(self, link: str, path: str) -> str:
        """A symlink's target, when it stays in the folder. It may dangle; it may not leave."""
        target = os.readlink(link)  # noqa: PTH115 - Path would tidy up the target's text
        self._check_text(target, path)
        lexical = os.path.normpath(f"{os.path.dirname(path)}/{target}".lstrip("/"))  # noqa: PTH120
        real = os.path.realpath(link)
        outside = real != self.real and not real.startswith(self.real + "/")
        if target.startswith("/") or lexical.split("/")[0] == ".." or outside:
            raise StackError(f"{self.label}/{path}: the symlink leaves the stack's folder (to {target!r})")
        return target

    def _check_name(self, path: str) -> None:
        """Refuse a name that cannot stand in a manifest's line, in a server's tar or in the output of its sha256sum."""
        self._check_text(path, path)
        if path == "-":  # stdin, for many a program
            raise StackError(f"{self.label}: the name '-' cannot be sent; rename it")
        if "\\" in path:  # sha256sum writes such a name escaped, so that its list could not be compared
            raise StackError(f"{self.label}: the name {path!r} has a backslash; rename it")

    def _check_text(self, text: str, path: str) -> None:
        try:
            text.encode()
        except UnicodeEncodeError:
            raise StackError(f"{self.label}: the name {path!r} is not UTF-8; rename it") from None
        if any(unicodedata.category(letter) == "Cc" for letter in text):
            raise StackError(f"{self.label}: the name {path!r} has control characters; rename it")


def _special(mode: int) -> str:
    kinds = {stat.S_IFSOCK: "socket", stat.S_IFIFO: "fifo", stat.S_IFBLK: "device", stat.S_IFCHR: "device"}
    return kinds.get(stat.S_IFMT(mode), "special file")


def file_mode(name: str, mode: int) -> int:
    """A file's mode in a manifest: 0644 or 0755; 0600 or 0700 for a .env and for what only its owner may read here."""
    secret = name == ".env" or (name.startswith(".env.") and name != ".env.example")
    private = secret or not mode & 0o077
    runs = bool(mode & stat.S_IXUSR)
    return (0o700 if runs else 0o600) if private else (0o755 if runs else 0o644)
