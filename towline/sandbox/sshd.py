"""The sandbox's OpenSSH server on 127.0.0.1: its files, starting and stopping it."""

from __future__ import annotations

import os
import pwd
import re
import signal
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from towline.errors import TowlineError

from . import sshd_log
from .packages import INSTALL, UPDATE, Recipe, System, find_program, read_system
from .wait import wait_until

Counts, count = sshd_log.Counts, sshd_log.count

ADDRESS = "127.0.0.1"
START_SECONDS = 10
PRIVSEP_FOLDER = Path("/run/sshd")
NOT_TO_BE_RUN = Path("/etc/ssh/sshd_not_to_be_run")  # Debian: while it exists, the service does not start
BY_HAND = {
    "fedora": ("sudo dnf install -y openssh-server",),
    "arch": ("sudo pacman -S --needed openssh",),
    "alpine": ("sudo apk add openssh-server",),
    "suse": ("sudo zypper install -y openssh-server",),
}
ANYWHERE = ("install OpenSSH's server, sshd, in /usr/sbin",)


@dataclass(frozen=True)
class Limits:
    """sshd's MaxSessions (per connection) and MaxStartups (connections that are not yet authenticated).

    docker_host: the DOCKER_HOST of its logins; '' for the machine's default engine.
    """

    max_sessions: int = 2
    max_startups: int = 2
    docker_host: str = ""


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True)
class Files:
    """All paths of a sandbox."""

    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "sshd_config"

    @property
    def pid(self) -> Path:
        return self.folder / "sshd.pid"

    @property
    def log(self) -> Path:
        return self.folder / "sshd.log"

    @property
    def host_key(self) -> Path:
        return self.folder / "host_ed25519"

    @property
    def identity(self) -> Path:
        return self.folder / "id_ed25519"

    @property
    def authorized_keys(self) -> Path:
        return self.folder / "authorized_keys"

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    @property
    def root(self) -> Path:
        return self.folder / "root"


def read_user() -> str:
    """The name of the user that runs this, the only one who may log in to the sandbox."""
    return pwd.getpwuid(os.getuid()).pw_name


def missing() -> Recipe | None:
    """How to install sshd, or None when it is installed."""
    return None if find_program("sshd") else plan_install(read_system())


def plan_install(system: System) -> Recipe:
    """The recipe for openssh-server, with the distribution's own service on port 22 kept from starting.

    The file sshd_not_to_be_run does that: Debian's init script and systemd units test for it.
    """
    if system.id not in ("debian", "ubuntu"):
        return Recipe("openssh-server", by_hand=system.pick(BY_HAND, ANYWHERE))
    reason = "towline's sandbox needs only the program sshd. Remove this file to let the ssh service start.\n"
    return Recipe(
        "openssh-server",
        commands=(UPDATE, (*INSTALL, "openssh-server")),
        files={NOT_TO_BE_RUN: reason},
        note=f"its service on port 22 does not start while {NOT_TO_BE_RUN} exists",
    )


def start(files: Files, limits: Limits) -> int:
    """Start an sshd, detached from the terminal, on its former port if that is free; its pid once it listens.

    Raises TowlineError with sshd's own message when it does not start.
    """
    sshd = _find_sshd()
    refuse_locked_account()
    _make_folders(files)
    _make_keys(files)
    port = choose_port(read_port(files))
    files.known_hosts.write_text(f"[{ADDRESS}]:{port} {_read_public(files.host_key)}\n", encoding="ascii")
    files.config.write_text(render_config(files, read_user(), port, limits), encoding="utf-8")
    _allow_repeated_failures(sshd, files)
    return _launch(sshd, files, port)


def _find_sshd() -> str:
    sshd = find_program("sshd")  # an absolute path: sshd requires one to execute itself for each connection
    if not sshd:
        raise TowlineError("missing: sshd", hint="\n".join(plan_install(read_system()).lines()))
    return sshd


def refuse_locked_account(shadow: Path = Path("/etc/shadow")) -> None:
    """Raise TowlineError when the account is locked.

    Without PAM, sshd refuses an account whose password begins with '!' (root on Ubuntu), with a key too.
    """
    if not os.access(shadow, os.R_OK):
        return
    user = read_user()
    fields = dict(line.split(":")[:2] for line in shadow.read_text(encoding="utf-8").splitlines() if ":" in line)
    if fields.get(user, "").startswith("!"):
        message = f"the account {user} is locked ('!' in {shadow}): sshd would refuse it, with a key too"
        raise TowlineError(message, hint=f"run (the account still has no password then):\nusermod -p '*' {user}")


def _make_folders(files: Files) -> None:
    files.root.mkdir(exist_ok=True)
    if os.geteuid() == 0:
        PRIVSEP_FOLDER.mkdir(mode=0o755, exist_ok=True)  # on a tmpfs; only the distribution's service creates it


def _make_keys(files: Files) -> None:
    for path in (files.host_key, files.identity):
        if not path.exists():
            _write_key(path)
    files.authorized_keys.write_text(_read_public(files.identity) + "\n", encoding="ascii")


