"""Logging in: what is retried, what never is, and the message of each refusal; against the real sshd."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tenacity import wait_fixed

from tests.integration.conftest import Client, client_of, running_box, serving
from towline import sandbox
from towline.errors import (
    AuthenticationRefused,
    ConnectionFailed,
    HostKeyChanged,
    HostKeyRevoked,
    HostKeyUnknown,
    HostUnreachable,
)
from towline.project.settings import Host
from towline.sandbox import Sandbox
from towline.sandbox.sshd import Limits
from towline.sandbox.wait import wait_until
from towline.ssh import login
from towline.ssh.connection import Connection


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login, "ATTEMPTS", 3)
    monkeypatch.setattr(login, "wait_exponential", lambda **_: wait_fixed(0.05))


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Sandbox]:
    """A sandbox of the test's own, which it may stop and start."""
    with running_box(tmp_path / "box") as made:
        yield made


def retries(client: Client) -> int:
    return sum(entry["event"] == "retry" for entry in client.connection.ledger.entries)


# --- retries ------------------------------------------------------------------------------------------------------------


def test_refused_port_is_retried_and_then_named(box: Sandbox, home: Path) -> None:
    client = client_of(box)
    sandbox.down(box.folder)
    with pytest.raises(HostUnreachable, match=rf"127\.0\.0\.1:{box.port}: no connection \(.*refused") as caught:
        client.connection.run(("true",))
    assert caught.value.exit_code == 3
    assert "firewall" in caught.value.hint
    assert len(client.notes) == retries(client) == 2
    assert not client.connection.used


def test_server_that_comes_up_late_is_logged_in_to_once(box: Sandbox, home: Path) -> None:
    client = client_of(box)
    sandbox.down(box.folder)

    def note(text: str) -> None:
        client.notes.append(text)
        sandbox.up(folder=box.folder, engine=False, limits=Limits(1, 1), say=lambda _: None)

    client.connection = Connection(box.host(), note)
    assert client.connection.run(("true",)).ok
    assert len(client.notes) == retries(client) == 1
    assert client.ledger_agrees()
    assert client.connection.ledger.reconnects == 0
    client.connection.close()


@contextmanager
def dropping_listener(port: int = 0) -> Iterator[tuple[socket.socket, list[int]]]:
    """A listener that closes each connection before a banner, and the client ports that it accepted."""
    listener = socket.create_server(("127.0.0.1", port))
    accepted: list[int] = []

    def serve() -> None:
        while True:
            try:
                client, address = listener.accept()
            except OSError:
                return
            accepted.append(address[1])
            client.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener, accepted
    finally:
        _stop(listener)
        thread.join(5)


def _stop(listener: socket.socket) -> None:
    if listener.fileno() >= 0:
        listener.shutdown(socket.SHUT_RDWR)  # wakes accept
        listener.close()


def test_dropped_banner_is_retried_and_then_named(home: Path) -> None:
    with dropping_listener() as (listener, accepted):
        host = Host("fake", "127.0.0.1", user="root", port=listener.getsockname()[1])
        with pytest.raises(HostUnreachable, match="no connection"):
            Connection(host, lambda _: None).run(("true",))
        assert len(accepted) == 3


def test_dropped_banner_is_retried_until_the_server_answers(box: Sandbox, home: Path) -> None:
    sandbox.down(box.folder)
    with dropping_listener(box.port) as (listener, accepted):
        client = client_of(box)

        def note(text: str) -> None:
            client.notes.append(text)
            _stop(listener)
            sandbox.up(folder=box.folder, engine=False, limits=Limits(1, 1), say=lambda _: None)

        client.connection = Connection(box.host(), note)
        assert client.connection.run(("true",)).ok
        assert (len(accepted), len(client.notes)) == (1, 1)
        client.connection.close()


def test_login_that_sshd_drops_for_its_max_startups_is_retried(tight: Sandbox, home: Path) -> None:
    client = client_of(tight)
    with socket.create_connection(("127.0.0.1", tight.port)) as half_open:
        half_open.recv(64)  # its banner: sshd now waits for this one to log in
        client.connection = Connection(tight.host(), lambda text: (client.notes.append(text), half_open.close())[0])
        assert client.connection.run(("true",)).ok
    assert client.counts().dropped >= 1
    assert client.notes
    client.connection.close()


def test_host_that_could_not_be_reached_is_not_retried_at_each_use(box: Sandbox, home: Path) -> None:
    client = client_of(box)
    sandbox.down(box.folder)
    for _ in range(3):
        with pytest.raises(HostUnreachable):
            client.connection.run(("true",))
    assert len(client.notes) == 2


