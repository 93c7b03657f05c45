"""Facts in, plans out: what is done to each service when one input changes, whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from tests.unit.test_compose_model import RECORDED, bundle
from towline.bundle.dockerfile import copied_by
from towline.bundle.dockerignore import ignored_by
from towline.bundle.manifest import Manifest, parse_manifest
from towline.bundle.working_tree import WorkingTree
from towline.deploy.planning.comparison import ServicePlan
from towline.deploy.planning.inputs import Inputs, build_texts, inputs_of, override
from towline.deploy.planning.services import plan_services
from towline.deploy.planning.situation import Release
from towline.facts.compose_model import Model, parse_model
from towline.project.stack import Stack

MODEL = parse_model(RECORDED)
FILES = {
    ".dockerignore": "*\n!tools\n",  # base is built from the whole folder
    ".env": "TAG=1.36\nLEVEL=info\n",
    "api.env": "API_KEY=hunter22\n",
    "backend/.dockerignore": "*.md\n!README.md\n**/cache\n",
    "backend/Base": "FROM busybox\nCOPY . /\n",
    "backend/Dockerfile": "FROM busybox\nCOPY . /\n",
    "backend/app.py": "1",
    "cert.pem": "k",
    "compose.yaml": "services:",
    "conf/motd": "hello",
    "conf/nginx.conf": "events {}",
    "shared/lib.py": "1",
    "static/img/a.svg": "<svg/>",
    "static/index.html": "<p>",
    "token.txt": "t",
    "tools/run": "1",
}
ORDER = ("api", "base", "cert", "log", "side", "web")


def manifest(folder: Path, changes: Mapping[str, str | None] | None = None) -> Manifest:
    """The stack's files with some changed (a text), added, or removed (None)."""
    files = {**FILES, **(changes or {})}
    return bundle(folder, {path: text for path, text in files.items() if text is not None})


def release(model: Model, manifest: Manifest) -> Release:
    """The release that a deploy of these files would make."""
    tree = WorkingTree(Stack("shop", "shop", "stack", Path(), Path(), ("compose.yaml",), ()), manifest)
    texts = {path: tree.text(path) for path in build_texts(model, manifest)}
    return Release(model, manifest, texts, tree.variables)


def planned_services(
    old: Model | None,
    new: Model,
    before: Manifest | None,
    after: Manifest,
    reload: Mapping[str, str] | None = None,
    *,
    labels: Mapping[str, frozenset[str]] | None = None,
) -> tuple[ServicePlan, ...]:
    """The plan for a deploy of `after`; of the live release, a host has no texts."""
    live = Release(old, before or Manifest()) if old else None
    return plan_services(live, release(new, after), reload or {}, labels or {})


def override_of(model: Model, manifest: Manifest, reload: Mapping[str, str] | None = None) -> str:
    return override(release(model, manifest), reload or {})


def model(**services: Mapping[str, Any]) -> Model:
    """MODEL with keys of services changed."""
    changed = {name: {**deepcopy(dict(MODEL.services[name])), **keys} for name, keys in services.items()}
    return Model({**MODEL.services, **changed}, MODEL.volumes, MODEL.networks, MODEL.configs, MODEL.secrets)


def plans(**changed: ServicePlan | tuple[str, ...]) -> tuple[ServicePlan, ...]:
    """Every service in order; unchanged, but for those given as (action, reason, …)."""
    every = dict.fromkeys(ORDER, ("unchanged",)) | changed
    return tuple(
        given if isinstance(given, ServicePlan) else ServicePlan(name, given[0], tuple(given[1:]))
        for name, given in every.items()
    )


def follow(*reasons: str, action: str = "rebuild") -> tuple[ServicePlan, ...]:
    """api is done, side shares its network, and web is restarted with it."""
    return plans(api=(action, *reasons), side=("recreate", "follows api"), web=restart("api"))


def restart(after: str, *reasons: str) -> ServicePlan:
    return ServicePlan("web", "restart", (*reasons, f"follows {after}"), after=after)


