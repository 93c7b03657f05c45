"""Where `ssh HOST` gets in, towline does: the same host, port, user, keys and way there; against the real client and sshd."""

from __future__ import annotations

import os
import pty
import shlex
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest

from tests.integration.conftest import Client, client_of
from towline.errors import AuthenticationRefused, HostKeyRevoked, HostKeyUnknown, SettingsError
from towline.project.settings import Host
from towline.sandbox import Sandbox, read_status
from towline.ssh import authentication
from towline.ssh.client_settings import read_client_settings
from towline.ssh.login import build_connection, log_in

# What stands in for the sandbox's: {p} its port, {u} its user, {k} its key, {h} its known_hosts, {d} a folder of the test.
BOX = "HostName 127.0.0.1\nPort {p}\nUser {u}\nIdentityFile {k}\nUserKnownHostsFile {h}\n"
GATE = f"Host gate\n{BOX}"
CONFIGURATIONS = {
    "alias": f"Host shed\n{BOX}",
    "first value counts": f"Host shed\n{BOX}Port 1\nUser nobody\n",
    "wildcard": f"Host sh?d !other\n{BOX}",
    "negated": f"Host * !shed\nPort 1\nHost *\n{BOX}",
    "equals sign and quotes": f'Host shed\nHostName=127.0.0.1\nPort = {{p}}\nUser="{{u}}"\nIdentityFile "{{k}}"\n{BOX}',
    "include": f"Include {{d}}/part-*\n{BOX}",
    "include in a block": "Host shed\nInclude {d}/box\n",
    "match host": f"Match host shed\n{BOX}",
    "match originalhost": f"Match originalhost shed\n{BOX}",
    "match exec": f'Match host shed exec "test -d {{d}}"\n{BOX}',
    "match exec that is wrong": f'Match host shed exec "false"\nPort 1\nMatch all\n{BOX}',
    "match user": f"Host shed\nUser {{u}}\nMatch user {{u}}\n{BOX}",
    "match final": f"Host shed\nHostName 127.0.0.1\nMatch final host 127.0.0.1\n{BOX}",
    "token in HostName": f"Host 127.0.0\nHostName %h.1\nHost shed\n{BOX}",
    "ProxyJump none": f"Host shed\nProxyJump none\n{BOX}Host *\nProxyJump nowhere.invalid\n",
    "ProxyJump": f"Host shed\nProxyJump gate\n{BOX}{GATE}",
    "ProxyJump with user and port": f"Host shed\nProxyJump {{u}}@gate:{{p}}\n{BOX}{GATE}",
    "ProxyJump over two": f"Host shed\nProxyJump gate,gate\n{BOX}{GATE}",
    "jump host with its own way": f"Host shed\nProxyJump far\n{BOX}Host far\nProxyJump gate\n{BOX}{GATE}",
    "ProxyCommand": f"Host shed\nProxyCommand {{nc}} %h %p 2>/dev/null\n{BOX}",
    "ProxyCommand none": f"Host shed\nProxyCommand none\n{BOX}Host *\nProxyCommand false\n",
    "ProxyCommand through a jump host": f"Host shed\nProxyCommand ssh -F {{c}} -W %h:%p gate\n{BOX}{GATE}",
    "HostKeyAlias": f"Host shed\nHostKeyAlias pinned\nUserKnownHostsFile {{d}}/alias\n{BOX}",
    "GlobalKnownHostsFile": f"Host shed\nGlobalKnownHostsFile {{h}}\nUserKnownHostsFile none\n{BOX}",
    "KnownHostsCommand": f"Host shed\nUserKnownHostsFile none\nKnownHostsCommand /bin/sh -c 'cat \"$1\"' %I {{h}}\n{BOX}",
    "several known_hosts files": f"Host shed\nUserKnownHostsFile {{d}}/none {{h}}\n{BOX}",
    "IdentityFile with a token": f"Host shed\nIdentityFile {{d}}/key-%p\nIdentitiesOnly yes\n{BOX}",
    "AddressFamily": f"Host shed\nAddressFamily inet\n{BOX}",
    "BindAddress": f"Host shed\nBindAddress 127.0.0.1\n{BOX}",
    "CanonicalizeHostname": f"CanonicalizeHostname yes\nHost shed\n{BOX}",
    "words that are not towline's": f"Host shed\nControlMaster auto\nControlPath {{d}}/socket\nSendEnv LANG\n{BOX}",
}


