"""The compose model of a stack, as `docker compose config` on the server renders it."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import takewhile
from typing import Any

from towline.bundle.manifest import Entry, Manifest
from towline.bundle.tarball import tar_stream
from towline.commands.compose import compose
from towline.commands.shell import Command, script
from towline.errors import RemoteFailed, StackError, TowlineError
from towline.project.catalog import Stack
from towline.project.compose_file import interpolated
from towline.project.yaml_file import Tagged, load_yaml
from towline.remote.paths import StackPaths
from towline.ssh.connection import Connection

Section = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Model:
    """What compose makes of a stack's files. Paths below its folder are relative: `./conf/x`, `.` for the folder itself.

    Holds the values of the environment: not to be shown. A build's dockerfile is relative to its context, as in compose.
    project: its name for compose.
    """

    services: Section = field(default_factory=dict)
    volumes: Section = field(default_factory=dict)
    networks: Section = field(default_factory=dict)
    configs: Section = field(default_factory=dict)
    secrets: Section = field(default_factory=dict)
    project: str = ""


_SECTIONS = ("services", "volumes", "networks", "configs", "secrets")


@dataclass(frozen=True)
class Rendered:
    """absent: the paths of bind mounts, configs and secrets that are not on the server now, as the model has them."""

    model: Model
    absent: frozenset[str] = frozenset()


# ------------------------------------------------------------------------------------------------ text → model


def parse_model(text: str) -> Model:
    """The model from a text with the folder it was rendered in on the first line, the rest JSON.

    Raises TowlineError for anything else, without quoting it: it holds secrets.
    """
    folder, _, rest = text.partition("\n")
    try:
        raw = json.loads(rest) if folder.startswith("/") else None
    except ValueError:
        raw = None
    if not isinstance(raw, dict):
        raise TowlineError(
            "docker compose config did not answer with a folder and JSON", "see `docker compose version`"
        )
    sections = {name: raw.get(name) or {} for name in _SECTIONS}
    if not all(isinstance(value, dict) for value in sections.values()):
        raise TowlineError("docker compose config answered with a section that is no mapping")
    _relate_dockerfiles(sections["services"])
    here = re.compile(rf"(?<![\w./-]){re.escape(folder)}(?![\w.-])")
    relative = {n: {key: _relative(v or {}, here) for key, v in s.items()} for n, s in sections.items()}
    return Model(**relative, project=str(raw.get("name") or ""))


def replicas_of(service: Mapping[str, Any]) -> int:
    """How many containers compose makes of it."""
    given = (service.get("deploy") or {}).get("replicas", service.get("scale"))
    return 1 if given is None else int(given)


def parse_rendered(text: str) -> Rendered:
    """The fact from `command()`'s output: the folder, an `absent` line for each path, JSON. Raises TowlineError."""
    folder, _, rest = text.partition("\n")
    lines = rest.split("\n")
    absent = list(takewhile(lambda line: line.startswith("absent\t"), lines))
    model = parse_model("\n".join((folder, *lines[len(absent) :])))
    return Rendered(model, frozenset(line.partition("\t")[2] for line in absent))


def _relate_dockerfiles(services: Mapping[str, Any]) -> None:
    """Make absolute dockerfiles relative to their context: a relative one is left as it was written, `./` and all."""
    for service in services.values():
        build = (service or {}).get("build") or {}
        file, context = build.get("dockerfile") or "", build.get("context") or ""
        if file.startswith("/") and context.startswith("/"):
            build["dockerfile"] = posixpath.relpath(file, context)


def _relative(value: Any, here: re.Pattern[str]) -> Any:
    """`value` with the folder written as `.`, also inside a text: `${PWD}` makes such."""
    if isinstance(value, str):
        return here.sub(".", value)
    if isinstance(value, dict):
        return {key: _relative(item, here) for key, item in value.items()}
    return [_relative(item, here) for item in value] if isinstance(value, list) else value


# --------------------------------------------------------------------------------------------- on the server

