"""Rows as an aligned table or as JSON."""

from __future__ import annotations

import json

from towline.report.tables import as_json, as_table

ROWS = [
    {"name": "traefik", "needs": [], "state": None, "n": 0, "live": True},
    {"name": "ümläut", "needs": ["traefik", "x"], "state": "", "n": 12, "live": False},
]


def test_table_is_aligned_under_its_names() -> None:
    assert as_table(ROWS, ["name", "needs", "state", "n"]).splitlines() == [
        "NAME     NEEDS       STATE  N",
        "traefik  -           -      0",
        "ümläut   traefik, x  -      12",
    ]


def test_table_without_rows_is_its_names() -> None:
    assert as_table([], ["name", "n"]) == "NAME  N"


def test_table_has_only_the_columns_asked_for_and_no_blanks_at_line_ends() -> None:
    assert as_table(ROWS, ["needs"]).splitlines() == ["NEEDS", "-", "traefik, x"]


def test_yes_and_no_are_words() -> None:
    assert as_table(ROWS, ["live"]).splitlines() == ["LIVE", "yes", "-"]


def test_json_is_the_rows_themselves() -> None:
    assert json.loads(as_json(ROWS)) == ROWS
    assert "ümläut" in as_json(ROWS)
    assert json.loads(as_json([])) == []
