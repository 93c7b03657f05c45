"""How a login is proved: the keys in OpenSSH's order, each offered once; what a person must answer is asked on a terminal."""

from __future__ import annotations

import base64
import getpass
import socket
import struct
import sys
import termios
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from functools import cache
from io import StringIO
from pathlib import Path

import paramiko
from paramiko.agent import AgentKey, AgentSSH
from paramiko.pkey import PublicBlob
from paramiko.ssh_exception import AuthenticationException, BadAuthenticationType

from towline.ssh.certificate import SUFFIX, parse_certificate
from towline.ssh.client_settings import ClientSettings
from towline.terminal import can_ask, say

ANSWER_WITHIN = 120  # seconds for a person to answer, as long as sshd waits


class Refused(AuthenticationException):
    """where: `address:port`. offered: what the server did not take. passed_over: `FILE: why` of what could not be offered."""

    def __init__(self, settings: ClientSettings, offered: Sequence[str], passed_over: Sequence[str]) -> None:
        super().__init__("Authentication failed.")
        self.where, self.user = f"{settings.address}:{settings.port}", settings.user
        self.offered, self.passed_over = tuple(offered), tuple(passed_over)


class Authentication:
    """What Paramiko's client is given as its `auth_strategy`. The order is that of ssh_config(5), the method `none` before all."""

    def __init__(self, settings: ClientSettings) -> None:
        self.settings = settings
        self.offered: list[str] = []
        self.passed_over: list[str] = []

    def authenticate(self, transport: paramiko.Transport) -> list[str]:
        """Log in; []. Raises Refused, and SSHException or EOFError when the server ends the connection over it."""
        allowed = self._methods(transport)
        for method in self.settings.methods:
            while allowed and method in allowed:
                more = self._by(method, transport)
                if more is None:
                    break
                allowed = more
        if allowed:
            raise Refused(self.settings, self.offered, self.passed_over)
        return []

    def _by(self, method: str, transport: paramiko.Transport) -> list[str] | None:
        """The methods that are still asked for after one went well, [] for none; None when it did not."""
        if method == "publickey":
            for name, key in self._keys():
                if (more := self._offer(transport, name, key)) is not None:
                    return more
            return None
        for _ in range(self.settings.prompts if self._may_ask(method) else 0):
            answer = self._password if method == "password" else self._answer
            try:
                return list(answer(transport))
            except BadAuthenticationType:
                break
            except AuthenticationException:
                self.offered.append(f"a {'password' if method == 'password' else 'keyboard-interactive'} answer")
        return None

    def _methods(self, transport: paramiko.Transport) -> list[str]:
        """The methods that the server takes; none where it lets this user in as it is."""
        try:
            return list(transport.auth_none(self.settings.user))
        except BadAuthenticationType as error:
            return list(error.allowed_types)

    def _offer(self, transport: paramiko.Transport, name: str, key: paramiko.PKey) -> list[str] | None:
        self.offered.append(name)
        try:
            return list(transport.auth_publickey(self.settings.user, key))
        except AuthenticationException:
            if not transport.is_active():
                raise Refused(self.settings, self.offered, self.passed_over) from None
            return None

    # ----------------------------------------------------------------------------------------------------- the keys

    def _keys(self) -> Iterator[tuple[str, paramiko.PKey]]:
        """(name, key) in the order of ssh: certificates, the agent's that a file names, its others, what only a file has."""
        in_agent = {bytes(key.blob): key for key in agent_keys(self.settings.agent)}
        named = {path: public_key_of(path) for path in self.settings.identities}
        for certificate in self._certificates():
            blob = _certified_key(certificate)
            holder = in_agent.get(blob) or self._private(next((p for p, own in named.items() if own == blob), None))
            if holder is not None:
                yield str(certificate), _certified(holder, certificate)
        for path, blob in named.items():
            if blob in in_agent:
                yield f"{path} (agent)", in_agent[blob]
        for blob, key in in_agent.items():
            if not self.settings.only_identities and blob not in named.values():
                yield f"{key.comment or key.get_name()} (agent)", key
        encrypted = [path for path, blob in named.items() if blob not in in_agent and is_encrypted(path)]
        plain = [path for path, blob in named.items() if blob not in in_agent and path not in encrypted]
        for path in (*plain, *encrypted):  # nobody is asked for a passphrase that is not needed
            if (private := self._private(path)) is not None:
                yield str(path), private

    def _certificates(self) -> list[Path]:
        beside = [path.with_name(f"{path.name.removesuffix('.pub')}-cert.pub") for path in self.settings.identities]
        return [path for path in dict.fromkeys((*self.settings.certificates, *beside)) if path.is_file()]

    def _private(self, path: Path | None) -> paramiko.PKey | None:
        """The key of a file; None, with a word about it, when there is none to be had."""
        if path is None or not path.exists():
            return None
        try:
            return _load(path, _ask_passphrase(path) if is_encrypted(path) else None)
        except _Unusable as why:
            if str(why) not in self.passed_over:
                self.passed_over.append(str(why))
            return None

    # ------------------------------------------------------------------------------------------------ what is asked

    def _may_ask(self, method: str) -> bool:
        if not can_ask():
            self.passed_over.append(f"{method}: there is no terminal to ask on")
        return can_ask()

    def _password(self, transport: paramiko.Transport) -> Sequence[str]:
        where = f"{self.settings.user}@{self.settings.address}"
        return transport.auth_password(self.settings.user, getpass.getpass(f"{where}'s password: "), fallback=False)

    def _answer(self, transport: paramiko.Transport) -> Sequence[str]:
        where = f"({self.settings.user}@{self.settings.address}) "
        transport.auth_timeout = ANSWER_WITHIN

        def answer(title: str, instructions: str, prompts: Sequence[tuple[str, bool]]) -> list[str]:
            for text in filter(None, (title, instructions)):
                say(text)
            return [input(where + prompt) if shown else getpass.getpass(where + prompt) for prompt, shown in prompts]

        with _terminal_as_it_was():  # the answer is read in another thread than the one that Ctrl-C ends
            return transport.auth_interactive(self.settings.user, answer)


