"""What stays, what goes back, what is sent: releases on a real engine."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
from pathlib import Path

from tests.e2e.conftest import Project, docker

DATA = 'volumes: ["./data:/data"]\n    ports:'


def write(project: Project, text: str, **files: str) -> Path:
    folder = project.write_page(text=text, **files)
    compose = folder / "compose.yaml"
    compose.write_text(compose.read_text().replace("ports:", DATA))
    return folder


def deploy(project: Project, *words: str) -> str:
    """With the build cache: what is tested here is not the rehearsal."""
    ran = project.tow("deploy", f"--stack={project.name('web')}", "--cache", *words)
    assert ran.code == 0, ran.err
    return ran.err


def releases(project: Project) -> list[dict[str, object]]:
    ran = project.tow("releases", f"--stack={project.name('web')}", "--format=json")
    assert ran.code == 0, ran.err
    return json.loads(ran.out)


def test_twenty_deploys_lose_not_a_byte_of_what_containers_write(project: Project) -> None:
    folder, stack = write(project, "0\n"), f"--stack={project.name('web')}"
    writer = "sh -c 'echo {} > /data/acme.json; chmod 600 /data/acme.json; while :; do echo x >> /data/log; sleep 0.05; done'"
    service = f"""\
  writer:
    image: busybox:1.37
    init: true
    volumes: ["./data:/data"]
    command: {writer}
    healthcheck: {{test: [CMD, test, -s, /data/log], start_period: 30s, start_interval: 200ms}}
