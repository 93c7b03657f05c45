"""How `ssh HOST` would log in: asked of the OpenSSH client itself (`ssh -G`), of Paramiko's reader where there is none."""

from __future__ import annotations

import getpass
import hashlib
import os
import pwd
import re
import shlex
import shutil
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from towline.errors import SettingsError
from towline.ssh.ssh_config import find_problem, load_ssh_config

KNOWN_HOSTS = ("~/.ssh/known_hosts", "~/.ssh/known_hosts2", "/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")
IDENTITIES = ("~/.ssh/id_rsa", "~/.ssh/id_ecdsa", "~/.ssh/id_ed25519")
METHODS = ("publickey", "keyboard-interactive", "password")
_ANSWER_WITHIN = 60  # seconds: a `Match exec`, or a name that CanonicalizeHostname looks up

Options = Mapping[str, Sequence[str]]  # as `ssh -G` prints them: the names in lower case


@dataclass(frozen=True)
class ClientSettings:
    """Where and as whom to log in, and with what.

    host_key_name: what known_hosts calls the host. known_hosts_command: see `KnownHosts`. identities: private keys, or public ones
    of keys that the agent has, in the order to offer them. agent: its socket, '' for none. jumps: `[user@]host[:port]`, the nearest
    to this machine first. proxy_command: for a shell; its stdin and stdout are the connection. methods: which ways to log in may be
    tried.
    """

    address: str
    port: int
    user: str
    host_key_name: str
    known_hosts: tuple[Path, ...] = ()
    known_hosts_command: tuple[str, ...] = ()
    revoked: Path | None = None
    identities: tuple[Path, ...] = ()
    certificates: tuple[Path, ...] = ()
    only_identities: bool = False
    agent: str = ""
    jumps: tuple[str, ...] = ()
    proxy_command: str = ""
    methods: tuple[str, ...] = METHODS
    prompts: int = 3
    connect_timeout: int | None = None
    family: socket.AddressFamily = socket.AF_UNSPEC
    bind_address: str = ""


def read_client_settings(address: str, user: str | None = None, port: int | None = None) -> ClientSettings:
    """The settings for `address`, as a person would type it behind `ssh`; user and port as given there, too.

    Runs `ssh -G`, which opens no connection; it runs what `Match exec` says. Raises SettingsError, one line with file and number.
    """
    options = _ask_client(address, user, port)
    if options is None:
        options = _read_files(address, user, port)
    return parse_options(options, address)


# ------------------------------------------------------------------------------------------------ the OpenSSH client


def _ask_client(address: str, user: str | None, port: int | None) -> Options | None:
    """What `ssh -G` prints; None where there is no OpenSSH client, or it does not run for this user."""
    program = shutil.which("ssh")
    if not program:
        return None
    words = [program, "-G", *(("-l", user) if user else ()), *(("-p", str(port)) if port else ())]
    try:
        with NamedTemporaryFile() as file:  # not stdin: `Match final` reads it twice
            file.write(own := _own_config())
            file.flush()
            words += ["-F", file.name] if own else []
            done = subprocess.run(
                (*words, "--", address),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_ANSWER_WITHIN,
                check=False,
            )
    except subprocess.TimeoutExpired:
        raise SettingsError(
            f"{address}: `ssh -G {address}` took longer than {_ANSWER_WITHIN} s", "a `Match exec` that does not end?"
        ) from None
    except OSError:
        return None
    if done.returncode:
        said = done.stderr.decode(errors="replace")
        if "No user exists for uid" in said:
            return None
        raise SettingsError(_first_problem(said, address), f"`ssh {address}` says the same")
    return parse_dump(done.stdout.decode(errors="surrogateescape"))


def _own_config() -> bytes:
    """A configuration that names $HOME's, where $HOME is not the account's home: there ssh itself would not look."""
    home, account = os.path.expanduser("~"), _account_home()  # noqa: PTH111  # Path's raises without a home
    if not account or os.path.realpath(home) == os.path.realpath(account):
        return b""
    return f'Include "{home}/.ssh/config"\nMatch all\nInclude "/etc/ssh/ssh_config"\n'.encode(errors="surrogateescape")


def _account_home() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return ""


