"""Counting in sshd's log: both texts were recorded from real servers (MaxSessions 2, MaxStartups 2, VERBOSE).

The same client drove both: a command; two commands at once and a third that was refused; an sftp session and
a shell whose client left without closing them; four connections that said nothing; a wrong key.
"""

from __future__ import annotations

from pathlib import Path

from towline.sandbox import sshd
from towline.sandbox.sshd_log import Counts, count, parse_log

OPENSSH_9_2 = """\
Server listening on 127.0.0.1 port 23999.
Connection from 127.0.0.1 port 51852 on 127.0.0.1 port 23999 rdomain ""
Accepted key ED25519 SHA256:A0GGyWn0l9JdGEk4Ntq9k8nCpXZKKh/kf9saFJ4pUQw found at /s/authorized_keys:1
Accepted publickey for root from 127.0.0.1 port 51852 ssh2: ED25519 SHA256:A0GGyWn0l9JdGEk4Ntq9k8nCpXZKKh/kf9saFJ4pUQw
Starting session: command for root from 127.0.0.1 port 51852 id 0
Close session: user root from 127.0.0.1 port 51852 id 0
Starting session: command for root from 127.0.0.1 port 51852 id 0
Starting session: command for root from 127.0.0.1 port 51852 id 1
no more sessions
Close session: user root from 127.0.0.1 port 51852 id 1
Close session: user root from 127.0.0.1 port 51852 id 0
Starting session: subsystem 'sftp' for root from 127.0.0.1 port 51852 id 0
Connection closed by 127.0.0.1 port 51852
Close session: user root from 127.0.0.1 port 51852 id 0
Transferred: sent 5984, received 2176 bytes
Closing connection to 127.0.0.1 port 51852
Connection from 127.0.0.1 port 51856 on 127.0.0.1 port 23999 rdomain ""
Accepted key ED25519 SHA256:A0GGyWn0l9JdGEk4Ntq9k8nCpXZKKh/kf9saFJ4pUQw found at /s/authorized_keys:1
Accepted publickey for root from 127.0.0.1 port 51856 ssh2: ED25519 SHA256:A0GGyWn0l9JdGEk4Ntq9k8nCpXZKKh/kf9saFJ4pUQw
Starting session: shell on pts/0 for root from 127.0.0.1 port 51856 id 0
Connection closed by 127.0.0.1 port 51856
Close session: user root from 127.0.0.1 port 51856 id 0
syslogin_perform_logout: logout() returned an error
Transferred: sent 2528, received 1600 bytes
Closing connection to 127.0.0.1 port 51856
beginning MaxStartups throttling
drop connection #2 from [127.0.0.1]:51886 on [127.0.0.1]:23999 past MaxStartups
drop connection #2 from [127.0.0.1]:51894 on [127.0.0.1]:23999 past MaxStartups
Connection from 127.0.0.1 port 51868 on 127.0.0.1 port 23999 rdomain ""
Connection from 127.0.0.1 port 51876 on 127.0.0.1 port 23999 rdomain ""
kex_exchange_identification: read: Connection reset by peer
Connection reset by 127.0.0.1 port 51876
kex_exchange_identification: read: Connection reset by peer
Connection reset by 127.0.0.1 port 51868
exited MaxStartups throttling after 00:00:00, 2 connections dropped
Connection from 127.0.0.1 port 51910 on 127.0.0.1 port 23999 rdomain ""
Accepted key ED25519 SHA256:A0GGyWn0l9JdGEk4Ntq9k8nCpXZKKh/kf9saFJ4pUQw found at /s/authorized_keys:1
Postponed publickey for root from 127.0.0.1 port 51910 ssh2 [preauth]
Accepted key ED25519 SHA256:A0GGyWn0l9JdGEk4Ntq9k8nCpXZKKh/kf9saFJ4pUQw found at /s/authorized_keys:1
Accepted publickey for root from 127.0.0.1 port 51910 ssh2: ED25519 SHA256:A0GGyWn0l9JdGEk4Ntq9k8nCpXZKKh/kf9saFJ4pUQw
Starting session: command for root from 127.0.0.1 port 51910 id 0
Received disconnect from 127.0.0.1 port 51910:11: disconnected by user
Disconnected from user root 127.0.0.1 port 51910
Connection from 127.0.0.1 port 51916 on 127.0.0.1 port 23999 rdomain ""
Failed publickey for root from 127.0.0.1 port 51916 ssh2: ED25519 SHA256:V1eX3Kpof2slLPLlsqtqNXY4rXb+QFS/dKSlcZz2/40
Connection closed by authenticating user root 127.0.0.1 port 51916 [preauth]
Received signal 15; terminating.
"""