def test_unchanged_stack_changes_no_service(tmp_path: Path) -> None:
    same = manifest(tmp_path)

    assert planned_services(MODEL, MODEL, same, same) == plans()


def test_first_deploy_creates_every_service_in_order(tmp_path: Path) -> None:
    created = tuple(ServicePlan(name, "create") for name in ORDER)

    assert planned_services(None, MODEL, None, manifest(tmp_path)) == created


# --------------------------------------------------------------------------------------------- one file changes


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({"backend/app.py": "2"}, follow("backend/app.py"), id="source"),
        pytest.param({"backend/new.py": "2"}, follow("+backend/new.py"), id="source added"),
        pytest.param({"backend/app.py": None}, follow("-backend/app.py"), id="source removed"),
        pytest.param({"shared/lib.py": "2"}, follow("shared/lib.py"), id="additional context"),
        pytest.param(
            {"backend/app.py": "2", "backend/Dockerfile": "FROM x\nCOPY . /"},
            follow("backend/Dockerfile", "backend/app.py"),
            id="Dockerfile first",
        ),
        pytest.param({"backend/notes.md": "2"}, plans(), id="ignored source"),
        pytest.param({"backend/a/cache/x": "2"}, plans(), id="source in an ignored folder"),
        pytest.param({"backend/README.md": "2"}, follow("+backend/README.md"), id="source taken in again"),
        pytest.param({"backend/.dockerignore": ""}, follow("backend/.dockerignore"), id=".dockerignore"),
        pytest.param({"backend/.dockerignore": None}, follow("-backend/.dockerignore"), id=".dockerignore removed"),
        pytest.param(
            {"backend/Base": "FROM x\nCOPY . /"},
            plans(
                base=("rebuild", "backend/Base"),
                api=("rebuild", "backend/Base"),
                side=("recreate", "follows api"),
                web=restart("api"),
            ),
            id="an ignored Dockerfile counts",
        ),
        pytest.param(
            {"tools/run": "2"},
            plans(
                base=("rebuild", "tools/run"),
                api=("rebuild", "follows base"),
                side=("recreate", "follows api"),
                web=restart("api"),
            ),
            id="source of the image that another is built from",
        ),
        pytest.param({"conf/nginx.conf": "x"}, plans(web=("recreate", "conf/nginx.conf")), id="bind file"),
        pytest.param({"conf/other": "x"}, plans(), id="beside a bind file"),
        pytest.param({"static/index.html": "x"}, plans(web=("recreate", "static/index.html")), id="bind folder"),
        pytest.param({"static/img/b.svg": "x"}, plans(web=("recreate", "+static/img/b.svg")), id="below bind folder"),
        pytest.param({"static/index.html": None}, plans(web=("recreate", "-static/index.html")), id="removed there"),
        pytest.param({"conf/motd": "x"}, follow("conf/motd", action="recreate"), id="config"),
        pytest.param({"token.txt": "x"}, follow("token.txt", action="recreate"), id="secret"),
        pytest.param({"cert.pem": "x"}, plans(cert=("recreate", "cert.pem")), id="secret of one"),
        pytest.param({"api.env": "# x"}, plans(), id="env_file that gives the same values"),
        pytest.param({"README": "x"}, plans(), id="a file that nothing uses"),
        pytest.param({"compose.yaml": "# x"}, plans(), id="the compose file, with the same model"),
    ],
)
def test_a_changed_file_concerns_exactly_the_services_that_use_it(
    tmp_path: Path, changes: Mapping[str, str | None], expected: tuple[ServicePlan, ...]
) -> None:
    before, after = manifest(tmp_path / "a"), manifest(tmp_path / "b", changes)

    assert planned_services(MODEL, MODEL, before, after) == expected


