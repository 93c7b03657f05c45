"""The examples in docstrings are right."""

from __future__ import annotations

import doctest
from importlib import import_module

import pytest

from tests.unit.test_layers import PACKAGE

FILES = sorted(file for file in PACKAGE.rglob("*.py") if ">>> " in file.read_text(encoding="utf-8"))
NAMES = [".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__") for file in FILES]


@pytest.mark.parametrize("name", NAMES)
def test_examples_are_right(name: str) -> None:
    result = doctest.testmod(import_module(name))
    assert result.attempted
    assert not result.failed
