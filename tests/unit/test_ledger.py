"""The ledger: totals, entries, the line for people."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

from towline.ssh.ledger import Ledger

KEYS = "at event host logins sessions peak refused reconnects commands bytes_up bytes_down seconds"


def filled() -> Ledger:
    ledger = Ledger("prod")
    ledger.login(again=False)
    ledger.session_opened("facts")
    ledger.session_closed("facts", 0, 10, 2000)
    ledger.session_refused("upload", 0.02)
    ledger.session_opened("upload")
    ledger.session_closed("upload", None, 62_000, 0)
    ledger.command_ran(3)
    ledger.login(again=True)
    ledger.connect_retried("refused", 0.5)
    return ledger


def test_totals_are_those_of_what_happened() -> None:
    ledger = filled()
    totals = (ledger.logins, ledger.sessions, ledger.peak, ledger.refused, ledger.reconnects, ledger.commands)
    assert totals == (2, 2, 1, 1, 1, 3)
    assert (ledger.bytes_up, ledger.bytes_down) == (62_010, 2000)


def test_summary_has_the_keys_of_the_contract() -> None:
    assert list(filled().summary()) == KEYS.split()


def test_json_lines_are_all_entries_with_their_time_and_the_summary_last() -> None:
    rows = [json.loads(line) for line in filled().json_lines().splitlines()]
    events = ["login", "session", "closed", "refused", "session", "closed", "login", "retry", "summary"]
    assert [row["event"] for row in rows] == events
    assert all(row["host"] == "prod" and row["at"].endswith("+00:00") for row in rows)
    assert rows[-1]["peak"] == 1


def test_line_names_only_what_there_was() -> None:
    quiet = Ledger("prod", logins=1, sessions=1, peak=1)
    assert quiet.line() == "prod: 1 login · 1 session, peak 1 · 0 B up, 0 B down"
    assert filled().line() == (
        "prod: 2 logins · 2 sessions, peak 1 · 61 KB up, 2.0 KB down · 1 refused and retried · 1 reconnect"
    )


def test_peak_counts_sessions_that_are_open_at_once() -> None:
    ledger = Ledger("prod")
    for name in "abc":
        ledger.session_opened(name)
    for name in "abc":
        ledger.session_closed(name, 0, 0, 0)
    ledger.session_opened("d")
    assert (ledger.peak, ledger.sessions) == (3, 4)


def test_many_threads_lose_no_count() -> None:
    ledger = Ledger("prod")

    def run_command(_: int) -> None:
        ledger.session_opened("x")
        ledger.command_ran()
        ledger.session_closed("x", 0, 1, 2)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(run_command, range(2000)))
    assert (ledger.sessions, ledger.commands, ledger.bytes_up, ledger.bytes_down) == (2000, 2000, 2000, 4000)
    assert len(ledger.entries) == 4000
