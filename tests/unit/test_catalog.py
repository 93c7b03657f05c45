"""The stacks of a project, their order, and the error for each way a compose file can be wrong."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from towline.errors import StackError
from towline.project.catalog import Catalog, load_catalog
from towline.project.compose_file import Service, compose_files
from towline.project.declared_checks import Http
from towline.project.env_file import interpolate_from
from towline.project.settings import Host, Settings
from towline.project.stack import Stack
from towline.project.waits import ReleaseCommand, Waits
from towline.project.waivers import Waiver

WEB = "services: {web: {image: nginx}}\n"


def write(top: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(text)
    return top


def catalog(top: Path, files: dict[str, str]) -> Catalog:
    return load_catalog(Settings(write(top, files), hosts={"prod": Host("prod", "h")}))


def load_stack(top: Path, text: str, **more: str) -> Stack:
    return catalog(top, {"stacks/web/compose.yaml": text, **more}).stack("web")


def line_of(top: Path, text: str, files: dict[str, str] | None = None) -> str:
    with pytest.raises(StackError) as caught:
        catalog(top, {"stacks/web/compose.yaml": text, **(files or {})})
    assert "\n" not in caught.value.message
    assert caught.value.exit_code == 2
    return caught.value.message


# ------------------------------------------------------------------------------------------- finding


def test_sandbox_is_a_host_of_every_stack(tmp_path: Path) -> None:
    assert load_stack(tmp_path, WEB + "x-towline: {host: sandbox}").host == "sandbox"


def test_waits_are_of_the_stack_or_of_a_service(tmp_path: Path) -> None:
    text = "services: {web: {image: x, x-towline: {watch: 0}}, db: {image: y, x-towline: {timeout: 90}}}\n"
    assert load_stack(tmp_path, text + "x-towline: {timeout: 60, watch: 9}").waits == Waits(
        60, 9, {"db": 90}, {"web": 0}
    )
    assert load_stack(tmp_path, text + "x-towline: {timeout: {web: 7}}").waits == Waits(
        None, None, {"web": 7, "db": 90}, {"web": 0}
    )
    assert load_stack(tmp_path, WEB).waits == Waits()


def test_release_command_is_words_or_a_text_of_words(tmp_path: Path) -> None:
    before = """x-towline:
  before:
    - {service: web, command: "./manage migrate 'a b'", timeout: 60}
    - {service: web, command: [sh, -c, "echo $$HOME"]}
"""
    assert load_stack(tmp_path, WEB + before).before == (
        ReleaseCommand("web", ("./manage", "migrate", "a b"), 60),
        ReleaseCommand("web", ("sh", "-c", "echo $HOME"), 1800),
    )


def test_mounts_and_build_contexts_are_known(tmp_path: Path) -> None:
    text = """services:
  web:
    build: {context: app, dockerfile: ../prod.Dockerfile, additional_contexts: {lib: lib, up: "https://example.com/x.git"}}
    volumes:
      - ./html:/html:ro,z
      - ./both:/both:ro
      - "$DATA:/var/lib"
      - named:/named
      - /etc/x:/x
      - {type: bind, source: ./long, target: /long, read_only: true}
      - {type: bind, source: ./written, target: /written}
  db: {image: x, build: ., volumes: ["./both:/both"]}
"""
    more = {"stacks/web/.env": "DATA=./data", "stacks/web/app/x": "", "stacks/web/lib/x": ""}
    loaded = load_stack(tmp_path, text, **more)
    assert loaded.mounts == {"html": False, "both": True, "data": True, "long": False, "written": True}
    assert loaded.contexts == ((".", "Dockerfile"), ("app", "prod.Dockerfile"), ("lib", ""))


def test_modes_are_texts_of_octal_digits(tmp_path: Path) -> None:
    assert load_stack(tmp_path, WEB + 'x-towline: {modes: {"*.sh": "0755", conf/: "640"}}').modes == {
        "*.sh": 0o755,
        "conf/": 0o640,
    }
    stack = load_stack(tmp_path, WEB + 'x-towline: {modes: {a: "0640 999:998", b: "10:10"}}')
    assert (stack.modes, stack.owners) == ({"a": 0o640}, {"a": "999:998", "b": "10:10"})
    for modes, says in {
        "{a: 640}": """modes.a: expected a mode in quotes, such as "0640", or with an owner, such as "0640 999:999", got 640""",
        '{a: "0640 www"}': "modes.a: expected a mode in quotes",
        '{a: "0888"}': "modes.a: expected a mode in quotes",
        '{a: "0200"}': "modes.a: '0200': its owner could not read it",
        '{"!": "0600"}': "modes.!: is not a gitignore pattern",
    }.items():
        with pytest.raises(StackError) as caught:
            load_stack(tmp_path, WEB + f"x-towline: {{modes: {modes}}}")
        assert says in caught.value.message


def test_stack_is_read_whole(tmp_path: Path) -> None:
    text = """
name: site
services:
  web: {build: ., image: site, networks: [proxy, inner], profiles: [full]}
  db: {image: "postgres:17"}
