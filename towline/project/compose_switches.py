"""What a stack's .env tells Compose itself: `COMPOSE_FILE`, `COMPOSE_PROJECT_NAME`, `COMPOSE_PROFILES`."""

from __future__ import annotations

import os
import posixpath
from dataclasses import dataclass
from pathlib import Path

from towline.errors import StackError
from towline.project.env_file import read_filled
from towline.project.yaml_file import Place

# towline gives Compose these itself, or would do something else than Compose with them
REFUSED = {
    "COMPOSE_ENV_FILES": "only the .env beside the compose file is read; write env_file: at the services",
    "COMPOSE_DISABLE_ENV_FILE": "the .env is always read",
    "COMPOSE_PROJECT_DIRECTORY": "the folder is always that of the stack",
    "COMPOSE_COMPATIBILITY": "containers and images have the names that Compose has given them since version 2",
    "COMPOSE_IGNORE_ORPHANS": "containers of services that are no longer in the compose files are always removed",
}


@dataclass(frozen=True)
class Switches:
    """files: in their order, relative to the stack's folder; () for those that Compose finds by itself."""

    files: tuple[str, ...] = ()
    project: str = ""
    profiles: tuple[str, ...] = ()


def read_switches(env_file: Path, label: str) -> Switches:
    """Those of a stack's .env. label: the stack's folder in error messages.

    Raises StackError for those that towline does not do as Compose would, and for files outside of the stack's folder.
    """
    try:
        if not env_file.is_file() or b"COMPOSE_" not in env_file.read_bytes():
            return Switches()
    except OSError:  # told where the file is hashed
        return Switches()
    variables, place = read_filled(env_file), Place(f"{label}/.env", "", StackError)
    for name, why in REFUSED.items():
        if variables.get(name, "").lower() not in ("", "0", "false", "no", "off"):
            raise place.at(name).wrong(f"is not supported: {why}")
    separator = variables.get("COMPOSE_PATH_SEPARATOR") or os.pathsep
    return Switches(
        check_files(variables.get("COMPOSE_FILE", "").split(separator), place.at("COMPOSE_FILE")),
        variables.get("COMPOSE_PROJECT_NAME", ""),
        split_profiles(variables.get("COMPOSE_PROFILES", "")),
    )


def check_files(names: list[str], place: Place) -> tuple[str, ...]:
    """The compose files of these names. Raises the place's error for one that is outside of the stack's folder."""
    files = tuple(posixpath.normpath(name) for name in names if name)
    for file in files:
        if file.startswith(("/", "../")) or file in ("-", "..", ".") or ":" in file:
            raise place.wrong(f"{file!r}: expected a file in the stack's folder")
    return files


def split_profiles(text: str) -> tuple[str, ...]:
    return tuple(filter(None, (name.strip() for name in text.split(","))))
