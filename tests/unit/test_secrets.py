"""What a stack's env files hold under telling names never shows, nor what is in its secrets' files."""

from __future__ import annotations

import html
import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from towline.bundle.secret_texts import pick_secret_texts, read_secret_texts
from towline.project.stack import Stack
from towline.report.secrets import HIDDEN
from towline.report.secrets import redactor as redactor_of


def stack(folder: Path, env: str | None, root_env: str | None = None) -> Stack:
    folder.joinpath("web").mkdir()
    if env is not None:
        (folder / "web" / ".env").write_text(env)
    if root_env is not None:
        (folder / ".env").write_text(root_env)
    root = folder / ".env" if root_env is not None else None
    return Stack("web", "web", "stack", folder / "web", folder, ("compose.yaml",), (), root_env=root)


def redactor(stack: Stack, before: Mapping[str, str] | None = None) -> Callable[[str], str]:
    """Of what the stack's folder holds, and of these texts on the server."""
    return redactor_of(read_secret_texts(stack), pick_secret_texts(stack, before or {}))


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


@pytest.mark.parametrize("line", ["DB_PASSWORD: hunter22", "export DB_PASSWORD :'hunter22'", "DB_PASSWORD:hunter22"])
def test_value_behind_a_colon_is_hidden(tmp_path: Path, line: str) -> None:
    """Compose takes a colon for the equals sign."""
    assert "hunter22" not in redactor(stack(tmp_path, f"A=1\n{line}\n"))("a hunter22, hunter22!")


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


def holding(
    folder: Path, files: dict[str, str], env_files: tuple[str, ...] = (), secrets: tuple[str, ...] = ()
) -> Stack:
    made = replace(stack(folder, None), env_files=env_files, secret_files=secrets)
    for name, text in files.items():
        (made.folder / name).parent.mkdir(exist_ok=True)
        (made.folder / name).write_text(text)
    return made


def test_every_env_file_of_the_stack_counts(tmp_path: Path) -> None:
    files = {
        "app.env": "APP_TOKEN=hunter22\nLEVEL=debug\n",
        "conf/prod.env": "A_KEY=hunter33\n",
        "other": "B_KEY=hunter44\n",
    }
    redact = redactor(holding(tmp_path, files, ("app.env", "conf/${STAGE:-dev}.env", "gone.env")))
    assert redact("hunter22 debug hunter33 hunter44") == f"{HIDDEN} debug {HIDDEN} hunter44"


def test_the_file_of_a_secret_counts_line_by_line(tmp_path: Path) -> None:
    redact = redactor(
        holding(tmp_path, {"token": "abc\n  hunter22 \n", "binary": "\0hunter33"}, secrets=("token", "binary"))
    )
    assert redact("abc hunter22. hunter33") == f"abc {HIDDEN}. hunter33"


def test_what_the_files_held_on_the_server_counts_too(tmp_path: Path) -> None:
    made = holding(tmp_path, {"a.env": "A_KEY=hunter22\n", "token": "hunter33\n"}, ("a.env",), ("token",))
    before = {".env": "PASSWORD=old-one\n", "a.env": "A_KEY=old-two\n", "token": "old-three\n", "x": "A_KEY=old-four\n"}
    assert redactor(made, before)("old-one old-two old-three old-four") == f"{HIDDEN} {HIDDEN} {HIDDEN} old-four"


SECRET = "p@ss \"w\b0rd'&<$x/+"


@pytest.mark.parametrize(
    "shown",
    [
        SECRET,
        json.dumps(SECRET),
        json.dumps({"log": json.dumps(SECRET)}),
        json.dumps(SECRET).replace("<", "\\u003c").replace("&", "\\u0026"),
        repr(SECRET),
        repr(SECRET.encode()),
        quote(SECRET),
        quote(SECRET, safe=""),
        quote_plus(SECRET).lower(),
        shlex.quote(SECRET),
        html.escape(SECRET),
        SECRET.replace("$", "$$"),
        SECRET.replace("\b", ""),
        SECRET.replace("\b", " "),
        "\x1b[1mp@s\x1b[0ms\x1b[K \"w\b0rd'&<$x/+",
        "p@ss \"w\b0r\nd'&<$x/+",
        "p@ss \"w\b0r\r\nd'&\u200b<$x/+",
    ],
)
def test_secret_is_hidden_however_it_is_written(tmp_path: Path, shown: str) -> None:
    redact = redactor(stack(tmp_path, f"DB_PASS={json.dumps(SECRET)}\n"))
    assert "0rd" not in redact(f"one {shown} two").lower()
    assert redact(f"one {shown} two").startswith("one ") and redact(f"one {shown} two").endswith(" two")


@pytest.mark.parametrize("value", [r"^a.b\b(c|d)*$", r"\bword\b", "....", "[a-z]+", "a|b|c", "%41%42", "&amp;"])
def test_secret_of_special_letters_hides_itself_alone(tmp_path: Path, value: str) -> None:
    redact = redactor(stack(tmp_path, f"DB_PASS='{value}'\n"))
    assert redact(f"x{value}y") == f"x{HIDDEN}y"
    assert redact("a plain word abcd") == "a plain word abcd"


def test_value_as_compose_reads_it_is_hidden_too(tmp_path: Path) -> None:
    redact = redactor(stack(tmp_path, "USER=anna\nDB_PASS=${USER}-hunter$gone\nA_KEY=dollar$$sign\n"))
    assert redact("anna-hunter dollar$sign") == f"{HIDDEN} {HIDDEN}"


def test_env_file_that_is_not_utf8_hides_its_values(tmp_path: Path) -> None:
    made = stack(tmp_path, None)
    (made.folder / ".env").write_bytes(b"# caf\xe9\nDB_PASS=hunter22\nA_KEY=caf\xe9caf\xe9\nZ_KEY=nul\0hunter33\n")
    redact = redactor(made)
    assert redact("hunter22 " + b"caf\xe9caf\xe9".decode(errors="replace")) == f"{HIDDEN} {HIDDEN}"
    assert "hunter33" not in redact("nul\0hunter33")


def test_text_comes_back_printable(tmp_path: Path) -> None:
    assert redactor(stack(tmp_path, "TOKEN=hunter22\n"))("\x1b[31mred\x07") == "red�"
    assert redactor(replace(stack(tmp_path / "web", None), name="x"))("\x1b[31mred") == "red"