networks:
  proxy: {external: true}
  inner: {name: inside}
  spare:
x-towline:
  host: prod
  strategy: update
  needs: [traefik]
  checks: [{http: "https://site"}]
  waive: [{check: "*.certificate", reason: its own, until: 2027-01-31}]
  reload: {nginx.conf: nginx -s reload}
"""
    files = {"stacks/web/compose.yaml": text, "infrastructure/traefik/docker-compose.yml": WEB}
    loaded = catalog(tmp_path, files).stack("web")
    assert loaded == Stack(
        name="web",
        project="site",
        kind="stack",
        folder=tmp_path / "stacks/web",
        top=tmp_path,
        compose_files=("compose.yaml",),
        services=(Service("web", "site", True, ("full",)), Service("db", "postgres:17")),
        creates=frozenset({"inside", "site_default"}),
        declares=frozenset({"inside", "site_default", "site_spare"}),
        external=frozenset({"proxy"}),
        needs=("traefik",),
        host="prod",
        strategy="update",
        checks=(Http(name="http.https://site", url="https://site"),),
        waive=(Waiver("*.certificate", "its own", date(2027, 1, 31)),),
        reload={"nginx.conf": "nginx -s reload"},
        contexts=((".", "Dockerfile"),),
    )
    assert loaded.label == "stacks/web"
    assert hash(loaded)


@pytest.mark.parametrize(
    ("names", "taken"),
    [
        (["docker-compose.yml", "compose.yml", "compose.yaml"], ("compose.yaml",)),
        (["docker-compose.yml", "docker-compose.yaml"], ("docker-compose.yml",)),
        (["compose.yml", "compose.override.yaml"], ("compose.yml", "compose.override.yaml")),
        (
            ["docker-compose.yml", "docker-compose.override.yml"],
            ("docker-compose.yml", "docker-compose.override.yml"),
        ),
        (["compose.override.yaml"], ()),
    ],
)
def test_compose_file_is_the_one_that_compose_takes(tmp_path: Path, names: list[str], taken: object) -> None:
    write(tmp_path, dict.fromkeys(names, WEB))
    assert compose_files(tmp_path) == taken


def test_folders_that_are_no_stacks_are_left_out(tmp_path: Path) -> None:
    files = {"stacks/web/compose.yaml": WEB, "stacks/.old/compose.yaml": "[", "stacks/_x/compose.yaml": "["}
    loaded = catalog(tmp_path, {**files, "stacks/README.md": "", "stacks/empty/README.md": ""})
    assert [stack.name for stack in loaded.stacks] == ["web"]
    assert list(loaded.not_stacks) == ["stacks/empty"]


@pytest.mark.parametrize("name", ["empty", "stacks/empty", "stacks/empty/"])
def test_folder_without_compose_file_says_so(tmp_path: Path, name: str) -> None:
    loaded = catalog(tmp_path, {"stacks/empty/README.md": ""})
    with pytest.raises(StackError, match=r"^stacks/empty has no compose file \(compose.yaml, compose.yml, "):
        loaded.stack(name)


@pytest.mark.parametrize("name", ["web", "stacks/web", "./stacks/web/", "web/"])
def test_stack_is_found_by_name_and_by_folder(tmp_path: Path, name: str) -> None:
    assert catalog(tmp_path, {"stacks/web/compose.yaml": WEB}).stack(name).name == "web"


def test_unknown_stack_names_the_closest(tmp_path: Path) -> None:
    loaded = catalog(tmp_path, {"infrastructure/traefik/compose.yaml": WEB})
    with pytest.raises(StackError, match=r"^no stack 'stacks/treafik'; did you mean traefik\?$"):
        loaded.stack("stacks/treafik")
    with pytest.raises(StackError, match=r"^no stack ''; known: traefik$"):
        loaded.stack("")


def test_project_without_folders_has_no_stacks(tmp_path: Path) -> None:
    assert catalog(tmp_path, {}).order() == ()


def test_root_env_fills_in_for_a_stack_without_its_own(tmp_path: Path) -> None:
    files = {
        ".env": "A=1",
        "stacks/a/compose.yaml": WEB,
        "stacks/b/compose.yaml": WEB,
        "stacks/b/.env": "A=2",
    }
    loaded = catalog(tmp_path, files)
    assert loaded.stack("a").root_env == tmp_path / ".env"
    assert loaded.stack("b").root_env is None


# -------------------------------------------------------------------------------- override and include


def test_override_is_merged(tmp_path: Path) -> None:
    over = """
services:
  web: {image: !override caddy, build: !reset null}
  db: {image: postgres}
