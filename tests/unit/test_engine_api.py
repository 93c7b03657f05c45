"""The engine's answers to several questions on one line, as recorded from Docker Engine 28.5 and put together anew."""

from __future__ import annotations

import pytest

from towline.facts.engine_api import command, parse


def answer(body: bytes, status: str = "200 OK", chunks: int = 0) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nApi-Version: 1.51\r\nContent-Type: application/json\r\nServer: Docker/28.5.2 (linux)\r\n"
    )
    if not chunks:
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    parts = [body[at : at + chunks] for at in range(0, len(body), chunks)]
    framed = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    return f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + framed + b"0\r\n\r\n"


PING = answer(b"OK")
INFO = answer(b'{"Driver":"overlay2"}\n')
EVENTS = b'{"Action":"oom","time":1}\n{"Action":"oom","time":2}\n'


def test_several_answers_are_told_apart() -> None:
    assert parse(INFO + answer(b"[]\n") + answer(b'{"Volumes":null}') + PING, 3) == [
        [{"Driver": "overlay2"}],
        [[]],
        [{"Volumes": None}],
    ]


@pytest.mark.parametrize("chunks", [1, 7, 1000])
def test_chunked_answer_of_many_documents(chunks: int) -> None:
    found = parse(INFO + answer(EVENTS, chunks=chunks) + INFO + PING, 3)
    assert found[1] == [{"Action": "oom", "time": 1}, {"Action": "oom", "time": 2}]
    assert found[0] == found[2] == [{"Driver": "overlay2"}]


def test_answer_without_a_document_is_empty() -> None:
    assert parse(answer(b"", chunks=4) + INFO, 2) == [[], [{"Driver": "overlay2"}]]


@pytest.mark.parametrize("status", ["404 Not Found", "400 Bad Request", "500 Internal Server Error"])
def test_question_that_the_engine_refuses_has_no_document_and_the_next_is_read(status: str) -> None:
    assert parse(answer(b'{"message":"page not found"}\n', status) + INFO, 2) == [[], [{"Driver": "overlay2"}]]


WHOLE = answer(b'{"Driver":"overlay2","Name":"x"}') + answer(EVENTS, chunks=9)


@pytest.mark.parametrize("kept", [0, 5, 40, 150, len(WHOLE) - 8, len(WHOLE) - 30])
def test_answer_that_breaks_off_is_told(kept: int) -> None:
    assert len(parse(WHOLE, 2)) == 2
    with pytest.raises(ValueError):
        parse(WHOLE[:kept], 2)


@pytest.mark.parametrize("talk", [b"docker: command not found\n", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{x}"])
def test_what_is_no_answer_is_told(talk: bytes) -> None:
    with pytest.raises(ValueError):
        parse(talk, 1)


def test_command_takes_each_path_as_a_word() -> None:
    assert command("/info", "/networks")[3:] == ("towline", "/info", "/networks")
