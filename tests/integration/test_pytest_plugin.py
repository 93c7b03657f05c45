"""The pytest plugin, as pytest finds it through its entry point, in a project of its own and against a real sshd."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import TOP, Ran, run_pytest
from tests.integration.conftest import serving
from towline.sandbox import Sandbox, sshd
from towline.sandbox.wait import wait_until

WEB = "services: {web: {image: nginx}, db: {image: postgres}}\n"
TESTS = """
    def test_one(towline_host):
        assert towline_host.run("echo one").out == "one\\n"

    def test_two(towline_host):
        assert towline_host.run(["echo", "two"]).ok

    def test_three(towline_stack):
        assert towline_stack("web").host.run("true").ok
"""


@dataclass
class Folder:
    """A folder that pytest is run in, with towline's plugin installed, and nothing of whoever runs these tests."""

    path: Path
    home: Path
    box: Sandbox
    since: int
    installed: Path

    def settings(self, name: str = "towline.yaml", host: str = "shed", **changes: object) -> None:
        """A settings file with one host, the sandbox's sshd."""
        keys: dict[str, object] = {"ssh": f"{self.box.user}@127.0.0.1:{self.box.port}", "identity": self.box.identity}
        keys |= {"known_hosts": self.box.known_hosts, **changes}
        text = f"hosts:\n  {host}:\n" + "".join(f"    {key}: {value}\n" for key, value in keys.items())
        self.write({name: text})

    def write(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            (self.path / name).parent.mkdir(parents=True, exist_ok=True)
            (self.path / name).write_text(textwrap.dedent(text))

    def pytest(self, *words: str, tests: str = "", folder: str = ".", **env: str) -> Ran:
        """pytest, run in `folder`, after `tests` were written to test_it.py."""
        if tests:
            self.write({"test_it.py": tests})
        return run_pytest(self.path / folder, *words, home=self.home, installed=self.installed, **env)

    def counts(self) -> sshd.Counts:
        return sshd.count(self.box.log, self.since)


def make_folder(box: Sandbox, home: Path, tmp_path: Path, installed: Path) -> Folder:
    """Its project: one host, `shed`, and one stack, `web`."""
    assert wait_until(lambda: serving(box) == [], 10)
    made = Folder(tmp_path / "project", home, box, box.log.stat().st_size, installed)
    made.settings()
    made.write({"stacks/web/compose.yaml": WEB})
    return made


@pytest.fixture
def folder(tight: Sandbox, home: Path, tmp_path: Path, installed: Path) -> Folder:
    """Its host has MaxSessions 1 and MaxStartups 1."""
    return make_folder(tight, home, tmp_path, installed)


@pytest.fixture
def roomy_folder(roomy: Sandbox, home: Path, tmp_path: Path, installed: Path) -> Folder:
    return make_folder(roomy, home, tmp_path, installed)


def failures(ran: Ran) -> dict[str, list[str]]:
    """Test → the lines that pytest shows of its failure."""
    shown, _, _ = ran.out.partition(" short test summary info ")
    found: dict[str, list[str]] = {}
    for line in shown.splitlines():
        if heading := re.fullmatch(r"_{3,} (.*) _{3,}", line):
            found[heading[1]] = []
        elif found and not line.startswith("==="):
            found[[*found][-1]].append(line)
    assert found, ran.out
    return found


# --- the connection ---------------------------------------------------------------------------------------------------


def test_many_tests_share_one_login_and_open_one_session_at_a_time(folder: Folder) -> None:
    many = """
        import pytest

        @pytest.mark.parametrize("number", range(50))
        def test_number(towline_host, number):
            assert towline_host.run(f"echo {number}").out == f"{number}\\n"
    """
    folder.write({"tests/test_many.py": many, "tests/other/test_more.py": TESTS})
    ran = folder.pytest()
    assert "53 passed" in ran.out, ran.out
    counts = folder.counts()
    assert (counts.connections, counts.logins, counts.sessions, counts.peak, counts.dropped) == (1, 1, 53, 1, 0)


def test_the_ledgers_line_is_in_the_summary(folder: Folder) -> None:
    ran = folder.pytest(tests=TESTS)
    assert "\ntowline: shed: 1 login · 3 sessions, peak 1 · " in ran.out
    assert ran.code == 0


def test_nothing_is_connected_by_collecting(folder: Folder) -> None:
    ran = folder.pytest("--collect-only", "-q", tests=TESTS)
    assert "3 tests collected" in ran.out
    assert folder.counts().connections == 0


def test_nothing_is_connected_by_naming_stacks_and_services(folder: Folder) -> None:
    tests = """
        def test_names(towline_host, towline_stack):
            stack = towline_stack("web")
            assert (towline_host.name, stack.name, stack.services) == ("shed", "web", ("web", "db"))
            assert repr(stack.service("db")) == "<service db of web on shed>"
    """
    ran = folder.pytest(tests=tests)
    assert "1 passed" in ran.out, ran.out
    assert "login" not in ran.out
    assert folder.counts().connections == 0


def test_a_lost_connection_is_in_the_summary(folder: Folder) -> None:
    tests = """
        def test_cut(towline_host):
            towline_host.run("true")
            towline_host.connection.close()
            assert towline_host.run("true").ok
    """
    ran = folder.pytest(tests=tests)
    assert "1 passed" in ran.out, ran.out
    assert "towline: shed: connection lost; logging in again" in ran.out
    assert "towline: shed: 2 logins" in ran.out


def test_each_worker_has_a_login_and_a_line(roomy_folder: Folder) -> None:
    ran = roomy_folder.pytest("-n", "2", "--dist", "each", tests=TESTS)
    assert "6 passed" in ran.out, ran.out
    said = sorted(line.split(" · ")[0] for line in ran.out.splitlines() if line.startswith("towline: "))
    assert said == ["towline: gw0 shed: 1 login", "towline: gw1 shed: 1 login"]
    assert roomy_folder.counts().logins == 2


# --- the host ---------------------------------------------------------------------------------------------------------


def test_text_is_for_the_shell_and_a_list_is_words(folder: Folder) -> None:
    tests = """
        def test_text(towline_host):
            result = towline_host.run("x='a  b'; echo $x | tr a c; echo no >&2; exit 3")
            assert (result.ok, result.code, result.out, result.err) == (False, 3, "c b\\n", "no\\n")

        def test_words(towline_host):
            assert towline_host.run(["printf", "%s|", "a  b", "$HOME", "it's", 7]).out == "a  b|$HOME|it's|7|"

        def test_overdue(towline_host):
            assert towline_host.run("sleep 60", timeout=1).code == 124

        def test_batch(towline_host):
            results = towline_host.batch(["echo $((1 + 1))", ["echo", "$x"], "exit 4"])
            assert [(result.code, result.out) for result in results] == [(0, "2\\n"), (0, "$x\\n"), (4, "")]
            assert towline_host.batch([]) == []
    """
    ran = folder.pytest(tests=tests)
    assert "4 passed" in ran.out, ran.out
    assert folder.counts().sessions == 4


def test_a_failed_assertion_tells_what_came_back(folder: Folder) -> None:
    tests = """
        def test_missing(towline_host):
            assert towline_host.run("echo half; echo why >&2; exit 3").ok
    """
    ran = folder.pytest(tests=tests)
    said = [line.removeprefix("E ").strip() for line in failures(ran)["test_missing"] if line.startswith("E ")]
    assert said[:2] == [
        "AssertionError: assert False",
        "+  where False = Result(code=3, out='half\\n', err='why\\n').ok",
    ]
    assert said[2].endswith("('echo half; echo why >&2; exit 3')")


def test_a_file_of_the_live_folder_is_read(folder: Folder) -> None:
    root = folder.path / "server"
    folder.settings(root=root)
    folder.write({"server/web/compose.yaml": WEB})
    tests = """
        import pytest
        from towline.errors import RemoteFailed, UsageError

        def test_file(towline_stack):
            assert "postgres" in towline_stack("web").read_file("compose.yaml")

        def test_none(towline_stack):
            with pytest.raises(RemoteFailed, match="shed: .*nothing.*No such file"):
                towline_stack("web").read_file("nothing")

        @pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x"])
        def test_elsewhere(towline_stack, path):
            with pytest.raises(UsageError, match="live folder"):
                towline_stack("web").read_file(path)
    """
    ran = folder.pytest(tests=tests)
    assert "5 passed" in ran.out, ran.out


# --- options ----------------------------------------------------------------------------------------------------------

NAME = """
    def test_name(towline_host, towline_stack):
        assert (towline_host.name, towline_stack("web").host.name) == ("{}", "{}")
"""
TWO = "hosts: {one: {ssh: a@127.0.0.1}, two: {ssh: b@127.0.0.1}}\ndefault_host: one\n"
ON_TWO = f"{WEB}x-towline: {{host: two}}\n"


def test_the_default_host_and_a_stacks_own_are_taken_as_the_tasks_take_them(folder: Folder) -> None:
    folder.write({"towline.yaml": TWO, "stacks/web/compose.yaml": ON_TWO})
    assert folder.pytest(tests=NAME.format("one", "two")).code == 0
    assert folder.pytest("--towline-host=one", tests=NAME.format("one", "one")).code == 0


def test_options_can_stand_in_the_ini_file(folder: Folder) -> None:
    folder.write({"etc/lab.yaml": TWO, "etc/pytest.ini": "[pytest]\ntowline_host = two\ntowline_config = lab.yaml\n"})
    ran = folder.pytest("-c", "etc/pytest.ini", tests=NAME.format("two", "two"))
    assert ran.code == 0, ran.out
    assert folder.pytest("-c", "etc/pytest.ini", "--towline-host=one", tests=NAME.format("one", "one")).code == 0


def test_the_option_names_a_file_from_where_pytest_is_started(folder: Folder) -> None:
    folder.settings("etc/lab.yaml", host="lab")
    words = ("--rootdir=..", "--towline-config=lab.yaml", "../test_it.py")
    ran = folder.pytest(*words, folder="etc", tests=NAME.format("lab", "lab"))
    assert ran.code == 0, ran.out


def test_the_project_is_that_of_the_rootdir_where_pytest_is_started_outside(folder: Folder) -> None:
    folder.write({"pytest.ini": "[pytest]\n", "test_it.py": NAME.format("shed", "shed")})
    ran = folder.pytest("project/test_it.py", folder="..")
    assert ran.code == 0, ran.out


# --- errors -----------------------------------------------------------------------------------------------------------


def test_an_unknown_stack_or_service_is_one_line(folder: Folder) -> None:
    tests = """
        def test_stack(towline_stack):
            assert towline_stack("wep").service("web").running

        def test_service(towline_stack):
            assert towline_stack("web").service("dbb").running
    """
    ran = folder.pytest(tests=tests)
    assert ran.code == 1
    assert failures(ran) == {
        "test_stack": ["no stack 'wep'; did you mean web?"],
        "test_service": ["stacks/web: no service 'dbb'; did you mean db?"],
    }
    assert "FAILED test_it.py::test_stack - towline.errors.StackError: no stack 'wep'" in ran.out
    assert folder.counts().connections == 0


def test_a_host_that_is_not_there_is_one_line_a_test_and_tried_once(folder: Folder) -> None:
    folder.settings(ssh="nobody@towline.invalid")
    ran = folder.pytest(tests=TESTS)
    assert ran.code == 1
    lines = ["towline.invalid: no such host name", "  hint: check `ssh:` of the host in towline.yaml"]
    assert failures(ran) == {"test_one": lines, "test_two": lines, "test_three": lines}
    places = [shown[0] for shown in failures(folder.pytest("--tb=short")).values()]
    assert places == ["test_it.py:3: in test_one", "test_it.py:6: in test_two", "test_it.py:9: in test_three"]


def test_more_of_the_traceback_is_there_when_it_is_asked_for(folder: Folder) -> None:
    tests = "def test_stack(towline_stack):\n    towline_stack('wep')\n"
    says = "towline.errors.StackError: no stack 'wep'; did you mean web?"
    short = folder.pytest("--tb=short", tests=tests)
    assert failures(short) == {"test_stack": ["test_it.py:2: in test_stack", "    towline_stack('wep')", f"E   {says}"]}
    assert f"{folder.path}/test_it.py:2: {says}" in folder.pytest("--tb=line").out
    assert "catalog.py" in folder.pytest("--tb=long").out


def test_an_error_in_a_fixture_of_theirs_is_one_line(folder: Folder) -> None:
    folder.write(
        {
            "conftest.py": """
                import pytest

                @pytest.fixture(scope="session")
                def web(towline_stack):
                    return towline_stack("wep")
            """
        }
    )
    for style in ("auto", "short"):
        ran = folder.pytest(f"--tb={style}", tests="def test_web(web): pass\n")
        assert failures(ran) == {"ERROR at setup of test_web": ["no stack 'wep'; did you mean web?"]}


def test_wrong_settings_are_one_line_and_fail_only_the_tests_that_use_them(folder: Folder) -> None:
    folder.write({"towline.yaml": "hosts: {shed: {sssh: a@b}}\n"})
    ran = folder.pytest(tests=TESTS + "\n    def test_own(): pass\n")
    assert ran.code == 1
    assert "1 failed, 1 passed, 2 errors" in ran.out, ran.out
    assert all(len(lines) == 1 and "unknown key 'sssh'" in lines[0] for lines in failures(ran).values())


# --- a project that has nothing to do with towline ----------------------------------------------------------------------


@pytest.fixture
def bare(folder: Folder) -> Folder:
    """No settings here or above."""
    folder.path = folder.path.parent / "bare"
    folder.path.mkdir()
    return folder


def test_no_settings_are_needed_before_a_fixture_is_used(bare: Folder) -> None:
    ran = bare.pytest(tests="def test_own(): pass\n" + textwrap.dedent(TESTS))
    assert ran.code == 1
    assert "1 failed, 1 passed, 2 errors" in ran.out, ran.out
    assert all(len(lines) == 1 and "no project in" in lines[0] for lines in failures(ran).values())
    assert bare.pytest("-k", "own").code == 0


def test_nothing_is_said_where_the_fixtures_are_not_used(bare: Folder) -> None:
    ran = bare.pytest("-p", "no:xdist", "-p", "no:testinfra", tests="def test_own(): pass\n")
    assert ran.code == 0
    assert "towline" not in re.sub("plugins: .*", "", ran.out).replace(str(bare.path), "")
    assert ran.err == ""


def test_an_error_of_towline_in_a_test_without_the_fixtures_keeps_its_traceback(bare: Folder) -> None:
    tests = "from towline.project.settings import load_settings\n\ndef test_own():\n    load_settings()\n"
    assert "settings.py" in bare.pytest(tests=tests).out


def test_loading_the_plugin_imports_nothing_that_is_slow(bare: Folder) -> None:
    tests = """
        import sys

        def test_modules():
            assert {name for name in sys.modules if name.split(".")[0] == "towline"} == {"towline", "towline.pytest_plugin"}
            slow = {"fabric", "invoke", "paramiko", "yaml", "msgspec", "tenacity", "cryptography", "rich"}
            assert not slow & set(sys.modules)
    """
    words = ("-p", "towline.pytest_plugin")
    ran = bare.pytest(*words, tests=tests, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    assert ran.code == 0, ran.out


def test_the_plugin_is_found_by_its_entry_point(bare: Folder) -> None:
    ran = bare.pytest("--trace-config", tests="def test_own(): pass\n")
    assert re.search(r"towline-\S+ at .*pytest_plugin\.py", ran.out), ran.out


# --- testinfra ----------------------------------------------------------------------------------------------------------


def recipe() -> str:
    """The conftest.py out of the guide."""
    blocks = re.findall(r"^```python\n(.*?)^```$", (TOP / "docs" / "guide.md").read_text(), re.DOTALL | re.MULTILINE)
    (found,) = [block for block in blocks if "BaseBackend" in block]
    return found


def test_the_guides_testinfra_backend_works_over_the_one_login(folder: Folder) -> None:
    folder.write({"conftest.py": recipe(), "b c.txt": "Grüße\n"})
    tests = f"""
        def test_file(host):
            assert host.file("/etc/hosts").exists
            assert not host.file("/etc/no-such-file").exists
            assert host.file({str(folder.path / "b c.txt")!r}).content_string == "Grüße\\n"

        def test_run(host):
            result = host.run("echo %s; echo no >&2; exit 3", "it's")
            assert (result.rc, result.stdout, result.stderr) == (3, "it's\\n", "no\\n")
            assert host.check_output("id -un") == {folder.box.user!r}

        def test_socket(host):
            assert host.socket("tcp://127.0.0.1:{folder.box.port}").is_listening

        def test_service(host):
            assert not host.service("no-such-service").is_running

        def test_beside(host, towline_host):
            assert host.backend.get_hostname() == towline_host.name
    """
    ran = folder.pytest(tests=tests)
    assert "5 passed" in ran.out, ran.out
    counts = folder.counts()
    assert (counts.connections, counts.logins, counts.peak) == (1, 1, 1)
    assert counts.sessions > 5
