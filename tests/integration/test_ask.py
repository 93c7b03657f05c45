"""Asking over TCP: real sockets and certificates, and the connections that a real sshd opens."""

from __future__ import annotations

import datetime
import os
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.integration.conftest import Client
from towline.checks.ask import dial_from_this_machine
from towline.errors import ConnectionLost
from towline.facts import probe
from towline.facts.probe import Answer, Probe, send, send_all
from towline.sandbox import Sandbox
from towline.sandbox.wait import wait_until

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Here: yes\r\n\r\nhello"
BIG = 300_000
Serve = Callable[[socket.socket], None]


@contextmanager
def server(serve: Serve, context: ssl.SSLContext | None = None, address: str = "127.0.0.1") -> Iterator[int]:
    """A port where each connection is given to `serve`, over TLS if there is a context."""

    def one(line: socket.socket) -> None:
        try:
            line.settimeout(10)
            serve(context.wrap_socket(line, server_side=True) if context else line)
        except OSError:  # who asked has hung up
            pass
        finally:
            line.close()

    def all_of_them() -> None:
        while True:
            try:
                line, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=one, args=(line,), daemon=True).start()

    with socket.create_server((address, 0)) as listening:
        threading.Thread(target=all_of_them, daemon=True).start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)


def answering(answer: bytes) -> Serve:
    def serve(line: socket.socket) -> None:
        line.recv(65536)
        line.sendall(answer)

    return serve


def asked(serve: Serve, context: ssl.SSLContext | None = None, **question: object) -> Answer:
    with server(serve, context) as port:
        return send(dial_from_this_machine, Probe("127.0.0.1", port, **question))  # type: ignore[arg-type]


# -------------------------------------------------------------------------------------------------------------- HTTP


def test_answer_is_read_with_status_headers_and_body() -> None:
    found = asked(answering(OK), name="a.example")
    assert (found.problem, found.status, found.text) == ("", 200, "hello")
    assert found.headers["x-here"] == "yes"
    assert 0 < found.seconds < 5


def test_request_names_host_path_method_and_headers() -> None:
    got: list[bytes] = []

    def serve(line: socket.socket) -> None:
        got.append(line.recv(65536))
        line.sendall(OK)

    asked(serve, name="a.example", path="/x?y=1", method="HEAD", headers={"X-A": "b"})
    head = got[0].decode().split("\r\n")
    assert head[0] == "HEAD /x?y=1 HTTP/1.1"
    assert {"Host: a.example", "X-A: b", "Connection: close"} <= set(head)


def test_chunked_answer_is_read_whole() -> None:
    text = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    assert asked(answering(text)).text == "abcde"


def test_long_answer_is_cut() -> None:
    text = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % BIG + b"x" * BIG
    assert len(asked(answering(text)).body) == probe.MOST_BODY < BIG


def test_answer_that_goes_on_for_ever_is_read_for_as_long_as_the_question_has() -> None:
    def serve(line: socket.socket) -> None:
        line.recv(65536)
        line.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        while True:
            line.sendall(b"data: x\n\n")
            threading.Event().wait(0.01)

    found = asked(serve, timeout=0.2)
    assert (found.problem, found.status) == ("", 200)
    assert found.text.startswith("data: x\n\n")
    assert found.seconds < 2


PROBLEMS: dict[str, tuple[Serve, str]] = {
    "hangs up": (lambda line: None, "hung up"),
    "is no HTTP": (answering(b"SSH-2.0-OpenSSH_9.2\r\n"), "hung up"),
    "says nothing": (lambda line: line.recv(65536) and threading.Event().wait(1) and None, "no answer from"),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_what_goes_wrong_is_the_answer_s_problem(name: str) -> None:
    serve, why = PROBLEMS[name]
    found = asked(serve, timeout=0.2)
    assert why in found.problem
    assert found.status == 0


def test_port_that_nobody_listens_on_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert send(dial_from_this_machine, Probe("127.0.0.1", port)).problem.startswith(
        f"nobody answers on 127.0.0.1:{port}"
    )


def test_name_that_does_not_resolve_is_told() -> None:
    assert (
        send(dial_from_this_machine, Probe("none.invalid", 80)).problem == "this machine does not resolve none.invalid"
    )


@pytest.mark.parametrize("bad", [{"path": "/ü"}, {"path": "/a b"}, {"name": "a..b", "tls": True}], ids=str)
def test_what_cannot_be_sent_is_a_problem_and_no_traceback(bad: dict[str, object]) -> None:
    assert asked(answering(OK), **bad).problem != ""  # type: ignore[arg-type]


def test_open_port_is_told_from_one_that_hangs_up_at_once() -> None:
    assert asked(lambda line: line.recv(1) and None, http=False, proxied=True).problem == ""
    assert asked(lambda line: line.sendall(b"220 mail\r\n"), http=False, proxied=True).problem == ""
    assert "hangs up" in asked(lambda line: None, http=False, proxied=True).problem
    assert asked(lambda line: None, http=False).problem == ""  # whoever takes a connection without a proxy is there


# --------------------------------------------------------------------------------------------------------------- TLS


@dataclass(frozen=True)
class Made:
    """A certificate of this test and its key, as a server takes them."""

    context: ssl.SSLContext
    pem: bytes
    key: bytes


def make_certificate(folder: Path, *names: str, days: float = 30, issuer: str = "") -> Made:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "towline's test")])
    by = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]) if issuer else subject
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=60))
        .not_valid_after(now + datetime.timedelta(days=days))
    )
    if names:
        made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
    pem = made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    form = serialization.PrivateFormat.PKCS8
    secret = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    file = folder / "made.pem"
    file.write_bytes(pem + secret)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return Made(context, pem, secret)


