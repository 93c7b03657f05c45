"""Which project a workspace is of, which host it gives a stack, and that its connections are shared. Nothing is connected to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from towline import sandbox
from towline.errors import SettingsError, StackError, UsageError
from towline.sandbox import Sandbox
from towline.ssh.connection import Connections
from towline.workspace import Workspace, shared_connections

ONE = "hosts: {prod: {ssh: a.test}}\n"
TWO = "hosts: {prod: {ssh: a.test}, lab: {ssh: b.test}}\n"
WEB = "services: {web: {image: nginx}}\n"
RUNNING = Sandbox(Path("/box"), 2222, "me", Path("/box/id"), Path("/box/known"), Path("/box/root"), Path("/box/log"), 7)


@pytest.fixture(autouse=True)
def _no_sandbox_and_no_connections(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sandbox, "read_status", lambda: None)
    monkeypatch.delenv("TOWLINE_CONFIG", raising=False)
    shared_connections.cache_clear()
    yield
    shared_connections.cache_clear()


@pytest.fixture
def top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: a project with two hosts, the stack `web` for none of them and `shop` for lab."""
    write(tmp_path, TWO, web=WEB, shop=f"{WEB}x-towline: {{host: lab}}\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(top: Path, settings: str, **stacks: str) -> None:
    (top / "stacks").mkdir(parents=True, exist_ok=True)
    (top / "towline.yaml").write_text(settings)
    for name, text in stacks.items():
        (top / "stacks" / name).mkdir()
        (top / "stacks" / name / "compose.yaml").write_text(text)


# --- the project ------------------------------------------------------------------------------------------------------


def test_the_project_is_that_of_the_working_folder(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(top / "stacks" / "web")
    workspace = Workspace()
    assert workspace.settings.top == top
    assert [stack.name for stack in workspace.catalog.stacks] == ["shop", "web"]


def test_the_first_folder_that_is_in_a_project_is_taken(top: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    bare = tmp_path_factory.mktemp("bare")
    assert Workspace(folders=(bare, top / "stacks")).settings.top == top
    assert Workspace(folders=[Path("stacks/web")]).settings.top == top
    with pytest.raises(SettingsError, match=f"no project in {bare}"):
        _ = Workspace(folders=(bare,)).settings


def test_another_settings_file_can_be_named(top: Path) -> None:
    (top / "other.yaml").write_text("hosts: {shed: {ssh: c.test}}\n")
    assert Workspace(config="other.yaml").host().address == "c.test"


def test_nothing_is_read_before_it_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    workspace = Workspace(host="nope", config="nope.yaml")
    with pytest.raises(SettingsError, match=r"nope\.yaml"):
        _ = workspace.settings


def test_an_unknown_stack_offers_the_nearest(top: Path) -> None:
    with pytest.raises(StackError, match=r"no stack 'wep'; did you mean web\?"):
        Workspace().stack("wep")


# --- the host ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "chosen", "stack", "name"),
    [
        (ONE, "", "web", "prod"),  # the only one
        (ONE, "", "", "prod"),
        (f"{TWO}default_host: lab\n", "", "web", "lab"),
        (f"{TWO}default_host: prod\n", "", "shop", "lab"),  # its own
        (f"{TWO}default_host: prod\n", "", "", "prod"),
        (TWO, "prod", "shop", "prod"),  # the chosen one before its own
    ],
)
def test_the_chosen_host_goes_before_the_stacks_own_before_the_default(
    top: Path, settings: str, chosen: str, stack: str, name: str
) -> None:
    (top / "stacks/shop/compose.yaml").write_text(
        f"{WEB}x-towline: {{host: {'lab' if 'lab' in settings else 'prod'}}}\n"
    )
    (top / "towline.yaml").write_text(settings)
    workspace = Workspace(host=chosen)
    wanted = workspace.stack(stack) if stack else None
    assert (workspace.host(wanted).name, workspace.host_name(wanted)) == (name, name)


def test_of_several_hosts_without_a_default_one_must_be_chosen(top: Path) -> None:
    workspace = Workspace()
    assert workspace.host_name(workspace.stack("web")) == ""
    with pytest.raises(SettingsError, match="several hosts and no default_host"):
        workspace.host(workspace.stack("web"))


def test_an_unknown_host_offers_the_nearest(top: Path) -> None:
    with pytest.raises(SettingsError, match=r"no host 'prd'; did you mean prod\?"):
        Workspace(host="prd").host()


@pytest.mark.parametrize(
    ("settings", "chosen", "why"),
    [("", "", "no other host is configured"), (TWO, "sandbox", "it is what is meant")],
)
def test_a_sandbox_that_does_not_run_is_an_error_with_the_way_out(
    top: Path, settings: str, chosen: str, why: str
) -> None:
    (top / "stacks/shop/compose.yaml").write_text(WEB)
    (top / "towline.yaml").write_text(settings)
    assert Workspace(host=chosen).host_name() == "sandbox"
    with pytest.raises(UsageError, match=f"the sandbox does not run, and {why}\n.*sandbox.up"):
        Workspace(host=chosen).host()


def test_without_a_configured_host_it_is_the_sandbox(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (top / "stacks/shop/compose.yaml").write_text(WEB)
    (top / "towline.yaml").write_text("")
    monkeypatch.setattr(sandbox, "read_status", lambda: RUNNING)
    assert Workspace().host().port == RUNNING.port


def test_a_configured_host_may_be_called_sandbox(top: Path) -> None:
    (top / "towline.yaml").write_text("hosts: {sandbox: {ssh: d.test}, lab: {ssh: b.test}}\n")
    assert Workspace(host="sandbox").host().address == "d.test"


def test_stacks_are_grouped_by_their_hosts(top: Path) -> None:
    (top / "towline.yaml").write_text(f"{TWO}default_host: prod\n")
    workspace = Workspace()
    groups = workspace.by_host(workspace.catalog.stacks)
    assert {host.name: [stack.name for stack in stacks] for host, stacks in groups.items()} == {
        "lab": ["shop"],
        "prod": ["web"],
    }


def test_the_same_project_on_another_host(top: Path) -> None:
    (top / "towline.yaml").write_text(f"{TWO}default_host: prod\n")
    workspace = Workspace()
    moved = workspace.on_host("lab")
    web = workspace.stack("web")
    assert (workspace.host(web).name, moved.host(web).name) == ("prod", "lab")


# --- the connections --------------------------------------------------------------------------------------------------


def test_all_workspaces_share_one_connection_to_a_host(top: Path) -> None:
    shop = Workspace().connection(Workspace().stack("shop"))
    assert shop is Workspace(host="lab").connection()
    assert shop is not Workspace(host="prod").connection()
    assert not shop.used


def test_connections_of_ones_own_are_not_shared(top: Path) -> None:
    own = Connections(note=print)
    workspace = Workspace(host="lab", connections=own)
    assert workspace.connection() is own.to(workspace.host())
    assert workspace.connection() is not Workspace(host="lab").connection()