def test_a_changed_mode_is_a_change(tmp_path: Path) -> None:
    before = manifest(tmp_path)
    text = before.text().replace(before.by_path["cert.pem"].sha256, "0" * 64)

    runs = parse_manifest(text.replace("0644\t1\t" + "0" * 64, "0755\t1\t" + before.by_path["cert.pem"].sha256))
    assert planned_services(MODEL, MODEL, runs, before) == plans(cert=("recreate", "cert.pem"))


def test_a_mounted_symlink_concerns_what_it_leads_to(tmp_path: Path) -> None:
    mount = {"volumes": [{"type": "bind", "source": "./now/conf", "target": "/conf"}]}
    new = model(log=mount)
    releases = {"v1/conf/a": "1", "v2/conf/a": "1"}
    first = bundle(tmp_path / "1", {**FILES, **releases}, {"now": "v1"})
    moved = bundle(tmp_path / "2", {**FILES, **releases}, {"now": "v2"})
    edited = bundle(tmp_path / "3", {**FILES, **releases, "v1/conf/a": "2"}, {"now": "v1"})
    aside = bundle(tmp_path / "4", {**FILES, **releases, "v2/conf/a": "2"}, {"now": "v1"})

    assert planned_services(new, new, first, moved) == plans(log=("recreate", "now"))
    assert planned_services(new, new, first, edited) == plans(log=("recreate", "v1/conf/a"))
    assert planned_services(new, new, first, aside) == plans()
    assert len({override_of(new, m) for m in (first, moved, edited)}) == 3
    assert override_of(new, first) == override_of(new, aside)


def test_many_reasons_are_four_and_a_number(tmp_path: Path) -> None:
    changes = {f"static/{n}": "x" for n in range(6)}
    plan = ("recreate", "+static/0", "+static/1", "+static/2", "+static/3", "and 2 more")

    assert planned_services(MODEL, MODEL, manifest(tmp_path / "a"), manifest(tmp_path / "b", changes)) == plans(
        web=plan
    )


# -------------------------------------------------------------------------------------------- the model changes

BUILD = MODEL.services["api"]["build"]
LOG = MODEL.services["log"]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        pytest.param(
            MODEL,
            model(web={"image": "busybox:1.37"}),
            plans(web=("recreate", "image busybox:1.36 → busybox:1.37")),
            id="image tag",
        ),
        pytest.param(
            MODEL,
            model(api={"environment": {"API_KEY": "hunter23"}}),
            follow("environment: API_KEY", action="recreate"),
            id="env_file value",
        ),
        pytest.param(
            MODEL,
            model(log={"environment": {"LEVEL": "debug"}}),
            plans(log=("recreate", "environment: LEVEL")),
            id=".env value used by one service",
        ),
        pytest.param(
            MODEL, model(log={"environment": {}}), plans(log=("recreate", "environment: LEVEL")), id="variable gone"
        ),
        pytest.param(
            MODEL,
            model(log={"labels": {"b": "1", "a": "1"}}),
            plans(log=("recreate", "labels: a, b")),
            id="labels",
        ),
        pytest.param(
            MODEL,
            model(web={"ports": [], "command": None, "labels": {"team": "b"}, "environment": {"PASSWORD": "hunter22"}}),
            plans(web=("recreate", "environment: PASSWORD", "command", "labels: team", "ports")),
            id="many keys",
        ),
        pytest.param(
            MODEL, model(api={"build": {**BUILD, "args": {"V": "2"}}}), follow("build: args"), id="build args"
        ),
        pytest.param(
            MODEL,
            model(log={"image": None, "build": {"context": "./tools"}}),
            plans(log=("rebuild", "image busybox:1.37 → (built)", "build")),
            id="built from now on",
        ),
        pytest.param(
            MODEL,
            model(api={"image": "shop/api:2"}),
            follow("image (built) → shop/api:2"),
            id="a built image under another name",
        ),
        pytest.param(
            MODEL,
            model(
                log={"x-a": 1, "depends_on": {"cert": {"condition": "service_started"}}, "profiles": ["a"]},
                web={"scale": 2, "pull_policy": "always", "deploy": None},
            ),
            # compose's own hash leaves these out; the order follows depends_on
            plans(),
            id="what compose does not recreate for",
        ),
        pytest.param(
            model(log={"deploy": {"replicas": 1, "resources": {}}}),
            model(log={"deploy": {"replicas": 2, "resources": {}}}),
            plans(),
            id="replicas",
        ),
        pytest.param(
            MODEL,
            model(log={"deploy": {"replicas": 2, "resources": {}, "placement": {}}}),
            plans(log=("recreate", "deploy")),  # compose's hash does know whether there is a deploy:
            id="deploy appears",
        ),
        pytest.param(MODEL, model(log={"command": []}), plans(log=("recreate", "command")), id="command emptied"),
        pytest.param(MODEL, model(log={"labels": {}, "ports": []}), plans(), id="nothing written out"),
    ],
)
def test_a_changed_model_concerns_exactly_the_services_changed(
    tmp_path: Path, old: Model, new: Model, expected: tuple[ServicePlan, ...]
) -> None:
    same = manifest(tmp_path)
    found = planned_services(old, new, same, same)

    assert found == expected
    assert "hunter" not in repr(found)