"""
    (folder / "compose.yaml").write_text((folder / "compose.yaml").read_text() + service)
    deploy(project)
    log, acme = project.live() / "data" / "log", project.live() / "data" / "acme.json"
    for number in range(2, 21, 2):
        before = log.read_bytes()
        (folder / "index.html").write_text(f"{number}\n")
        # the second with the same files; --yes, since the same words twice are one task to Invoke
        ran = project.tow("deploy", stack, "--cache", "deploy", stack, "--cache", "--yes")
        assert ran.err.count("runs and is healthy") == 2, ran.err
        assert log.read_bytes().startswith(before)
        assert stat.S_IMODE(acme.stat().st_mode) == 0o600
        assert acme.read_text() == "{}\n"
    assert project.page() == "20\n"
    assert set(log.read_bytes()) == set(b"x\n")


def test_a_rollback_runs_the_release_before_with_the_image_it_had(project: Project) -> None:
    write(project, "one\n")
    deploy(project)
    first = docker("inspect", "--format", "{{.Image}}", project.containers()["web"])
    write(project, "two\n")
    deploy(project)
    assert project.page() == "two\n"
    ran = project.tow("rollback", f"--stack={project.name('web')}")
    assert ran.code == 0, ran.err
    assert project.page() == "one\n"
    assert docker("inspect", "--format", "{{.Image}}", project.containers()["web"]) == first
    assert (project.live() / "index.html").read_text() == "one\n"
    assert [(row["outcome"], row["live"]) for row in releases(project)] == [("good", False), ("good", True)]


def test_a_rollback_goes_past_releases_that_failed(project: Project) -> None:
    write(project, "one\n")
    deploy(project)
    write(project, "two\n")
    deploy(project)
    write(project, "three\n", Dockerfile="FROM busybox:1.37\nRUN false\n")
    assert project.tow("deploy", f"--stack={project.name('web')}").code == 5
    assert project.tow("rollback", f"--stack={project.name('web')}").code == 0
    assert project.page() == "one\n"


def test_a_release_that_failed_is_not_gone_back_to(project: Project) -> None:
    write(project, "one\n")
    deploy(project)
    write(project, "two\n", Dockerfile="FROM busybox:1.37\nRUN false\n")
    assert project.tow("deploy", f"--stack={project.name('web')}").code == 5
    failed = releases(project)[0]["id"]
    ran = project.tow("rollback", f"--stack={project.name('web')}", f"--to={failed}")
    assert ran.code == 1
    assert "never ran healthy" in ran.err
    assert project.tow("rollback", f"--stack={project.name('web')}").code == 1


def test_releases_tell_who_when_and_from_which_commit(project: Project) -> None:
    git = ["git", "-c", "user.name=T", "-c", "user.email=t@example.org"]
    write(project, "one\n")
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run([*git, *words], cwd=project.folder, check=True)
    deploy(project)
    write(project, "two\n")
    deploy(project)
    newer, older = releases(project)
    assert list(newer) == [
        "id",
        "stack",
        "host",
        "at",
        "by",
        "git",
        "strategy",
        "outcome",
        "seconds",
        "live",
        "downtime",
    ]
    assert re.fullmatch(r"[0-9a-f]{7,}", str(older["git"]))
    assert newer["git"] == f"{older['git']}+dirty"
    assert newer["host"] == "prod"
    assert "@" in str(newer["by"])
    assert newer["live"] and not older["live"]
    assert newer["downtime"]["web"] > 0
    assert isinstance(newer["seconds"], float) and newer["seconds"] > 0


def test_only_keep_releases_are_kept_and_their_images_go_with_them(project: Project) -> None:
    settings = json.loads((project.folder / "towline.yaml").read_text())
    (project.folder / "towline.yaml").write_text(json.dumps(settings | {"defaults": {"keep_releases": 2}}))
    for number in range(4):
        write(project, f"{number}\n")
        deploy(project)
    kept = [str(row["id"]) for row in releases(project)]
    assert len(kept) == 2
    tags = docker("images", "--format", "{{.Tag}}", f"towline/{project.name('web')}/web").splitlines()
    assert sorted(tags) == sorted(kept)


def test_prune_leaves_the_live_release_and_the_one_before(project: Project) -> None:
    for number in range(4):
        write(project, f"{number}\n")
        deploy(project)
    told = project.tow("--dry", "prune", f"--stack={project.name('web')}")
    assert "would free 2 releases" in told.out
    assert len(releases(project)) == 4
    assert "freed 2 releases" in project.tow("prune", f"--stack={project.name('web')}").out
    assert len(releases(project)) == 2
    assert project.tow("rollback", f"--stack={project.name('web')}").code == 0
    assert project.page() == "2\n"


def test_an_unchanged_stack_sends_no_tarball(project: Project) -> None:
    write(project, "one\n")
    deploy(project)
    err = deploy(project)
    assert "files unchanged" in err
    assert " upload " not in err
    assert "1 login · 3 sessions" in err
    assert len(releases(project)) == 1


def test_renamed_content_is_not_sent_again(project: Project, tmp_path: Path) -> None:
    folder = write(project, "one\n")
    (folder / "big").write_bytes(os.urandom(3 << 20))
    deploy(project)
    (folder / "big").rename(folder / "renamed")
    ledger = tmp_path / "ledger"
    deploy(project, f"--ledger={ledger}")
    assert json.loads(ledger.read_text().splitlines()[-1])["bytes_up"] < 128 << 10
    assert (project.live() / "renamed").stat().st_size == 3 << 20
    assert not (project.live() / "big").exists()


def test_a_file_changed_there_by_hand_is_said_and_kept_beside(project: Project) -> None:
    write(project, "one\n")
    deploy(project)
    (project.live() / "index.html").write_text("by hand\n")
    err = deploy(project)
    assert "index.html was changed on the server; kept as index.html.before-" in err
    (kept,) = project.live().glob("index.html.before-*")
    assert kept.read_text() == "by hand\n"
    assert (project.live() / "index.html").read_text() == "one\n"


def test_a_file_that_is_there_where_a_release_wants_one_is_kept_beside_or_stays_as_data(project: Project) -> None:
    folder = write(project, "one\n")
    deploy(project)
    (project.live() / "data" / "seed").write_text("the container's\n")
    (project.live() / "notes").write_text("somebody's\n")
    (folder / "data").mkdir()
    for path in ("data/seed", "notes"):
        (folder / path).write_text("the release's\n")
    said = deploy(project)
    assert "notes was changed on the server" in said
    assert "not sent: data/seed: services keep their data there, and the server has its own" in said
    (kept,) = project.live().glob("notes.before-*")
    assert (kept.read_text(), (project.live() / "notes").read_text()) == ("somebody's\n", "the release's\n")
    assert [path.name for path in project.live().glob("data/seed*")] == ["seed"]
    assert (project.live() / "data" / "seed").read_text() == "the container's\n"


def test_a_full_disk_touches_nothing(project: Project) -> None:
    """The host's root lies on a file system of 8 MB that the release does not fit on."""
    write(project, "old\n")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", project.root], check=True)
    try:
        deploy(project)
        folder = write(project, "new\n")
        (folder / "big").write_bytes(os.urandom(20 << 20))
        refused = project.tow("deploy", f"--stack={project.name('web')}")
        assert refused.code == 1
        assert re.search(r"needs 40 MB for stacks .*and \d.* MB are free", refused.err), refused.err
        assert "prune" in refused.err
        (folder / "big").write_bytes(os.urandom(3 << 20))
        filler = project.root / "filler"
        filler.write_bytes(b"x" * (3 << 20))  # the check sees 4 of 8 MB free; then the disk fills
        ran = project.tow("deploy", f"--stack={project.name('web')}")
        assert ran.code != 0
        assert project.page() == "old\n"
        assert not list(project.state().glob("releases/*.part"))
    finally:
        docker("rm", "-f", *project.containers().values())
        subprocess.run(["umount", "--lazy", project.root], check=True)


def test_a_person_s_lock_keeps_deploys_off_until_it_is_taken_off(project: Project) -> None:
    write(project, "one\n")
    stack = f"--stack={project.name('web')}"
    assert project.tow("lock", stack, "--message=moving house").code == 0
    again = project.tow("lock", stack, "--message=me too")
    assert again.code == 4 and "moving house" in again.err
    refused = project.tow("deploy", stack)
    assert refused.code == 4 and "moving house" in refused.err
    assert project.containers() == {}
    assert "moving house" in project.tow("unlock", stack).out
    deploy(project)


def test_different_stacks_deploy_at_the_same_time(project: Project) -> None:
    names = ["one", "two"]
    for short in names:
        project.write_page(short)
    clients = [project.start("deploy", f"--stack={project.name(short)}") for short in names]
    assert [client.wait(120) for client in clients] == [0, 0]
    assert [project.page(short) for short in names] == ["v1\n", "v1\n"]


def test_odd_names_arrive_and_go_again(project: Project) -> None:
    names = ["a b.txt", "ü.txt", "-dash", "$(touch x)", "it's", 'quo"te', "many  blanks ", "sub folder/-x y"]
    folder = write(project, "one\n", **{name: name for name in names})
    deploy(project)
    assert [(project.live() / name).read_text() for name in names] == names
    for name in names:
        (folder / name).unlink()
    deploy(project)
    assert not [name for name in names if (project.live() / name).exists()]
    assert project.page() == "one\n"
