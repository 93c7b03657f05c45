"""A session over a channel that is lost while it sends: ConnectionLost, whatever paramiko raises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import paramiko
import pytest

from towline.errors import ConnectionLost
from towline.ssh.session import Session


class LostChannel:
    """Its connection goes at the second message; every method then fails as `error`."""

    def __init__(self, error: Exception) -> None:
        self.error, self.sent = error, 0

    def sendall(self, chunk: bytes) -> None:
        self.sent += 1
        if self.sent > 1:
            raise self.error

    def shutdown_write(self) -> None:
        raise self.error

    def close(self) -> None:
        raise self.error

    def recv(self, _size: int) -> bytes:
        return b""

    recv_stderr = recv

    def settimeout(self, _seconds: float | None) -> None: ...

    def recv_exit_status(self) -> int:
        return -1


@pytest.mark.parametrize("error", [EOFError, OSError, ConnectionResetError, lambda: paramiko.SSHException("gone")])
def test_connection_that_goes_in_an_upload_is_a_lost_connection(error: Callable[[], Exception]) -> None:
    session = Session(cast(Any, LostChannel(error())), "upload")
    session.feed([b"a", b"b", b"c"])
    assert list(session.chunks()) == []
    with pytest.raises(ConnectionLost, match="the connection was lost while 'upload' ran"):
        session.code()
    session.close()