def test_an_inline_config_that_changes_recreates_its_service(tmp_path: Path) -> None:
    """compose does not by itself: only the label tells it."""
    same = manifest(tmp_path)
    configs = {**MODEL.configs, "inline": {"name": "shop_inline", "content": "level debug"}}
    new = Model(MODEL.services, MODEL.volumes, MODEL.networks, configs, MODEL.secrets)

    assert planned_services(MODEL, new, same, same) == follow("config inline", action="recreate")
    assert labels(new, same)["api"] != labels(MODEL, same)["api"]


def test_a_volume_of_another_name_recreates_and_other_options_do_not(tmp_path: Path) -> None:
    """Asked for without a terminal, compose keeps the volume that differs."""
    same = manifest(tmp_path)
    renamed = Model(MODEL.services, {"data": {"name": "other"}}, MODEL.networks, MODEL.configs, MODEL.secrets)
    labelled = {"data": {"name": "shop_data", "labels": {"a": "b"}}}
    other = Model(MODEL.services, labelled, MODEL.networks, MODEL.configs, MODEL.secrets)

    assert planned_services(MODEL, renamed, same, same) == plans(web=("recreate", "volume data"))
    assert planned_services(MODEL, other, same, same) == plans()


def test_a_changed_network_concerns_all_that_are_in_it(tmp_path: Path) -> None:
    same = manifest(tmp_path)
    touched = {name: ("restart", "network default") for name in ORDER if name != "side"}
    side = ServicePlan("side", "restart", ("follows api",), after="api")

    new = with_network({"name": "shop_default", "ipam": {}, "internal": True})
    assert planned_services(MODEL, new, same, same) == plans(**touched, side=side)
    renamed = with_network({"name": "shop_other", "ipam": {}})
    recreated = dict.fromkeys(touched, ("recreate", "network default"))
    expected = plans(**recreated, side=("recreate", "follows api"))
    assert planned_services(MODEL, renamed, same, same) == expected
    outer = with_network({"name": "shop_default", "external": True})  # compose leaves alone what is not its own
    assert planned_services(MODEL, outer, same, same) == plans()


def with_network(default: Mapping[str, Any]) -> Model:
    return Model(MODEL.services, MODEL.volumes, {"default": default}, MODEL.configs, MODEL.secrets)


def test_services_come_and_go(tmp_path: Path) -> None:
    same = manifest(tmp_path)
    fewer = {name: service for name, service in MODEL.services.items() if name not in ("cert", "log")}
    less = Model(fewer, MODEL.volumes, MODEL.networks, MODEL.configs, MODEL.secrets)
    rest = tuple(ServicePlan(name, "unchanged") for name in ORDER if name in fewer)

    removed = (ServicePlan("cert", "remove"), ServicePlan("log", "remove"))
    assert planned_services(MODEL, less, same, same) == (*rest, *removed)
    assert planned_services(less, MODEL, same, same) == plans(cert=("create",), log=("create",))


