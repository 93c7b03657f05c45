"""Installs packages for the sandbox: a recipe is files and commands as values, for root on Debian or Ubuntu.

Where towline cannot run it, the same recipe is shown as the commands that the user can run.
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
        """The value of `by_system` for this system, else for the first system that it is like, else `otherwise`."""
        return next((by_system[name] for name in (self.id, *self.like) if name in by_system), otherwise)


@dataclass(frozen=True)
class Source:
    """One suite of an apt source. signed_by: the path of a keyring, or ''."""

    uri: str
    suite: str
    components: tuple[str, ...] = ("main",)
    signed_by: str = ""


@dataclass(frozen=True)
class Recipe:
    """How to install `what`: the folders and files are written first, then the commands run in order.

    note: added to the line that reports it as installed. by_hand: the lines for the user on systems without apt.
    """

    what: str
    commands: tuple[tuple[str, ...], ...] = ()
    files: Mapping[Path, str] = field(default_factory=dict)
    folders: tuple[Path, ...] = ()
    note: str = ""
    by_hand: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """The shell commands that do the same, with sudo unless the user is root."""
        if self.by_hand:
            return list(self.by_hand)
        sudo = () if os.geteuid() == 0 else ("sudo",)
        folders = sorted({*self.folders, *(path.parent for path in self.files)})
        mkdir = [shlex.join((*sudo, "mkdir", "-p", *map(str, folders)))] if folders else []
        writes = [
            f"printf %s {shlex.quote(text)} | {shlex.join((*sudo, 'tee', str(path)))} >/dev/null"
            for path, text in self.files.items()
        ]
        return [*mkdir, *writes, *(shlex.join((*sudo, *command)) for command in self.commands)]


def find_program(name: str) -> str | None:
    """The absolute path of a program, also in the sbin folders, which a user's PATH often lacks."""
    return shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), *SYSTEM_FOLDERS)))


def read_system(release: Path = Path("/etc/os-release")) -> System:
    """This machine's distribution; the default System where there is no os-release."""
    return parse_system(release.read_text(encoding="utf-8")) if release.is_file() else System()


def parse_system(text: str) -> System:
    """The System that the text of an os-release file describes. Source: os-release(5)."""
    pairs = dict(word.split("=", 1) for word in shlex.split(text, comments=True) if "=" in word)
    return System(
        id=pairs.get("ID", ""),
        like=tuple(pairs.get("ID_LIKE", "").split()),
        codename=pairs.get("VERSION_CODENAME", ""),
        name=pairs.get("PRETTY_NAME", "this system"),
    )


def may_install(system: System) -> bool:
    """Whether towline can install packages itself: as root on Debian or Ubuntu."""
    return os.geteuid() == 0 and system.id in APT_SYSTEMS and find_program("apt-get") is not None


def install(recipes: Iterable[Recipe], say: Callable[[str], None], system: System | None = None) -> None:
    """Install everything in `recipes`; `say` gets a line for each. A command that several recipes share runs once.

    Raises TowlineError with the commands to run where towline may not install, or with apt's last lines if it fails.
    """
    recipes, system = list(recipes), system or read_system()
    if recipes and (not may_install(system) or any(recipe.by_hand for recipe in recipes)):
        raise _cannot_install(recipes, system)
    done: dict[tuple[str, ...], str] = {}
    for recipe in recipes:
        started = time.monotonic()
        _install_one(recipe, done)
        note = f" ({recipe.note})" if recipe.note else ""
        say(f"installed {recipe.what} in {time.monotonic() - started:.1f} s{note}")


def _cannot_install(recipes: Sequence[Recipe], system: System) -> TowlineError:
    missing = " and ".join(recipe.what for recipe in recipes)
    reason = (
        "only root can install"
        if os.geteuid()
        else f"towline installs only on Debian 12+ and Ubuntu, not {system.name}"
    )
    lines = [line for recipe in recipes for line in recipe.lines()]
    return TowlineError(f"missing: {missing} ({reason})", hint="run:\n" + "\n".join(dict.fromkeys(lines)))


def _install_one(recipe: Recipe, done: dict[tuple[str, ...], str]) -> None:
    """done: the commands that have run → the output of those whose failure was tolerated."""
    for folder in recipe.folders:
        folder.mkdir(parents=True, exist_ok=True)
    for path, text in recipe.files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for command in recipe.commands:
        if command not in done:
            done[command] = _run(command, recipe, "".join(done.values()))


def _run(command: tuple[str, ...], recipe: Recipe, warnings: str) -> str:
    """Run `command`; the output of an `apt-get update` that failed, else ''. Raises TowlineError if another one fails."""
    # The output goes into a pipe and stdin is empty: a package's questions must not wait for a terminal.
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace", check=False, env={**os.environ, **_apt_environment()},
    )  # fmt: skip
    # A failed update is tolerated: one broken third-party source makes it fail, and the existing lists may be enough.
    if done.returncode and "update" not in command:
        tail = "\n".join((warnings + done.stdout).splitlines()[-TAIL:])
        hint = "the same by hand:\n" + "\n".join(recipe.lines())
        raise TowlineError(f"could not install {recipe.what}; output of {command[0]}:\n{tail}", hint=hint)
    return done.stdout if done.returncode else ""


def _apt_environment() -> dict[str, str]:
    path = os.pathsep.join((os.environ.get("PATH", ""), *SYSTEM_FOLDERS))  # dpkg requires the sbin folders
    return {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8", "PATH": path}


def read_sources(apt: Path = Path("/etc/apt")) -> list[Source]:
    """This machine's binary apt sources, one entry per suite, without disabled ones and CD-ROMs."""
    folder = apt / "sources.list.d"
    lists = [path for path in (apt / "sources.list", *sorted(folder.glob("*.list"))) if path.is_file()]
    sources = [source for path in lists for source in parse_list(path.read_text(encoding="utf-8"))]
    for path in sorted(folder.glob("*.sources")):
        sources += parse_deb822(path.read_text(encoding="utf-8"))
    return [source for source in sources if not source.uri.startswith("cdrom:")]


def parse_list(text: str) -> Iterator[Source]:
    """The Sources in the one-line format (`deb [options] uri suite component…`), see sources.list(5)."""
    for line in text.splitlines():
        match = re.match(r"\s*deb\s+(?:\[([^\]]*)\]\s*)?(\S+)\s+(\S+)([^#]*)", line)
        if match:
            options = dict(option.split("=", 1) for option in (match[1] or "").split() if "=" in option)
            yield Source(match[2], match[3], tuple(match[4].split()), options.get("signed-by", ""))


def parse_deb822(text: str) -> Iterator[Source]:
    """The Sources in the deb822 format (`Types: deb`, `URIs: …`); a key written out in place of its path counts as none."""
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