def _first_problem(said: str, address: str) -> str:
    """One line for what ssh says of a file that it cannot read: `~/.ssh/config:3: Bad configuration option: foo`."""
    lines = [line.strip() for line in said.splitlines() if line.strip() and not line.startswith("Pseudo-terminal")]
    for line in lines:
        if found := re.match(r"(?P<file>/.*?):? line (?P<number>\d+): (?P<what>.*)", line):
            return f"{_with_tilde(found['file'])}:{found['number']}: {found['what']}"
    return _with_tilde(lines[0]) if lines else f"{address}: `ssh -G {address}` failed"


def _with_tilde(text: str) -> str:
    home = os.path.expanduser("~")  # noqa: PTH111
    return text.replace(home + "/", "~/") if home.strip("/") else text


def parse_dump(text: str) -> Options:
    """The options of what `ssh -G` prints."""
    options: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        options.setdefault(name.lower(), []).append(value)
    return options


# ------------------------------------------------------------------------------------------------- without a client


def _read_files(address: str, user: str | None, port: int | None) -> Options:
    """The same of ~/.ssh/config and /etc/ssh/ssh_config as Paramiko reads them: it knows fewer words."""
    _know_this_user()
    config = load_ssh_config()
    try:
        found = config.lookup(address)
    except Exception as error:  # Paramiko raises what its parts raise
        raise find_problem(error) from error
    options: dict[str, list[str]] = {
        name: [value] if isinstance(value, str) else value for name, value in dict[str, Any](found).items()
    }
    options["port"] = [str(port)] if port else options.get("port", ["22"])
    if not options["port"][0].isdecimal():
        raise find_problem(ValueError(f"port {options['port'][0]!r}"))
    options["user"] = [user] if user else options.get("user") or [_own_name(address)]
    options.setdefault("identityfile", list(IDENTITIES))
    options["userknownhostsfile"] = options.get("userknownhostsfile", [" ".join(KNOWN_HOSTS[:2])])
    options["globalknownhostsfile"] = options.get("globalknownhostsfile", [" ".join(KNOWN_HOSTS[2:])])
    return options


def _know_this_user() -> None:
    """Paramiko and Fabric ask for this user's name whoever logs in; a machine has no name for every number."""
    try:
        getpass.getuser()
    except (KeyError, OSError, ImportError):
        os.environ["LOGNAME"] = f"uid-{os.getuid()}"


def _own_name(address: str) -> str:
    name = getpass.getuser()
    if name == f"uid-{os.getuid()}":
        raise SettingsError(
            f"{address}: no user to log in as: this machine has no name for the user {os.getuid()}",
            f"write it: ssh: USER@{address}",
        )
    return name


# ---------------------------------------------------------------------------------------------- options → settings


def parse_options(options: Options, address: str) -> ClientSettings:
    """The settings that the options make. address: what was asked for, `%n` in them."""

    def one(name: str, otherwise: str = "") -> str:
        value = (options.get(name) or [otherwise])[0]
        return otherwise if value.lower() == "none" else value

    if one("proxyusefdpass") == "yes":
        raise SettingsError(f"{address}: ProxyUseFdpass is not possible here", "use a ProxyCommand without it")
    tokens = _tokens(options, address)
    name, port = tokens["h"], int(tokens["p"])

    def files(*names: str) -> tuple[Path, ...]:
        texts = [text for name in names for line in options.get(name, ()) for text in _words(name, line)]
        return tuple(_path(text, tokens) for text in dict.fromkeys(texts) if text.lower() != "none")

    jump = one("proxyjump")
    return ClientSettings(
        address=name,
        port=port,
        user=tokens["r"],
        host_key_name=one("hostkeyalias") or (name if port == 22 else f"[{name}]:{port}"),
        known_hosts=files("userknownhostsfile", "globalknownhostsfile"),
        known_hosts_command=tuple(expand(word, tokens) for word in shlex.split(one("knownhostscommand"))),
        revoked=next(iter(files("revokedhostkeys")), None),
        identities=files("identityfile"),
        certificates=files("certificatefile"),
        only_identities=one("identitiesonly") == "yes",
        agent=_agent(one("identityagent", "none" if "identityagent" in options else "SSH_AUTH_SOCK"), tokens),
        jumps=tuple(hop.removeprefix("ssh://").strip() for hop in jump.split(",")) if jump else (),
        proxy_command="" if jump else expand(one("proxycommand"), tokens),
        methods=_methods(options),
        prompts=int(one("numberofpasswordprompts", "3")),
        connect_timeout=int(one("connecttimeout", "0")) or None,
        family={"inet": socket.AF_INET, "inet6": socket.AF_INET6}.get(one("addressfamily"), socket.AF_UNSPEC),
        bind_address=one("bindaddress"),
    )