@pytest.fixture
def folder(roomy: Sandbox, home: Path) -> Path:
    """What the configurations name."""
    made = home / "parts"
    made.mkdir()
    _, key = roomy.known_hosts.read_text().split(" ", 1)
    (made / "alias").write_text(f"pinned {key}")
    (made / "part-1").write_text("Host shed\nForwardAgent no\n")
    (made / "box").write_text(filled(BOX, roomy, home))
    (made / f"key-{roomy.port}").symlink_to(roomy.identity)
    return made


def filled(text: str, box: Sandbox, home: Path) -> str:
    relay = f"{shlex.quote(sys.executable)} {home}/parts/relay.py"
    for name, value in {
        "p": box.port, "u": box.user, "k": box.identity, "h": box.known_hosts, "d": home / "parts", "nc": relay,
        "c": home / ".ssh" / "config",
    }.items():  # fmt: skip
        text = text.replace(f"{{{name}}}", str(value))
    return text


RELAY = """\
import os, select, socket, sys
there = socket.create_connection((sys.argv[1], int(sys.argv[2])))
while True:
    for ready in select.select([0, there], [], [])[0]:
        data = os.read(0, 65536) if ready == 0 else there.recv(65536)
        if not data:
            sys.exit()
        there.sendall(data) if ready == 0 else os.write(1, data)
"""


def write_config(home: Path, box: Sandbox, text: str) -> Path:
    config = home / ".ssh" / "config"
    config.write_text(filled(text, box, home))
    return config


def alias_of(box: Sandbox) -> Client:
    return client_of(box, address="shed", port=None, user=None, identity=None, known_hosts=())


