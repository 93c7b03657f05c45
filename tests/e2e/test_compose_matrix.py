"""Each feature of the Compose specification, deployed by `docker compose up` and by towline: the same containers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import BASE
from tests.e2e.conftest import Project, clear_project, docker, free_port, new_project
from towline import sandbox

pytestmark = pytest.mark.xdist_group("matrix")

# Feature → the service that uses it. A service has BASE, a command that stays, and stops at once, unless it says otherwise.
FEATURES: dict[str, dict[str, Any]] = {
    "command-text": {"command": "sh -c 'exec sleep 600'"},
    "entrypoint": {"entrypoint": ["/bin/sh", "-c"], "command": ["exec sleep 600"]},
    "environment-map": {"environment": {"A": "1", "B": "", "C": None, "FROM_ENV": None, "N": 5, "T": True}},
    "environment-list": {"environment": ["A=1", "B=", "FROM_ENV", "NOWHERE", "D=a=b c"]},
    "env-file": {"env_file": "conf/a.env"},
    "env-file-list": {"env_file": ["conf/a.env", {"path": "conf/none.env", "required": False}]},
    "env-file-raw": {"env_file": [{"path": "conf/raw.env", "format": "raw"}]},
    "interpolation": {"environment": ["A=${FROM_ENV}", "B=${NOWHERE:-dflt}", "C=$$keep", "D=${FROM_ENV:+alt}", "E=${EMPTY-x}"]},
    "ports": {"ports": ["127.0.0.1:PORT1:80", "81"]},
    "ports-long": {"ports": [{"target": 80, "published": "PORT2", "host_ip": "127.0.0.1", "protocol": "udp"}]},
    "expose": {"expose": ["80", "90/udp"]},
    "volume-named": {"volumes": ["data:/data", "data:/ro:ro"]},
    "volume-bind": {"volumes": ["./conf:/conf:ro", "./conf/a.env:/file:ro"]},
    "volume-long": {
        "volumes": [
            {"type": "bind", "source": "./conf", "target": "/conf", "read_only": True, "bind": {"propagation": "rprivate"}},
            {"type": "volume", "source": "data", "target": "/data", "volume": {"nocopy": True}},
            {"type": "tmpfs", "target": "/t", "tmpfs": {"size": 1048576}},
        ]
    },
    "volume-created": {"volumes": ["./made/by/docker:/made"]},
    "tmpfs": {"tmpfs": ["/run:size=1m", "/tmp2"]},
    "labels-map": {"labels": {"a.b": "1", "dollar": "$$x"}},
    "labels-list": {"labels": ["a.b=1", "empty"]},
    "label-file": {"label_file": "conf/labels"},
    "annotations": {"annotations": {"a.b": "1"}},
    "healthcheck": {"healthcheck": {"test": "true", "interval": "5s", "timeout": "2s", "retries": 2, "start_period": "1s"}},
    "healthcheck-off": {"healthcheck": {"disable": True}},
    "user": {"user": "65534:65534", "working_dir": "/tmp", "group_add": ["4"]},
    "hostname": {"hostname": "h", "domainname": "example.com"},
    "extra-hosts": {"extra_hosts": ["one:10.0.0.1", "two=::1"]},
    "dns": {"dns": ["10.0.0.2"], "dns_search": ["example.com"], "dns_opt": ["ndots:2"]},
    "capabilities": {"cap_add": ["NET_ADMIN"], "cap_drop": ["MKNOD"], "security_opt": ["no-new-privileges:true"]},
    "ulimits": {"ulimits": {"nproc": 65535, "nofile": {"soft": 100, "hard": 200}}},
    "sysctls": {"sysctls": {"net.ipv4.ip_unprivileged_port_start": "0"}},
    "restart": {"restart": "unless-stopped"},
    "restart-on-failure": {"restart": "on-failure:3"},
    "deploy-restart": {"deploy": {"restart_policy": {"condition": "on-failure", "max_attempts": 2}}},
    "stop": {"stop_signal": "SIGINT", "stop_grace_period": "3s"},
    "logging": {"logging": {"driver": "json-file", "options": {"max-size": "1m", "max-file": "2"}}},
    "network-aliases": {"networks": {"back": {"aliases": ["other"]}, "default": None}},
    "network-address": {"networks": {"fixed": {"ipv4_address": "SUBNET.10"}}},
    "network-none": {"network_mode": "none"},
    "network-service": {"network_mode": "service:user"},
    "network-priority": {"networks": {"back": {"priority": 5}, "default": {"priority": 1}}},
    "ipc": {"ipc": "shareable", "shm_size": "2m"},
    "pid-service": {"pid": "service:user"},
    "read-only": {"read_only": True, "tty": True, "stdin_open": True},
    "oom": {"oom_score_adj": 100},
    "config-file": {"configs": ["file", {"source": "inline", "target": "/inline", "mode": 0o440}]},
    "secret": {"secrets": ["file", {"source": "env", "target": "named"}]},
    "depends-on": {
        "depends_on": {
            "user": {"condition": "service_started", "restart": True},
            "job": {"condition": "service_completed_successfully"},
        }
    },
    "job": {"command": ["true"], "restart": "no"},
    "replicas": {"deploy": {"replicas": 2, "labels": {"not": "a container's"}}},
    "scale": {"scale": 2},
    "container-name": {"container_name": "PROJECT-single"},
    "profile-off": {"profiles": ["debug"]},
    "profile-on": {"profiles": ["extra"]},
    "build": {
        "image": None,
        "build": {"context": "app", "args": {"WHAT": "${FROM_ENV}"}, "target": "last", "labels": {"built": "1"}},
    },
    "build-inline": {"image": None, "build": {"dockerfile_inline": f"FROM {BASE}\nENV A=1\n"}},
    "build-named": {"image": "PROJECT-own:7", "build": "./app"},
    "extends": {"extends": {"service": "labels-map"}, "environment": ["MORE=1"]},
    "extends-file": {"image": None, "command": None, "extends": {"file": "base/base.yaml", "service": "from-base"}},
    "volumes-from": {"volumes_from": ["volume-named:ro"]},
    "anchor": {"<<": "*common", "environment": ["A=1"]},
    "post-start": {"post_start": [{"command": "touch /tmp/started"}]},
}  # fmt: skip
TOP: dict[str, Any] = {
    "volumes": {"data": {"labels": {"a": "b"}}},
    "networks": {"back": {"internal": True}, "fixed": {"ipam": {"config": [{"subnet": "SUBNET.0/24"}]}}},
    "configs": {"file": {"file": "conf/c"}, "inline": {"content": "from ${FROM_ENV}\n"}},
    "secrets": {"file": {"file": "conf/s"}, "env": {"environment": "FROM_ENV"}},
    "include": ["included/more.yaml", {"path": "included/two.yaml", "env_file": "included/two.env"}],
    "x-common": {"tty": True, "labels": {"anchored": "1"}},
}
STAYS = {"image": BASE, "command": ["sleep", "600"], "init": True, "stop_grace_period": "1s"}
FILES = {
    ".env": "FROM_ENV=of the env\nEMPTY=\nCOMPOSE_PROFILES=extra\n",
    "conf/a.env": "# a comment\nA=1\nB=\"two words\"\nC='$$ kept'\nD=${FROM_ENV}\nexport E=5\n",
    "conf/raw.env": 'A="as it is"\nB=$FROM_ENV\n',
    "conf/labels": "from.file=1\n",
    "conf/c": "a config\n",
    "conf/s": "a secret\n",
    "app/Dockerfile": f"FROM {BASE} AS first\nARG WHAT=none\nENV WHAT=$WHAT\nFROM first AS last\nCOPY . /app\n",
    "app/file": "x",
    "base/base.yaml": yaml.safe_dump(
        {"services": {"from-base": {**STAYS, "env_file": "base.env", "volumes": ["./d:/d:ro"]}}}
    ),
    "base/base.env": "BASE=1\n",
    "base/d/x": "x",
    "included/more.yaml": yaml.safe_dump({"services": {"included": {**STAYS, "env_file": "more.env"}}}),
    "included/more.env": "MORE=1\n",
    "included/two.yaml": yaml.safe_dump({"services": {"included-two": {**STAYS, "environment": ["X=${TWO}"]}}}),
    "included/two.env": "TWO=2\n",
    "compose.override.yaml": yaml.safe_dump({"services": {"environment-map": {"environment": {"A": "overridden"}}}}),
}
MARKED = {"com.docker.compose.service", "com.docker.compose.oneoff", "com.docker.compose.container-number"}


def compose_file(names: Mapping[str, str]) -> str:
    services = {
        name: {key: value for key, value in {**STAYS, **keys}.items() if value is not None}
        for name, keys in FEATURES.items()
    }
    merged = services["anchor"].pop("<<")
    text = yaml.safe_dump({"services": services, **TOP}, sort_keys=False, allow_unicode=True)
    text = text.replace("x-common:\n", "x-common: &common\n").replace("  anchor:\n", f"  anchor:\n    <<: {merged}\n")
    head, _, common = text.partition("x-common:")  # an anchor stands before what it is used in
    text = f"x-common:{common}{head}"
    for name, value in names.items():
        text = text.replace(name, value)
    return text


def containers(project: str, folder: Path) -> dict[str, dict[str, Any]]:
    """Service and number → what makes up its container, but for ids, times, addresses and Compose's own labels."""
    ids = docker("ps", "-aq", "--no-trunc", "--filter", f"label=com.docker.compose.project={project}").split()
    found = json.loads(docker("inspect", *ids))
    names = {one["Id"]: one["Config"]["Labels"]["com.docker.compose.service"] for one in found}
    settled = {}
    for one in found:
        labels = one["Config"]["Labels"]
        key = f"{names[one['Id']]}.{labels['com.docker.compose.container-number']}"
        settled[key] = json.loads(_settled(json.dumps(_parts(one)), one, names, folder))
    return settled


