"""Stack → manifest: what is bundled, with which mode, and what is refused."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import socket
import subprocess
from pathlib import Path

import pytest

from towline.bundle import hashing
from towline.bundle.manifest import Changes, Entry, Manifest, diff, parse_manifest, renames
from towline.bundle.walk import file_mode
from towline.bundle.working_tree import load_working_tree
from towline.errors import StackError, TowlineError
from towline.project.stack import Stack


def stack(folder: Path, root_env: Path | None = None) -> Stack:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "compose.yaml").write_text("services: {web: {image: nginx}}\n")
    return Stack("web", "web", "stack", folder, folder.parent, ("compose.yaml",), (), root_env=root_env)


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def git(folder: Path, *words: str) -> None:
    subprocess.run(["git", *words], cwd=folder, check=True)


def paths(found: Manifest) -> list[str]:
    return [entry.path for entry in found.entries]


def refused(what: Stack) -> str:
    with pytest.raises(StackError) as caught:
        load_working_tree(what)
    assert "\n" not in caught.value.message
    return caught.value.message


def entry(path: str, content: str = "", mode: int = 0o644) -> Entry:
    return Entry("f", mode, len(content), hashlib.sha256(content.encode()).hexdigest(), path)


# ------------------------------------------------------------------------------------- what is bundled


def test_file_is_read_whole(tmp_path: Path) -> None:
    what = stack(tmp_path)
    write(tmp_path, "sub/a b.txt")
    found = load_working_tree(what).manifest.by_path["sub/a b.txt"]
    assert found == entry("sub/a b.txt", "sub/a b.txt")
    assert found.source == tmp_path / "sub/a b.txt"


def test_big_and_small_files_have_their_own_sha256(tmp_path: Path) -> None:
    what = stack(tmp_path)
    contents = {f"{n}.bin": os.urandom(n) for n in (0, 1, hashing.BIG_FILE - 1, hashing.BIG_FILE, 3_000_000)}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    found = load_working_tree(what).manifest.by_path
    for name, content in contents.items():
        assert found[name].sha256 == hashlib.sha256(content).hexdigest()
        assert found[name].size == len(content)


def test_entries_are_sorted_by_bytes(tmp_path: Path) -> None:
    what = stack(tmp_path)
    write(tmp_path, "é", "z", "Z", "a/b", "a-b", "a.b", "😀", "ﬀ")
    assert paths(load_working_tree(what).manifest) == ["Z", "a-b", "a.b", "a/b", "compose.yaml", "z", "é", "ﬀ", "😀"]


def test_what_tools_leave_behind_is_not_bundled(tmp_path: Path) -> None:
    what = stack(tmp_path)
    write(
        tmp_path, ".git/config", "a/.git", "a/__pycache__/x.pyc", "a/x.pyc", ".DS_Store", ".pytest_cache/x",
        ".mypy_cache/x", ".ruff_cache/x", "ui/node_modules/.cache/x", "ui/node_modules/left.js",
        ".cache/kept", "a/kept",
    )  # fmt: skip
    assert paths(load_working_tree(what).manifest) == [
        ".cache/kept",
        "a/kept",
        "compose.yaml",
        "ui/node_modules/left.js",
    ]


def test_ignore_file_has_gitignore_syntax(tmp_path: Path) -> None:
    what = stack(tmp_path)
    write(tmp_path, "a.log", "keep.log", "data/x", "sub/data/x", "sub/b.log", "doc/x.md", "build/out/x")
    (tmp_path / ".towlineignore").write_text("# logs\n*.log\n!keep.log\n/data/\ndoc/*.md\nbuild\n\n")
    assert paths(load_working_tree(what).manifest) == ["compose.yaml", "doc", "keep.log", "sub/data/x"]


def test_ignored_specials_do_not_matter(tmp_path: Path) -> None:
    what = stack(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / ".towlineignore").write_text("pipe\n")
    assert paths(load_working_tree(what).manifest) == ["compose.yaml"]


@pytest.mark.parametrize(("text", "says"), [(b"*.log\n!\n", ":2: '!' is not a gitignore"), (b"\xff", "not UTF-8")])
def test_bad_ignore_file_names_the_line(tmp_path: Path, text: bytes, says: str) -> None:
    what = stack(tmp_path)
    (tmp_path / ".towlineignore").write_bytes(text)
    assert says in refused(what)


def test_empty_folder_is_an_entry(tmp_path: Path) -> None:
    what = stack(tmp_path)
    (tmp_path / "data/in").mkdir(parents=True)
    assert load_working_tree(what).manifest.by_path["data/in"] == Entry("d", 0o755, 0, "-", "data/in")
    assert "data" not in load_working_tree(what).manifest.by_path


@pytest.mark.parametrize(
    ("name", "mode", "bundled"),
    [
        ("a", 0o644, 0o644),
        ("a", 0o664, 0o644),
        ("a", 0o640, 0o640),
        ("a", 0o775, 0o755),
        ("a", 0o654, 0o654),
        ("a", 0o777, 0o755),
        ("a", 0o600, 0o600),
        ("a", 0o400, 0o600),
        ("a", 0o700, 0o700),
        (".env", 0o644, 0o600),
        (".env", 0o755, 0o700),
        (".env.prod", 0o644, 0o600),
        (".env.example", 0o644, 0o644),
        (".envrc", 0o644, 0o644),
    ],
)
def test_mode_is_no_wider_than_here(tmp_path: Path, name: str, mode: int, bundled: int) -> None:
    what = stack(tmp_path)
    write(tmp_path, f"sub/{name}")
    (tmp_path / "sub" / name).chmod(mode)
    assert load_working_tree(what).manifest.by_path[f"sub/{name}"].mode == file_mode(name, mode) == bundled


def test_mode_of_what_git_tracks_is_gits_whatever_the_umask(tmp_path: Path) -> None:
    what = stack(tmp_path / "web")
    write(tmp_path / "web", "app.conf", "run.sh", ".env", "key.pem", "sub/x")
    (tmp_path / "web/run.sh").chmod(0o755)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "web/app.conf", "web/run.sh", "web/.env", "web/sub")
    for name, mode in {"app.conf": 0o600, "run.sh": 0o700, ".env": 0o644, "key.pem": 0o640, "sub/x": 0o777}.items():
        (tmp_path / "web" / name).chmod(mode)
    (tmp_path / "web/sub").chmod(0o700)
    (tmp_path / "web/app.conf").chmod(0o755)
    tree = load_working_tree(what)
    assert tree.not_executable == ("app.conf",)  # not sub/x: some file systems say so of every file
    modes = {path: entry.mode for path, entry in tree.manifest.by_path.items()}
    assert modes == {
        "app.conf": 0o644, "run.sh": 0o755, ".env": 0o600, "key.pem": 0o640, "sub/x": 0o644, "compose.yaml": 0o644
    }  # fmt: skip


def test_git_of_a_hook_does_not_change_what_is_tracked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    what = stack(tmp_path)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    assert load_working_tree(what).tracked == {"compose.yaml"}


def test_a_file_in_a_private_folder_is_private(tmp_path: Path) -> None:
    what = stack(tmp_path)
    write(tmp_path, "keys/deep/a", "group/b")
    (tmp_path / "keys/deep/empty").mkdir()
    (tmp_path / "keys").chmod(0o700)
    (tmp_path / "group").chmod(0o750)
    modes = {path: entry.mode for path, entry in load_working_tree(what).manifest.by_path.items()}
    assert modes == {"compose.yaml": 0o644, "keys/deep/a": 0o600, "keys/deep/empty": 0o700, "group/b": 0o640}


def test_modes_of_the_compose_file_count_most_but_not_for_the_env(tmp_path: Path) -> None:
    what = dataclasses.replace(stack(tmp_path), modes={"*.sh": 0o755, "/bin/": 0o550, "*": 0o640, "bin/b.sh": 0o500})
    write(tmp_path, "a.sh", "bin/a.sh", "bin/b.sh", ".env")
    modes = {path: entry.mode for path, entry in load_working_tree(what).manifest.by_path.items()}
    assert modes == {"a.sh": 0o640, "bin/a.sh": 0o640, "bin/b.sh": 0o500, ".env": 0o600, "compose.yaml": 0o640}


def test_root_env_comes_as_env_and_private(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=1")
    found = load_working_tree(stack(tmp_path / "stacks/web", tmp_path / ".env")).manifest.by_path[".env"]
    assert found == entry(".env", "A=1", 0o600)
    assert found.source == tmp_path / ".env"


def test_root_env_is_left_out_when_it_is_ignored(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=1")
    what = stack(tmp_path / "stacks/web", tmp_path / ".env")
    (what.folder / ".towlineignore").write_text(".env\n")
    assert paths(load_working_tree(what).manifest) == ["compose.yaml"]


# -------------------------------------------------------------------------------------------- symlinks


@pytest.mark.parametrize("target", ["a", "sub/a", "../web/a", "sub", ".", "nowhere", "sub/../a", "./x y"])
def test_symlink_that_stays_is_kept_as_it_is(tmp_path: Path, target: str) -> None:
    folder = tmp_path / "web"
    what = stack(folder)
    write(folder, "a", "sub/a")
    (folder / "link").symlink_to(target)
    if target.startswith("../"):  # leaves on the way: the live folder may have another name
        assert load_working_tree(what).links_out == ("link",)
    else:
        assert load_working_tree(what).manifest.by_path["link"] == Entry("l", 0o777, 0, "-", "link", target)


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("link", "/etc/passwd"),
        ("link", "../x"),
        ("link", ".."),
        ("sub/link", "../../x"),
        ("link", "sub/../../x"),
        ("link", "here/../../x"),
        ("link", "here/../x"),
        ("link", "../web2/x"),
    ],
)
def test_symlink_that_leaves_is_not_sent_and_refused_where_it_is_needed(tmp_path: Path, link: str, target: str) -> None:
    folder = tmp_path / "web"
    what = stack(folder)
    write(folder, "sub/a")
    (folder / "here").symlink_to(".")
    (folder / link).symlink_to(target)
    tree = load_working_tree(what)
    assert tree.links_out == (link,)
    assert paths(tree.manifest) == ["compose.yaml", "here", "sub/a"]
    leaves = f"web/{link}: the symlink leaves the stack's folder (to {target!r}), and"
    assert refused(dataclasses.replace(what, mounts={".": False})).startswith(f"{leaves} a service mounts it;")
    assert refused(dataclasses.replace(what, contexts=((".", ""),))).startswith(f"{leaves} it lies in a build context;")
    (folder / ".dockerignore").write_text("**/link\n")
    assert load_working_tree(dataclasses.replace(what, contexts=((".", "Dockerfile"),))).links_out == (link,)


@pytest.mark.parametrize("kind", ["Dockerfile.dockerignore", ".dockerignore"])
def test_symlink_that_leaves_may_lie_beside_what_is_needed(tmp_path: Path, kind: str) -> None:
    what = dataclasses.replace(stack(tmp_path), mounts={"conf": True}, contexts=(("app", "app/Dockerfile"),))
    write(tmp_path, "conf/a", "app/Dockerfile", "lib/b")
    (tmp_path / "lib/out").symlink_to("/usr/lib")
    (tmp_path / "app/.venv").symlink_to("/usr/lib")
    assert "app/.venv: the symlink leaves" in refused(what)
    (tmp_path / "app" / kind).write_text(".venv\n")
    assert load_working_tree(what).links_out == ("app/.venv", "lib/out")


@pytest.mark.parametrize("name", [".env", "conf/app.env"])
def test_env_file_that_is_a_symlink_is_sent_as_the_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "shared.env").write_text("A=1")
    folder = tmp_path / "web"
    what = dataclasses.replace(stack(folder), env_files=("conf/app.env",), mounts={".": True})
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).symlink_to(tmp_path / "shared.env")
    tree = load_working_tree(what)
    assert tree.manifest.by_path[name].kind == "f"
    assert tree.text(name) == "A=1"
    assert tree.links_out == ()
    (tmp_path / "shared.env").unlink()
    assert refused(what).startswith(f"web/{name}: the symlink leads to no file (to ")


def test_symlinks_in_a_circle_are_kept(tmp_path: Path) -> None:
    what = stack(tmp_path)
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert paths(load_working_tree(what).manifest) == ["a", "b", "compose.yaml"]


# ------------------------------------------------------------------------------------- what is refused


def test_socket_fifo_and_device_are_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    what = stack(tmp_path / "web")
    os.mkfifo(what.folder / "pipe")
    assert refused(what) == "web/pipe: is a fifo; only files can be sent"
    (what.folder / "pipe").unlink()
    monkeypatch.chdir(what.folder)  # a socket's path may not be long
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("sock")
        assert refused(what) == "web/sock: is a socket; only files can be sent"


@pytest.mark.parametrize("name", ["a\nb", "a\tb", "a\x7f", "a\x85b", "sub\n/a"])
def test_control_character_in_a_name_is_refused(tmp_path: Path, name: str) -> None:
    what = stack(tmp_path)
    write(tmp_path, name)
    assert "has control characters; rename it" in refused(what)


@pytest.mark.parametrize("name", ["a\u200bb", "a\u2028b", "a\u00a0b", "'\"$(x)", "-rf", " "])
def test_odd_names_are_fine(tmp_path: Path, name: str) -> None:
    what = stack(tmp_path)
    write(tmp_path, name)
    found = load_working_tree(what).manifest
    assert name in found.by_path
    assert parse_manifest(found.text()) == found


@pytest.mark.parametrize("name", ["\\n", "sub\\/a", "a\\b"])
def test_backslash_in_a_name_is_refused(tmp_path: Path, name: str) -> None:
    what = stack(tmp_path)
    write(tmp_path, name)
    assert "has a backslash; rename it" in refused(what)


def test_backslash_in_what_is_ignored_or_in_a_target_is_fine(tmp_path: Path) -> None:
    what = stack(tmp_path)
    write(tmp_path, "a\\b")
    (tmp_path / ".towlineignore").write_text("a*\n")
    (tmp_path / "link").symlink_to("a\\b")
    assert paths(load_working_tree(what).manifest) == ["compose.yaml", "link"]


def test_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    what = stack(tmp_path)
    (tmp_path / os.fsdecode(b"caf\xe9")).touch()
    assert "caf" in refused(what)
    assert "is not UTF-8; rename it" in refused(what)


def test_target_with_control_characters_is_refused(tmp_path: Path) -> None:
    what = stack(tmp_path)
    (tmp_path / "link").symlink_to("a\nb")
    assert "'link' has control characters" in refused(what)


@pytest.mark.parametrize("name", [".towline", ".towline/x"])
def test_reserved_name_is_refused_at_the_top_only(tmp_path: Path, name: str) -> None:
    what = stack(tmp_path)
    write(tmp_path, f"sub/{name}")
    assert load_working_tree(what).manifest
    write(tmp_path, name)
    assert "the name .towline is reserved" in refused(what)


@pytest.mark.parametrize("size", [1, hashing.BIG_FILE])
def test_file_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    what = stack(tmp_path / "web")
    (what.folder / "secret").write_bytes(bytes(size))

    def forbidden(path: Path, size: int) -> tuple[int, str, bytes]:  # root may read everything
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(hashing, "_hash_file", forbidden)
    assert refused(what).endswith(": cannot be read: Permission denied")


@pytest.mark.parametrize("size", [10, hashing.BIG_FILE])
def test_file_that_changes_while_it_is_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    what = stack(tmp_path / "web")
    (what.folder / "log").write_bytes(bytes(size))
    real = hashing._hash_file

    def growing(path: Path, size: int) -> tuple[int, str, bytes]:
        with path.open("ab") as file:
            file.write(b"more")
        return real(path, size)

    monkeypatch.setattr(hashing, "_hash_file", growing)
    assert "changed while it was being read" in refused(what)


def test_folder_that_is_gone_is_said(tmp_path: Path) -> None:
    what = dataclasses.replace(stack(tmp_path / "web"), folder=tmp_path / "gone")
    assert refused(what) == "gone/: cannot be read: No such file or directory"


# -------------------------------------------------------------------------------------- text and back


def test_text_is_one_line_per_entry() -> None:
    found = Manifest((entry("a b", "x", 0o600), Entry("l", 0o777, 0, "-", "l", "a b")))
    digest = hashlib.sha256(b"x").hexdigest()
    assert found.text() == f"f\t0600\t1\t{digest}\ta b\t\nl\t0777\t0\t-\tl\ta b\n"
    assert found.digest == hashlib.sha256(found.text().encode()).hexdigest()


def test_parse_is_the_inverse_of_text(tmp_path: Path) -> None:
    what = stack(tmp_path)
    write(tmp_path, "x/y z", "ü/😀", "big")
    (tmp_path / "l").symlink_to("x")
    (tmp_path / "empty").mkdir()
    found = load_working_tree(what).manifest
    assert parse_manifest(found.text()) == found
    assert parse_manifest(found.text()).digest == found.digest
    assert parse_manifest("") == Manifest()


GOOD = entry("a", "x").sha256


@pytest.mark.parametrize(
    "text",
    [
        "garbage\n",
        "\n",
        f"f\t0644\t1\t{GOOD}\ta\t",
        f"f\t0644\t1\t{GOOD}\ta\n",
        f"x\t0644\t1\t{GOOD}\ta\t\n",
        f"f\t0999\t1\t{GOOD}\ta\t\n",
        f"f\t0644\t-1\t{GOOD}\ta\t\n",
        "f\t0644\t1\tabc\ta\t\n",
        f"f\t0644\t1\t{GOOD}\t\t\n",
        f"f\t0644\t1\t{GOOD}\t/etc/passwd\t\n",
        f"f\t0644\t1\t{GOOD}\t../x\t\n",
        f"f\t0644\t1\t{GOOD}\ta/../../x\t\n",
        f"f\t0644\t1\t{GOOD}\ta//b\t\n",
        f"f\t0644\t1\t{GOOD}\t.\t\n",
    ],
)
def test_manifest_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(TowlineError, match="the manifest") as caught:
        parse_manifest(text)
    assert caught.value.exit_code == 1  # it is the server's data, no wrong usage


# ----------------------------------------------------------------------------------- diff and renames


def manifest(*entries: Entry) -> Manifest:
    return Manifest(tuple(sorted(entries, key=lambda e: e.path.encode())))


def test_same_manifest_has_no_changes() -> None:
    assert not diff(manifest(entry("a", "x")), manifest(entry("a", "x")))


def test_first_manifest_is_all_added() -> None:
    assert diff(None, manifest(entry("a"), entry("b"))) == Changes(added=(entry("a"), entry("b")))


def test_diff_tells_added_changed_and_removed() -> None:
    old = manifest(entry("content", "x"), entry("gone"), entry("mode"), entry("same"), entry("kind"))
    link = Entry("l", 0o777, 0, "-", "kind", "same")
    new = manifest(entry("content", "y"), entry("mode", mode=0o755), entry("same"), entry("new"), link)
    assert diff(old, new) == Changes(
        added=(entry("new"),),
        changed=(entry("content", "y"), link, entry("mode", mode=0o755)),
        removed=(entry("gone"),),
    )


def test_source_is_no_change() -> None:
    assert entry("a") == dataclasses.replace(entry("a"), source=Path("/elsewhere"))


def test_renames_find_the_content_that_is_there() -> None:
    old = manifest(entry("a", "x"), entry("b", "x"), entry("mode", "m"), entry("c", "y"))
    new = manifest(entry("d", "x"), entry("b", "x"), entry("mode", "m", 0o755), entry("c", "new"), entry("e", "y"))
    changes = diff(old, new)
    assert renames(old, changes) == {"d": "a", "e": "c", "mode": "mode"}
    assert renames(None, changes) == {}


def test_renames_prefer_the_same_path() -> None:
    old = manifest(entry("a", "x"), entry("b", "x"))
    assert renames(old, diff(old, manifest(entry("b", "x", 0o755)))) == {"b": "b"}
