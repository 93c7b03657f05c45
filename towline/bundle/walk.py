"""Which files of a stack's folder are uploaded, each with its path, mode and size.

The same files give the same entries, whoever lists them and when.
"""

from __future__ import annotations

import os
import posixpath
import stat
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from towline.bundle.container_data import container_data
from towline.bundle.dockerignore import Belongs, ignored_by
from towline.bundle.manifest import Entry
from towline.bundle.repository import tracked_files
from towline.bundle.selection import Selection, is_below_any, read_ignores, select
from towline.errors import StackError
from towline.project.file_modes import chooser
from towline.project.ignore_file import IGNORE_FILE, read_ignore_file
from towline.project.stack import Stack

# Never uploaded, at any depth: what tools leave behind. `node_modules/.cache` is matched as two names.
ALWAYS_IGNORED = frozenset(
    {".git", "__pycache__", ".DS_Store", ".pytest_cache", ".mypy_cache", ".ruff_cache", "node_modules/.cache"}
)
IGNORED_SUFFIX = ".pyc"
RESERVED = ".towline"


@dataclass(frozen=True)
class Listing:
    """What is uploaded of a stack. entries: in no order, files without their sha256. tracked: the files that git tracks.

    Not sent — links_out: symlinks that lead out of the folder and that nothing needs; unsendable: container data that cannot be
    read or sent, such as a socket. not_executable: files that may be executed here, and not for git.
    """

    entries: tuple[Entry, ...]
    tracked: frozenset[str] = frozenset()
    links_out: tuple[str, ...] = ()
    unsendable: tuple[str, ...] = ()
    not_executable: tuple[str, ...] = ()


def list_files(stack: Stack) -> Listing:
    """Everything that is uploaded of `stack`.

    Raises StackError, naming the path, for what cannot be uploaded: a symlink that leaves the folder and that a service needs, a
    device, a socket, a name with control characters, a folder that cannot be read. Not for container data, which is left out.
    """
    selection = select(stack) if stack.part else None
    while True:
        walk = _Walk(stack, selection)
        entries = list(walk.entries(str(stack.folder), ""))
        if selection is None:
            break
        known = set(selection.roots)
        for entry in entries:
            if entry.kind == "l":
                selection.lead_on(entry.path, _led_to(entry))
        if selection.roots == known:  # what is needed may lead to what is needed, too
            break
    if stack.root_env and not walk.is_ignored(".env"):
        entries.append(walk.file(".env", stack.root_env, stack.root_env.stat()))
    left = (tuple(walk.links_out), tuple(walk.unsendable), tuple(walk.not_executable))
    return Listing(tuple(entries), frozenset(walk.tracked), *left)