# $1 the live folder, $2… the command; stdin: gzip tar of the files that it reads. Prints the temporary folder that it ran in, a
# line `absent<TAB>PATH` for each source of the model that does not exist, and what the command prints.
# PWD: compose takes its folder from there, and so does ${PWD} in a compose file.
# A path counts as absent where the nearest parent that exists is a folder that can be searched. A path that JSON or compose would
# write with escapes is left out.
SCRIPT = """
umask 077
case $1 in /*) live=$1 ;; *) live=$(pwd)/$1 ;; esac
shift
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
trap 'exit 129' HUP INT PIPE TERM
cd "$dir" && dir=$(pwd -P) && cd "$dir" || exit 1
gzip -dc | tar -xmof - || exit 1
unset COMPOSE_FILE COMPOSE_PROFILES COMPOSE_PROJECT_NAME COMPOSE_ENV_FILES COMPOSE_PATH_SEPARATOR
unset COMPOSE_DISABLE_ENV_FILE COMPOSE_PROJECT_DIRECTORY
PWD=$dir COMPOSE_ANSI=never
export PWD COMPOSE_ANSI
printf '%s\\n' "$dir"
model=$("$@" </dev/null) || exit
is_absent() {
    [ ! -e "$1" ] && [ ! -L "$1" ] || return 1
    parent=${1%/*}
    while [ -n "$parent" ] && [ ! -e "$parent" ]; do parent=${parent%/*}; done
    [ -d "$parent/" ] && [ -x "$parent/" ]
}
printf '%s\\n' "$model" |
    sed -n -e 's|^ *"source": "\\(/[^"\\$]*\\)",*$|\\1|p' -e 's|^ *"file": "\\(/[^"\\$]*\\)",*$|\\1|p' |
    sort -u | while IFS= read -r path; do
        case $path in "$dir"/*) name=${path#"$dir"/}; source=$live/$name path=./$name ;; *) source=$path ;; esac
        ! is_absent "$source" || printf 'absent\\t%s\\n' "$path"
    done
printf '%s\\n' "$model"
"""


def command(project: str, files: Sequence[str], live: str) -> Command:
    """Renders the model of the compose `files` that come as a gzip tar on stdin; for `parse_rendered`.

    In a folder of its own, which goes again; what is absent is looked for in the `live` folder. Fails as compose fails.
    """
    chosen = (word for file in files for word in ("--file", file))
    return script(SCRIPT, live, *compose(project, *chosen, "config", "--format", "json"))


def read_model(connection: Connection, stack: Stack, manifest: Manifest) -> Rendered:
    """The model that the server's compose makes of the stack's files as they are here, and what it lacks there; one session.

    Raises RemoteFailed with compose's last lines when it refuses the files.
    """
    entries = entries_read(stack, manifest)
    live = StackPaths(connection.host.root, stack.name).live
    result = connection.put(tar_stream(entries), command(stack.project, stack.compose_files, live), "model")
    if not result.ok:
        folder = result.out.partition("\n")[0]
        said = _blotted(result.err.replace(f"{folder}/", "") if folder else result.err, entries)
        last = " · ".join(line.strip() for line in said.splitlines()[-3:] if line.strip())
        raise RemoteFailed(f"{stack.name}: docker compose config: {last or f'exit code {result.code}'}")
    return parse_rendered(result.out)


def _blotted(text: str, entries: Sequence[Entry]) -> str:
    """`text` without what the env files hold: compose quotes the lines that it cannot read."""
    lines = (line.strip() for e in entries if not _is_yaml(e.path) for line in _text(e).splitlines())
    parts = {part.strip().strip("\"'") for line in lines if line[:1] != "#" for part in (line, line.partition("=")[2])}
    for part in sorted((part for part in parts if len(part) > 3), key=len, reverse=True):
        text = text.replace(part, "[secret]")
    return text