def test_name_that_does_not_exist_is_not_retried(home: Path) -> None:
    notes: list[str] = []
    with pytest.raises(ConnectionFailed) as caught:
        Connection(Host("x", "no-such-host.invalid", user="root"), notes.append).run(("true",))
    assert "no-such-host.invalid" in caught.value.message
    assert "Traceback" not in str(caught.value)


# --- host keys ----------------------------------------------------------------------------------------------------------


def test_unknown_host_key_is_refused_and_the_hint_pins_it(tight: Sandbox, home: Path) -> None:
    client = client_of(tight, known_hosts=())
    with pytest.raises(HostKeyUnknown, match="ssh-ed25519 SHA256:") as caught:
        client.connection.run(("true",))
    assert caught.value.exit_code == 3
    assert (client.counts().connections, client.counts().logins, client.notes) == (1, 0, [])
    pin = re.search(r"echo '.*' >> ~/\.ssh/known_hosts", caught.value.hint)
    assert pin
    subprocess.run(("sh", "-c", pin[0]), check=True)
    client = client_of(tight, known_hosts=())
    assert client.connection.run(("true",)).ok
    client.connection.close()


def test_fingerprint_is_the_one_that_ssh_keygen_prints(tight: Sandbox, home: Path) -> None:
    keygen = shutil.which("ssh-keygen")
    assert keygen, "the OpenSSH client is missing: apt-get install -y openssh-client"
    shown = subprocess.run(
        (keygen, "-lf", str(tight.folder / "host_ed25519.pub")), capture_output=True, text=True, check=True
    )
    with pytest.raises(HostKeyUnknown, match=re.escape(shown.stdout.split()[1])):
        client_of(tight, known_hosts=()).connection.run(("true",))


def test_changed_host_key_is_refused_and_the_hint_removes_the_old_one(tight: Sandbox, home: Path) -> None:
    other = (tight.folder / "id_ed25519.pub").read_text()
    (home / ".ssh" / "known_hosts").write_text(f"[127.0.0.1]:{tight.port} {other}")
    client = client_of(tight, known_hosts=())
    with pytest.raises(
        HostKeyChanged, match=r"its host key changed: pinned ssh-ed25519 SHA256:.*now ssh-ed25519"
    ) as caught:
        client.connection.run(("true",))
    assert (client.counts().connections, client.counts().logins, client.notes) == (1, 0, [])
    remove = re.search(r"ssh-keygen -R \S+", caught.value.hint)
    assert remove
    command = f"{remove[0]} -f {home}/.ssh/known_hosts"  # ssh-keygen finds its home in the password file
    subprocess.run(("sh", "-c", command), check=True, capture_output=True)
    with pytest.raises(HostKeyUnknown):
        client_of(tight, known_hosts=()).connection.run(("true",))


def test_hashed_known_hosts_are_read(tight: Sandbox, home: Path) -> None:
    pinned = home / ".ssh" / "known_hosts"
    pinned.write_text(tight.known_hosts.read_text())
    subprocess.run(("ssh-keygen", "-H", "-f", str(pinned)), check=True, capture_output=True)
    assert "127.0.0.1" not in pinned.read_text()
    client = client_of(tight, known_hosts=())
    assert client.connection.run(("true",)).ok
    client.connection.close()


# --- authentication -----------------------------------------------------------------------------------------------------


def test_key_that_is_not_accepted_is_offered_exactly_once(tight: Sandbox, home: Path) -> None:
    client = client_of(tight, identity=tight.folder / "host_ed25519")
    with pytest.raises(AuthenticationRefused, match="permission denied") as caught:
        client.connection.run(("true",))
    assert str(tight.folder / "host_ed25519") in caught.value.message
    assert caught.value.exit_code == 3
    assert wait_until(lambda: "Connection closed" in client.log() or "Disconnected" in client.log(), 5)
    assert client.log().count("Failed publickey for") == 1
    assert (client.counts().connections, client.counts().logins, client.notes) == (1, 0, [])
    assert wait_until(lambda: serving(tight) == [], 5)


def test_user_who_may_not_log_in_is_refused_in_one_attempt(tight: Sandbox, home: Path) -> None:
    client = client_of(tight, user="nobody")
    with pytest.raises(AuthenticationRefused, match="permission denied for nobody"):
        client.connection.run(("true",))
    assert client.counts().connections == 1


def test_no_key_at_all_is_refused_in_one_attempt(tight: Sandbox, home: Path) -> None:
    client = client_of(tight, identity=None)
    with pytest.raises(AuthenticationRefused, match="no key to offer"):
        client.connection.run(("true",))
    assert client.counts().connections == 1


def test_key_with_a_passphrase_is_an_error_and_never_a_prompt(tight: Sandbox, home: Path, tmp_path: Path) -> None:
    key = tmp_path / "locked"
    subprocess.run(("ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", str(key)), check=True)
    with pytest.raises(ConnectionFailed) as caught:
        client_of(tight, identity=key).connection.run(("true",))
    assert "ssh-add" in caught.value.hint


