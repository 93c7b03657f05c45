"""Where sshd forwards nothing, a program on the host connects: whichever is there, and at MaxSessions 1."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import running_box
from tests.integration.conftest import client_of
from tests.integration.test_ask import OK, answering, forbid_forwarding, server
from towline.commands.relay import relay
from towline.errors import ForwardingForbidden
from towline.facts.probe import Probe, send, send_all

PROGRAMS = {"python3": "open python3", "perl": "open perl", "bash": "open bash", "busybox": "tried busybox nc"}


def found(program: str, folder: Path) -> str:
    """A PATH with the program, and what a shell itself needs."""
    folder.mkdir(exist_ok=True)
    for name in (program, "sh", "cat", "env"):
        where = sys._base_executable if name == "python3" else shutil.which(name)  # type: ignore[attr-defined]
        assert where, f"{name} is missing"
        if not (folder / name).exists():
            (folder / name).symlink_to(where)
    return str(folder)


def relayed(path: str, port: int, sent: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    words = relay("127.0.0.1", port, 2)
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={"PATH": path})
    assert process.stdin
    process.stdin.write(sent)
    process.stdin.flush()
    out = process.stdout.read() if process.stdout else b""  # to the end of the connection; stdin is still open
    process.stdin.close()
    return subprocess.CompletedProcess(words, process.wait(10), out)


def closed_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.mark.parametrize("program", PROGRAMS)
def test_bytes_go_both_ways_and_the_end_is_passed_on(tmp_path: Path, program: str) -> None:
    big = bytes(range(256)) * 4000

    def echo_all(one: socket.socket) -> None:
        data = b""
        while len(data) < len(big):
            data += one.recv(65536)
        one.sendall(data)

    with server(echo_all) as port:
        done = relayed(found(program, tmp_path / "bin"), port, big)
    line, _, rest = done.stdout.partition(b"\n")
    assert line.decode() == PROGRAMS[program]
    assert rest == big


@pytest.mark.parametrize("program", PROGRAMS)
def test_port_that_nobody_listens_on_is_no_connection(tmp_path: Path, program: str) -> None:
    out = relayed(found(program, tmp_path / "bin"), closed_port()).stdout
    assert out.startswith(b"refused ") or out == b"tried busybox nc\n"


def test_host_without_a_program_says_so(tmp_path: Path) -> None:
    assert relayed(found("cat", tmp_path / "bin"), closed_port()).stdout == b"none\n"


@pytest.mark.parametrize("program", [*PROGRAMS, "cat"])
def test_probes_are_answered_though_sshd_forwards_nothing(tmp_path: Path, home: Path, program: str) -> None:
    with running_box(tmp_path / "box", max_sessions=1) as box:
        forbid_forwarding(box)
        path = found(program, tmp_path / "bin")
        for tool in ("sleep", "timeout", "mktemp"):
            found(tool, tmp_path / "bin")
        config = box.folder / "sshd_config"
        config.write_text(config.read_text().replace("SHLVL=5", f"SHLVL=5 PATH={path}"))
        forbid_forwarding(box)
        client = client_of(box)
        closed = closed_port()
        with server(answering(OK)) as port:
            pages = [Probe("127.0.0.1", port, path=f"/{number}") for number in range(5)]
            refused, opened = Probe("127.0.0.1", closed, http=False), Probe("127.0.0.1", port, http=False)
            if program == "cat":
                with pytest.raises(ForwardingForbidden, match="no python3, perl, bash or nc"):
                    client.connection.dial("127.0.0.1", port, 2)
                assert send(client.connection.dial, opened).forbidden
                client.connection.close()
                return
            answers = send_all(client.connection.dial, [*pages, refused, opened])
        assert [(answers[page].status, answers[page].problem) for page in pages] == [(200, "")] * 5
        assert answers[opened].problem == ""
        assert f"nobody answers on 127.0.0.1:{closed}" in answers[refused].problem
        named = PROGRAMS[program].split(" ", 1)[1]
        assert client.notes == [
            f"{box.host().name}: sshd forbids TCP forwarding; {named} there connects to ports and routes"
        ]
        assert client.counts().peak == 1
        client.connection.close()
