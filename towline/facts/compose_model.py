"""The compose model of a stack, as `docker compose config` on the server renders it."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

from towline.bundle.compose_inputs import compose_inputs, is_yaml
from towline.bundle.tarball import tar_stream
from towline.bundle.working_tree import WorkingTree
from towline.commands.compose import compose
from towline.commands.shell import Command, script
from towline.errors import ComposeRejected, RemoteFailed, TowlineError
from towline.project.stack import Stack
from towline.project.yaml_file import line_of
from towline.remote import script as remote_script
from towline.remote.paths import StackPaths
from towline.ssh.connection import Connection
from towline.ssh.session import TIMED_OUT
from towline.text.lines import last_lines

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
    """absent: the paths of bind mounts, configs and secrets that are not on the server now, as the model has them.

    env_file: the .env in the live folder, when it is used because there is none here; variables: the names of its variables.
    """

    model: Model
    absent: frozenset[str] = frozenset()
    env_file: str = ""
    variables: frozenset[str] = frozenset()


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
    own_folder = re.compile(rf"(?<![\w./-]){re.escape(folder)}(?![\w.-])")
    relative = {n: {key: _relative(v or {}, own_folder) for key, v in s.items()} for n, s in sections.items()}
    return Model(**relative, project=str(raw.get("name") or ""))


def images_of(model: Model) -> tuple[str, ...]:
    """The images that containers are made from; one that is built has the name that Compose gives it."""
    made = {name: keys for name, keys in model.services.items() if keys.get("image") or keys.get("build")}
    return tuple(sorted({keys.get("image") or f"{model.project}-{name}" for name, keys in made.items()}))


def replicas_of(service: Mapping[str, Any]) -> int:
    """How many containers compose makes of it."""
    replicas = (service.get("deploy") or {}).get("replicas", service.get("scale"))
    return 1 if replicas is None else int(replicas)


def parse_rendered(text: str) -> Rendered:
    """The fact from `command()`'s output: the folder, rows `absent`, `env_file` and `variable`, JSON. Raises TowlineError."""
    folder, _, rest = text.partition("\n")
    lines = rest.split("\n")
    rows = list(takewhile(lambda line: line.startswith(("absent\t", "env_file\t", "variable\t")), lines))
    model = parse_model("\n".join((folder, *lines[len(rows) :])))

    def of(key: str) -> frozenset[str]:
        return frozenset(value for found, _, value in (row.partition("\t") for row in rows) if found == key)

    return Rendered(model, of("absent"), next(iter(of("env_file")), ""), of("variable"))


def _relate_dockerfiles(services: Mapping[str, Any]) -> None:
    """Make absolute dockerfiles relative to their context: a relative one is left as it was written, `./` and all."""
    for service in services.values():
        build = (service or {}).get("build") or {}
        file, context = build.get("dockerfile") or "", build.get("context") or ""
        if file.startswith("/") and context.startswith("/"):
            build["dockerfile"] = posixpath.relpath(file, context)


def _relative(value: Any, folder: re.Pattern[str]) -> Any:
    """`value` with the folder written as `.`, also inside a text: `${PWD}` makes such."""
    if isinstance(value, str):
        return folder.sub(".", value)
    if isinstance(value, dict):
        return {key: _relative(item, folder) for key, item in value.items()}
    return [_relative(item, folder) for item in value] if isinstance(value, list) else value


# --------------------------------------------------------------------------------------------- on the server