def _parts(one: Mapping[str, Any]) -> dict[str, Any]:
    config, host = dict(one["Config"]), dict(one["HostConfig"])
    config["Labels"] = {
        name: value
        for name, value in config["Labels"].items()
        if name in MARKED or not name.startswith(("com.docker.compose.", "towline."))
    }
    config["Env"] = sorted(config["Env"] or [])
    if config["Hostname"] == one["Id"][:12]:
        del config["Hostname"]
    for key in ("Binds", "Mounts", "VolumesFrom", "Ulimits", "ExtraHosts"):
        host[key] = sorted(host.get(key) or [], key=str)
    networks = {
        name: {
            "aliases": sorted(alias for alias in network["Aliases"] or [] if alias != one["Id"][:12]),
            "ipam": network["IPAMConfig"],
            "driver_opts": network["DriverOpts"],
        }
        for name, network in one["NetworkSettings"]["Networks"].items()
    }
    built = one["Config"]["Image"].startswith(one["Config"]["Labels"]["com.docker.compose.project"])
    return {
        "name": one["Name"],
        "path": [one["Path"], *one["Args"]],
        "image": "" if built else one["Image"],
        "config": config,
        "host": host,
        "mounts": sorted(one["Mounts"], key=lambda mount: str(mount["Destination"])),
        "networks": networks,
        "ended": (one["State"]["Status"], one["State"]["ExitCode"]),
    }


