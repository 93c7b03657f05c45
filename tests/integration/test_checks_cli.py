"""test-infra and test-services from the command line: a real sshd, and the engine as it is."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from junitparser import JUnitXml

from tests.conftest import Ran, run_towline
from tests.integration.conftest import running_box, serving
from tests.integration.test_ask import OK, answering, forbid_forwarding, server
from towline.sandbox import Sandbox, sshd
from towline.sandbox.wait import wait_until

WEB = "services: {web: {image: nginx}}\nx-towline: {checks: [{file: /etc/passwd, name: users}%s]}\n"


@dataclass
class Project:
    """A project whose one host is the box, and whose one stack was never deployed there."""

    top: Path
    home: Path
    box: Sandbox
    since: int

    def settings(self, *unknown: str) -> None:
        """shed is the box; so are the unknown ones, whose key nobody has pinned: no login, and at once."""
        login = f"ssh: {self.box.user}@127.0.0.1:{self.box.port}, identity: {self.box.identity}, root: {self.root}"
        lines = [
            f"  shed: {{{login}, known_hosts: {self.box.known_hosts}}}",
            *(f"  {name}: {{{login}}}" for name in unknown),
        ]
        (self.top / "towline.yaml").write_text("\n".join(["default_host: shed", "hosts:", *lines, ""]))

    @property
    def root(self) -> Path:
        return self.top.parent / "root"

    def deployed(self, stack: str = "web") -> None:
        """As a deploy leaves it, as far as the checks read it: a release without services."""
        home = self.root / ".towline" / stack
        (home / "releases" / "20270101-120000").mkdir(parents=True)
        (home / "current").write_text("20270101-120000\n")

    def stack(self, name: str = "web", *checks: str, text: str = "") -> None:
        folder = self.top / "stacks" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "compose.yaml").write_text((WEB % "".join(f", {check}" for check in checks)) + text)

    def towline(self, *words: str) -> Ran:
        return run_towline(self.top, *words, home=self.home)

    def report(self, *words: str) -> tuple[Ran, dict[str, str], dict[str, str]]:
        """The run, and id → result and sentence of what --json has."""
        ran = self.towline(*words, "--json=found.json")
        found = json.loads((self.top / "found.json").read_text())["findings"]
        results = {finding["id"]: finding["result"] for finding in found}
        return ran, results, {finding["id"]: finding["sentence"] for finding in found}

    def counts(self) -> sshd.Counts:
        return sshd.count(self.box.log, self.since)


def make_project(box: Sandbox, tmp_path: Path) -> Project:
    assert wait_until(lambda: serving(box) == [], 10)
    made = Project(tmp_path / "project", tmp_path / "home", box, box.log.stat().st_size)
    made.top.mkdir()
    (made.home / ".ssh").mkdir(parents=True, mode=0o700)
    made.settings()
    made.stack()
    return made


@pytest.fixture
def project(tight: Sandbox, tmp_path: Path) -> Project:
    """Its host has MaxSessions 1 and MaxStartups 1."""
    return make_project(tight, tmp_path)


# ------------------------------------------------------------------------------------------------------- wrong usage

WRONG = [
    (("test-services", "--from=there"), "--from=there: known: here, server"),
    (("test-infra", "--watch=0"), "--watch=0: expected whole seconds from 1"),
    (("test-infra", "--watch=soon"), "--watch=soon: expected whole seconds"),
    (("test-services", "--wait=abc"), "--wait=abc: expected whole seconds from 0"),
    (("test-infra", "--watch=2", "--json=x.json"), "--watch only shows"),
    (("test-infra", "--junit=no/such/x.xml"), "--junit=no/such/x.xml: there is no folder no/such"),
    (("test-infra", "--json=no/such/x.json"), "there is no folder no/such"),
    (("test-services", "--html=stacks"), "--html=stacks: is a folder"),
    (("test-infra", "--stack=wbe"), "no stack 'wbe'; did you mean web?"),
    (("test-infra", "--host=shd"), "no host 'shd'; did you mean shed?"),
]


@pytest.mark.parametrize(
    ("words", "says"), WRONG, ids=lambda value: " ".join(value) if isinstance(value, tuple) else ""
)
def test_wrong_usage_is_one_line_and_no_connection(project: Project, words: tuple[str, ...], says: str) -> None:
    ran = project.towline(*words)
    assert (ran.code, ran.out) == (2, "")
    assert says in ran.err
    assert re.fullmatch(r"error: [^\n]+\n(  hint: [^\n]+\n)?", ran.err)
    assert project.counts().logins == 0


def test_bad_check_is_one_line_with_its_file_and_no_connection(project: Project) -> None:
    project.stack("web", "{http: health}")
    ran = project.towline("test-infra")
    assert ran.code == 2
    assert "stacks/web/compose.yaml: x-towline.checks[1].http: 'health': expected a path" in ran.err
    assert project.counts().logins == 0


@pytest.mark.parametrize(
    ("only", "says"),
    [("stack.nope.*", "-v without --only lists them all"), ("host.memry", "did you mean host.memory?")],
)
def test_pattern_that_no_check_has_is_wrong_usage(project: Project, only: str, says: str) -> None:
    ran = project.towline("test-infra", f"--only={only}")
    assert (ran.code, ran.out) == (2, "")
    assert f"error: --only={only}: no check has such an id; {says}\n" in ran.err
    assert "Traceback" not in ran.err


def test_pattern_that_only_other_checks_have_is_wrong_usage_of_test_services(project: Project) -> None:
    assert project.towline("test-services", "--only=host.*").code == 2


# --------------------------------------------------------------------------------------------------------- exit codes


def test_failure_is_exit_code_1_one_login_and_one_session(project: Project) -> None:
    ran, results, sentences = project.report("test-infra")
    assert ran.code == 1
    assert results["stack.web.deployed"] == "fail"
    assert sentences["stack.web.deployed"] == "web is not deployed here"
    assert {"host.reachable", "host.memory", "host.disk./", "engine.running", "stack.web.check.users"} <= results.keys()
    assert "stack.web.deployed" in ran.out
    assert "1 failed" in ran.out
    assert (project.counts().logins, project.counts().sessions, project.counts().peak) == (1, 1, 1)


def test_what_passes_is_exit_code_0(project: Project) -> None:
    ran = project.towline("test-infra", "--only=host.reachable")
    assert ran.code == 0
    assert ran.out.startswith("1 check: 1 passed in ")


def test_warnings_alone_are_exit_code_0(project: Project) -> None:
    project.deployed()
    ran, results, _ = project.report("test-infra", "--only=stack.*")
    assert (ran.code, set(results.values())) == (0, {"pass", "warn", "skip"})
    assert results["stack.web.release"] == "warn"


@pytest.mark.parametrize(("until", "code", "result"), [("2999-01-01", 0, "waived"), ("1999-01-01", 1, "fail")])
def test_known_failure_counts_again_after_its_day(project: Project, until: str, code: int, result: str) -> None:
    project.deployed()
    project.stack("web", "{file: /none, name: backup}")
    compose = project.top / "stacks/web/compose.yaml"
    waiver = f"waive: [{{check: '*.backup', reason: known, until: {until}}}]"
    compose.write_text(compose.read_text().replace("x-towline: {", f"x-towline: {{{waiver}, "))
    ran, results, _ = project.report("test-infra", "--only=*.check.*")
    assert (ran.code, results) == (code, {"stack.web.check.users": "pass", "stack.web.check.backup": result})


def test_services_of_a_stack_that_is_not_deployed_do_not_pass(project: Project) -> None:
    project.stack("web", "{tcp: 'web:80', name: open}")
    ran, results, sentences = project.report("test-services")
    assert ran.code == 1
    assert results == {"stack.web.deployed": "fail", "stack.web.check.users": "pass", "stack.web.check.open": "skip"}
    assert sentences["stack.web.check.open"] == "see stack.web.deployed"


def test_host_that_cannot_be_logged_in_to_is_exit_code_3(project: Project) -> None:
    project.settings("far")
    ran = project.towline("test-infra", "--host=far", "--json=found.json")
    assert (ran.code, ran.out) == (3, "")
    assert ran.err.startswith("error: ")
    assert not (project.top / "found.json").exists()


def test_of_several_hosts_one_that_cannot_be_logged_in_to_is_a_finding(project: Project) -> None:
    project.settings("far")
    project.stack("other")
    compose = project.top / "stacks/other/compose.yaml"
    compose.write_text(compose.read_text().replace("x-towline: {", "x-towline: {host: far, "))
    ran = project.towline("test-infra", "--json=found.json")
    found = json.loads((project.top / "found.json").read_text())["findings"]
    reached = {finding["host"]: finding["result"] for finding in found if finding["id"] == "host.reachable"}
    assert (ran.code, reached) == (1, {"shed": "pass", "far": "fail"})
    assert {finding["stack"] for finding in found if finding["host"] == "far"} == {""}
    assert "stack.web.deployed" in {finding["id"] for finding in found if finding["host"] == "shed"}


def test_fail_fast_tells_nothing_after_the_first_failure(project: Project) -> None:
    _, results, _ = project.report("test-infra", "--fail-fast")
    assert list(results.values()).count("fail") == 1
    assert list(results.values())[-1] == "fail"


def test_waiting_checks_again_until_nothing_fails(project: Project, tmp_path: Path) -> None:
    """The declared check passes the second time: the first run of it makes the file."""
    project.deployed()
    flag = tmp_path / "flag"
    (project.top / "stacks/web/compose.yaml").write_text(
        "services: {web: {image: nginx}}\n"
        f"x-towline: {{checks: [{{command: 'test -e {flag} || {{ touch {flag}; exit 1; }}', name: second}}]}}\n"
    )
    assert project.towline("test-infra", "--only=*.check.second", "--wait=30").code == 0
    assert project.counts().logins == 1


# ----------------------------------------------------------------------------------------------------------- reports


def test_reports_tell_the_same(project: Project) -> None:
    ran, results, _ = project.report("test-infra", "--junit=found.xml", "--html=found.html")
    suites = JUnitXml.fromfile(str(project.top / "found.xml"))
    assert (suites.tests, suites.failures) == (len(results), list(results.values()).count("fail"))
    assert "stack.web.deployed" in (project.top / "found.html").read_text()
    assert ran.code == 1


def test_secrets_of_a_stack_s_env_are_redacted(project: Project) -> None:
    project.deployed()
    project.stack("web", "{command: 'echo say hunter22; false', name: talks}")
    (project.top / "stacks/web/.env").write_text("DB_PASSWORD=hunter22\n")
    ran, results, _ = project.report("test-infra", "--only=*.talks")
    assert results["stack.web.check.talks"] == "fail"
    for text in (ran.out, ran.err, (project.top / "found.json").read_text()):
        assert "hunter22" not in text
    assert "say [secret]" in ran.out


COMMANDS = (
    "command: 'sleep 1; echo $DB_PASSWORD; false'",
    "command: 'sleep 1; echo \"${DB_PASSWORD}\"', contains: $DB_PASSWORD",
    "command: [sh, -c, 'sleep 1; echo $1 ${DB_PASSWORD}; exit 3', name, '${DB_PASSWORD}'], exit_code: 3",
)


def test_value_of_a_variable_is_in_no_command_line_and_in_no_id(project: Project) -> None:
    project.deployed()
    project.stack("web", *(f"{{{command}}}" for command in COMMANDS))
    (project.top / "stacks/web/.env").write_text("DB_PASSWORD=hunt%er22\n")
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(project.report, "test-infra", "--only=*.check.command*")
        seen: set[bytes] = set()
        while not running.done():
            seen |= set(command_lines())
        ran, results, _ = running.result()
    assert list(results.values()) == ["fail", "pass", "pass"]
    assert all("$DB_PASSWORD" in name for name in results)
    assert [words for words in seen if b"er22" in words] == []
    assert any(b"TOWLINE_TEXT" in words for words in seen)
    for text in (ran.out, ran.err, (project.top / "found.json").read_text()):
        assert "er22" not in text


def command_lines() -> Iterator[bytes]:
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            yield (folder / "cmdline").read_bytes()


# ------------------------------------------------------------------------------------- files and streams that take nothing


def test_report_that_cannot_be_written_takes_no_finding_and_no_other_report(project: Project) -> None:
    ran = project.towline("test-infra", "--json=/dev/full", "--html=found.html", "--ledger=/dev/full")
    assert ran.code == 1
    assert "checks:" in ran.out
    errors = [line for line in ran.err.splitlines() if line.startswith("error: ")]
    assert errors == [
        f"error: {name}=/dev/full: cannot be written: No space left on device" for name in ("--json", "--ledger")
    ]
    assert (project.top / "found.html").stat().st_size > 1000
    assert "Traceback" not in ran.err


def test_report_that_cannot_be_written_fails_a_run_without_failures(project: Project) -> None:
    project.deployed()
    words = ("test-infra", "--only=*.check.users")
    assert project.towline(*words).code == 0
    assert project.towline(*words, "--junit=/dev/full").code == 1


@pytest.mark.parametrize("option", ["--ledger", "--json", "--html", "--junit"])
def test_file_that_cannot_be_made_is_told_before_any_connection(project: Project, option: str) -> None:
    ran = project.towline("test-infra", f"{option}=/proc/x")
    assert (ran.code, ran.out) == (2, "")
    assert re.fullmatch(rf"error: {option}=/proc/x: cannot be written: [^\n]+\n", ran.err)
    assert project.counts().logins == 0


def test_pipe_that_nobody_reads_is_not_waited_for(project: Project) -> None:
    os.mkfifo(project.top / "pipe")
    ran = project.towline("test-infra", "--json=pipe")
    assert ran.code == 1
    assert "--json=pipe: cannot be written" in ran.err


# -------------------------------------------------------------------------------------------------------- over TCP


def test_declared_checks_are_asked_from_the_server(project: Project) -> None:
    project.deployed()
    with server(answering(OK)) as port:
        project.stack(
            "web",
            f"{{http: 'http://127.0.0.1:{port}/', name: page, contains: hello}}",
            f"{{tcp: '127.0.0.1:{port}', name: open}}",
            f"{{tls: '127.0.0.1:{port}', name: secure}}",
            "{dns: localhost, name: resolves}",
        )
        _, results, sentences = project.report("test-infra", "--only=*.check.*")
    assert {name.rpartition(".")[2]: result for name, result in results.items() if ".check." in name} == {
        "users": "pass", "page": "pass", "open": "pass", "resolves": "pass", "secure": "fail",
    }  # fmt: skip
    assert "does not speak TLS as it should" in sentences["stack.web.check.secure"]
    assert (project.counts().logins, project.counts().sessions) == (1, 1)


def test_where_sshd_forwards_nothing_a_program_there_connects(tmp_path: Path) -> None:
    with running_box(tmp_path / "box") as box:
        forbid_forwarding(box)
        project = make_project(box, tmp_path)
        port = box.port
        project.stack("web", f"{{tcp: '127.0.0.1:{port}', name: open}}")
        _, results, sentences = project.report("test-infra")
        assert results["stack.web.check.open"] == "pass", sentences
        assert (results["stack.web.check.users"], results["host.memory"]) == ("pass", "pass")
        assert (project.counts().logins, project.counts().sessions, project.counts().peak) == (1, 2, 1)
