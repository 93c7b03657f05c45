"""The paths that a compose file names: refused when they exist only on this machine.

Variables are filled in from the .env, as Compose does. A path that is absolute, starts with `~`, or has a variable that only the
server knows, is one on the server; a relative path must stay in the stack's folder, since only that folder is uploaded.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from towline.errors import StackError
from towline.project.env_file import interpolate_from
from towline.project.yaml_file import Place, describe, list_at, mapping_at


@dataclass(frozen=True)
class NamedFiles:
    """Files that compose files name, relative to the stack's folder; variables unresolved.

    env_files, secrets: what holds secrets. texts: label files, configs, Dockerfiles, and what is included or extended.
    mounts: path → whether a service may write there. contexts: (folder, Dockerfile, '' for none) of builds.
    """

    env_files: set[str] = field(default_factory=set)
    secrets: set[str] = field(default_factory=set)
    texts: set[str] = field(default_factory=set)
    mounts: dict[str, bool] = field(default_factory=dict)
    contexts: set[tuple[str, str]] = field(default_factory=set)


@dataclass(frozen=True)
class PathChecker:
    """Checks that the paths of one compose file, relative to `base`, stay in the stack's `folder`; adds to `named`.

    env_file: the .env that the stack gets. profiles: those that are active; what services of others name need not be there.
    """

    folder: Path
    base: Path
    env_file: Path
    named: NamedFiles = field(default_factory=NamedFiles)
    profiles: frozenset[str] = frozenset({"*"})

    def check(self, keys: Mapping[str, Any], place: Place) -> None:
        """Check every path in `keys`, the content of the file, but for `include:`. Raises StackError."""
        for name, raw in mapping_at(keys.get("services"), place.at("services")).items():
            service = place.at("services").at(name if isinstance(name, str) else repr(name))
            keys_of = mapping_at(raw, service)
            with nullcontext() if self._is_on(keys_of) else suppress(StackError):
                self.check_service(keys_of, service)
        for name, raw in mapping_at(keys.get("volumes"), place.at("volumes")).items():
            self._check_volume(raw, place.at("volumes").at(str(name)))
        for section in ("configs", "secrets"):
            for name, raw in mapping_at(keys.get(section), place.at(section)).items():
                entry = place.at(section).at(name)
                file = mapping_at(raw, entry).get("file")
                self.local_path(file, entry.at("file"))
                self._add(file, self.named.secrets if section == "secrets" else self.named.texts)

    def _is_on(self, service: Mapping[str, Any]) -> bool:
        profiles = service.get("profiles")
        if not isinstance(profiles, list) or not profiles:
            return True
        return any(profile in self.profiles for profile in ("*", *map(str, profiles)))

    def _check_volume(self, raw: object, place: Place) -> None:
        """A named volume that is a folder of the host: `driver_opts: {o: bind, device: ./data}`."""
        options = raw.get("driver_opts") if isinstance(raw, dict) else None
        if isinstance(options, dict) and "bind" in str(options.get("o")).split(","):
            folder = self.local_path(options.get("device"), place.at("driver_opts").at("device"))
            if folder:
                self.named.mounts[self._relative(folder)] = True

    def included_files(self, keys: Mapping[str, Any], place: Place) -> Iterator[tuple[Path, Path]]:
        """(file, folder that its paths are relative to) for each file of the stack in `include:`."""
        for i, raw in enumerate(list_at(keys.get("include"), place.at("include"))):
            item = place.at("include").at(i)
            entry = raw if isinstance(raw, dict) else {"path": raw}
            names = entry.get("path") if isinstance(entry.get("path"), list) else [entry.get("path")]
            files = [file for name in names or [] if (file := self.existing_file(name, item)) is not None]
            for name in names or []:
                self._add(name, self.named.texts)
            directory = self.local_path(entry.get("project_directory"), item.at("project_directory"))
            self._check_env_files(entry.get("env_file"), item.at("env_file"))
            self._add(str((directory or files[0].parent if files else self.base) / ".env"), self.named.env_files)
            yield from ((file, directory or files[0].parent) for file in files)

    def extended(self, keys: Mapping[str, Any], place: Place, own: Path | None = None) -> Iterator[tuple[Path, str]]:
        """(file, service) that a service extends. own: the file that the service is in; without it, only from another file."""
        extends = mapping_at(keys, place).get("extends")
        extends = {"service": extends} if isinstance(extends, str) else extends
        if isinstance(extends, dict):
            file = self.existing_file(extends.get("file"), place.at("extends").at("file")) or own
            if file:
                yield file, str(extends.get("service"))

    def check_service(self, keys: Mapping[str, Any], place: Place) -> None:
        for i, volume in enumerate(list_at(keys.get("volumes"), place.at("volumes"))):
            source, writable = _bind(self._filled(volume))
            mounted = self.local_path(source, place.at("volumes").at(i))
            if mounted:
                path = self._relative(mounted)
                self.named.mounts[path] = writable or self.named.mounts.get(path, False)
        self._check_env_files(keys.get("env_file"), place.at("env_file"))
        self._check_build(keys.get("build"), place.at("build"))
        labels = keys.get("label_file")
        for name in labels if isinstance(labels, list) else [labels]:
            self.existing_file(name, place.at("label_file"))
            self._add(name, self.named.texts)
        extends = keys.get("extends")
        if isinstance(extends, dict):
            self.existing_file(extends.get("file"), place.at("extends").at("file"))
            self._add(extends.get("file"), self.named.texts)

    def _check_env_files(self, raw: object, place: Place) -> None:
        for i, entry in enumerate(raw if isinstance(raw, list) else [raw]):
            item = place.at(i) if isinstance(raw, list) else place
            path, required = (entry.get("path"), entry.get("required")) if isinstance(entry, dict) else (entry, True)
            file = self.local_path(path, item, is_env_file=True)
            self._add(path, self.named.env_files)
            if file == self.folder / ".env":  # one that is only on the server will do
                continue
            if file and required is not False and not file.exists():
                raise item.wrong(f"{self._filled(path)!r}: no such file; create it, or set required: false")

    def _add(self, raw: object, paths: set[str]) -> None:
        """Add a path, relative to the stack's folder, to `paths`; one on the server is left out."""
        name = self._filled(raw)
        path = os.path.relpath(self.base / name, self.folder) if isinstance(name, str) and name else ".."
        if not path.startswith(".."):
            paths.add(path)

    def _check_build(self, raw: object, place: Place) -> None:
        if raw is None:
            return
        keys = {"context": raw} if isinstance(raw, str) else mapping_at(raw, place)
        context = keys.get("context", ".")
        folder = self.local_path(context, place.at("context"))
        if folder and not folder.is_dir():
            raise place.at("context").wrong(f"{context!r}: no such folder")
        if folder:
            in_context = PathChecker(self.folder, folder, self.env_file)
            named = None if keys.get("dockerfile_inline") else keys.get("dockerfile", "Dockerfile")
            file = in_context.local_path(named, place.at("dockerfile"))
            in_context._add(keys.get("dockerfile"), self.named.texts)
            self.named.contexts.add((self._relative(folder), self._relative(file) if file else ""))
        more = keys.get("additional_contexts")
        contexts = place.at("additional_contexts")
        listed = () if isinstance(more, dict) else (str(item).partition("=")[::2] for item in list_at(more, contexts))
        for name, path in more.items() if isinstance(more, dict) else listed:
            more_folder = self.local_path(path, contexts.at(name))
            if more_folder:
                self.named.contexts.add((self._relative(more_folder), ""))

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def existing_file(self, raw: object, place: Place) -> Path | None:
        """As local_path, for a file that Compose requires. Raises StackError also when it does not exist."""
        file = self.local_path(raw, place)
        if file and not file.is_file():
            raise place.wrong(f"{self._filled(raw)!r}: no such file")
        return file

    def local_path(self, raw: object, place: Place, *, is_env_file: bool = False) -> Path | None:
        """The path on this machine that `raw` means; None for a path on the server, a URL, or None.

        Raises StackError when it leaves the stack's folder, by `..` or through a symlink. An env file may be a symlink itself: it
        is sent as the file that it leads to.
        """
        raw = self._filled(raw)
        if raw is None or (isinstance(raw, str) and _is_remote(raw)):
            return None
        if not isinstance(raw, str) or "\0" in raw:
            raise place.wrong(f"expected a path, got {describe(raw)}")
        path = Path(os.path.normpath(self.base / raw))
        if not path.is_relative_to(self.folder):
            raise place.wrong(f"{raw!r} leaves the stack's folder; move it in, or name a path on the server")
        followed = os.path.dirname(self.base / raw) if is_env_file else self.base / raw  # noqa: PTH120 - keeps `..`
        if not Path(os.path.realpath(followed)).is_relative_to(os.path.realpath(self.folder)):
            raise place.wrong(f"{raw!r} leaves the stack's folder through a symlink; move it in")
        return path

    def _filled(self, raw: object) -> object:
        """A text with its variables filled in; anything else as it is."""
        return interpolate_from(raw, self.env_file) if isinstance(raw, str) else raw


def _is_remote(path: str) -> bool:
    """Whether a path is one on the server (absolute, `~`, a variable) or a URL (`https:`, `git@`, `service:`)."""
    return not path or path[0] in "/~" or "$" in path or bool(re.match(r"[a-z][a-z0-9+-]*:|git@|github\.com/", path))


def _bind(volume: object) -> tuple[object, bool]:
    """The local path in one item of `volumes:`, None for a named or anonymous volume, and whether the service may write there."""
    if isinstance(volume, dict):
        return (volume.get("source") if volume.get("type") == "bind" else None), volume.get("read_only") is not True
    if not isinstance(volume, str):
        return volume, True
    source, *more = volume.split(":")
    writable = len(more) < 2 or "ro" not in more[1].split(",")
    # Compose's rule: what starts with a dot is a path, anything else is the name of a volume.
    return (source if more and source.startswith(".") else None), writable
