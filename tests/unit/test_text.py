"""Sizes, counts and shortened lists as people read them."""

from __future__ import annotations

import pytest

from towline.text.amounts import count_text, limit, size_text
from towline.text.lines import last_lines


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KB"),
        (10_240, "10 KB"),
        (5 << 20, "5.0 MB"),
        (2 << 30, "2.0 GB"),
        (3 << 40, "3.0 TB"),
    ],
)
def test_sizes_are_told_in_powers_of_1024(size: int, text: str) -> None:
    assert size_text(size) == text


def test_a_count_has_its_noun() -> None:
    assert [count_text(number, "file") for number in (0, 1, 2)] == ["0 files", "1 file", "2 files"]


@pytest.mark.parametrize(
    ("most", "expected"), [(0, ([], "and 3 more")), (2, (["a", "b"], "and 1 more")), (3, (["a", "b", "c"], ""))]
)
def test_what_a_limit_leaves_out_is_counted(most: int, expected: tuple[list[str], str]) -> None:
    assert limit(["a", "b", "c"], most) == limit(("a", "b", "c"), most) == expected


def test_last_lines_are_those_that_say_something() -> None:
    assert last_lines("a\n\n b\r\n\t\nc\n\n", 2) == ["b", "c"]
    assert last_lines(" \n", 2) == last_lines("", 1) == []