# ---------------------------------------------------------------------------------------------------- followers


def run(**services: Mapping[str, Any]) -> Model:
    return Model({name: {"image": "i", **keys} for name, keys in services.items()})


def actions(old: Model, new: Model) -> dict[str, str]:
    return {plan.name: plan.action for plan in planned_services(old, new, None, Manifest())}


def test_what_shares_with_a_recreated_service_follows_it_on_and_on() -> None:
    """As docker compose 2.40.3 did it: those restarted draw nothing along."""
    restart = {"condition": "service_started", "restart": True}
    others: dict[str, Mapping[str, Any]] = {
        "net": {"network_mode": "service:api", "depends_on": {"api": restart}},
        "net2": {"network_mode": "service:net"},
        "pid": {"pid": "service:api"},
        "ipc": {"ipc": "service:pid"},
        "vol": {"volumes_from": ["api:ro"]},
        "waits": {"depends_on": {"api": restart}},
        "waits2": {"depends_on": {"waits": restart}},
        "lives": {"network_mode": "service:waits"},
        "lives2": {"pid": "service:lives"},
        "vol2": {"volumes_from": ["waits"]},
        "starts": {"depends_on": {"api": {"condition": "service_started"}}},
        "outer": {"volumes_from": ["container:api"], "network_mode": "host"},
    }
    names = {
        "recreate": ["net", "net2", "pid", "ipc", "vol"],
        "restart": ["waits", "lives", "lives2"],
        "unchanged": ["waits2", "vol2", "starts", "outer"],
    }

    found = actions(run(api={}, **others), run(api={"labels": {"a": "1"}}, **others))
    assert found == {"api": "recreate"} | {name: action for action, those in names.items() for name in those}


def test_what_runs_an_image_that_another_builds_follows_it() -> None:
    old = run(a={"image": "app", "build": {"context": "."}}, b={"image": "app"}, c={})
    new = run(a={"image": "app", "build": {"context": ".", "target": "x"}}, b={"image": "app"}, c={})

    assert planned_services(old, new, None, Manifest()) == (
        ServicePlan("a", "rebuild", ("build: target",)),
        ServicePlan("b", "recreate", ("follows a",)),
        ServicePlan("c", "unchanged"),
    )


# -------------------------------------------------------------------------------------------------------- reload


def test_only_mounted_files_changed_sends_the_signal(tmp_path: Path) -> None:
    before, after = manifest(tmp_path / "a"), manifest(tmp_path / "b", {"conf/nginx.conf": "x"})
    signalled = ServicePlan("web", "reload", ("conf/nginx.conf",), "HUP")

    assert planned_services(MODEL, MODEL, before, after, {"web": "HUP"}) == plans(web=signalled)
    assert planned_services(MODEL, MODEL, before, before, {"web": "HUP"}) == plans()


def test_anything_else_beside_mounted_files_recreates(tmp_path: Path) -> None:
    before, after = manifest(tmp_path / "a"), manifest(tmp_path / "b", {"conf/nginx.conf": "x"})
    more = ("recreate", "image busybox:1.36 → x", "conf/nginx.conf")

    assert planned_services(MODEL, model(web={"image": "x"}), before, after, {"web": "HUP"}) == plans(web=more)
    follower = restart("api", "conf/nginx.conf")
    built = manifest(tmp_path / "c", {"conf/nginx.conf": "x", "backend/app.py": "2"})
    expected = plans(api=("rebuild", "backend/app.py"), side=("recreate", "follows api"), web=follower)
    assert planned_services(MODEL, MODEL, before, built, {"web": "HUP"}) == expected


# -------------------------------------------------------------------------------------------- the label alone


