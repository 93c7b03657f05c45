"""A stack that shares its folder with others: the top-level one, and one with a `base`. Only what it needs is sent."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from towline.bundle.working_tree import WorkingTree, load_working_tree
from towline.errors import StackError
from towline.project.catalog import Catalog, load_catalog
from towline.project.settings import load_settings

WEB = "services: {web: {image: nginx}}\n"


def project(top: Path, files: dict[str, str]) -> Catalog:
    for name, text in {"towline.yaml": "", **files}.items():
        file = top / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text))
    return load_catalog(load_settings(top, environ={}))


def sent(catalog: Catalog, name: str) -> list[str]:
    return paths(load_working_tree(catalog.stack(name)))


def paths(tree: WorkingTree) -> list[str]:
    return [entry.path for entry in tree.manifest.entries]


def refused(top: Path, files: dict[str, str]) -> str:
    with pytest.raises(StackError) as caught:
        project(top, files)
    return caught.value.message


OTHERS = {
    "README.md": "", "docs/a.md": "", ".venv/bin/x": "", "stacks/blog/compose.yaml": WEB, "src/unused.py": "",
}  # fmt: skip


def test_compose_file_at_the_top_is_a_stack_beside_the_others(tmp_path: Path) -> None:
    top = tmp_path / "My Shop.2"
    top.mkdir()
    catalog = project(top, {"compose.yaml": WEB, **OTHERS})
    stack = catalog.stack("myshop2")
    assert (stack.name, stack.project, stack.kind, stack.address) == ("myshop2", "myshop2", "stack", ".")
    assert catalog.stack(".") is catalog.stack("./") is stack
    assert [stack.name for stack in catalog.order()] == ["blog", "myshop2"]
    assert sent(catalog, "myshop2") == ["compose.yaml"]
    assert sent(project(top, {"compose.yaml": f"name: shop\n{WEB}"}), "shop") == ["compose.yaml"]


def test_project_without_a_compose_file_at_the_top_has_no_such_stack(tmp_path: Path) -> None:
    catalog = project(tmp_path, OTHERS)
    assert list(catalog.by_name) == ["blog"]
    assert catalog.not_stacks == {}


def test_what_compose_reads_and_mounts_and_a_build_copies_is_sent(tmp_path: Path) -> None:
    text = """
        name: shop
        include: [more/extra.yaml]
        services:
          web:
            build: .
            env_file: [conf/web.env, {path: none.env, required: false}]
            volumes: ["./nginx:/etc/nginx:ro", "${DATA}:/data:ro"]
            configs: [c]
            label_file: labels
          api: {extends: {file: base/common.yaml, service: api}}
          job: {build: {context: job, dockerfile: ../docker/job.Dockerfile}}
        configs: {c: {file: conf/c.txt}}
    """
    files = {
        "compose.yaml": text,
        "compose.override.yaml": "services: {web: {secrets: [s]}}\nsecrets: {s: {file: conf/secret}}",
        ".env": "DATA=./data",
        ".env.example": "DATA=",
        "Dockerfile": "FROM scratch\nCOPY src *.toml /srv/\n",
        ".dockerignore": "src/cache\n",
        "src/a.py": "",
        "src/cache/x": "",
        "pyproject.toml": "",
        "conf/web.env": "",
        "conf/c.txt": "",
        "conf/secret": "",
        "conf/unused": "",
        "nginx/nginx.conf": "",
        "nginx/deep/x": "",
        "data/x": "",
        "labels": "",
        "more/extra.yaml": "services: {extra: {image: x, env_file: extra.env}}",
        "more/extra.env": "",
        "more/unused": "",
        "base/common.yaml": "services: {api: {image: x, volumes: ['./api:/api']}, other: {image: x, volumes: ['./no:/no']}}",
        "base/api/x": "",
        "base/no/x": "",
        "docker/job.Dockerfile": "FROM scratch\nCOPY . .\n",
        "docker/unused": "",
        "job/main.py": "",
    }
    unused = {"src/cache/x", "conf/unused", "more/unused", "base/no/x", "docker/unused"}
    assert sent(project(tmp_path, files | OTHERS), "shop") == sorted({*files, "src/unused.py"} - unused)


def test_what_a_symlink_that_is_needed_leads_to_is_needed(tmp_path: Path) -> None:
    files = {
        "compose.yaml": "name: shop\nservices: {web: {image: x, volumes: ['./conf:/c:ro']}}",
        "v2/a": "",
        "v1/a": "",
    }
    project(tmp_path, files)
    (tmp_path / "conf").symlink_to("current")
    (tmp_path / "current").symlink_to("v2")
    assert sent(project(tmp_path, files | OTHERS), "shop") == ["compose.yaml", "conf", "current", "v2/a"]


def test_what_is_not_needed_may_be_anything(tmp_path: Path) -> None:
    import os

    catalog = project(tmp_path, {"compose.yaml": f"name: shop\n{WEB}", **OTHERS})
    os.mkfifo(tmp_path / "docs/pipe")
    (tmp_path / ".venv/bin/python").symlink_to("/usr/bin/python3")
    tree = load_working_tree(catalog.stack("shop"))
    assert (paths(tree), tree.links_out) == (["compose.yaml"], ())


def test_folder_that_is_mounted_is_sent_though_it_is_empty(tmp_path: Path) -> None:
    files = {"compose.yaml": "name: shop\nservices: {web: {image: x, volumes: ['./a/b:/b']}}"}
    (tmp_path / "a/b/c").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    assert sent(project(tmp_path, files), "shop") == ["a/b/c", "compose.yaml"]


BASED = """
services:
  web: {build: {context: ../.., dockerfile: stacks/web/Dockerfile}, env_file: .env, volumes: ["../../shared:/s:ro"]}