@pytest.mark.parametrize("text", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_login_that_ssh_makes_towline_makes(roomy: Sandbox, home: Path, folder: Path, text: str) -> None:
    (folder / "relay.py").write_text(RELAY)
    config = write_config(home, roomy, text)
    command = ("ssh", "-F", config, "-o", "BatchMode=yes", "-o", "ControlMaster=no", "shed", "echo in as $(id -un)")
    by_ssh = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert by_ssh.returncode == 0, by_ssh.stderr
    client = alias_of(roomy)
    assert client.connection.run(("sh", "-c", "echo in as $(id -un)")).out == by_ssh.stdout
    assert client.connection.ledger.logins == 1
    client.connection.close()


def test_user_and_port_of_the_settings_go_before(roomy: Sandbox, home: Path) -> None:
    write_config(home, roomy, "Host shed\nPort 1\nUser nobody\nMatch user ann\nHostName there.example\n")
    settings = read_client_settings("shed", "ann", 2222)
    assert (settings.address, settings.user, settings.port) == ("there.example", "ann", 2222)
    assert settings.host_key_name == "[there.example]:2222"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Host shed\n  NoSuchWord yes\n", "~/.ssh/config:2: Bad configuration option: nosuchword"),
        ("Host shed\n  Port abc\n", "~/.ssh/config:2: Bad port 'abc'."),
        ('Host "shed\n', "~/.ssh/config:1: invalid quotes"),
        ("Include broken\n", ".ssh/broken:1: Bad configuration option: bogus"),
        ("Host shed\n  ProxyCommand nc\n  ProxyUseFdpass yes\n", "shed: ProxyUseFdpass is not possible here"),
        ("Host shed\n  ProxyJump a\nHost a\n  ProxyJump shed\n", "shed: its jump hosts lead in a circle"),
    ],
)
def test_what_ssh_cannot_read_is_one_line(
    roomy: Sandbox, home: Path, text: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("towline.ssh.client_settings._account_home", lambda: "/nowhere")
    (home / ".ssh" / "broken").write_text("Bogus yes\n")
    write_config(home, roomy, text.replace("broken", str(home / ".ssh" / "broken")))
    with pytest.raises(SettingsError) as caught:
        build_connection(Host("shed", "shed"))
    assert says in str(caught.value)
    assert "\n" not in caught.value.message
    assert caught.value.exit_code == 2


# --- keys ---------------------------------------------------------------------------------------------------------------


def keygen(*words: str | Path) -> None:
    subprocess.run(("ssh-keygen", "-q", *words), check=True, capture_output=True)


@pytest.fixture
def authorized(roomy: Sandbox) -> Iterator[Path]:
    """The file of the keys that may log in; what a test adds goes again."""
    file = roomy.folder / "authorized_keys"
    before = file.read_text()
    yield file
    file.write_text(before)


@pytest.fixture
def agent(home: Path, authorized: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An agent with eight keys, the last of which is let in; the public halves are `8.pub` and so on in the folder."""
    keys = home / "keys"
    keys.mkdir()
    process = subprocess.Popen(("ssh-agent", "-D", "-a", home / "agent"), stdout=subprocess.DEVNULL)
    try:
        while not (home / "agent").exists():
            time.sleep(0.02)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(home / "agent"))
        for number in range(1, 9):
            keygen("-t", "ed25519", "-N", "", "-f", keys / str(number))
            subprocess.run(("ssh-add", "-q", keys / str(number)), check=True)
            (keys / str(number)).unlink()
        with authorized.open("a") as file:
            file.write((keys / "8.pub").read_text())
        yield keys
    finally:
        process.terminate()
        process.wait()


def failures(client: Client) -> int:
    return client.log().count("Failed publickey for")


def test_public_half_picks_one_of_eight_keys_of_the_agent(roomy: Sandbox, home: Path, agent: Path) -> None:
    client = client_of(roomy, identity=agent / "8.pub")
    assert client.connection.run(("true",)).ok
    assert failures(client) == 0
    client.connection.close()


@pytest.mark.parametrize("only", ["IdentitiesOnly yes\n", ""])
def test_identity_of_the_configuration_is_offered_first(roomy: Sandbox, home: Path, agent: Path, only: str) -> None:
    write_config(home, roomy, f"Host shed\nIdentityFile {agent}/8.pub\n{only}{BOX}".replace("IdentityFile {k}\n", ""))
    client = alias_of(roomy)
    assert client.connection.run(("true",)).ok
    assert failures(client) == 0
    client.connection.close()


def test_agent_is_the_one_that_the_configuration_names(
    roomy: Sandbox, home: Path, agent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", "/nowhere")
    monkeypatch.setenv("OTHER_AGENT", str(home / "agent"))
    for name in (str(home / "agent"), "$OTHER_AGENT"):
        settings = f"Host shed\nIdentityAgent {name}\nIdentityFile {agent}/8.pub\nIdentitiesOnly yes\n"
        write_config(home, roomy, settings + BOX.replace("IdentityFile {k}\n", ""))
        client = alias_of(roomy)
        assert client.connection.run(("true",)).ok
        client.connection.close()


def test_public_key_without_an_agent_is_told(roomy: Sandbox, home: Path, tmp_path: Path) -> None:
    keygen("-t", "ed25519", "-N", "", "-f", tmp_path / "k")
    (tmp_path / "k").unlink()
    with pytest.raises(AuthenticationRefused, match=r"no key to offer; not used: .*k\.pub: the agent does not have"):
        client_of(roomy, identity=tmp_path / "k.pub").connection.run(("true",))


@pytest.mark.parametrize("in_agent", [True, False])
@pytest.mark.usefixtures("home", "agent")
def test_certificate_of_a_user_is_offered(roomy: Sandbox, authorized: Path, tmp_path: Path, in_agent: bool) -> None:
    keygen("-t", "ed25519", "-N", "", "-f", tmp_path / "authority")
    keygen("-t", "ed25519", "-N", "", "-f", tmp_path / "k")
    keygen("-s", tmp_path / "authority", "-I", "ann", "-n", roomy.user, tmp_path / "k.pub")
    authorized.write_text(f'cert-authority,principals="{roomy.user}" {(tmp_path / "authority.pub").read_text()}')
    if in_agent:
        subprocess.run(("ssh-add", "-q", tmp_path / "k"), check=True)
        (tmp_path / "k").unlink()
    client = client_of(roomy, identity=tmp_path / ("k.pub" if in_agent else "k"))
    assert client.connection.run(("true",)).ok
    assert "ED25519-CERT" in client.log()
    client.connection.close()


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
@pytest.mark.parametrize("form", ["RFC4716", "PEM", "PKCS8"])
def test_encrypted_key_is_asked_for_once(
    authorized: Path, home: Path, kind: str, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, asked = home / "locked", []
    keygen("-t", kind, "-m", form, "-N", "open sesame", "-f", key)
    with authorized.open("a") as file:
        file.write((home / "locked.pub").read_text())
    (home / "locked.pub").unlink()
    monkeypatch.setattr(authentication, "can_ask", lambda: True)
    answers = iter(["wrong", "open sesame"])
    monkeypatch.setattr("getpass.getpass", lambda prompt: (asked.append(prompt), next(answers))[1])
    for _ in range(2):
        client = client_of(read_status(authorized.parent), identity=key)  # type: ignore[arg-type]
        assert client.connection.run(("true",)).ok
        client.connection.close()
    assert asked == [f"passphrase of {key}: "] * 2


def test_encrypted_key_without_a_terminal_is_one_line(roomy: Sandbox, home: Path, tmp_path: Path) -> None:
    keygen("-t", "ed25519", "-N", "secret", "-f", tmp_path / "locked")
    with pytest.raises(AuthenticationRefused, match="locked: is encrypted, and there is no terminal to ask"):
        client_of(roomy, identity=tmp_path / "locked").connection.run(("true",))


# --- host keys ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def certified(roomy: Sandbox, home: Path, tmp_path: Path) -> Iterator[Client]:
    """A client of a second sshd, which shows a certificate that `tmp_path/authority` signed for the name `shed`."""
    keygen("-t", "ecdsa", "-N", "", "-f", tmp_path / "authority")
    keygen("-t", "ed25519", "-N", "", "-f", tmp_path / "host")
    keygen("-s", tmp_path / "authority", "-h", "-I", "shed", "-n", "shed,*.shed", tmp_path / "host.pub")
    from towline.sandbox.sshd import choose_port

    port = choose_port(None)
    text = (roomy.folder / "sshd_config").read_text()
    for old, new in (
        (f"Port {roomy.port}", f"Port {port}"),
        (
            f'HostKey "{roomy.folder}/host_ed25519"',
            f"HostKey {tmp_path}/host\nHostCertificate {tmp_path}/host-cert.pub",
        ),
        (str(roomy.folder / "sshd.pid"), str(tmp_path / "pid")),
    ):
        text = text.replace(old, new)
    (tmp_path / "conf").write_text(text)
    process = subprocess.Popen(("/usr/sbin/sshd", "-D", "-f", tmp_path / "conf", "-E", tmp_path / "log"))
    try:
        while not (tmp_path / "pid").exists():
            assert process.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.02)
        first = f"Host shed\nPort {port}\nHostKeyAlias shed\nUserKnownHostsFile {home}/.ssh/known_hosts\n"
        write_config(home, roomy, first + BOX)
        client = alias_of(roomy)
        yield client
        client.connection.close()
    finally:
        process.terminate()
        process.wait()


def pin(home: Path, text: str) -> None:
    (home / ".ssh" / "known_hosts").write_text(text)


def test_host_that_an_authority_certifies_is_trusted(certified: Client, home: Path, tmp_path: Path) -> None:
    pin(home, f"@cert-authority shed {(tmp_path / 'authority.pub').read_text()}")
    assert certified.connection.run(("true",)).ok


def test_pinned_key_of_a_certified_host_is_trusted_too(certified: Client, home: Path, tmp_path: Path) -> None:
    pin(home, f"shed {(tmp_path / 'host.pub').read_text()}")
    assert certified.connection.run(("true",)).ok


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("@cert-authority shed {other}", "it is signed by another authority"),
        ("@cert-authority other {authority}", "not in any known_hosts"),
    ],
)
def test_certificate_of_nobody_who_is_trusted_is_refused(
    certified: Client, home: Path, tmp_path: Path, line: str, says: str
) -> None:
    keygen("-t", "ed25519", "-N", "", "-f", tmp_path / "other")
    texts = {name: (tmp_path / f"{name}.pub").read_text() for name in ("other", "authority")}
    pin(home, line.format(**texts))
    with pytest.raises(HostKeyUnknown, match=says):
        certified.connection.run(("true",))


@pytest.mark.parametrize("name", ["authority", "host"])
def test_revoked_authority_or_key_is_refused(certified: Client, home: Path, tmp_path: Path, name: str) -> None:
    authority, revoked = (tmp_path / "authority.pub").read_text(), (tmp_path / f"{name}.pub").read_text()
    pin(home, f"@cert-authority shed {authority}@revoked * {revoked}")
    with pytest.raises(HostKeyRevoked):
        certified.connection.run(("true",))


def test_certificate_of_another_name_or_time_is_refused(certified: Client, home: Path, tmp_path: Path) -> None:
    from towline.ssh.certificate import certificate_of, problem_of

    pin(home, f"@cert-authority shed {(tmp_path / 'authority.pub').read_text()}")
    certificate = certificate_of(certified.connection.transport.get_remote_server_key())
    assert certificate
    authorities = {certificate.authority}
    assert problem_of(certificate, "barn", authorities) == "it is for shed, *.shed"
    assert problem_of(certificate, "a.shed", authorities) == ""
    from dataclasses import replace

    assert "not valid" in problem_of(replace(certificate, until=1), "shed", authorities)
    assert "signature" in problem_of(replace(certificate, signed=b"x"), "shed", authorities)
    assert "a user's" in problem_of(replace(certificate, kind=1), "shed", authorities)


@pytest.mark.parametrize("krl", [True, False])
def test_revoked_host_keys_file_is_heeded(roomy: Sandbox, home: Path, tmp_path: Path, krl: bool) -> None:
    public = roomy.folder / "host_ed25519.pub"
    if krl:
        keygen("-k", "-f", tmp_path / "revoked", public)
    else:
        (tmp_path / "revoked").write_text(public.read_text())
    write_config(home, roomy, f"Host shed\nRevokedHostKeys {tmp_path}/revoked\n{BOX}")
    with pytest.raises(HostKeyRevoked, match="revoked"):
        alias_of(roomy).connection.run(("true",))
    (tmp_path / "revoked").write_text((roomy.folder / "id_ed25519.pub").read_text())
    client = alias_of(roomy)
    assert client.connection.run(("true",)).ok
    client.connection.close()


# --- what is asked ------------------------------------------------------------------------------------------------------


class SecondFactor(paramiko.ServerInterface):
    """A server that wants a key, then an answer; no sshd asks for one without PAM."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def get_allowed_auths(self, username: str) -> str:
        return "keyboard-interactive" if "key" in self.steps else "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        self.steps.append("key")
        return int(paramiko.common.AUTH_PARTIALLY_SUCCESSFUL)

    def check_auth_interactive(self, username: str, submethods: str) -> paramiko.InteractiveQuery:
        return paramiko.InteractiveQuery("", "", ("code: ", False))

    def check_auth_interactive_response(self, responses: list[str]) -> int:  # type: ignore[override]
        self.steps.append(f"answer {responses[0]}")
        right = responses == ["123456"]
        return int(paramiko.common.AUTH_SUCCESSFUL if right else paramiko.common.AUTH_FAILED)


@pytest.fixture
def asking(roomy: Sandbox, home: Path) -> Iterator[tuple[Host, SecondFactor]]:
    """A host behind that server, and what it saw."""
    listener, server = socket.create_server(("127.0.0.1", 0)), SecondFactor()
    port = listener.getsockname()[1]
    key = paramiko.Ed25519Key.from_private_key_file(str(roomy.identity))

    def serve() -> None:
        transport = paramiko.Transport(listener.accept()[0])
        transport.add_server_key(key)
        transport.start_server(server=server)

    threading.Thread(target=serve, daemon=True).start()
    pin(home, f"[127.0.0.1]:{port} {key.get_name()} {key.get_base64()}\n")
    yield Host("lab", "127.0.0.1", "ann", port, roomy.identity, (home / ".ssh" / "known_hosts",)), server
    listener.close()


def test_second_factor_is_asked_for_on_a_terminal(
    asking: tuple[Host, SecondFactor], monkeypatch: pytest.MonkeyPatch
) -> None:
    host, server = asking
    answers = iter(["000000", "123456"])
    terminal, _ = pty.openpty()
    monkeypatch.setattr("sys.stdin", os.fdopen(terminal))
    monkeypatch.setattr(authentication, "can_ask", lambda: True)
    monkeypatch.setattr("getpass.getpass", lambda _prompt: next(answers))
    connection = build_connection(host)
    connection.open()
    assert connection.transport.is_authenticated()
    assert server.steps == ["key", "answer 000000", "answer 123456"]
    connection.close()


def test_second_factor_without_a_terminal_is_one_line(asking: tuple[Host, SecondFactor]) -> None:
    with pytest.raises(AuthenticationRefused, match="keyboard-interactive: there is no terminal to ask on"):
        log_in(asking[0], lambda _reason, _wait: None)