def planned(
    had: Manifest, has: Manifest, reload: Mapping[str, str] | None = None, reloaded: Mapping[str, str] | None = None
) -> tuple[ServicePlan, ...]:
    """With containers that are labelled as the release before was; reloaded: its x-towline.reload."""
    made = labels(MODEL, had, reloaded)
    there = {name: frozenset({made.get(name, "")}) for name in ORDER}
    return planned_services(MODEL, MODEL, had, has, reload, labels=there)


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ("TAG=1.36\nLEVEL=debug\n", follow("secret level: .env", action="recreate")),
        ("TAG=1.36\n", follow("secret level: .env", action="recreate")),
        ("TAG=1.37\nLEVEL=info\nMORE=1\n", plans()),
    ],
    ids=["its value", "gone", "others"],
)
def test_a_secret_out_of_the_environment_is_concerned_by_its_own_variable(
    tmp_path: Path, env: str, expected: tuple[ServicePlan, ...]
) -> None:
    assert planned(manifest(tmp_path / "a"), manifest(tmp_path / "b", {".env": env})) == expected


def test_a_value_made_of_other_variables_is_concerned_by_all_of_env(tmp_path: Path) -> None:
    made = {".env": "A=1\nLEVEL=${A}\n"}, {".env": "A=2\nLEVEL=${A}\n"}
    before, after = (manifest(tmp_path / name, env) for name, env in zip("ab", made, strict=True))
    assert planned(before, after) == follow("secret level: .env", action="recreate")


def test_no_value_of_env_is_in_the_override_of(tmp_path: Path) -> None:
    assert "sw0rdfish" not in override_of(MODEL, manifest(tmp_path, {".env": "LEVEL=sw0rdfish\n"}))


def test_reload_that_comes_or_goes_recreates_once(tmp_path: Path) -> None:
    before, after = manifest(tmp_path / "a"), manifest(tmp_path / "b", {"compose.yaml": "# reload"})
    once = plans(web=("recreate", "x-towline.reload"))
    hup = {"web": "HUP"}

    assert planned(before, after, reload=hup) == once
    assert planned(before, after, reloaded=hup) == once
    assert planned(before, after, reload=hup, reloaded=hup) == plans()
    changed = manifest(tmp_path / "c", {"conf/nginx.conf": "x"})
    assert planned(before, changed, reload=hup) == plans(web=("recreate", "conf/nginx.conf", "x-towline.reload"))


def test_a_label_that_is_none_of_ours_is_replaced_with_the_next_release_only(tmp_path: Path) -> None:
    """The override of a release that stays is as it was sent."""
    before, after = manifest(tmp_path / "a"), manifest(tmp_path / "b", {"README": "x"})
    there = {"web": frozenset({"as an older towline made it"})}

    assert planned_services(MODEL, MODEL, before, before, labels=there) == plans()
    assert planned_services(MODEL, MODEL, before, after, labels=there) == plans(
        web=("recreate", "label towline.inputs")
    )


# ------------------------------------------------------------------------------------------ inputs and override


def test_inputs_are_the_stacks_own_paths() -> None:
    found = {name: inputs_of(service, MODEL) for name, service in MODEL.services.items()}

    assert found == {
        "api": Inputs(
            context="backend",
            dockerfile="backend/Dockerfile",
            contexts=("shared",),
            files=("conf/motd", "token.txt"),
        ),
        "base": Inputs(context=".", dockerfile="backend/Base"),
        "cert": Inputs(files=("cert.pem",)),
        "log": Inputs(),
        "side": Inputs(),
        "web": Inputs(mounts=("conf/nginx.conf", "static")),
    }


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        ({"build": {"context": "https://github.com/a/b.git", "dockerfile": "D"}}, Inputs()),
        ({"build": {"context": "./a", "dockerfile_inline": "FROM x"}}, Inputs(context="a")),
        ({"build": {"context": "./a", "dockerfile": "../D"}}, Inputs(context="a", dockerfile="D")),
        ({"volumes": [{"type": "bind", "source": ".", "target": "/x"}]}, Inputs(mounts=(".",))),
        ({"volumes": [{"type": "volume", "source": "v", "target": "/x"}]}, Inputs(mounts=("d",))),
        ({"volumes": [{"type": "volume", "target": "/x"}, {"type": "tmpfs", "target": "/y"}]}, Inputs()),
    ],
)
def test_inputs_of_less_common_services(service: Mapping[str, Any], expected: Inputs) -> None:
    volumes = {"v": {"driver_opts": {"type": "none", "o": "bind", "device": "./d"}}}

    assert inputs_of(service, Model(volumes=volumes)) == expected