def _write_key(path: Path) -> None:
    """Write a new ed25519 key pair in OpenSSH's format: `path` (0600) and `path`.pub. Needs no ssh-keygen."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    path.with_name(path.name + ".pub").write_bytes(public + b"\n")
    path.touch(mode=0o600)
    path.write_bytes(private)


def _read_public(key: Path) -> str:
    return key.with_name(key.name + ".pub").read_text(encoding="ascii").strip()


def choose_port(former: int | None) -> int:
    """The former port if it is free, else another free one."""
    for port in (former or 0, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a connection in TIME_WAIT does not matter
            try:
                probe.bind((ADDRESS, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise TowlineError(f"no free port on {ADDRESS}")


def render_config(files: Files, user: str, port: int, limits: Limits) -> str:
    """The sandbox's sshd_config: one user, one key, nothing from /etc/ssh.

    StrictModes is off: the folder may be below one that others can write to (a temporary folder, umask 002).
    """
    keys = str(files.authorized_keys).replace("%", "%%")
    return f"""\
Port {port}
ListenAddress {ADDRESS}
HostKey "{files.host_key}"
PidFile "{files.pid}"
AllowUsers {user}
AuthorizedKeysFile "{keys}"
StrictModes no
PermitRootLogin prohibit-password
PubkeyAuthentication yes
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
PermitUserRC no
MaxSessions {limits.max_sessions}
MaxStartups {limits.max_startups}
LogLevel VERBOSE
UseDNS no
PrintMotd no
AllowTcpForwarding yes
AllowStreamLocalForwarding yes
Subsystem sftp internal-sftp
{f"SetEnv DOCKER_HOST={limits.docker_host}" if limits.docker_host else ""}
"""


def _allow_repeated_failures(sshd: str, files: Files) -> None:
    """Turn off PerSourcePenalties: OpenSSH 9.8 and newer would ban the only client for some 20 s after a few failed logins."""
    command = (sshd, "-T", "-f", str(files.config))
    dump = subprocess.run(command, capture_output=True, text=True, check=False)
    if dump.returncode:
        raise TowlineError(f"sshd refuses its settings: {dump.stderr.strip()}", hint=f"see {files.config}")
    if "persourcepenalties" in dump.stdout:
        with files.config.open("a", encoding="utf-8") as config:
            config.write("PerSourcePenalties no\n")


def _launch(sshd: str, files: Files, port: int) -> int:
    files.pid.unlink(missing_ok=True)
    log_size = files.log.stat().st_size if files.log.exists() else 0
    # -f comes first: sshd's process title shows its arguments, truncated where its environment is small.
    command = (sshd, "-f", str(files.config), "-E", str(files.log))
    # sshd becomes a daemon in its own process session. It gets a minimal environment, not that of inv.
    subprocess.run(command, stdin=subprocess.DEVNULL, check=False, cwd="/", env={"PATH": os.defpath})
    # It writes its pid file once it listens. Connecting to find out would take one of its MaxStartups.
    if not wait_until(lambda: read_pid(files) is not None, START_SECONDS):
        output = files.log.read_bytes()[log_size:].decode(errors="replace").strip() if files.log.exists() else ""
        raise TowlineError(f"sshd did not start on {ADDRESS}:{port}: {output}", hint=f"see {files.log}")
    return read_pid(files) or 0


def stop(files: Files) -> bool:
    """Stop the sshd; open sessions last until their client leaves. False when it was not running, or did not end in 10 s."""
    pid = read_pid(files)
    if pid is None:
        return False
    os.kill(pid, signal.SIGTERM)
    return wait_until(lambda: read_pid(files) is None, START_SECONDS)


def read_pid(files: Files) -> int | None:
    """The pid of the sshd that runs with these files; None if it does not run, or the pid is another process's now."""
    try:
        pid = int(files.pid.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return pid if f"-f {files.config}" in _read_command_line(pid) else None


def _read_command_line(pid: int) -> str:
    if Path("/proc/self/cmdline").exists():
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            return ""
    return subprocess.run(("ps", "-o", "args=", "-p", str(pid)), capture_output=True, text=True, check=False).stdout


def read_port(files: Files) -> int | None:
    """The port in the sandbox's sshd_config, or None when there is none yet."""
    return _read_number(files, "Port")


def read_limits(files: Files) -> Limits | None:
    """The limits in the sandbox's sshd_config, or None when there is none yet."""
    sessions, startups = _read_number(files, "MaxSessions"), _read_number(files, "MaxStartups")
    if sessions is None or startups is None:
        return None
    docker_host = re.search(r"^SetEnv DOCKER_HOST=(.*)$", files.config.read_text(encoding="utf-8"), re.MULTILINE)
    return Limits(sessions, startups, docker_host[1] if docker_host else "")


def _read_number(files: Files, keyword: str) -> int | None:
    text = files.config.read_text(encoding="utf-8") if files.config.exists() else ""
    match = re.search(rf"^{keyword} (\d+)$", text, re.MULTILINE)
    return int(match[1]) if match else None