# $1 the live folder, $2 the compose files as COMPOSE_FILE has them, as in the live folder, $3… the command; stdin: gzip tar of the
# files that it reads. Prints the temporary folder that it ran in, rows `absent<TAB>PATH` for each source of the model that does not
# exist, and what the command prints. When the .env is in the live folder alone, and no release brought it, it is used:
# `env_file<TAB>PATH`, and `variable<TAB>NAME` for each that it sets. Sent with login_env.sh in front.
# The temporary folder is below the root, where Docker can see it: one from snap has another /tmp.
# PWD: compose takes its folder from there, and so does ${PWD} in a compose file.
# A path counts as absent where the nearest parent that exists is a folder that can be searched. A path that JSON or compose would
# write with escapes is left out.
SCRIPT = """
umask 077
case $1 in /*) live=$1 ;; *) live=$(pwd)/$1 ;; esac
files=$2
shift 2
root=${live%/*} made_root='' made_home=''
[ -d "$root" ] || { (umask 022; mkdir -p "$root") 2>/dev/null && made_root=$root; }
[ -d "$root/.towline" ] || { mkdir "$root/.towline" 2>/dev/null && made_home=$root/.towline; }
dir=$(mktemp -d "$root/.towline/.render.XXXXXX" 2>/dev/null) || dir=$(mktemp -d) || exit 1
leave() {
    rm -rf "$dir"
    [ -z "$made_home" ] || rmdir "$made_home" 2>/dev/null
    [ -z "$made_root" ] || rmdir "$made_root" 2>/dev/null
}
trap leave EXIT
for old in "$root"/.towline/.render.*; do   # of one that was killed: it holds a .env
    [ "$old" = "$dir" ] || [ -z "$(find "$old" -prune -mmin +60 2>/dev/null)" ] || rm -rf "$old"
done
trap 'exit 129' HUP INT PIPE TERM
cd "$dir" && dir=$(pwd -P) && cd "$dir" || exit 1
gzip -dc | tar -xmof - || exit 1
unset COMPOSE_FILE COMPOSE_PROFILES COMPOSE_PROJECT_NAME COMPOSE_ENV_FILES COMPOSE_PATH_SEPARATOR
unset COMPOSE_DISABLE_ENV_FILE COMPOSE_PROJECT_DIRECTORY
PWD=$dir COMPOSE_ANSI=never COMPOSE_FILE=$files COMPOSE_PATH_SEPARATOR=:
export PWD COMPOSE_ANSI COMPOSE_FILE COMPOSE_PATH_SEPARATOR
printf '%s\\n' "$dir"
home=$root/.towline/${live##*/}
is_ours() { [ -s "$home/current" ] && cut -f5 "$home/live.manifest" 2>/dev/null | grep -qx '\\.env'; }
theirs=''
if [ ! -e .env ] && [ -s "$live/.env" ] && [ -r "$live/.env" ] && ! is_ours; then     # services may name it, too
    cp "$live/.env" .env || exit 1
    theirs=$live/.env
fi
without=$(without_variables_of .env)
# shellcheck disable=SC2086
model=$(env $without "$@" </dev/null) || exit
if [ -n "$theirs" ]; then
    printf 'env_file\\t%s\\n' "$theirs"
    printf '%s\\n' "$without" | tr ' ' '\\n' | sed -n '/^-u$/d; s/^./variable\\t&/p'
fi
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


RENDER_WITHIN = 120  # seconds for compose to render the files


def command(stack: Stack, live: str) -> Command:
    """Renders the model of the stack's compose files, which come as a gzip tar on stdin; for `parse_rendered`.

    In a temporary folder; whether a path is absent is checked in the `live` folder. Fails as compose fails.
    """
    chosen = [word for profile in stack.profiles for word in ("--profile", profile)]
    words = compose(stack.project, *chosen, "config", "--format", "json")
    return script(remote_script("login_env") + SCRIPT, live, ":".join(stack.compose_files), *words)


def read_model(connection: Connection, tree: WorkingTree) -> Rendered:
    """The model that the server's compose makes of the stack's files as they are here, and what it lacks there; one session.

    Raises ComposeRejected with Compose's last lines, and where in the files it is, when it refuses them; RemoteFailed when it does
    not come to an end.
    """
    stack, inputs = tree.stack, compose_inputs(tree)
    contents = {entry.path: tree.content(entry.path) for entry in inputs if entry.kind == "f"}
    live = StackPaths(connection.host.root, stack.name).live
    stream = tar_stream(inputs, contents=contents)
    result = connection.upload(stream, command(stack, live), "model", RENDER_WITHIN)
    if not result.ok:
        folder = result.out.partition("\n")[0]
        message = result.err.replace(f"{folder}/", "") if folder else result.err
        env_texts = [tree.text(path) for path in contents if not is_yaml(path)]
        last = " · ".join(last_lines(_without_values(message, env_texts), 3))
        if result.code == TIMED_OUT or not last:
            raise RemoteFailed(f"{stack.name}: docker compose config: {result.last_line}")
        raise ComposeRejected(f"{_place_of(last, tree)}: docker compose config: {last}")
    return parse_rendered(result.out)


def _place_of(message: str, tree: WorkingTree) -> str:
    """Where in the stack's files that is which Compose names: `stacks/web/compose.yaml:12`; its name when that is not clear."""
    named = re.search(r"\b(services|networks|volumes|configs|secrets)\.([\w.-]+)", message)
    service = re.search(r'\bservice "([^"]+)"', message)
    keys = [named[1], *named[2].split(".")] if named else ["services", service[1]] if service else []
    label, files = tree.stack.label, tree.stack.compose_files
    for file in reversed(files if keys else ()):
        if line := line_of(tree.text(file), keys):
            return f"{label}/{file}:{line}"
    return tree.stack.name


def _without_values(message: str, env_texts: Sequence[str]) -> str:
    """`message` without what the env files hold: compose quotes the lines that it cannot read."""
    lines = (line.strip() for text in env_texts for line in text.splitlines())
    parts = {part.strip().strip("\"'") for line in lines if line[:1] != "#" for part in (line, line.partition("=")[2])}
    for part in sorted((part for part in parts if len(part) > 3), key=len, reverse=True):
        message = message.replace(part, "[secret]")
    return message
