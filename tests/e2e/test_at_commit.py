"""--ref: a commit is deployed, and the working tree is neither used nor touched."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.conftest import BASE
from tests.e2e.conftest import Project, docker
from tests.integration.conftest import read_tree

COMPOSE = f"""
services:
  app: {{image: {BASE}, init: true, command: [sleep, "600"], environment: [WHO], volumes: ["./conf:/conf:ro"]}}
x-towline: {{watch: 0}}
"""


def git(folder: Path, *words: str) -> str:
    words = ("-c", "user.name=a", "-c", "user.email=a@example.com", *words)
    return subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def test_a_commit_is_deployed_with_the_env_of_here_and_the_working_tree_stays(project: Project) -> None:
    stack, folder = f"--stack={project.name('app')}", project.folder
    files = {"compose.yaml": COMPOSE, "conf/a": "one\n", ".env": "WHO=here\n"}
    project.write("app", files)
    (folder / ".gitignore").write_text(".env\n")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "one")
    (folder / ".git/hooks/post-checkout").write_text("#!/bin/sh\ntouch hook-ran\n")
    (folder / ".git/hooks/post-checkout").chmod(0o755)
    first = git(folder, "rev-parse", "--short", "HEAD")
    project.write("app", {"conf/a": "two\n"})
    git(folder, "commit", "-qam", "two")
    project.write("app", {"compose.yaml": "broken: [", "conf/a": "three\n"})
    was, status = read_tree(folder / "stacks"), git(folder, "status", "--porcelain")

    ran = project.tow("deploy", stack, "--ref=HEAD~1")
    assert ran.code == 0, ran.err
    path = f"stacks/{project.name('app')}/.env"
    assert f"HEAD~1 has no {path}: taken from the working tree" in ran.err
    seen = docker("exec", project.containers("app")["app"], "sh", "-c", "cat /conf/a; echo $WHO")
    assert seen == "one\nhere"
    assert (read_tree(folder / "stacks"), git(folder, "status", "--porcelain")) == (was, status)
    assert git(folder, "worktree", "list", "--porcelain").count("worktree ") == 1
    assert not (folder / "hook-ran").exists()
    project.write("app", {"compose.yaml": COMPOSE})
    rows = project.tow("releases", stack, "--format=json").out
    assert f'"git": "{first}"' in rows, rows
    assert project.tow("plan", stack, "--ref=HEAD~1", "--check").code == 0
    assert project.tow("plan", stack, "--ref=HEAD", "--check").code == 10


def test_what_is_no_commit_is_one_line(project: Project) -> None:
    project.write("app", {"compose.yaml": COMPOSE})
    ran = project.tow("deploy", f"--stack={project.name('app')}", "--ref=main")
    assert (ran.code, ran.err.count("\n")) == (2, 1), ran.err
    assert "--ref=main: git: not a git repository" in ran.err
    git(project.folder, "init", "-q")
    for ref in ("main", "--upload-pack=x", "HEAD"):
        ran = project.tow("deploy", f"--stack={project.name('app')}", f"--ref={ref}")
        assert (ran.code, ran.err.count("\n")) == (2, 1), ran.err
        assert f"--ref={ref}: no such commit, branch or tag in" in ran.err


def test_submodules_and_mounted_files_that_git_ignores_come_along(project: Project, tmp_path: Path) -> None:
    stack, folder, site = f"--stack={project.name('app')}", project.folder, tmp_path / "site"
    site.mkdir()
    (site / "index.html").write_text("one\n")
    git(site, "init", "-q")
    git(site, "add", ".")
    git(site, "commit", "-qm", "one")
    project.write("app", {"compose.yaml": COMPOSE, "conf/k.pem": "key\n", "conf/a": "a\n", ".env": "WHO=x\n"})
    (folder / ".gitignore").write_text("*.pem\n")
    git(folder, "init", "-q")
    path = f"stacks/{project.name('app')}/conf/site"
    git(folder, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(site), path)
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "one")
    assert project.tow("deploy", stack).code == 0
    for words in (("plan", stack, "--ref=HEAD", "--check"), ("deploy", stack, "--ref=HEAD")):
        ran = project.tow(*words)
        assert ran.code == 0, ran.err + ran.out
    seen = docker("exec", project.containers("app")["app"], "cat", "/conf/site/index.html", "/conf/k.pem")
    assert seen == "one\nkey"