def _settled(text: str, one: Mapping[str, Any], names: Mapping[str, str], folder: Path) -> str:
    for name, service in names.items():
        text = text.replace(name, f"<{service}>").replace(name[:12], f"<{service}>")
    return text.replace(str(folder), "<folder>")


@pytest.fixture(scope="module")
def module_project(box: sandbox.Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    made = new_project(box, tmp_path_factory.mktemp("matrix"), Project)
    yield made
    made.clear()


@pytest.fixture(scope="module")
def both(module_project: Project) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """The containers that `docker compose up` makes, and those that towline makes."""
    project = module_project
    name = project.name("web")
    ports = {f"PORT{number}": str(free_port()) for number in (1, 2)}
    subnet = f"10.{200 + os.getpid() % 50}.{os.getpid() // 50 % 250}"
    text = compose_file({**ports, "SUBNET": subnet, "PROJECT": name})
    folder = project.write("web", {})
    for path, content in {**FILES, "compose.yaml": text}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(content)
    native = project.root.parent / "native" / name
    shutil.copytree(folder, native)
    environment = {"PATH": os.environ["PATH"], "HOME": str(project.home)}
    up = ["docker", "compose", "up", "--detach", "--build", "--quiet-pull"]
    done = subprocess.run(up, cwd=native, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    theirs = containers(name, native)
    clear_project(name)
    ran = project.tow("deploy", f"--stack={name}", "--yes")
    assert ran.code == 0, ran.err
    yield theirs, containers(name, project.live())
    ran = project.tow("plan", f"--stack={name}", "--check")
    assert ran.code == 0, ran.err


def test_there_are_the_same_containers(both: tuple[dict[str, Any], dict[str, Any]]) -> None:
    theirs, ours = both
    assert ours.keys() == theirs.keys()
    assert len(FEATURES) >= 40


@pytest.mark.parametrize("feature", [*FEATURES, "included", "included-two"])
def test_feature_makes_the_container_that_compose_makes(
    both: tuple[dict[str, Any], dict[str, Any]], feature: str
) -> None:
    theirs, ours = both
    for number in (1, 2):
        assert ours.get(f"{feature}.{number}") == theirs.get(f"{feature}.{number}")
