"""towline.yaml and .env as Settings, and the error for each way they can be wrong."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from towline.errors import SettingsError, StackError
from towline.project.settings import Defaults, Host, Settings, load_settings
from towline.project.ssh_address import parse_ssh
from towline.project.yaml_file import Place, Tagged, load_yaml


def project(tmp_path: Path, text: str | bytes | None = None, env: str | bytes | None = None) -> Path:
    (tmp_path / "stacks").mkdir(exist_ok=True)
    for name, content in (("towline.yaml", text), (".env", env)):
        if content is not None:
            (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return tmp_path


def settings(top: Path, **options: object) -> Settings:
    return load_settings(top, environ={}, **options)  # type: ignore[arg-type]


def line_of(top: Path, **options: object) -> str:
    with pytest.raises(SettingsError) as caught:
        settings(top, **options)
    assert "\n" not in caught.value.message
    assert caught.value.exit_code == 2
    return caught.value.message


FULL = """
hosts:
  prod:
    ssh: deploy@203.0.113.7:2222
    identity: keys/id
    known_hosts: infrastructure/known_hosts
    root: /srv/stacks/
    max_sessions: 2
    engine: swarm
    docker_host: unix:///run/user/1000/docker.sock
  lab:
    ssh: lab
default_host: prod
defaults: {strategy: update, timeout: 60, keep_releases: 3}
"""


@pytest.mark.parametrize("text", ["ssh://prod", "/var/run/docker.sock", "unix://x", "unix:///a b"])
def test_docker_host_is_a_socket_or_tcp(tmp_path: Path, text: str) -> None:
    top = project(tmp_path, f"hosts: {{prod: {{ssh: a@b, docker_host: '{text}'}}}}")
    assert line_of(top).startswith(f"towline.yaml: hosts.prod.docker_host: {text!r}: expected a socket on the host")


def test_every_key_arrives(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/id").write_text("key")
    (tmp_path / "infrastructure").mkdir()
    (tmp_path / "infrastructure/known_hosts").write_text("")
    assert settings(project(tmp_path, FULL)) == Settings(
        top=tmp_path,
        file=tmp_path / "towline.yaml",
        hosts={
            "prod": Host(
                name="prod",
                address="203.0.113.7",
                user="deploy",
                port=2222,
                identity=tmp_path / "keys/id",
                known_hosts=(tmp_path / "infrastructure/known_hosts",),
                root="/srv/stacks",
                max_sessions=2,
                engine="swarm",
                docker_host="unix:///run/user/1000/docker.sock",
            ),
            "lab": Host(name="lab", address="lab"),
        },
        default_host="prod",
        defaults=Defaults("update", 60, 3),
    )


def test_top_is_found_from_a_folder_below(tmp_path: Path) -> None:
    deep = project(tmp_path, "hosts: {a: {ssh: h}}") / "stacks/web/backend"
    deep.mkdir(parents=True)
    assert settings(deep).top == tmp_path


def test_stacks_alone_make_a_top_without_hosts(tmp_path: Path) -> None:
    assert settings(project(tmp_path)) == Settings(top=tmp_path)


def test_empty_file_is_all_defaults(tmp_path: Path) -> None:
    assert settings(project(tmp_path, "# nothing yet\n")).defaults == Defaults("recreate", 120, 5)


def test_empty_sections_are_all_defaults(tmp_path: Path) -> None:
    assert settings(project(tmp_path, "hosts:\ndefaults:\n")).hosts == {}


def test_no_project_says_what_would_make_one(tmp_path: Path) -> None:
    assert "expected towline.yaml, a folder stacks/" in line_of(tmp_path)


def test_named_file_has_its_own_top(tmp_path: Path) -> None:
    other = tmp_path / "other"
    (other / "stacks").mkdir(parents=True)
    (other / "lab.yaml").write_text("hosts: {lab: {ssh: lab}}")
    folder = tmp_path / "here"
    folder.mkdir()
    project(folder)
    assert settings(folder, config="../other/lab.yaml").top == other
    by_environ = load_settings(folder, environ={"TOWLINE_CONFIG": str(other / "lab.yaml")})
    assert by_environ.default_host == "lab"


def test_named_file_without_stacks_beside_it_keeps_the_top_around_the_working_folder(tmp_path: Path) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    (tmp_path / "id").write_text("key")
    (tmp_path / "lab.yaml").write_text("hosts: {lab: {ssh: lab, identity: id}}")
    loaded = settings(project(folder, "hosts: {prod: {ssh: p}}"), config=str(tmp_path / "lab.yaml"))
    assert (loaded.top, loaded.default_host, loaded.host().identity) == (folder, "lab", tmp_path / "id")


@pytest.mark.parametrize("name", ["nowhere.yaml", "stacks", "x" * 5000, "a\0b", "~nobody-at-all/x"])
def test_named_file_that_is_none_is_an_error(tmp_path: Path, name: str) -> None:
    assert re.search("no such", line_of(project(tmp_path), config=name))


# ------------------------------------------------------------------------------------------- hosts


def test_the_only_host_is_the_default(tmp_path: Path) -> None:
    assert settings(project(tmp_path, "hosts: {a: {ssh: h}}")).host().name == "a"


def test_several_hosts_and_no_default_is_an_error_on_use(tmp_path: Path) -> None:
    loaded = settings(project(tmp_path, "hosts: {a: {ssh: h}, b: {ssh: i}}"))
    with pytest.raises(SettingsError, match=r"choose one with --host: a, b"):
        loaded.host(None)
    assert loaded.host("b").address == "i"


@pytest.mark.parametrize("hosts", ["", "hosts: {prod: {ssh: h}}\n"])
def test_sandbox_is_always_a_host_to_default_to(tmp_path: Path, hosts: str) -> None:
    assert settings(project(tmp_path, hosts + "default_host: sandbox")).default_host == "sandbox"


def test_unknown_host_names_the_closest(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"no host 'prd'; did you mean prod\?"):
        settings(project(tmp_path, "hosts: {prod: {ssh: h}}")).host("prd")


def test_no_host_at_all_says_where_to_add_one(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="add one under hosts:"):
        settings(project(tmp_path)).host()


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("web", (None, "web", None)),
        ("me@web", ("me", "web", None)),
        ("me@web.example.org:22", ("me", "web.example.org", 22)),
        ("203.0.113.7:65535", (None, "203.0.113.7", 65535)),
        ("[2001:db8::1]:22", (None, "2001:db8::1", 22)),
        ("me@[fe80::1%eth0]", ("me", "fe80::1%eth0", None)),
        ("ssh://me@web:22", ("me", "web", 22)),
        ("ssh://web/", (None, "web", None)),
    ],
)
def test_ssh_address_comes_apart(text: str, parts: tuple[str | None, str, int | None]) -> None:
    assert parse_ssh(text, Place("f")) == parts


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "'' is empty"),
        ("my web", "not an address"),
        ("web\n", "not an address"),
        ("-oProxyCommand=x", "not an address"),
        ("me@-web", "'-web' is not an address"),
        ("-me@web", "user '-me'"),
        ("@web", "user ''"),
        ("me@", "'' is not an address"),
        ("web:", "port ''"),
        ("web:0", "expected a number from 1 to 65535"),
        ("web:65536", "expected a number from 1 to 65535"),
        ("web:ssh", "port 'ssh'"),
        ("web:٢٢", "port"),
        ("300.1.2.3", "'300.1.2.3' is not an address"),
        ("web..org", "not an address"),
        ("2001:db8::1", "in brackets, as in [2001:db8::1]:22"),
        ("[2001:zz::1]", "not an IPv6 address"),
        ("[1.2.3.4]", "not an IPv6 address"),
        ("http://web", "http:// is not ssh"),
        ("ssh://web/srv", "not an address"),
        ("a@b@web", "several '@'"),
    ],
)
def test_bad_ssh_address_is_one_clear_line(text: str, says: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_ssh(text, Place("towline.yaml", "hosts.prod.ssh"))
    assert caught.value.message.startswith("towline.yaml: hosts.prod.ssh: ")
    assert says in caught.value.message


@pytest.mark.parametrize("text", ["me:hunter2@web", "ssh://me:hunter2@web", "me:hun@hunter2@web", "me:hunter2 @web"])
def test_password_in_an_address_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_ssh(text, Place("f"))
    assert "hunter2" not in str(caught.value)


# ------------------------------------------------------------------------------------- bad settings


def prod(keys: str) -> str:
    return f"hosts:\n  prod: {{ssh: h, {keys}}}\n"


BAD_SETTINGS = [
    ("host: {}", "towline.yaml: unknown key 'host'; did you mean hosts?"),
    (prod("rot: x"), "towline.yaml: hosts.prod: unknown key 'rot'; did you mean root?"),
    (
        prod("1: x"),
        "towline.yaml: hosts.prod: unknown key 1; known: docker, docker_host, engine, identity, known_hosts, max_sessions, root,"
        " ssh",
    ),
    (prod("max_sessions: two"), "towline.yaml: hosts.prod.max_sessions: expected int, got 'two'"),
    (prod("max_sessions: true"), "towline.yaml: hosts.prod.max_sessions: expected int, got True"),
    (prod("max_sessions: 0"), "towline.yaml: hosts.prod.max_sessions: expected int >= 1, got 0"),
    (prod("max_sessions: 101"), "towline.yaml: hosts.prod.max_sessions: expected int <= 100, got 101"),
    (prod("engine: podman"), "towline.yaml: hosts.prod.engine: expected compose or swarm, got 'podman'"),
    (prod("engine: [compose]"), "towline.yaml: hosts.prod.engine: expected compose or swarm, got a list"),
    (prod("root: 7"), "towline.yaml: hosts.prod.root: expected str, got 7"),
    (prod("known_hosts: [a, 7]"), "towline.yaml: hosts.prod.known_hosts[1]: expected str, got 7"),
    (prod("known_hosts: {}"), "towline.yaml: hosts.prod.known_hosts: expected str | list, got a mapping"),
    ("hosts: {prod: {root: x}}", "towline.yaml: hosts.prod.ssh: is missing"),
    ("hosts: {prod: }", "towline.yaml: hosts.prod.ssh: is missing"),
    ("hosts: {prod: me@web}", "towline.yaml: hosts.prod: expected a mapping, got 'me@web'"),
    ("hosts: [prod]", "towline.yaml: hosts: expected a mapping, got a list"),
    (
        "hosts: {'a b': {ssh: h}}",
        "towline.yaml: hosts: host name 'a b': expected letters, digits and ._- only",
    ),
    (
        "hosts: {prod: {ssh: h}}\ndefault_host: prd",
        "towline.yaml: default_host: no host 'prd' under hosts; did you mean prod?",
    ),
    ("default_host: prod", "towline.yaml: default_host: no host 'prod' under hosts; known: sandbox"),
    (
        "defaults: {strategy: blue}",
        "towline.yaml: defaults.strategy: expected recreate, update or rolling, got 'blue'",
    ),
    ("defaults: {timeout: 0}", "towline.yaml: defaults.timeout: expected int >= 1, got 0"),
    ("defaults: {timeout: 2m}", "towline.yaml: defaults.timeout: expected int, got '2m'"),
    ("defaults: {timeout: 90000}", "towline.yaml: defaults.timeout: expected int <= 86400, got 90000"),
    ("defaults: {keep_releases: 0}", "towline.yaml: defaults.keep_releases: expected int >= 1, got 0"),
    (
        "defaults: {keep: 3}",
        "towline.yaml: defaults: unknown key 'keep'; known: keep_releases, strategy, timeout",
    ),
    ("- hosts", "towline.yaml: expected a mapping, got a list"),
    ("hosts", "towline.yaml: expected a mapping, got 'hosts'"),
    (
        "hosts: {}\ndefaults: {}\nhosts: {}\n",
        "towline.yaml:3: broken YAML: duplicate key 'hosts', first on line 1",
    ),
]


@pytest.mark.parametrize(("text", "line"), BAD_SETTINGS)
def test_bad_settings_are_one_clear_line(tmp_path: Path, text: str, line: str) -> None:
    assert line_of(project(tmp_path, text)) == line


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("hosts:\n  prod: {ssh: [\n", "towline.yaml:3: broken YAML: "),
        ("hosts:\n\tprod: 1\n", "towline.yaml:2: broken YAML: "),
        ("a: *b\n", "towline.yaml:1: broken YAML: "),
        ("a: 1\n---\nb: 2\n", "towline.yaml:2: broken YAML: "),
        ("a: !!python/object:os.system x\n", "towline.yaml:1: broken YAML: "),
        ("? {a: 1}\n: 2\n", "towline.yaml:1: broken YAML: "),
        (b"\x00\x01\x02", "towline.yaml: broken YAML: "),
        (b"\xff\xfe\x00", "towline.yaml: is not UTF-8 text (byte 0)"),
        ("[" * 5000, "towline.yaml"),
        ("a: &a [*a]\nhosts: *a\n", "towline.yaml: "),
        ("hosts: &h {h: *h}\n", "towline.yaml: hosts.h: unknown key 'h'"),
    ],
)
def test_broken_yaml_names_file_and_line(tmp_path: Path, text: str | bytes, start: str) -> None:
    assert line_of(project(tmp_path, text)).startswith(start)


@pytest.mark.parametrize("bad", ["", "7", "1.5", "true", "''", '"a\\0b"', "[]", "[7]", "{}", "{7: 7}", "!reset x"])
def test_junk_anywhere_is_never_a_traceback(tmp_path: Path, bad: str) -> None:
    keys = ("ssh", "identity", "known_hosts", "root", "max_sessions", "engine")
    texts = [f"hosts: {{p: {{ssh: h, {key}: {bad}}}}}" for key in keys if key != "ssh"]
    texts += [f"{key}: {bad}" for key in ("hosts", "default_host", "defaults")]
    texts += [f"defaults: {{{key}: {bad}}}" for key in ("strategy", "timeout", "keep_releases")]
    texts += [bad, f"hosts: {{p: {bad}}}", f"hosts: {{p: {{ssh: {bad}}}}}"]
    for text in texts:
        try:
            settings(project(tmp_path, text))
        except SettingsError as error:
            assert "\n" not in error.message


def test_settings_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (project(tmp_path) / "towline.yaml").symlink_to("nowhere")
    assert line_of(tmp_path) == "towline.yaml: cannot be read: No such file or directory"


def test_settings_file_that_is_a_folder_is_an_error(tmp_path: Path) -> None:
    (project(tmp_path) / "towline.yaml").mkdir()
    assert line_of(tmp_path) == "towline.yaml: cannot be read: Is a directory"


@pytest.mark.parametrize(
    ("root", "means"),
    [
        ("stacks", "stacks"),
        ("~/apps/x", "apps/x"),
        ("~/", "."),
        ("./apps/", "apps"),
        ("/srv//stacks", "/srv/stacks"),
        ("my stacks", "my stacks"),
    ],
)
def test_root_is_tidied(tmp_path: Path, root: str, means: str) -> None:
    assert settings(project(tmp_path, prod(f"root: '{root}'"))).host().root == means


@pytest.mark.parametrize(
    "root", ["", " ", "/", "//", "/.", "../x", "/srv/../..", "~bob/x", "~", "-x", "$HOME/x", r"a\nb"]
)
def test_bad_root_is_refused(tmp_path: Path, root: str) -> None:
    assert line_of(project(tmp_path, prod(f'root: "{root}"'))).startswith("towline.yaml: hosts.prod.root: ")


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("identity", "none", "'none': no such file"),
        ("identity", "stacks", "'stacks' is not a file"),
        ("identity", "id.pub", "'id.pub': no such file"),
        ("identity", "", "expected the path of a file"),
        ("identity", "~nobody-at-all/id", "no such home folder"),
        ("known_hosts", "none", "'none': no such file"),
        ("known_hosts", "stacks", "'stacks' is not a file"),
    ],
)
def test_file_that_is_none_is_named(tmp_path: Path, key: str, value: str, says: str) -> None:
    line = line_of(project(tmp_path, prod(f"{key}: '{value}'")))
    assert line.startswith(f"towline.yaml: hosts.prod.{key}: ")
    assert says in line


def test_key_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "id").write_text("key")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may read everything
    assert "'id' is not readable by this user" in line_of(project(tmp_path, prod("identity: id")))


def test_identity_may_be_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "id").write_text("key")
    assert settings(project(tmp_path, prod("identity: ~/id"))).host().identity == tmp_path / "id"


# --------------------------------------------------------------------------------------------- .env


def test_env_alone_gives_one_host(tmp_path: Path) -> None:
    (tmp_path / "id").write_text("key")
    (tmp_path / ".env").write_text(
        "export SSH_HOST=203.0.113.7\nSSH_USER='deploy'\nSSH_PORT=2222\nSSH_KEY=id\nSSH_ROOT=~/apps\nPW=a$b\n"
    )
    assert settings(tmp_path) == Settings(
        top=tmp_path,
        hosts={
            "default": Host("default", "203.0.113.7", user="deploy", port=2222, identity=tmp_path / "id", root="apps")
        },
        default_host="default",
    )


def test_env_is_ignored_when_the_settings_have_hosts(tmp_path: Path) -> None:
    top = project(tmp_path, "hosts: {prod: {ssh: h}}", env="SSH_HOST=bad host\n")
    assert list(settings(top).hosts) == ["prod"]


def test_env_fills_in_for_settings_without_hosts(tmp_path: Path) -> None:
    top = project(tmp_path, "defaults: {timeout: 5}", env="SSH_HOST=h\nSSH_USER=u\n")
    assert settings(top).host() == Host("default", "h", user="u")


def test_env_without_ssh_host_is_no_host(tmp_path: Path) -> None:
    assert settings(project(tmp_path, env="TOKEN=x\n# SSH_HOST=h\n")).hosts == {}


@pytest.mark.parametrize(
    ("env", "start"),
    [
        ("SSH_HOST=\n", ".env: SSH_HOST: '' is empty"),
        ("SSH_HOST=a b\n", ".env: SSH_HOST: 'a b' is not an address"),
        ("SSH_HOST=h\nSSH_PORT=ssh\n", ".env: SSH_PORT: port 'ssh'"),
        ("SSH_HOST=h\nSSH_USER=a b\n", ".env: SSH_USER: user 'a b'"),
        ("SSH_HOST=h\nSSH_KEY=nokey\n", ".env: SSH_KEY: 'nokey': no such file"),
        ("SSH_HOST=h\nSSH_ROOT=/\n", ".env: SSH_ROOT: '/' is the root of the file system"),
    ],
)
def test_bad_env_is_one_clear_line(tmp_path: Path, env: str, start: str) -> None:
    assert line_of(project(tmp_path, env=env)).startswith(start)


def test_env_that_is_not_text_is_an_error(tmp_path: Path) -> None:
    assert line_of(project(tmp_path, env=b"SSH_HOST=\xff\n")).endswith(".env: is not UTF-8 text")


# --------------------------------------------------------------------------------------------- YAML


def test_scalars_are_read_as_compose_reads_them(tmp_path: Path) -> None:
    file = tmp_path / "f.yaml"
    file.write_text("on: 22:22\nyes: no\nd: 2024-13-45\nn: 8080\nf: 1.5\nt: true\nz: ~\no: 0o17\nv: 1.0.0\n")
    assert load_yaml(file) == {
        "on": "22:22", "yes": "no", "d": "2024-13-45", "n": 8080, "f": 1.5, "t": True, "z": None, "o": 15,
        "v": "1.0.0",
    }  # fmt: skip


def test_merge_keys_are_no_duplicates(tmp_path: Path) -> None:
    file = tmp_path / "f.yaml"
    file.write_text("a: &a {x: 1}\nb: &b {<<: *a, x: 2}\nc: {<<: [*b, *a], x: 3}\n")
    assert load_yaml(file) == {"a": {"x": 1}, "b": {"x": 2}, "c": {"x": 3}}


def test_duplicate_on_one_line_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "f.yaml"
    file.write_text("a: {x: 1, y: 2, x: 3}\n")
    with pytest.raises(StackError, match=r"^s/f.yaml:1: broken YAML: duplicate key 'x', first on line 1$"):
        load_yaml(file, StackError, "s/f.yaml")


def test_tags_of_compose_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "f.yaml"
    file.write_text("a: !reset null\nb: !override [1]\nc: !override nginx\n")
    assert load_yaml(file) == {
        "a": Tagged("!reset", "null"),
        "b": Tagged("!override", [1]),
        "c": Tagged("!override", "nginx"),
    }