"""
    loaded = load_stack(
        tmp_path,
        "services: {web: {image: nginx, build: .}}\n",
        **{"stacks/web/compose.override.yaml": over},
    )
    assert loaded.compose_files == ("compose.yaml", "compose.override.yaml")
    assert loaded.services == (Service("web", "caddy"), Service("db", "postgres"))
    assert loaded.project == "web"


def test_error_names_the_override_that_has_it(tmp_path: Path) -> None:
    over = {"stacks/web/compose.override.yml": "services: {web: {volumes: ['../x:/x']}}"}
    assert line_of(tmp_path, WEB, over).startswith(
        "stacks/web/compose.override.yml: services.web.volumes[0]: '../x' leaves"
    )


def test_included_files_count(tmp_path: Path) -> None:
    text = "include: [db/compose.yaml, {path: more.yaml}]\n" + WEB
    more = {
        "stacks/web/db/compose.yaml": "services: {db: {build: ctx, networks: [n]}}\nnetworks: {n: }\n",
        "stacks/web/db/ctx/Dockerfile": "",
        "stacks/web/more.yaml": "include: [compose.yaml]\nservices: {more: {image: x}}",
    }
    loaded = load_stack(tmp_path, text, **more)
    assert [service.name for service in loaded.services] == ["db", "more", "web"]
    assert loaded.creates == {"web_n", "web_default"}


def test_files_that_hold_secrets_are_listed(tmp_path: Path) -> None:
    text = """
        include: [db/compose.yaml]
        services:
          web: {image: x, env_file: [web.env, {path: 'conf/${STAGE}.env', required: false}, /etc/web.env]}
        secrets: {token: {file: ./conf/token}, key: {file: /etc/key}, env: {environment: X}}
        configs: {c: {file: ./conf/c}}
        """
    more = {
        "stacks/web/web.env": "",
        "stacks/web/db/compose.yaml": "services: {db: {image: x, env_file: own.env}}\nsecrets: {s: {file: s}}\n",
        "stacks/web/db/own.env": "",
    }
    loaded = load_stack(tmp_path, textwrap.dedent(text), **more)
    assert loaded.env_files == ("conf/${STAGE}.env", "db/.env", "db/own.env", "web.env")
    assert loaded.secret_files == ("conf/token", "db/s")
    assert loaded.text_files == ("conf/c", "db/compose.yaml")


def test_files_that_compose_and_builds_read_are_noted(tmp_path: Path) -> None:
    text = """
        include: [{path: [more/a.yaml], project_directory: .}]
        services:
          web: {build: {context: app, dockerfile: ../build/prod}, label_file: labels.txt, extends: {file: base.yml, service: x}}
          two: {build: {context: app, dockerfile: '${KIND}.build'}, label_file: [one.txt, '/etc/two.txt']}
          git: {build: {context: 'https://example.com/x.git', dockerfile: far}}
          own: {build: app, extends: web}
        """
    more = dict.fromkeys(("stacks/web/more/a.yaml", "stacks/web/base.yml"), WEB)
    more |= dict.fromkeys(("stacks/web/app/x", "stacks/web/labels.txt", "stacks/web/one.txt"), "")
    names = ("app/${KIND}.build", "base.yml", "build/prod", "labels.txt", "more/a.yaml", "one.txt")
    assert load_stack(tmp_path, textwrap.dedent(text), **more).text_files == names


def test_error_names_the_included_file(tmp_path: Path) -> None:
    more = {"stacks/web/db/db.yaml": "services: {db: {image: x, volumes: ['../../y:/y']}}"}
    assert line_of(tmp_path, "include: [db/db.yaml]\n" + WEB, more).startswith(
        "stacks/web/db/db.yaml: services.db.volumes[0]: '../../y' leaves the stack's folder"
    )


def test_included_service_may_mount_the_folder_above_it(tmp_path: Path) -> None:
    more = {"stacks/web/db/db.yaml": "services: {db: {image: x, volumes: ['../y:/y']}}"}
    assert load_stack(tmp_path, "include: [db/db.yaml]\n" + WEB, **more)


def test_extends_stands_for_an_image(tmp_path: Path) -> None:
    more = {"stacks/web/base.yaml": WEB}
    loaded = load_stack(tmp_path, "services: {web: {extends: {file: base.yaml, service: web}}}", **more)
    assert loaded.services == (Service("web"),)


# ------------------------------------------------------------------------------------------ networks


def net(text: str, services: str = "web: {image: x, networks: [n]}") -> str:
    return f"services: {{{services}}}\nnetworks: {{n: {text}}}\n"


@pytest.mark.parametrize(
    ("text", "creates", "external"),
    [
        ("", {"web_n"}, set()),
        ("{name: proxy}", {"proxy"}, set()),
        ("{external: true}", set(), {"n"}),
        ("{external: true, name: proxy}", set(), {"proxy"}),
        ("{external: {name: proxy}}", set(), {"proxy"}),
        ("{external: false}", {"web_n"}, set()),
        ("{name: '${NET:-proxy}'}", {"proxy"}, set()),
        ("{name: '${NET}'}", set(), set()),
    ],
)
def test_network_names_are_the_real_ones(tmp_path: Path, text: str, creates: object, external: object) -> None:
    loaded = load_stack(tmp_path, net(text))
    assert (loaded.creates, loaded.external) == (creates, external)


def test_network_that_no_service_uses_is_declared_but_not_created(tmp_path: Path) -> None:
    loaded = load_stack(tmp_path, net("{name: proxy}", "web: {image: x, network_mode: host}"))
    assert (loaded.creates, loaded.declares) == (frozenset(), {"proxy"})


def test_missing_networks_are_those_that_nobody_creates(tmp_path: Path) -> None:
    text = """