# --- ~/.ssh/config ------------------------------------------------------------------------------------------------------


def ssh_config(home: Path, text: str) -> None:
    (home / ".ssh" / "config").write_text(text)


def test_alias_gives_address_port_user_and_key(tight: Sandbox, home: Path) -> None:
    ssh_config(
        home,
        f"Host shed\n  HostName 127.0.0.1\n  Port {tight.port}\n  User {tight.user}\n  IdentityFile {tight.identity}\n",
    )
    client = client_of(tight, address="shed", port=None, user=None, identity=None)
    assert client.connection.run(("id", "-un")).out.strip() == tight.user
    assert client.ledger_agrees()
    client.connection.close()


def test_settings_go_before_the_alias(tight: Sandbox, home: Path) -> None:
    ssh_config(home, "Host shed\n  HostName 127.0.0.1\n  Port 1\n  User nobody\n")
    client = client_of(tight, address="shed")
    assert client.connection.run(("true",)).ok
    client.connection.close()


def jump_config(home: Path, box: Sandbox) -> None:
    ssh_config(
        home,
        f"Host gate\n  HostName localhost\n  Port {box.port}\n  User {box.user}\n  IdentityFile {box.identity}\n"
        f"Host shed\n  HostName 127.0.0.1\n  Port {box.port}\n  User {box.user}\n  IdentityFile {box.identity}\n"
        "  ProxyJump gate\n",
    )


def pins(box: Sandbox, *names: str) -> str:
    _, key = box.known_hosts.read_text().split(" ", 1)
    return "".join(f"[{name}]:{box.port} {key}" for name in names)


def test_proxy_jump_is_used_and_both_logins_end(roomy: Sandbox, home: Path) -> None:
    jump_config(home, roomy)
    (home / ".ssh" / "known_hosts").write_text(pins(roomy, "localhost", "127.0.0.1"))
    client = client_of(roomy, address="shed", port=None, user=None, identity=None, known_hosts=())
    assert client.connection.run(("echo", "through")).out == "through\n"
    assert (client.counts().logins, client.counts().sessions, client.connection.ledger.logins) == (2, 1, 1)
    assert len(serving(roomy)) >= 2
    client.connection.close()
    assert wait_until(lambda: serving(roomy) == [], 5)


@pytest.mark.parametrize(
    ("pinned", "missing", "logins"), [("127.0.0.1", "localhost", 0), ("localhost", "127.0.0.1", 1)]
)
def test_host_keys_are_checked_of_the_jump_host_and_of_the_target(
    roomy: Sandbox, home: Path, pinned: str, missing: str, logins: int
) -> None:
    jump_config(home, roomy)
    (home / ".ssh" / "known_hosts").write_text(pins(roomy, pinned))
    client = client_of(roomy, address="shed", port=None, user=None, identity=None, known_hosts=())
    with pytest.raises(HostKeyUnknown, match=re.escape(f"[{missing}]:{roomy.port}")):
        client.connection.run(("true",))
    assert (client.counts().logins, client.notes) == (logins, [])
    assert wait_until(lambda: serving(roomy) == [], 5)


def test_jump_host_that_cannot_be_reached_is_retried(roomy: Sandbox, home: Path) -> None:
    jump_config(home, roomy)
    config = home / ".ssh" / "config"
    config.write_text(config.read_text().replace(str(roomy.port), "1", 1))
    client = client_of(roomy, address="shed", port=None, user=None, identity=None)
    with pytest.raises(HostUnreachable):
        client.connection.run(("true",))
    assert len(client.notes) == 2


def test_one_of_two_pinned_keys_of_a_type_is_enough(tight: Sandbox, home: Path) -> None:
    other = (tight.folder / "id_ed25519.pub").read_text()
    pin = tight.known_hosts.read_text()
    (home / ".ssh" / "known_hosts").write_bytes(
        b"# caf\xe9\n" + f"[127.0.0.1]:{tight.port} {other}{pin}@cert-authority * {other}".encode()
    )
    client = client_of(tight, known_hosts=())
    assert client.connection.run(("true",)).ok
    client.connection.close()


def test_revoked_host_key_is_refused(tight: Sandbox, home: Path) -> None:
    pin = tight.known_hosts.read_text()
    (home / ".ssh" / "known_hosts").write_text(f"{pin}@revoked {pin}")
    client = client_of(tight, known_hosts=())
    with pytest.raises(HostKeyRevoked, match=r"known_hosts:2"):
        client.connection.run(("true",))
    assert (client.counts().connections, client.counts().logins, client.notes) == (1, 0, [])
