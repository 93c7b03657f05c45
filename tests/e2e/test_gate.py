"""The gate: a stack is checked before and after its deploy; what new failures lead to."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from tests.e2e.conftest import DOCKERFILE, PAGE, Project

CHECKS = """
x-towline:
  checks:
    - {{http: "http://web:8080/", name: greets, contains: hello}}
    - {{file: backup.gz, name: backup}}
{more}
"""


def write(project: Project, text: str, more: str = "") -> None:
    project.write_page(text=text)
    compose = PAGE.format(port=project.ports["web"]) + CHECKS.format(more=more)
    project.write("web", {"compose.yaml": compose, "Dockerfile": DOCKERFILE})


def test_new_failures_put_the_release_before_back_and_old_ones_do_not(project: Project) -> None:
    write(project, "hello, one\n")
    deploy = ("deploy", f"--stack={project.name('web')}", "--cache", "--gate")
    first = project.tow(*deploy)
    assert first.code == 1, first.err  # the backup is lacking: new, and there is nothing to go back to
    assert "deployed, and 1 new failure since; there is no other release to go back to" in first.err
    assert project.page() == "hello, one\n"

    write(project, "hello, two\n")
    second = project.tow(*deploy)
    assert second.code == 0, second.err
    assert "no new failures, 1 failed before as well" in second.err
    assert project.page() == "hello, two\n"

    write(project, "good bye\n")
    third = project.tow(*deploy)
    assert third.code == 5, third.err
    assert f"stack.{project.name('web')}.check.greets" in third.err
    assert "1 new failure after the deploy; the release before runs again" in third.err
    assert project.page() == "hello, two\n"
    assert json.loads(project.tow("plan", "--format=json").out)[0]["empty"] is False


def test_a_waived_failure_is_shown_as_such_until_its_day(project: Project) -> None:
    waiver = '  waive: [{{check: "stack.*.check.backup", reason: the new disk comes next week, until: "{until}"}}]'
    today = datetime.now(UTC).date()
    for until, code, result in ((today, 0, "waived"), (today - timedelta(days=1), 1, "fail")):
        write(project, "hello\n", waiver.format(until=until))
        project.tow("deploy", f"--stack={project.name('web')}", "--cache")
        ran = project.tow("test-services", "--json=found.json")
        found = {
            finding["id"]: finding for finding in json.loads((project.folder / "found.json").read_text())["findings"]
        }
        backup = found[f"stack.{project.name('web')}.check.backup"]
        assert (ran.code, backup["result"]) == (code, result), ran.out
        assert "the new disk comes next week" in backup["hint"]


def test_wait_checks_again_until_nothing_fails(project: Project) -> None:
    write(project, "hello\n")
    assert project.tow("deploy", f"--stack={project.name('web')}", "--cache").code == 0
    short = project.tow("test-services")
    assert (short.code, short.out.splitlines()[-1].split(" in ")[0]) == (1, "2 checks: 1 passed, 1 failed")
    waiting = project.start("test-services", "--wait=60")
    (project.live() / "backup.gz").touch()
    out, _ = waiting.communicate(timeout=60)
    assert (waiting.returncode, out.splitlines()[-1].split(" in ")[0]) == (0, "2 checks: 2 passed")
