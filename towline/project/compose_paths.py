"""The paths that a compose file names: refused when only this machine has them.

What is absolute, or starts with `~` or a variable, is the server's; what is relative must stay in the
stack's folder, since that folder is all that is sent.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from towline.project.yaml_file import Place, found, list_at, mapping_at


@dataclass(frozen=True)
class NamedFiles:
    """Files that compose files name, relative to the stack's folder; variables in them as they are written.

    env_files, secrets: what holds secrets. texts: label files, Dockerfiles, and what is included or extended.
    """

    env_files: set[str] = field(default_factory=set)
    secrets: set[str] = field(default_factory=set)
    texts: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Paths:
    """Checks the paths of one compose file, which are relative to `base`, against the stack's `folder`."""

    folder: Path
    base: Path
    root_env: bool
    named: NamedFiles = field(default_factory=NamedFiles)

    def check(self, keys: Mapping[str, Any], place: Place) -> None:
        for name, raw in mapping_at(keys.get("services"), place.at("services")).items():
            here = place.at("services").at(name if isinstance(name, str) else repr(name))
            self._service(mapping_at(raw, here), here)
        for section in ("configs", "secrets"):
            for name, raw in mapping_at(keys.get(section), place.at(section)).items():
                here = place.at(section).at(name)
                file = mapping_at(raw, here).get("file")
                self.inside(file, here.at("file"))
                if section == "secrets":
                    self._note(file, self.named.secrets)

    def includes(self, keys: Mapping[str, Any], place: Place) -> Iterator[tuple[Path, Path]]:
        """(file, folder that its paths are relative to) of each `include:` that is a file of ours."""
        for i, raw in enumerate(list_at(keys.get("include"), place.at("include"))):
            here = place.at("include").at(i)
            entry = raw if isinstance(raw, dict) else {"path": raw}
            names = entry.get("path") if isinstance(entry.get("path"), list) else [entry.get("path")]
            files = [f for name in names or [] if (f := self.existing(name, here)) is not None]
            for name in names or []:
                self._note(name, self.named.texts)
            home = self.inside(entry.get("project_directory"), here.at("project_directory"))
            self._env_files(entry.get("env_file"), here.at("env_file"))
            self._note(str((home or files[0].parent if files else self.base) / ".env"), self.named.env_files)
            yield from ((file, home or files[0].parent) for file in files)

    def _service(self, keys: Mapping[str, Any], place: Place) -> None:
        for i, volume in enumerate(list_at(keys.get("volumes"), place.at("volumes"))):
            self.inside(_bind_source(volume), place.at("volumes").at(i))
        self._env_files(keys.get("env_file"), place.at("env_file"))
        self._build(keys.get("build"), place.at("build"))
        labels = keys.get("label_file")
        for name in labels if isinstance(labels, list) else [labels]:
            self._note(name, self.named.texts)
        extends = keys.get("extends")
        if isinstance(extends, dict):
            self.existing(extends.get("file"), place.at("extends").at("file"))
            self._note(extends.get("file"), self.named.texts)

    def _env_files(self, raw: object, place: Place) -> None:
        for i, item in enumerate(raw if isinstance(raw, list) else [raw]):
            here = place.at(i) if isinstance(raw, list) else place
            path, required = (item.get("path"), item.get("required")) if isinstance(item, dict) else (item, True)
            file = self.inside(path, here)
            self._note(path, self.named.env_files)
            filled_in = self.root_env and file == self.folder / ".env"
            if file and required is not False and not filled_in and not file.exists():
                raise here.wrong(f"{path!r}: no such file; make it, or say required: false")

    def _note(self, raw: object, names: set[str]) -> None:
        path = os.path.relpath(self.base / raw, self.folder) if isinstance(raw, str) and raw else ".."
        if not path.startswith(".."):  # the server's
            names.add(path)

    def _build(self, raw: object, place: Place) -> None:
        if raw is None:
            return
        keys = {"context": raw} if isinstance(raw, str) else mapping_at(raw, place)
        context = keys.get("context", ".")
        folder = self.inside(context, place.at("context"))
        if folder and not folder.is_dir():
            raise place.at("context").wrong(f"{context!r}: no such folder")
        if folder:
            inner = Paths(self.folder, folder, self.root_env)
            inner.inside(keys.get("dockerfile"), place.at("dockerfile"))
            inner._note(keys.get("dockerfile"), self.named.texts)
        more = keys.get("additional_contexts")
        here = place.at("additional_contexts")
        listed = () if isinstance(more, dict) else (str(p).partition("=")[::2] for p in list_at(more, here))
        for name, path in more.items() if isinstance(more, dict) else listed:
            self.inside(path, here.at(name))

    def existing(self, raw: object, place: Place) -> Path | None:
        """Like inside, for a file that Compose cannot do without."""
        file = self.inside(raw, place)
        if file and not file.is_file():
            raise place.wrong(f"{raw!r}: no such file")
        return file

    def inside(self, raw: object, place: Place) -> Path | None:
        """The local path that `raw` means, or None for one on the server, a URL, or none at all.

        Raises StackError when it leaves the stack's folder, by `..` or through a symlink.
        """
        if raw is None or (isinstance(raw, str) and _elsewhere(raw)):
            return None
        if not isinstance(raw, str) or "\0" in raw:
            raise place.wrong(f"expected a path, got {found(raw)}")
        path = Path(os.path.normpath(self.base / raw))
        if not path.is_relative_to(self.folder):
            raise place.wrong(f"{raw!r} leaves the stack's folder; move it in, or name a path on the server")
        if not Path(os.path.realpath(self.base / raw)).is_relative_to(os.path.realpath(self.folder)):
            raise place.wrong(f"{raw!r} leaves the stack's folder through a symlink; move it in")
        return path


def _elsewhere(path: str) -> bool:
    """Whether a path is the server's (absolute, `~`, a variable) or a URL (`https:`, `git@`, `service:`)."""
    return not path or path[0] in "/~$" or bool(re.match(r"[a-z][a-z0-9+-]*:|git@|github\.com/", path))


def _bind_source(volume: object) -> object:
    """The local path in one item of `volumes:`; None for a named or anonymous volume."""
    if isinstance(volume, dict):
        return volume.get("source") if volume.get("type") == "bind" else None
    if not isinstance(volume, str):
        return volume
    source, colon, _ = volume.partition(":")
    # Compose's rule: what starts with a dot is a path, any other word names a volume.
    return source if colon and source.startswith(".") else None