def labels(model: Model, manifest: Manifest, reload: Mapping[str, str] | None = None) -> dict[str, str]:
    services = json.loads(override_of(model, manifest, reload))["services"]
    assert all(list(keys) == ["labels"] and list(keys["labels"]) == ["towline.inputs"] for keys in services.values())
    return {name: keys["labels"]["towline.inputs"] for name, keys in services.items()}


def test_only_services_that_see_files_are_labelled(tmp_path: Path) -> None:
    found = labels(MODEL, manifest(tmp_path))

    assert sorted(found) == ["api", "cert", "web"]
    assert all(len(value) == 64 for value in found.values())
    assert json.loads(override_of(Model(), Manifest())) == {"services": {}}


@pytest.mark.parametrize(
    ("path", "concerned"),
    [
        ("conf/nginx.conf", {"web"}),
        ("static/new", {"web"}),
        ("conf/motd", {"api"}),
        ("token.txt", {"api"}),
        ("cert.pem", {"cert"}),
        ("backend/app.py", set()),
        ("compose.yaml", set()),
    ],
)
def test_the_label_changes_with_the_files_that_a_service_sees(tmp_path: Path, path: str, concerned: set[str]) -> None:
    before, after = labels(MODEL, manifest(tmp_path / "a")), labels(MODEL, manifest(tmp_path / "b", {path: "x"}))

    assert {name for name in before if before[name] != after[name]} == concerned


def test_mounted_files_of_what_reloads_are_left_out_of_the_label(tmp_path: Path) -> None:
    assert sorted(labels(MODEL, manifest(tmp_path), {"web": "HUP"})) == ["api", "cert"]


# ------------------------------------------------------------------------------------------------ the Dockerfile


@pytest.mark.parametrize(
    ("dockerfile", "concerned"),
    [
        ("FROM x\nCOPY app.py /srv/\n", False),
        ("FROM x\nCOPY app.py *.md /srv/\n", True),
        ("FROM x\nCOPY . /srv/\n", True),
        ("FROM x\nCOPY $WHAT /srv/\n", True),
    ],
)
def test_a_file_that_no_copy_takes_rebuilds_nothing(tmp_path: Path, dockerfile: str, concerned: bool) -> None:
    start = {"backend/Dockerfile": dockerfile, "backend/README.md": "1"}
    before, after = manifest(tmp_path / "a", start), manifest(tmp_path / "b", start | {"backend/README.md": "2"})

    assert planned_services(MODEL, MODEL, before, after) == (follow("backend/README.md") if concerned else plans())
    app = manifest(tmp_path / "c", start | {"backend/app.py": "2"})
    assert planned_services(MODEL, MODEL, before, app) == follow("backend/app.py")


def test_a_dockerfile_in_the_compose_file_is_read_too(tmp_path: Path) -> None:
    build = {"context": "./backend", "dockerfile_inline": "FROM x\nCOPY app.py /srv/\n"}
    new = model(log={"image": None, "build": build})
    before, after = manifest(tmp_path / "a"), manifest(tmp_path / "b", {"backend/README.md": "2"})
    changes = {plan.name: plan.action for plan in planned_services(new, new, before, after)}

    assert changes["log"] == "unchanged"


