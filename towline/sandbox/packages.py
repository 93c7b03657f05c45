"""What the sandbox installs: a recipe is files and commands as values, for root on Debian or Ubuntu.

Where it cannot be carried out, the same recipe becomes the lines that the user can run.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from towline.errors import TowlineError

APT_SYSTEMS = ("debian", "ubuntu")
SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin", "/bin")
UPDATE = ("apt-get", "-q", "update")
INSTALL = ("apt-get", "-q", "-o", "DPkg::Lock::Timeout=120", "install", "-y", "--no-install-recommends")
TAIL = 15  # lines of apt's output that an error shows


@dataclass(frozen=True)
class System:
    """The machine's distribution, as /etc/os-release names it."""

    id: str = ""
    like: tuple[str, ...] = ()
    codename: str = ""
    name: str = "this system"

    def pick(self, by_system: Mapping[str, tuple[str, ...]], otherwise: tuple[str, ...]) -> tuple[str, ...]:
        """What `by_system` has for this system, else for the first one that it is like."""
        return next((by_system[one] for one in (self.id, *self.like) if one in by_system), otherwise)


@dataclass(frozen=True)
class Source:
    """One suite of one apt source."""

    uri: str
    suite: str
    components: tuple[str, ...] = ("main",)
    signed_by: str = ""


@dataclass(frozen=True)
class Recipe:
    """How one thing gets installed: files are written first, then the commands run in order.

    `by_hand` replaces the lines shown to the user where apt is not the way.
    """

    what: str
    commands: tuple[tuple[str, ...], ...] = ()
    files: Mapping[Path, str] = field(default_factory=dict)
    folders: tuple[Path, ...] = ()
    note: str = ""
    by_hand: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """The shell lines that do the same by hand, with sudo unless the user is root."""
        if self.by_hand:
            return list(self.by_hand)
        sudo = () if os.geteuid() == 0 else ("sudo",)
        folders = sorted({*self.folders, *(path.parent for path in self.files)})
        made = [shlex.join((*sudo, "mkdir", "-p", *map(str, folders)))] if folders else []
        written = [
            f"printf %s {shlex.quote(text)} | {shlex.join((*sudo, 'tee', str(path)))} >/dev/null"
            for path, text in self.files.items()
        ]
        return [*made, *written, *(shlex.join((*sudo, *command)) for command in self.commands)]


def find_program(name: str) -> str | None:
    """The absolute path of a program, also from the sbin folders that a user's PATH often lacks."""
    return shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), *SYSTEM_FOLDERS)))


def read_system(release: Path = Path("/etc/os-release")) -> System:
    """The distribution this machine runs; all fields empty where there is no os-release."""
    return parse_system(release.read_text(encoding="utf-8")) if release.is_file() else System()


def parse_system(text: str) -> System:
    """os-release text → System. Source: os-release(5)."""
    pairs = dict(word.split("=", 1) for word in shlex.split(text, comments=True) if "=" in word)
    return System(
        id=pairs.get("ID", ""),
        like=tuple(pairs.get("ID_LIKE", "").split()),
        codename=pairs.get("VERSION_CODENAME", ""),
        name=pairs.get("PRETTY_NAME", "this system"),
    )


def may_install(system: System) -> bool:
    """Whether we can install by ourselves: root on Debian or Ubuntu."""
    return os.geteuid() == 0 and system.id in APT_SYSTEMS and find_program("apt-get") is not None


def install(recipes: Iterable[Recipe], say: Callable[[str], None], system: System | None = None) -> None:
    """Everything in `recipes` is installed, one line said for each; a command that two share runs once.

    Raises TowlineError with the exact lines where it cannot be done, or with apt's last lines if that fails.
    """
    wanted, here = list(recipes), system or read_system()
    if wanted and (not may_install(here) or any(recipe.by_hand for recipe in wanted)):
        raise _cannot_install(wanted, here)
    done: dict[tuple[str, ...], str] = {}
    for recipe in wanted:
        started = time.monotonic()
        _carry_out(recipe, done)
        note = f" ({recipe.note})" if recipe.note else ""
        say(f"installed {recipe.what} in {time.monotonic() - started:.1f} s{note}")