def _text(entry: Entry) -> str:
    try:
        return entry.source.read_text(encoding="utf-8", errors="replace") if entry.kind == "f" else ""
    except OSError:
        return ""


# ------------------------------------------------------------------------------------- what compose itself reads


def entries_read(stack: Stack, manifest: Manifest) -> tuple[Entry, ...]:
    """The entries of `manifest` that compose reads to render the model.

    Compose files and what they include or extend, .env, env files and label files. Rather one too many:
    a name is looked for beside every file that could have meant it. Raises StackError for broken YAML.
    """
    names = _Names(stack, manifest)
    read: set[str] = set()
    while new := names.found(names.documents) - read:
        read |= new
        for path in sorted(new):
            names.learn(
                path, load_yaml(manifest.by_path[_end(path, manifest)].source, StackError, f"{stack.label}/{path}")
            )
    paths = read | names.found(names.plain)
    trails = {step for path in paths for step in trail(path, manifest)}
    return tuple(entry for entry in manifest.entries if entry.path in trails)


class _Names:
    """The names of files that YAML documents have, and the folders that these may be relative to."""

    def __init__(self, stack: Stack, manifest: Manifest) -> None:
        self.manifest = manifest
        self.env = stack.root_env or stack.folder / ".env"
        self.documents = set(stack.compose_files)
        self.plain = {".env"}
        self.folders = {""}

    def learn(self, path: str, document: object) -> None:
        self.folders.add(posixpath.dirname(path))
        for key, name in _named(document, ""):
            filled = interpolated(name, self.env)
            (self.documents if key in ("include", "extends") else self.plain).add(filled)
            if key == "include":  # a file, or the project_directory that its paths are relative to
                self.folders |= {filled, posixpath.dirname(filled)}

    def found(self, names: set[str]) -> set[str]:
        """The paths of the manifest's files that the names may mean."""
        # a variable that only the server knows may be anything
        tries = {re.sub(r"\$\{[^}]*\}|\$\w+", "*", posixpath.join(f, name)) for f in self.folders for name in names}
        paths = {posixpath.normpath(path) for path in tries}
        known = {path for path in paths if posixpath.basename(path) and self._is_file(path)}
        patterns = [path for path in paths if "*" in path]
        loose = {e.path for e in self.manifest.entries for p in patterns if fnmatchcase(e.path, p) and e.kind == "f"}
        return known | {path for path in loose if names is self.plain or _is_yaml(path)}

    def _is_file(self, path: str) -> bool:
        end = self.manifest.by_path.get(_end(path, self.manifest))
        return end is not None and end.kind == "f"


def _is_yaml(path: str) -> bool:
    return path.endswith((".yaml", ".yml"))


def _named(node: object, key: str) -> Iterator[tuple[str, str]]:
    """(key, text) of every text below a key that names files for compose to read."""
    node = node.value if isinstance(node, Tagged) else node
    if isinstance(node, str) and key:
        yield key, node
    elif isinstance(node, list):
        for item in node:
            yield from _named(item, key)
    elif isinstance(node, dict):
        for name, value in node.items():
            if name == "extends":  # text alone is a service of the same file
                value = value.get("file") if isinstance(value, dict) else None  # noqa: PLW2901
            inner = name if name in ("include", "extends", "env_file", "label_file") else key
            yield from _named(value, inner)


def trail(path: str, manifest: Manifest) -> Iterator[str]:
    """The symlinks of the manifest that lead from `path` on, and last what it really is."""
    for _ in range(40):  # as many as the kernel follows
        parts = path.split("/")
        heads = ("/".join(parts[:n]) for n in range(1, len(parts) + 1))
        link = next((h for h in heads if (e := manifest.by_path.get(h)) and e.kind == "l"), None)
        if link is None:
            break
        yield link
        target = manifest.by_path[link].target
        path = posixpath.normpath(posixpath.join(posixpath.dirname(link), target) + path[len(link) :])
    yield path


def _end(path: str, manifest: Manifest) -> str:
    return list(trail(path, manifest))[-1]
