"""What a stack's .env holds under telling names never shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from towline.catalog import Stack
from towline.report.secrets import HIDDEN, redactor


def stack(folder: Path, env: str | None, root_env: str | None = None) -> Stack:
    folder.joinpath("web").mkdir()
    if env is not None:
        (folder / "web" / ".env").write_text(env)
    if root_env is not None:
        (folder / ".env").write_text(root_env)
    root = folder / ".env" if root_env is not None else None
    return Stack("web", "web", "stack", folder / "web", folder, ("compose.yaml",), (), root_env=root)


@pytest.mark.parametrize(
    "name",
    [
        "DB_PASSWORD",
        "password",
        "API_TOKEN",
        "SECRET",
        "aws_secret_key",
        "PGPWD",
        "SENTRY_DSN",
        "DATABASE_URL",
        "BASIC_AUTH",
    ],
)
def test_value_under_a_telling_name_is_hidden(tmp_path: Path, name: str) -> None:
    redact = redactor(stack(tmp_path, f"{name}=hunter22\n"))
    assert redact("a hunter22, hunter22!") == f"a {HIDDEN}, {HIDDEN}!"


def test_other_values_stay(tmp_path: Path) -> None:
    redact = redactor(stack(tmp_path, "DOMAIN=example.org\nDB_PASSWORD=hunter22\n"))
    assert redact("example.org") == "example.org"


def test_short_values_stay(tmp_path: Path) -> None:
    assert redactor(stack(tmp_path, "PASSWORD=abc\n"))("abc") == "abc"


def test_no_env_file_hides_nothing(tmp_path: Path) -> None:
    assert redactor(stack(tmp_path, None))("anything") == "anything"


def test_secrets_of_the_root_env_are_hidden_too(tmp_path: Path) -> None:
    assert redactor(stack(tmp_path, None, "TOKEN=hunter22\n"))("hunter22") == HIDDEN


def test_longer_secret_that_begins_with_another_is_hidden_whole(tmp_path: Path) -> None:
    assert redactor(stack(tmp_path, "A_KEY=hunter\nB_KEY=hunter22\n"))("hunter22") == HIDDEN


def test_secret_of_special_letters_is_hidden_as_it_is(tmp_path: Path) -> None:
    redact = redactor(stack(tmp_path, "TOKEN='a.b*c$d(e'\n"))
    assert redact("x a.b*c$d(e y axbxc") == f"x {HIDDEN} y axbxc"


def test_value_is_not_interpolated(tmp_path: Path) -> None:
    redact = redactor(stack(tmp_path, "USER_NAME=ann\nPASSWORD=${USER_NAME}-secret\n"))
    assert redact("${USER_NAME}-secret") == HIDDEN


def test_line_of_a_secret_that_has_several_is_hidden(tmp_path: Path) -> None:
    """Output is shown line by line: a private key must not show for that."""
    redact = redactor(stack(tmp_path, 'PRIVATE_KEY="-----BEGIN-----\nMIIEabcdef\n-----END-----"\n'))
    assert "MIIEabcdef" not in redact("  MIIEabcdef")