@contextmanager
def _terminal_as_it_was() -> Iterator[None]:
    before = termios.tcgetattr(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


# ------------------------------------------------------------------------------------------------------- agent and files


class _Agent(AgentSSH):
    """The agent behind a socket; Paramiko's own knows only that of SSH_AUTH_SOCK."""

    def __init__(self, path: str) -> None:
        super().__init__()
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(ANSWER_WITHIN)  # it may ask a person, as for a touch of a token
        connection.connect(path)
        self._connect(connection)  # type: ignore[attr-defined]  # its stubs do not have it


def agent_keys(path: str) -> Sequence[AgentKey]:
    """The keys of the agent behind the socket `path`; none when there is no agent."""
    if not path:
        return ()
    try:
        keys = _Agent(path).get_keys()
    except (OSError, paramiko.SSHException):
        return ()
    for key in keys:
        if key.name.endswith(SUFFIX):
            key.public_blob = PublicBlob(key.name, key.blob)  # type: ignore[assignment]
    return tuple(keys)


def public_key_of(path: Path) -> bytes:
    """The public half of an identity: of `FILE.pub`, of the file when it is one, or of a private key; b"" when it is not told."""
    for file in (path.with_name(path.name + ".pub"), path):
        if blob := _blob_of_line(_read(file)):
            return blob
    content = _read(path)
    if header := _openssh_header(content):
        return header[1]
    try:
        return bytes(_load(path, None).asbytes()) if content and not is_encrypted(path) else b""
    except _Unusable:
        return b""


def is_encrypted(path: Path) -> bool:
    """Whether a private key needs a passphrase."""
    content = _read(path)
    header = _openssh_header(content)
    return header[0] != "none" if header else b"ENCRYPTED" in content.partition(b"\n\n")[0]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _blob_of_line(content: bytes) -> bytes:
    words = content.split(None, 2)
    if len(words) < 2 or b"-----" in words[0]:
        return b""
    try:
        return base64.b64decode(words[1], validate=True)
    except ValueError:
        return b""


def _openssh_header(content: bytes) -> tuple[str, bytes] | None:
    """(cipher, public key) of a private key in OpenSSH's own format: both stand in it unencrypted."""
    begin, _, rest = content.partition(b"-----BEGIN OPENSSH PRIVATE KEY-----")
    if begin.strip() or not rest:
        return None
    try:
        data = base64.b64decode(b"".join(rest.partition(b"-----END")[0].split()))
    except ValueError:
        return None
    if not data.startswith(b"openssh-key-v1\0"):
        return None
    message = paramiko.Message(data[15:])
    cipher = message.get_text()
    message.get_string(), message.get_string(), message.get_int()  # the key's derivation, and how many keys
    return cipher, message.get_string()


class _Unusable(Exception):
    """`FILE: why` a key cannot be used."""


@cache
def _load(path: Path, passphrase: str | None) -> paramiko.PKey:
    """The private key of a file, without a certificate. Read once: who logs in anew is not asked again."""
    try:
        return _parse_private(path.read_bytes(), passphrase.encode() if passphrase else None)
    except OSError as error:
        raise _Unusable(f"{path}: {error.strerror}") from None
    except Exception as error:  # cryptography and Paramiko raise what their parts raise
        why = (
            "the agent does not have its private key"
            if _blob_of_line(_read(path))
            else "no private key that can be read"
        )
        raise _Unusable(f"{path}: {why}") from error


def _parse_private(content: bytes, passphrase: bytes | None) -> paramiko.PKey:
    """The key of a file in OpenSSH's format, PKCS #8 or OpenSSL's old one: Paramiko reads but the first of them well."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    try:
        loaded = serialization.load_ssh_private_key(content, passphrase)
    except ValueError:
        loaded = serialization.load_pem_private_key(content, passphrase)  # type: ignore[assignment]
    plain = serialization.NoEncryption()
    text = loaded.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, plain).decode()
    if isinstance(loaded, RSAPrivateKey):
        return paramiko.RSAKey.from_private_key(StringIO(text))
    kind = paramiko.ECDSAKey if isinstance(loaded, EllipticCurvePrivateKey) else paramiko.Ed25519Key
    return kind.from_private_key(StringIO(text))


@cache
def _ask_passphrase(path: Path) -> str:
    """Asked for once for each key, and again when it does not open it, at most three times."""
    if not can_ask():
        raise _Unusable(f"{path}: is encrypted, and there is no terminal to ask for its passphrase; ssh-add it")
    for _ in range(3):
        passphrase = getpass.getpass(f"passphrase of {path}: ")
        try:
            _load(path, passphrase)
        except _Unusable:
            continue
        return passphrase
    raise _Unusable(f"{path}: that is not its passphrase")


def _certified_key(file: Path) -> bytes:
    """The public key that a certificate is about; b"" for a file that is none."""
    try:
        return parse_certificate(_blob_of_line(_read(file))).key
    except (struct.error, ValueError):
        return b""


def _certified(key: paramiko.PKey, certificate: Path) -> paramiko.PKey:
    certified = AgentKey(key.agent, key.blob, key.comment) if isinstance(key, AgentKey) else copy(key)
    certified.public_blob = PublicBlob.from_file(str(certificate))
    return certified