class _Walk:
    """Lists a stack's folder. Files come out without their sha256."""

    def __init__(self, stack: Stack, selection: Selection | None = None) -> None:
        self.stack, self.selection = stack, selection
        self.label = stack.label
        self.real = os.path.realpath(stack.folder)
        self.is_ignored = read_ignore_file(stack.folder, stack.label)
        self.tracked = tracked_files(stack.folder)
        self.chosen_mode = chooser(stack.modes)
        self.is_data = container_data(stack, self.tracked)
        self.links_out: list[str] = []
        self.unsendable: list[str] = []
        self.not_executable: list[str] = []

    def entries(self, folder: str, prefix: str, reach: int = 0o777) -> Iterator[Entry]:
        """The entries under `folder`, whose path in the manifest is `prefix` (empty, or ending in /).

        reach: the permission bits of those who can get into the folder; what is above the stack's own does not count.
        """
        empty = True
        for item in self._scan(folder, prefix):
            path = prefix + item.name
            directory = item.is_dir(follow_symlinks=False)
            leads_on = directory or item.is_symlink()
            if self.ignored(item.name, path, directory) or not self._is_selected(path, leads_on):
                continue
            empty = False
            try:
                if path == "-" or "\\" in item.name or not item.name.isprintable():
                    self._check_name(path)
                entry = None if directory else self._entry(item, path, reach)
            except StackError as error:
                self._leave_out(path, error)
                continue
            if directory:
                yield from self.entries(item.path, path + "/", reach & _entered_by(item))
            elif entry:
                yield entry
        needed = self.selection is None or self.selection.needs(prefix[:-1])
        if empty and prefix and needed and prefix[:-1] not in self.unsendable:
            mode = 0o700 | (Path(folder).stat().st_mode & reach & 0o755)
            yield Entry("d", mode, 0, "-", prefix[:-1], "", Path(folder))

    def _is_selected(self, path: str, leads_on: bool) -> bool:
        """leads_on: it is a folder, or a symlink, which may lead to one."""
        if path == ".env" and self.stack.root_env:  # that of another folder comes in its place
            return False
        if self.selection is None:
            return True
        return self.selection.may_need_below(path) if leads_on else self.selection.needs(path)

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
            self._leave_out(prefix, StackError(f"{self.label}/{prefix}: cannot be read: {e.strerror}"))
            return []

    def _leave_out(self, path: str, error: StackError) -> None:
        """Leave out container data that cannot be sent. Raises the error for anything else."""
        if not self.is_data(path):
            raise error from None
        self.unsendable.append(path.rstrip("/"))

    def _entry(self, item: os.DirEntry[str], path: str, reach: int) -> Entry | None:
        """None for a symlink that leads out and that nothing needs. Raises StackError."""
        try:
            status = item.stat(follow_symlinks=False)
        except OSError as e:
            raise StackError(f"{self.label}/{path}: cannot be read: {e.strerror}") from None
        if stat.S_ISREG(status.st_mode):
            return self.file(path, Path(item.path), status, reach)
        if not stat.S_ISLNK(status.st_mode):
            raise StackError(f"{self.label}/{path}: is a {_special(status.st_mode)}; only files can be sent")
        target = os.readlink(item.path)  # noqa: PTH115 - Path would tidy up the target's text
        if not self._leads_out(item.path, path, target):
            self._check_text(target, path)
            return Entry("l", 0o777, 0, "-", path, target, Path(item.path))
        if path == ".env" or path in self.stack.env_files:
            return self._env_file(Path(item.path), path, target)
        self._refuse_needed(path, target)
        self.links_out.append(path)
        return None

    def file(self, path: str, source: Path, status: os.stat_result, reach: int = 0o777) -> Entry:
        mode = file_mode(path, status.st_mode & (reach | 0o700), self.tracked.get(path))
        chosen = None if path == ".env" else self.chosen_mode(path)
        everybody = stat.S_IMODE(status.st_mode) == 0o777  # as file systems without modes have all files
        if chosen is None and status.st_mode & stat.S_IXUSR and not mode & 0o100 and not everybody:
            self.not_executable.append(path)
        return Entry("f", mode if chosen is None else chosen, status.st_size, "", path, "", source)

    def _leads_out(self, link: str, path: str, target: str) -> bool:
        """Whether a symlink leaves the folder, on the way too. It may dangle."""
        lexical = os.path.normpath(f"{os.path.dirname(path)}/{target}".lstrip("/"))  # noqa: PTH120
        real = os.path.realpath(link)
        outside = real != self.real and not real.startswith(self.real + "/")
        return target.startswith("/") or lexical.split("/")[0] == ".." or outside

    def _env_file(self, link: Path, path: str, target: str) -> Entry:
        """An env file that is a symlink: the file that it leads to."""
        if not link.is_file():
            raise StackError(f"{self.label}/{path}: the symlink leads to no file (to {target!r})")
        return self.file(path, link.resolve(), link.stat())

    def _refuse_needed(self, path: str, target: str) -> None:
        """Raises StackError for a symlink that leads out and lies in what a service mounts or is built from."""
        mounted = is_below_any(path, self.stack.mounts)
        if mounted or any(not ignores(path) for ignores in self._contexts()):
            why = "a service mounts it" if mounted else "it lies in a build context"
            way = f"list it in {IGNORE_FILE}" if mounted else f"list it in {IGNORE_FILE} or .dockerignore"
            raise StackError(
                f"{self.label}/{path}: the symlink leaves the stack's folder (to {target!r}), and {why};"
                f" put the file in its place, or {way}"
            )

    def _contexts(self) -> Iterator[Belongs]:
        """For each build context, whether a path is not in it, or left out by its .dockerignore."""
        for folder, dockerfile in self.stack.contexts:
            yield _left_out_of(folder, ignored_by(read_ignores(self.stack.folder, folder, dockerfile)))

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


def _led_to(link: Entry) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(link.path), link.target))


def _special(mode: int) -> str:
    kinds = {stat.S_IFSOCK: "socket", stat.S_IFIFO: "fifo", stat.S_IFBLK: "device", stat.S_IFCHR: "device"}
    return kinds.get(stat.S_IFMT(mode), "special file")


def _left_out_of(context: str, ignored: Belongs) -> Belongs:
    start = 0 if context == "." else len(context) + 1
    return lambda path: not is_below_any(path, (context,)) or ignored(path[start:])


def _entered_by(folder: os.DirEntry[str]) -> int:
    """The permission bits of those who can get into the folder: its owner's, and the group's and others' where they may."""
    mode = folder.stat(follow_symlinks=False).st_mode
    return 0o700 | (0o070 if mode & 0o010 else 0) | (0o007 if mode & 0o001 else 0)


def file_mode(path: str, mode: int, tracked: int | None = None) -> int:
    """A file's mode in a manifest: git's for one that it tracks, else no wider than here, and writable for its owner alone.

    A .env, and an .env.* but for .env.example, is its owner's alone.
    """
    name = path.rpartition("/")[2]
    bits = (mode & 0o755 if tracked is None else tracked) | 0o600
    is_env = name == ".env" or (name.startswith(".env.") and name != ".env.example")
    return bits & 0o700 if is_env else bits