def _cannot_install(recipes: Sequence[Recipe], system: System) -> TowlineError:
    missing = " and ".join(recipe.what for recipe in recipes)
    why = (
        "only root can install"
        if os.geteuid()
        else f"towline installs only on Debian 12+ and Ubuntu, not {system.name}"
    )
    lines = [line for recipe in recipes for line in recipe.lines()]
    return TowlineError(f"missing: {missing} ({why})", hint="run:\n" + "\n".join(dict.fromkeys(lines)))


def _carry_out(recipe: Recipe, done: dict[tuple[str, ...], str]) -> None:
    for folder in recipe.folders:
        folder.mkdir(parents=True, exist_ok=True)
    for path, text in recipe.files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for command in recipe.commands:
        if command not in done:
            done[command] = _run(command, recipe, "".join(done.values()))


def _run(command: tuple[str, ...], recipe: Recipe, warnings: str) -> str:
    """What the command said if it failed and that may be borne, else ''."""
    # The output goes into a pipe, stdin is empty: a package's questions must not wait for a terminal.
    ended = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace", check=False, env={**os.environ, **_apt_environment()},
    )  # fmt: skip
    # A failed update is not the end: the lists that are there may do, and one broken foreign source fails it.
    if ended.returncode and "update" not in command:
        tail = "\n".join((warnings + ended.stdout).splitlines()[-TAIL:])
        hint = "the same by hand:\n" + "\n".join(recipe.lines())
        raise TowlineError(f"could not install {recipe.what}, {command[0]} said:\n{tail}", hint=hint)
    return ended.stdout if ended.returncode else ""


def _apt_environment() -> dict[str, str]:
    path = os.pathsep.join((os.environ.get("PATH", ""), *SYSTEM_FOLDERS))  # dpkg insists on the sbin folders
    return {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8", "PATH": path}


def read_sources(apt: Path = Path("/etc/apt")) -> list[Source]:
    """The machine's own binary apt sources, one entry per suite; disabled ones and CD-ROMs left out."""
    folder = apt / "sources.list.d"
    lists = [path for path in (apt / "sources.list", *sorted(folder.glob("*.list"))) if path.is_file()]
    found = [one for path in lists for one in parse_list(path.read_text(encoding="utf-8"))]
    found += [
        one for path in sorted(folder.glob("*.sources")) for one in parse_deb822(path.read_text(encoding="utf-8"))
    ]
    return [one for one in found if not one.uri.startswith("cdrom:")]


def parse_list(text: str) -> Iterator[Source]:
    """One-line sources (`deb [options] uri suite component…`) → Source. Source: sources.list(5)."""
    for line in text.splitlines():
        match = re.match(r"\s*deb\s+(?:\[([^\]]*)\]\s*)?(\S+)\s+(\S+)([^#]*)", line)
        if match:
            options = dict(one.split("=", 1) for one in (match[1] or "").split() if "=" in one)
            yield Source(match[2], match[3], tuple(match[4].split()), options.get("signed-by", ""))


def parse_deb822(text: str) -> Iterator[Source]:
    """Stanzas (`Types: deb`, `URIs: …`) → Source; an inline key (not a path) counts as none."""
    for stanza in re.split(r"\n\s*\n", text):
        fields = _parse_stanza(stanza)
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() == "no":
            continue
        signed = fields.get("signed-by", "")
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                components = tuple(fields.get("components", "").split())
                yield Source(uri, suite, components, signed if signed.startswith("/") else "")


def _parse_stanza(text: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        if line[:1].isspace():
            fields[name] = f"{fields.get(name, '')} {line.strip()}"
        elif ":" in line:
            name, value = line.split(":", 1)
            name = name.strip().lower()
            fields[name] = value.strip()
    return fields