OPENSSH_10_0 = """\
Connection from 127.0.0.1 port 38480 on 127.0.0.1 port 38039 rdomain ""
Accepted key ED25519 SHA256:x/EJOoM/578Cry6+3sNd7fI+O0I7Tz1rQj79eI+TMow found at /s/authorized_keys:1
Accepted publickey for root from 127.0.0.1 port 38480 ssh2: ED25519 SHA256:x/EJOoM/578Cry6+3sNd7fI+O0I7Tz1rQj79eI+TMow
User child is on pid 3887
Starting session: command for root from 127.0.0.1 port 38480 id 0
Close session: user root from 127.0.0.1 port 38480 id 0
Starting session: command for root from 127.0.0.1 port 38480 id 0
Starting session: command for root from 127.0.0.1 port 38480 id 1
no more sessions
Close session: user root from 127.0.0.1 port 38480 id 0
Close session: user root from 127.0.0.1 port 38480 id 1
Starting session: subsystem 'sftp' for root from 127.0.0.1 port 38480 id 1
Connection closed by 127.0.0.1 port 38480
Close session: user root from 127.0.0.1 port 38480 id 1
Transferred: sent 5408, received 2312 bytes
Closing connection to 127.0.0.1 port 38480
Connection from 127.0.0.1 port 38492 on 127.0.0.1 port 38039 rdomain ""
Accepted key ED25519 SHA256:x/EJOoM/578Cry6+3sNd7fI+O0I7Tz1rQj79eI+TMow found at /s/authorized_keys:1
Accepted publickey for root from 127.0.0.1 port 38492 ssh2: ED25519 SHA256:x/EJOoM/578Cry6+3sNd7fI+O0I7Tz1rQj79eI+TMow
User child is on pid 3896
Starting session: shell on pts/0 for root from 127.0.0.1 port 38492 id 0
Connection closed by 127.0.0.1 port 38492
Close session: user root from 127.0.0.1 port 38492 id 0
Transferred: sent 1920, received 1736 bytes
Closing connection to 127.0.0.1 port 38492
syslogin_perform_logout: logout() returned an error
drop connection #2 from [127.0.0.1]:38528 on [127.0.0.1]:38039 Maxstartups
drop connection #2 from [127.0.0.1]:38540 on [127.0.0.1]:38039 Maxstartups
Connection from 127.0.0.1 port 38516 on 127.0.0.1 port 38039 rdomain ""
Connection from 127.0.0.1 port 38506 on 127.0.0.1 port 38039 rdomain ""
kex_exchange_identification: read: Connection reset by peer
kex_exchange_identification: read: Connection reset by peer
Connection reset by 127.0.0.1 port 38516
Connection reset by 127.0.0.1 port 38506
Connection from 127.0.0.1 port 38550 on 127.0.0.1 port 38039 rdomain ""
Failed publickey for root from 127.0.0.1 port 38550 ssh2: ED25519 SHA256:ZnrllJW/yfwWNhbCW84qsQfwDYq+SF3UMB4r67ZMda4
Connection closed by authenticating user root 127.0.0.1 port 38550 [preauth]
"""


def test_log_of_openssh_9_2_is_counted() -> None:
    wanted = Counts(connections=6, logins=3, sessions=6, peak=2, refused=1, dropped=2)
    assert parse_log(OPENSSH_9_2.splitlines()) == wanted


def test_log_of_openssh_10_is_counted() -> None:
    wanted = Counts(connections=5, logins=2, sessions=5, peak=2, refused=1, dropped=2)
    assert parse_log(OPENSSH_10_0.splitlines()) == wanted


def test_lines_with_a_prefix_and_carriage_returns_count_the_same() -> None:
    lines = [f"Nov 23 17:40:00 box sshd-session[7]: {line}\r" for line in OPENSSH_10_0.splitlines()]
    assert parse_log(lines) == parse_log(OPENSSH_10_0.splitlines())


def test_empty_log_counts_nothing() -> None:
    assert parse_log([]) == Counts()


def test_sessions_one_after_the_other_peak_at_one() -> None:
    start = "Starting session: command for u from 127.0.0.1 port 5 id 0"
    end = "Close session: user u from 127.0.0.1 port 5 id 0"
    assert parse_log([start, end] * 3) == Counts(sessions=3, peak=1)


def test_sessions_of_two_connections_do_not_add_up_to_a_peak() -> None:
    lines = [f"Starting session: command for u from 127.0.0.1 port {port} id 0" for port in (5, 6)]
    assert parse_log(lines) == Counts(sessions=2, peak=1)


def test_session_that_the_client_left_open_does_not_count_for_the_next_connection() -> None:
    start = "Starting session: command for u from 127.0.0.1 port 5 id"
    lines = [f"{start} 0", "Disconnected from user u 127.0.0.1 port 5", f"{start} 1"]
    assert parse_log(lines).peak == 1


def test_count_since_leaves_out_what_came_before(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(OPENSSH_9_2, encoding="utf-8")
    since = log.stat().st_size
    with log.open("a", encoding="utf-8") as file:
        file.write("Starting session: command for u from 127.0.0.1 port 5 id 0\r\n")
    assert count(log, since) == Counts(sessions=1, peak=1)
    assert sshd.count(log).sessions == 7