def _words(name: str, line: str) -> list[str]:
    """Several known_hosts files stand in one line; the others have a line each, blanks and all.

    `ssh -G` writes a path with blanks in it as it is: what is a file counts, the longest first.
    """
    if not name.endswith("knownhostsfile"):
        return [line.strip('"')]
    words, found = line.split(" "), list[str]()
    while words:
        ends = (end for end in range(len(words), 1, -1) if Path(" ".join(words[:end])).expanduser().is_file())
        end = next(ends, 1)
        found.append(" ".join(words[:end]))
        words = words[end:]
    return [word for word in found if word]


def _methods(options: Options) -> tuple[str, ...]:
    switches = ("pubkeyauthentication", "kbdinteractiveauthentication", "passwordauthentication")
    names = {"pubkeyauthentication": "publickey", "kbdinteractiveauthentication": "keyboard-interactive"}
    on = {
        names.get(switch, "password") for switch in switches if options.get(switch, ["yes"])[0] not in ("no", "false")
    }
    if options.get("batchmode", ["no"])[0] == "yes":
        on &= {"publickey"}
    order = (options.get("preferredauthentications") or [",".join(METHODS)])[0].split(",")
    return tuple(method for method in order if method in on)


def _agent(text: str, tokens: Mapping[str, str]) -> str:
    """The agent's socket of IdentityAgent: a path, `SSH_AUTH_SOCK`, or `$NAME` of the environment."""
    if text == "none":
        return ""
    if text == "SSH_AUTH_SOCK":
        return os.environ.get("SSH_AUTH_SOCK", "")
    return os.environ.get(text[1:], "") if re.fullmatch(r"\$\w+", text) else str(_path(text, tokens))


def _path(text: str, tokens: Mapping[str, str]) -> Path:
    """As ssh reads a path: `~`, `%h`, `${NAME}`. Below the account's home it is $HOME's: see `_own_config`."""
    account, home = _account_home(), tokens["d"]
    text = re.sub(r"\$\{(\w+)\}", lambda match: os.environ.get(match[1], match[0]), expand(text, tokens))
    if account.strip("/") and text.startswith(account + "/"):
        text = home + text[len(account) :]
    path = home + text[1:] if text == "~" or text.startswith("~/") else text
    return Path(os.path.expanduser(path))  # noqa: PTH111


def expand(text: str, tokens: Mapping[str, str]) -> str:
    """The text with ssh_config's `%x`; https://man.openbsd.org/ssh_config#TOKENS

    >>> expand("nc %h %p %%", {"h": "10.0.0.1", "p": "22", "%": "%"})
    'nc 10.0.0.1 22 %'
    """
    return re.sub(r"%(.)", lambda match: tokens.get(match[1], match[0]), text)


def _tokens(options: Options, address: str) -> dict[str, str]:
    """What the `%x` of the options mean, for a host that was asked for as `address`."""
    found = {name: (options.get(name) or [""])[0] for name in ("hostname", "port", "user", "proxyjump", "hostkeyalias")}
    host, port, user, jump, alias = found.values()
    local, home = socket.gethostname(), os.path.expanduser("~")  # noqa: PTH111  # Path's raises without a home
    tokens = {"%": "%", "d": home, "h": host or address, "i": str(os.getuid()), "j": jump, "k": alias or address}
    tokens |= {"L": local.partition(".")[0], "l": local, "n": address, "p": port or "22", "r": user}
    tokens |= {"u": getpass.getuser() if _account_home() else user}
    tokens["C"] = hashlib.sha1(f"{local}{host}{port}{user}{jump}".encode(), usedforsecurity=False).hexdigest()
    return tokens