def test_certificate_that_is_served_is_read_whoever_signed_it(tmp_path: Path) -> None:
    made = make_certificate(tmp_path, "a.example", "*.a.example")
    found = asked(answering(OK), made.context, name="b.example", tls=True)
    assert (found.problem, found.status, found.text) == ("", 200, "hello")
    served = found.certificate
    assert served is not None
    assert (served.names, served.subject, served.self_signed) == (
        ("a.example", "*.a.example"),
        "CN=towline's test",
        True,
    )
    assert 29.9 < served.days_left(datetime.datetime.now(datetime.UTC).timestamp()) < 30.1


def test_issuer_days_and_missing_names_are_told(tmp_path: Path) -> None:
    made = make_certificate(tmp_path, days=-3, issuer="somebody")
    served = asked(answering(OK), made.context, name="a.example", tls=True).certificate
    assert served is not None
    assert (served.names, served.issuer, served.self_signed) == ((), "CN=somebody", False)
    assert served.days_left(datetime.datetime.now(datetime.UTC).timestamp()) < -2.9


def test_name_is_told_to_the_server(tmp_path: Path) -> None:
    made, told = make_certificate(tmp_path, "a.example"), list[str | None]()
    made.context.sni_callback = lambda _socket, name, _context: told.append(name)
    asked(answering(OK), made.context, name="b.example", tls=True, http=False)
    asked(answering(OK), made.context, tls=True, http=False)
    assert told == ["b.example", None]


def test_certificate_is_told_though_no_http_follows(tmp_path: Path) -> None:
    made = make_certificate(tmp_path, "a.example")
    found = asked(lambda line: line.recv(1) and None, made.context, name="a.example", tls=True)
    assert found.problem != ""
    assert found.certificate is not None


def test_long_answer_over_tls_is_whole(tmp_path: Path) -> None:
    made = make_certificate(tmp_path, "a.example")
    text = b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + bytes(range(200)) * 1000
    assert asked(answering(text), made.context, name="a.example", tls=True).body == text[-200_000:]


@pytest.mark.parametrize("serve", [answering(OK), lambda line: None], ids=["speaks HTTP", "hangs up"])
def test_server_that_speaks_no_tls_is_told(serve: Serve) -> None:
    found = asked(serve, name="a.example", tls=True)
    assert "does not speak TLS as it should" in found.problem or "hung up" in found.problem
    assert found.certificate is None


# ------------------------------------------------------------------------------------------------- through a real sshd


def test_sshd_opens_the_connections_and_counts_none_as_a_session(client: Client, tmp_path: Path) -> None:
    made = make_certificate(tmp_path, "a.example")
    with server(answering(OK)) as plain, server(answering(OK), made.context) as secure:
        questions = [Probe("127.0.0.1", plain, "a.example", path=f"/{n}") for n in range(20)]
        questions.append(Probe("127.0.0.1", secure, "a.example", tls=True))
        with client.connection.session(("cat",), "busy"):  # MaxSessions is 1, and it is in use
            answers = send_all(client.connection.dial, questions)
    assert {(one.problem, one.status, one.text) for one in answers.values()} == {("", 200, "hello")}
    assert client.connection.ledger.json_lines().count('"event": "dialled"') == len(questions)
    assert (client.counts().logins, client.counts().sessions) == (1, 1)
    assert client.ledger_agrees()


def test_refused_port_is_told_with_sshd_s_own_words(client: Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        client.connection.dial("127.0.0.1", port, 2)
    problem = send(client.connection.dial, Probe("127.0.0.1", port)).problem
    assert problem.startswith(f"nobody answers on 127.0.0.1:{port}: ")
    assert client.counts().sessions == 0


def test_name_that_the_server_does_not_resolve_is_told(client: Client) -> None:
    assert send(client.connection.dial, Probe("none.invalid", 80)).problem.startswith(
        "nobody answers on none.invalid:80: "
    )


def test_server_that_says_nothing_is_waited_for_so_long(client: Client) -> None:
    with server(lambda one: one.recv(65536) and threading.Event().wait(2) and None) as port:
        found = send(client.connection.dial, Probe("127.0.0.1", port, timeout=0.3))
    assert found.problem == f"no answer from 127.0.0.1:{port} within 0.3 s"
    assert found.seconds < 2


def test_address_that_never_answers_is_waited_for_so_long(client: Client) -> None:
    """A listener whose queue is full takes no more: the kernel leaves the next one waiting."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        with pytest.raises(TimeoutError):
            client.connection.dial("127.0.0.1", port, 0.3)
        for one in waiting:
            one.close()


def test_lost_connection_is_no_answer_of_the_host(client: Client) -> None:
    client.connection.fabric()
    transport = client.connection.transport
    with server(lambda one: one.recv(65536) and threading.Event().wait(2) and None) as port:
        channel = client.connection.dial("127.0.0.1", port, 2)
        transport.close()
        with pytest.raises((OSError, EOFError, ConnectionLost)):
            channel.sendall(b"x")


def forbid_forwarding(box: Sandbox) -> None:
    config = box.folder / "sshd_config"
    config.write_text(f"AllowTcpForwarding no\n{config.read_text()}")  # of two values the first counts
    seen = box.log.read_text().count("Server listening")
    os.kill(box.pid, signal.SIGHUP)
    assert wait_until(lambda: box.log.read_text().count("Server listening") > seen, 5)