x-towline: {base: ../..}
"""


def test_base_is_what_is_uploaded_and_the_stack_keeps_its_name(tmp_path: Path) -> None:
    files = {
        "stacks/web/compose.yaml": BASED,
        "stacks/web/compose.override.yaml": "services: {web: {init: true}}",
        "stacks/web/Dockerfile": "FROM scratch\nCOPY lib /lib\n",
        "stacks/web/.env": "A=own",
        "lib/a.py": "",
        "shared/x": "",
        ".env": "A=root",
    }
    catalog = project(tmp_path, files | OTHERS)
    stack = catalog.stack("web")
    assert (stack.name, stack.address, stack.compose_files) == (
        "web", "stacks/web", ("stacks/web/compose.yaml", "stacks/web/compose.override.yaml")
    )  # fmt: skip
    assert catalog.stack("stacks/web") is stack
    tree = load_working_tree(stack)
    assert paths(tree) == sorted(files)
    assert tree.text(".env") == "A=own"


@pytest.mark.parametrize("base", ["..", "../../..", "/", "x", "../blog"])
def test_base_is_a_folder_above_in_the_project(tmp_path: Path, base: str) -> None:
    text = f"{WEB}x-towline: {{base: {base}}}\n"
    top = tmp_path / "p"
    if base == "..":  # that is one
        assert sent(project(top, {"stacks/web/compose.yaml": text}), "web") == ["web/compose.yaml"]
        return
    place = "stacks/web/compose.yaml: x-towline.base: "
    assert refused(top, {"stacks/web/compose.yaml": text}).startswith(f"{place}{base!r}: expected a folder that")


def test_paths_must_stay_in_the_base(tmp_path: Path) -> None:
    assert refused(tmp_path / "p", {"stacks/web/compose.yaml": BASED.replace("../../shared", "../../../x")}) == (
        "./stacks/web/compose.yaml: services.web.volumes[0]: '../../../x' leaves the stack's folder;"
        " move it in, or name a path on the server"
    )


def test_paths_of_what_is_extended_are_checked(tmp_path: Path) -> None:
    more = {
        "stacks/web/compose.yaml": "services: {web: {extends: {file: b/base.yaml, service: one}}}",
        "stacks/web/b/base.yaml": "services: {one: {extends: {file: more.yaml, service: two}}, two: {image: x}}",
        "stacks/web/b/more.yaml": "services: {two: {image: x, volumes: ['../../../x:/x']}}",
    }
    assert "stacks/web/b/more.yaml: services.two.volumes[0]: '../../../x' leaves" in refused(tmp_path, more)


def test_what_is_needed_below_a_symlink_is_sent_from_where_it_leads_to(tmp_path: Path) -> None:
    files = {
        "compose.yaml": """
            name: shop
            services: {web: {image: x, volumes: ['./current/conf:/c:ro'], env_file: e/link/web.env}, api: {build: ./cur}}
            """,
        "releases/1/conf/a": "",
        "releases/1/unused": "",
        "e/real/web.env": "",
        "v1/Dockerfile": "FROM scratch",
        "v2/unused": "",
    }
    for link, target in (("current", "releases/1"), ("e/link", "real"), ("cur", "v1"), ("other", "v2")):
        (tmp_path / link).parent.mkdir(exist_ok=True)
        (tmp_path / link).symlink_to(target)
    assert sent(project(tmp_path, files | OTHERS), "shop") == [
        *("compose.yaml", "cur", "current", "e/link", "e/real/web.env", "releases/1/conf/a", "v1/Dockerfile"),
    ]


def test_what_is_extended_by_what_is_extended_is_sent(tmp_path: Path) -> None:
    files = {
        "compose.yaml": "name: shop\nservices: {web: {extends: {file: common/base.yaml, service: app}}}",
        "common/base.yaml": """
            services:
              app: {extends: middle}
              middle: {extends: {service: common}}
              common: {image: x, volumes: ['./conf:/c:ro'], env_file: c.env}
            """,
        "common/conf/x": "",
        "common/c.env": "",
        "common/unused": "",
    }
    wanted = ["common/base.yaml", "common/c.env", "common/conf/x", "compose.yaml"]
    assert sent(project(tmp_path, files | OTHERS), "shop") == wanted


def test_dockerfile_in_the_compose_file_counts_and_not_the_one_beside_it(tmp_path: Path) -> None:
    files = {
        "compose.yaml": """
            name: shop
            services: {web: {build: {context: app, dockerfile_inline: "FROM x\\nCOPY extra.txt /"}}}
            """,
        "app/Dockerfile": "FROM x\nCOPY src /src",
        "app/extra.txt": "",
    }
    assert "app/extra.txt" in sent(project(tmp_path, files | OTHERS), "shop")