services: {web: {image: x, networks: [proxy, lan, host]}}
networks: {proxy: {external: true}, lan: {external: true}, host: {external: true}}
"""
    loaded = catalog(tmp_path, {"stacks/web/compose.yaml": text, "stacks/a/compose.yaml": net("{name: proxy}")})
    assert loaded.missing_networks(loaded.stack("web")) == {"lan"}
    assert loaded.makers(loaded.stack("web")) == {"proxy": "a"}
    assert loaded.needs_of(loaded.stack("web")) == {"a"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain", "plain"),
        ("$A-${A}", "1-1"),
        ("${B:-x}", "x"),
        ("${EMPTY:-x}", "x"),
        ("${B}", "${B}"),
        ("$B", "$B"),
    ],
)
def test_interpolation_takes_the_env_file(tmp_path: Path, text: str, value: str) -> None:
    (tmp_path / ".env").write_text("A=1\nEMPTY=\n")
    assert interpolate_from(text, tmp_path / ".env") == value


# --------------------------------------------------------------------------------------------- order


def ordered(top: Path, needs: dict[str, list[str]], names: list[str] | None = None) -> list[str]:
    files = {f"{f}/compose.yaml": f"{WEB}x-towline: {{needs: {n}}}" for f, n in needs.items()}
    return [stack.name for stack in catalog(top, files).order(names)]


INFRA, APP = "infrastructure/", "stacks/"


def test_infrastructure_goes_first_and_alphabetically(tmp_path: Path) -> None:
    assert ordered(tmp_path, {APP + "a": [], APP + "b": [], INFRA + "z": [], INFRA + "y": []}) == [
        "y",
        "z",
        "a",
        "b",
    ]


def test_needs_are_kept(tmp_path: Path) -> None:
    assert ordered(tmp_path, {APP + "a": ["c"], APP + "b": [], APP + "c": []}) == ["b", "c", "a"]


def test_infrastructure_may_need_an_application(tmp_path: Path) -> None:
    needs = {INFRA + "x": ["m"], INFRA + "y": [], APP + "a": [], APP + "m": []}
    assert ordered(tmp_path, needs) == ["y", "m", "x", "a"]


def test_creator_of_a_network_goes_before_its_users(tmp_path: Path) -> None:
    files = {
        "stacks/a/compose.yaml": net("{external: true, name: shared}"),
        "stacks/b/compose.yaml": net("{name: shared}"),
    }
    assert [stack.name for stack in catalog(tmp_path, files).order()] == ["b", "a"]


def test_order_of_some_keeps_what_lies_between(tmp_path: Path) -> None:
    needs = {APP + "a": ["b"], APP + "b": ["c"], APP + "c": []}
    assert ordered(tmp_path, needs, ["a", "stacks/c"]) == ["c", "a"]


@pytest.mark.parametrize(
    ("needs", "cycle"),
    [
        ({APP + "a": ["a"]}, "a → a"),
        ({APP + "a": ["b"], APP + "b": ["a"]}, "a → b → a"),
        ({APP + "a": ["c"], APP + "b": ["a"], APP + "c": ["b"], APP + "d": ["a"]}, "a → c → b → a"),
    ],
)
def test_cycle_is_named(tmp_path: Path, needs: dict[str, list[str]], cycle: str) -> None:
    with pytest.raises(StackError, match=f"dependency cycle between stacks: {cycle}$"):
        ordered(tmp_path, needs)


# ----------------------------------------------------------------------------------------- bad stacks


def web(keys: str) -> str:
    return f"services:\n  web: {{image: x, {keys}}}\n"


BAD = [
    ("", "services: there are none"),
    ("services: {}", "services: there are none"),
    ("services: [web]", "services: expected a mapping, got a list"),
    ("just text", "expected a mapping, got 'just text'"),
    ("services: {web: nginx}", "services.web: expected a mapping, got 'nginx'"),
    ("services: {web: }", "services.web: has neither image nor build"),
    ("services: {web: {ports: []}}", "services.web: has neither image nor build"),
    ("services: {web: {image: 7}}", "services.web.image: expected text, got 7"),
    ("services: {1: {image: x}}", "services: service name 1: expected"),
    ("services: {'a b': {image: x}}", "services: service name 'a b': expected"),
    (web("profiles: full"), "services.web.profiles: expected a list, got 'full'"),
    (web("volumes: ./x:/x"), "services.web.volumes: expected a list, got './x:/x'"),
    (web("volumes: ['../x:/y']"), "services.web.volumes[0]: '../x' leaves the stack's folder"),
    (web("volumes: ['a:/a', './../x:/y:ro']"), "services.web.volumes[1]: './../x' leaves"),
    (web("volumes: [{type: bind, source: ../x, target: /y}]"), "services.web.volumes[0]: '../x' leaves"),
    (web("volumes: [{type: bind, source: ../we, target: /y}]"), "services.web.volumes[0]: '../we' leaves"),
    (web("volumes: [7]"), "services.web.volumes[0]: expected a path, got 7"),
    (web("env_file: ../.env"), "services.web.env_file: '../.env' leaves"),
    (web("env_file: [../.env]"), "services.web.env_file[0]: '../.env' leaves"),
    (web("env_file: [{path: ../.env, required: false}]"), "services.web.env_file[0]: '../.env' leaves"),
    (web("env_file: web.env"), "services.web.env_file: 'web.env': no such file; create it, or set"),
    (web("build: ../api"), "services.web.build.context: '../api' leaves"),
    (web("build: {context: ..}"), "services.web.build.context: '..' leaves"),
    (web("build: {context: ., dockerfile: ../D}"), "services.web.build.dockerfile: '../D' leaves"),
    (web("build: {additional_contexts: {b: ../b}}"), "services.web.build.additional_contexts.b: '../b'"),
    (web("build: {additional_contexts: [b=../b]}"), "services.web.build.additional_contexts.b: '../b'"),
    (web("build: api"), "services.web.build.context: 'api': no such folder"),
    (web("build: [api]"), "services.web.build: expected a mapping, got a list"),
    (web("extends: {file: ../base.yaml}"), "services.web.extends.file: '../base.yaml' leaves"),
    (web("extends: {file: base.yaml}"), "services.web.extends.file: 'base.yaml': no such file"),
    (WEB + "configs: {c: {file: ../c}}", "configs.c.file: '../c' leaves"),
    (WEB + "secrets: {s: {file: ../s}}", "secrets.s.file: '../s' leaves"),
    (WEB + "secrets: [s]", "secrets: expected a mapping, got a list"),
    (WEB + "include: [../db.yaml]", "include[0]: '../db.yaml' leaves"),
    (WEB + "include: [{path: [db.yaml]}]", "include[0]: 'db.yaml': no such file"),
    (WEB + "include: db.yaml", "include: expected a list, got 'db.yaml'"),
    (WEB + "networks: [n]", "networks: expected a mapping, got a list"),
    (WEB + "networks: {n: yes}", "networks.n: expected a mapping, got 'yes'"),
    (WEB + "name: My Site", "name: invalid project name 'My Site'; write it as name: mysite"),
    (WEB + "name: ''", "name: invalid project name ''"),
    (WEB + "name: 7", "name: expected text, got 7"),
    (WEB + "x-towline: {need: []}", "x-towline: unknown key 'need'; did you mean needs?"),
    (WEB + "x-towline: [needs]", "x-towline: expected a mapping, got a list"),
    (WEB + "x-towline: {needs: traefik}", "x-towline.needs: expected list, got 'traefik'"),
    (WEB + "x-towline: {needs: [a, 7]}", "x-towline.needs[1]: expected str, got 7"),
    (WEB + "x-towline: {needs: [wep]}", "x-towline.needs: no stack 'wep'; did you mean web?"),
    (WEB + "x-towline: {host: prd}", "x-towline.host: no host 'prd'; did you mean prod?"),
    (WEB + "x-towline: {strategy: up}", "x-towline.strategy: expected recreate, update or rolling, got 'up'"),
    (WEB + "x-towline: {timeout: 0}", "x-towline.timeout: expected int >= 1, got 0"),
    (WEB + "x-towline: {timeout: soon}", "x-towline.timeout: expected int, got 'soon'"),
    (WEB + "x-towline: {timeout: {wep: 9}}", "x-towline.timeout: no service 'wep'; did you mean web?"),
    (WEB + "x-towline: {timeout: {web: soon}}", "x-towline.timeout.web: expected int, got 'soon'"),
    (WEB + "x-towline: {timeout: {web: }}", "x-towline.timeout.web: expected seconds, got nothing"),
    (WEB + "x-towline: {watch: -1}", "x-towline.watch: expected int >= 0, got -1"),
    ("services: {web: {image: x, x-towline: {wach: 1}}}", "services.web.x-towline: unknown key 'wach'"),
    ("services: {web: {image: x, x-towline: {watch: [1]}}}", "services.web.x-towline.watch: expected int, got a list"),
    (WEB + "x-towline: {before: {service: web}}", "x-towline.before: expected a list, got a mapping"),
    (WEB + "x-towline: {before: [{command: x}]}", "x-towline.before[0].service: is missing"),
    (WEB + "x-towline: {before: [{service: wep, command: x}]}", "x-towline.before[0].service: no service 'wep'"),
    (WEB + "x-towline: {before: [{service: web, command: ''}]}", "x-towline.before[0].command: is empty"),
    (WEB + "x-towline: {before: [{service: web, command: \"'a\"}]}", "x-towline.before[0].command: No closing quotation"),
    (WEB + "x-towline: {before: [{service: web, command: [\"a\\nb\"]}]}", "x-towline.before[0].command: has a line break"),
    (WEB + "x-towline: {before: [{service: web, command: x, timeout: 0}]}", "x-towline.before[0].timeout: expected int"),
    (WEB + "x-towline: {reload: {a: [b]}}", "x-towline.reload: expected str, got a mapping"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "says"), BAD)
def test_bad_compose_file_is_one_clear_line(tmp_path: Path, text: str, says: str) -> None:
    assert line_of(tmp_path, text).startswith(f"stacks/web/compose.yaml: {says}")


def test_broken_yaml_names_the_line(tmp_path: Path) -> None:
    assert line_of(tmp_path, "services:\n  web: {image: x\n").startswith("stacks/web/compose.yaml:3: broken YAML")


def test_service_given_twice_names_the_line(tmp_path: Path) -> None:
    text = "services:\n  web: {image: x}\n  web: {image: y}\n"
    assert line_of(tmp_path, text) == ("stacks/web/compose.yaml:3: broken YAML: duplicate key 'web', first on line 2")


EVERYTHING = {
    "name": "site",
    "include": [{"path": ["more.yaml"], "env_file": ["more.env"], "project_directory": "."}],
    "services": {
        "web": {
            "image": "x",
            "build": {"context": ".", "dockerfile": "D", "additional_contexts": {"a": "."}},
            "profiles": ["p"],
            "networks": ["n"],
            "network_mode": "host",
            "volumes": ["./a:/a", {"type": "bind", "source": "./b", "target": "/b"}],
            "env_file": [{"path": "web.env", "required": True}],
            "extends": {"file": "more.yaml", "service": "more"},
        }
    },
    "networks": {"n": {"name": "proxy", "external": {"name": "x"}}},
    "configs": {"c": {"file": "c"}},
    "secrets": {"s": {"file": "s"}},
    "x-towline": {"host": "prod", "strategy": "update", "needs": ["db"], "reload": {"a": "b"},
                  "timeout": {"web": 9}, "watch": 5, "before": [{"service": "web", "command": ["x"], "timeout": 9}],
                  "waive": [{"check": "w", "reason": "r", "until": "2027-01-31"}],
                  "checks": [
                      {"http": "http://web:80/x", "status": [200], "header": {"a": "b"}, "retry": {"times": 1, "pause": 2}},
                      {"tcp": "web:80", "name": "t", "retry": 2}, {"dns": "a.b", "address": "::1"},
                      {"tls": "a:443", "server_name": "a", "min_days": 3}, {"file": "f", "mode": "0600", "max_age": "1d"},
                      {"command": ["true"], "service": "web", "exit_code": 0, "contains": "x", "timeout": 1},
                  ]},
}  # fmt: skip
JUNK: list[object] = [
    None,
    7,
    1.5,
    True,
    "",
    "x\0y",
    "a\nb",
    "../x",
    [],
    [7],
    [None],
    [[]],
    {},
    {7: 7},
    {"": None},
]


def spoiled(value: object) -> Iterator[object]:
    """`value` with each of its parts in turn replaced by each piece of junk."""
    yield from JUNK
    if isinstance(value, dict):
        yield from ({**value, key: bad} for key in value for bad in spoiled(value[key]))
    elif isinstance(value, list):
        yield from ([*value[:i], bad, *value[i + 1 :]] for i in range(len(value)) for bad in spoiled(value[i]))


def test_junk_anywhere_is_never_a_traceback(tmp_path: Path) -> None:
    base = {"stacks/db/compose.yaml": WEB, "stacks/web/more.yaml": "services: {more: {image: x}}"}
    write(tmp_path, {**base, "stacks/web/web.env": "", "stacks/web/more.env": ""})
    assert load_stack(tmp_path, json.dumps(EVERYTHING))
    junk = list(spoiled(EVERYTHING))
    assert len(junk) > 500
    for bad in junk:
        try:
            load_stack(tmp_path, json.dumps(bad))
        except StackError as error:
            assert "\n" not in error.message


@pytest.mark.parametrize("text", ["services: &s {web: *s}\n", "services: {web: &a {image: x, l: [*a]}}\n"])
def test_alias_that_contains_itself_is_an_error(tmp_path: Path, text: str) -> None:
    assert line_of(tmp_path, text).startswith("stacks/web/compose.yaml: nested too deeply")


def test_symlink_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    write(tmp_path, {"stacks/web/x": ""})
    (tmp_path / "stacks/web/data").symlink_to(tmp_path)
    line = line_of(tmp_path, web("volumes: ['./data:/data']"))
    assert line.startswith("stacks/web/compose.yaml: services.web.volumes[0]: './data' leaves")
    assert "through a symlink" in line


@pytest.mark.parametrize(
    "keys",
    [
        "volumes: ['./data:/data', '.:/here', 'named:/n', /anonymous, '/etc/ssl:/s', '~/x:/x']",
        "volumes: ['${DATA}/x:/x', '$DATA:/y', '${DATA:-/x}:/z', '../web/x:/x']",
        "volumes: [{type: bind, source: data, target: /d}, {type: tmpfs, target: /t}, {type: volume}]",
        "env_file: [/etc/web.env, '~/web.env', {path: no.env, required: false}]",
        "build: https://github.com/a/b.git",
        "build: git@github.com:a/b.git",
        "build: {dockerfile_inline: FROM x, additional_contexts: {a: 'docker-image://x', b: 'service:y'}}",
        "extends: web",
    ],
)
def test_paths_inside_and_on_the_server_are_fine(tmp_path: Path, keys: str) -> None:
    assert load_stack(tmp_path, web(keys))


def test_root_env_fills_in_for_a_required_env_file(tmp_path: Path) -> None:
    assert load_stack(tmp_path, web("env_file: .env"), **{".env": "A=1"}).root_env


def test_two_folders_of_one_name_are_both_named(tmp_path: Path) -> None:
    line = line_of(tmp_path, WEB, {"infrastructure/web/compose.yaml": WEB})
    assert line == "infrastructure/web and stacks/web have the same name; rename one folder"


def test_two_stacks_of_one_project_are_both_named(tmp_path: Path) -> None:
    line = line_of(tmp_path, WEB, {"stacks/other/compose.yaml": WEB + "name: web\n"})
    assert line.startswith("stacks/other and stacks/web are both the compose project 'web'")


@pytest.mark.parametrize(
    ("folder", "says"),
    [
        ("My.Site", "invalid project name 'My.Site'; write it as name: mysite"),
        ("-x", "folder name '-x': expected letters, digits and ._- only"),
        ("a b", "folder name 'a b'"),
    ],
)
def test_bad_folder_name_is_one_clear_line(tmp_path: Path, folder: str, says: str) -> None:
    line = line_of(tmp_path, WEB, {f"stacks/{folder}/compose.yaml": WEB})
    assert line.startswith(f"stacks/{folder}/compose.yaml: {says}")


def test_folder_of_any_case_is_fine_with_a_name(tmp_path: Path) -> None:
    assert catalog(tmp_path, {"stacks/My.Site/compose.yaml": WEB + "name: site\n"}).stack("My.Site")


# ------------------------------------------------------------------------------------------ Compose's switches

PROD = "services: {web: {environment: {MODE: prod}}, extra: {image: x}}"


def test_the_env_chooses_files_project_and_profiles(tmp_path: Path) -> None:
    env = "COMPOSE_FILE=compose.yaml:deploy/prod.yaml\nCOMPOSE_PROJECT_NAME=shop\nCOMPOSE_PROFILES=a\n"
    stack = load_stack(tmp_path, WEB, **{"stacks/web/.env": env, "stacks/web/deploy/prod.yaml": PROD})
    assert stack.compose_files == ("compose.yaml", "deploy/prod.yaml")
    assert stack.project == "shop"
    assert [service.name for service in stack.services] == ["web", "extra"]
    assert stack.profiles == (), "Compose reads them of the .env itself"


def test_the_env_may_separate_files_otherwise_and_there_need_be_none_of_the_usual_names(tmp_path: Path) -> None:
    env = "COMPOSE_PATH_SEPARATOR=,\nCOMPOSE_FILE=./base.yaml,prod.yaml\n"
    stack = catalog(tmp_path, {"stacks/web/.env": env, "stacks/web/base.yaml": WEB, "stacks/web/prod.yaml": PROD})
    assert stack.stack("web").compose_files == ("base.yaml", "prod.yaml")


def test_x_towline_chooses_files_and_adds_profiles(tmp_path: Path) -> None:
    own = f"{WEB}\nx-towline: {{files: [compose.yaml, prod.yaml], profiles: [b], skip: true}}"
    stack = load_stack(tmp_path, own, **{"stacks/web/.env": "COMPOSE_PROFILES=a", "stacks/web/prod.yaml": PROD})
    assert stack.compose_files == ("compose.yaml", "prod.yaml")
    assert stack.profiles == ("b", "a")
    assert stack.skip


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ("COMPOSE_FILE=compose.yaml:gone.yaml", "stacks/web/gone.yaml: cannot be read: No such file or directory"),
        (
            "COMPOSE_FILE=../compose.yaml",
            r"stacks/web/.env: COMPOSE_FILE: '../compose.yaml': expected a file in the stack",
        ),
        ("COMPOSE_COMPATIBILITY: true", "stacks/web/.env: COMPOSE_COMPATIBILITY: is not supported: "),
        ("COMPOSE_IGNORE_ORPHANS=true", "stacks/web/.env: COMPOSE_IGNORE_ORPHANS: is not supported: "),
        ("COMPOSE_ENV_FILES=a.env", "stacks/web/.env: COMPOSE_ENV_FILES: is not supported: "),
        ("COMPOSE_PROJECT_NAME=A B", "stacks/web/.env: COMPOSE_PROJECT_NAME: invalid project name 'A B'; expected ab$"),
    ],
)
def test_what_is_wrong_with_the_env_is_one_line(tmp_path: Path, env: str, said: str) -> None:
    with pytest.raises(StackError, match=f"^{said}"):
        load_stack(tmp_path, WEB, **{"stacks/web/.env": env})


def test_project_name_is_filled_in_as_compose_does(tmp_path: Path) -> None:
    text = f"name: ${{STACK:-web}}-${{STAGE}}\n{WEB}"
    assert load_stack(tmp_path, text, **{"stacks/web/.env": "BASE=pro\nSTAGE=${BASE}d"}).project == "web-prod"


def test_project_name_with_an_unknown_variable_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        StackError, match=r"^stacks/web/compose.yaml: name: '\${X}': a variable in it has no value in .env$"
    ):
        load_stack(tmp_path, f"name: ${{X}}\n{WEB}")


def test_an_ignored_override_is_not_used(tmp_path: Path) -> None:
    more = {"stacks/web/compose.override.yaml": PROD, "stacks/web/.towlineignore": "*.override.yaml\n"}
    assert load_stack(tmp_path, WEB, **more).compose_files == ("compose.yaml",)


def test_paths_are_filled_in_before_they_are_checked(tmp_path: Path) -> None:
    text = "services: {web: {build: './app-${STAGE}', env_file: './env/${STAGE}.env', label_file: '${STAGE}.labels'}}"
    files = {"stacks/web/.env": "STAGE=prod", "stacks/web/env/prod.env": "A=1", "stacks/web/prod.labels": "a=b"}
    assert load_stack(tmp_path, text, **files, **{"stacks/web/app-prod/Dockerfile": "FROM x"}).env_files == (
        "env/prod.env",
    )
    (tmp_path / "stacks/web/env/prod.env").unlink()
    with pytest.raises(StackError, match=r"services.web.env_file: './env/prod.env': no such file"):
        load_stack(tmp_path, text)


def test_equals_sign_alone_is_text(tmp_path: Path) -> None:
    text = "services: {web: {image: x, healthcheck: {test: [CMD, test, a, =, a]}}}"
    assert load_stack(tmp_path, text).services[0].name == "web"


def test_env_with_colons_is_read_as_compose_reads_it(tmp_path: Path) -> None:
    loaded = load_stack(
        tmp_path, 'name: "${NAME}"\nservices: {web: {image: x}}', **{".env": "NAME: shop\nTEXT='\nA: 1'\n"}
    )
    assert loaded.project == "shop"


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ("env_file: none.env", "env_file: !reset null"),
        ("volumes: ['../../x:/x']", "volumes: !override ['./y:/x']"),
        ("build: ./none", "build: !override {context: .}"),
    ],
)
def test_what_a_tag_takes_back_need_not_be_there(tmp_path: Path, first: str, then: str) -> None:
    override = {"stacks/web/compose.override.yaml": f"services: {{web: {{{then}}}}}"}
    loaded = catalog(tmp_path, {"stacks/web/compose.yaml": f"services: {{web: {{image: x, {first}}}}}", **override})
    assert loaded.stack("web").env_files == ()
    assert set(loaded.stack("web").mounts) <= {"y"}


def test_what_a_service_of_another_profile_names_need_not_be_there(tmp_path: Path) -> None:
    text = "services: {web: {image: x}, dbg: {image: x, profiles: [d], env_file: none.env, build: ../../tools}}"
    assert len(load_stack(tmp_path, text).services) == 2
    for number, on in enumerate(("d", "*")):
        with pytest.raises(StackError, match=r"services\.dbg"):
            load_stack(tmp_path / str(number), text, **{"stacks/web/.env": f"COMPOSE_PROFILES={on}"})
    with pytest.raises(StackError, match=r"services\.dbg"):
        load_stack(tmp_path / "named", text + "\nx-towline: {profiles: [d]}")


def test_volume_that_is_a_folder_of_the_stack_is_one_that_a_service_may_write_to(tmp_path: Path) -> None:
    volume = "services: {web: {image: x}}\nvolumes: {v: {driver_opts: {type: none, o: 'rw,bind', device: %s}}}"
    assert load_stack(tmp_path, volume % "./data").mounts == {"data": True}
    with pytest.raises(StackError, match=r"volumes.v.driver_opts.device: '../shared' leaves"):
        load_stack(tmp_path / "out", volume % "../shared")
    assert load_stack(tmp_path / "there", volume % "/srv/data").mounts == {}


def test_networks_that_a_service_gets_by_extending_are_used(tmp_path: Path) -> None:
    base = """
        services:
          app: {extends: common, networks: [front]}
          common: {image: x, networks: {back: {aliases: [z]}}}
        """
    text = """
        services: {web: {extends: {file: base.yaml, service: app}}, more: {extends: {file: base.yaml, service: app}}}
        networks: {front: {name: n-front}, back: {name: n-back}, unused: {}}
        """
    files = {"stacks/na/base.yaml": base, "stacks/na/compose.yaml": text}
    assert catalog(tmp_path, files).stack("na").creates == {"n-front", "n-back"}


def test_networks_as_a_list_and_as_a_mapping_are_both_used(tmp_path: Path) -> None:
    one = "services: {web: {image: x, networks: [a]}}\nnetworks: {a: {name: n-a}, b: {name: n-b}}"
    two = "services: {web: {networks: {b: {aliases: [z]}}}}"
    files = {"stacks/web/compose.yaml": one, "stacks/web/compose.override.yaml": two}
    assert catalog(tmp_path, files).stack("web").creates == {"n-a", "n-b"}