@pytest.mark.parametrize(
    ("text", "taken", "left"),
    [
        ("COPY a /x", ["a", "a/b/c"], ["b", "ab", "b/a"]),
        ("copy ./a/ ../b /c /x/", ["a/z", "b", "c"], ["x", "d"]),
        ("COPY --chown=1:1 --link a? *.txt /x/", ["ab", "ab/c", "n.txt"], ["a", "abc", "d/n.txt"]),
        ('ADD ["a", "b c", "/x/"]', ["a", "b c"], ["b"]),
        ("COPY a \\\n  # why\n\n  b /x/", ["a", "b"], ["x"]),
        ("COPY --from=build /a /x\nADD https://host/f /x/", [], ["a", "f"]),
        ("# syntax=docker/dockerfile:1\nCOPY a /x", ["a"], ["b"]),
        ("RUN --mount=type=cache,target=/c make", [], ["a"]),
    ],
)
def test_what_a_dockerfile_takes(text: str, taken: list[str], left: list[str]) -> None:
    copied = copied_by(f"{text}\nFROM x\n" if text.startswith("#") else f"FROM x\n{text}\n")

    assert copied
    assert [path for path in taken if not copied(path)] == []
    assert [path for path in left if copied(path)] == []


@pytest.mark.parametrize(
    "text",
    [
        "COPY $A /x",
        "COPY [ab] /x",
        "COPY --exclude=a . /x",
        "COPY --parents a /x",
        "COPY <<E /x\nhello\nE",
        "COPY a/** /x",
        'COPY "a b" /x',
        "COPY a",
        "RUN --mount=type=bind,target=/src make",
        "RUN --mount=target=/src make",
        "RUN <<E\nCOPY\nE",
        "INCLUDE a",
        "COPY\ta /x",
    ],
)
def test_a_dockerfile_that_leaves_a_doubt_tells_nothing(text: str) -> None:
    assert copied_by(f"FROM x\n{text}\n") is None
    assert copied_by("# escape=`\nFROM x\nCOPY a /x") is None
    assert copied_by("# a\n# syntax=example.com/other\nFROM x\nCOPY a /x") is None


# ------------------------------------------------------------------------------------------------- .dockerignore


@pytest.mark.parametrize(
    ("text", "left_out", "taken"),
    [
        ("a", ["a", "a/b/c"], ["b/a", "ab"]),
        ("/a/\n", ["a", "a/b"], ["b/a"]),
        ("*.md", ["x.md"], ["d/x.md"]),
        ("**/*.md", ["x.md", "d/e/x.md"], ["x.mdx"]),
        ("a/**", ["a/b", "a/b/c"], ["a"]),
        ("**", ["a", "a/b"], []),
        ("*\n!src", ["a", "b/c"], ["src", "src/x/y"]),
        ("src\n!src/keep", ["src/a"], ["src/keep", "src/keep/b"]),
        ("!a\na", ["a"], ["b"]),
        ("# a\n\n  b  \n", ["b"], ["a", "# a"]),
        ("a?c\n[xy]z\nq\\*", ["abc", "xz", "q*"], ["ac", "a/c", "zz", "qq"]),
        ("./a/../b", ["b"], ["a"]),
        (".\n!\n[", [], ["a"]),
    ],
)
def test_dockerignore_is_read_as_docker_reads_it(text: str, left_out: list[str], taken: list[str]) -> None:
    ignored = ignored_by(text)

    assert [path for path in left_out if not ignored(path)] == []
    assert [path for path in taken if ignored(path)] == []


def test_a_dockerfiles_own_dockerignore_wins(tmp_path: Path) -> None:
    more = {"backend/Dockerfile.dockerignore": "app.py\n", "backend/x.md": "1"}
    before, after = manifest(tmp_path / "a", more), manifest(tmp_path / "b", {**more, "backend/app.py": "2"})
    other = manifest(tmp_path / "c", {**more, "backend/x.md": "2"})

    assert planned_services(MODEL, MODEL, before, after) == plans()
    assert planned_services(MODEL, MODEL, before, other) == follow("backend/x.md")
