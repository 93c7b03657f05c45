"""The label `towline.inputs`, recorded: another value for the same files would recreate every service on an upgrade."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.unit.test_services import FILES, MODEL
from towline.bundle.working_tree import load_working_tree
from towline.deploy.planning.inputs import override
from towline.deploy.planning.situation import Release
from towline.project.stack import Stack

API = "98aff4d603f0d23f9420bb4c8275d8c02409392fef2484171ad7878a68bc1382"
SAME = {
    "cert": "d9af3d5fb78f73e5ebeab64368b25ac28b72e42cd218506886fc0103685a6930",
    "web": "1ee0d0337a0e3f084da23aefa8ed387e8db5fd59b58931f59aebea0da94ae4d2",
}


def labels(folder: Path, changes: Mapping[str, str | bytes | None], reload: Mapping[str, str]) -> dict[str, str]:
    """Of FILES, some of them changed (text or bytes) or removed (None)."""
    files = {path: content for path, content in {**FILES, **changes}.items() if content is not None}
    for path, content in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        file.chmod(0o644)
    tree = load_working_tree(Stack("shop", "shop", "stack", folder, folder.parent, ("compose.yaml",), ()))
    services = json.loads(override(Release(MODEL, tree.manifest, variables=tree.variables), reload))["services"]
    return {name: keys["labels"]["towline.inputs"] for name, keys in services.items()}


RECORDED: dict[str, tuple[dict[str, str | bytes | None], dict[str, str], dict[str, str]]] = {
    "plain": ({}, {}, {"api": API, **SAME}),
    "mounted files are reloaded": ({}, {"web": "HUP"}, {"api": API, "cert": SAME["cert"]}),
    "changed content": (
        {"static/index.html": "x", "cert.pem": "x", "conf/motd": "x"},
        {},
        {
            "api": "30f229cd351b4407ca2720b9ab777207c9db505109522dd9f67e431687cc851e",
            "cert": "2ed13d55769c0e0a43b30199f09ae72d0228be7e5a8a458c30f10d49f5b1c875",
            "web": "0a0806aa453ba43eda71f03fb30ab91dc11497077aa9f493bccf756d8ec93d9e",
        },
    ),
    "no .env": (
        {".env": None},
        {},
        {"api": "0fb56bea105077718389c5725b3860cf53f9f0de10baa87addc70513beb28bae", **SAME},
    ),
    "value made of others": (
        {".env": "A=1\nLEVEL=${A}\n"},
        {},
        {"api": "c872c938cefa4438dabf44c29a502b22658b02d7216d1cc04a5ebb691b2c7ba8", **SAME},
    ),
    "name that .env lacks": (
        {".env": "TAG=1\n"},
        {},
        {"api": "12250ba1e6d732ed533f938dbfc824928cb2306ca6d9909ff92d7fa4237757d0", **SAME},
    ),
    "quoted value": (
        {".env": "LEVEL='in fo' # why\n"},
        {},
        {"api": "3e0a376df4c9df87e100ecb3afabd850e3afc6945f10ad78dac9567f2542fcd5", **SAME},
    ),
    "lines with CR LF": (
        {".env": b'LEVEL="in\r\nfo"\r\nTAG=1\r\n'},
        {},
        {"api": "5c2109828d2e9c4e16b19cf7b3889e89666ee09bcaabc4704c014d925132f053", **SAME},
    ),
    "byte order mark": (
        {".env": b"\xef\xbb\xbfLEVEL=debug\n"},
        {},
        {"api": "b170426b12c8f8fd60e7f3cf34483782801ad7998ffd3a75f1e0bff58756f8e1", **SAME},
    ),
    "not UTF-8": (
        {".env": b"LEVEL=\xff\n"},
        {},
        {"api": "6ecf9b1d61b0d0e29bb528740abf6ad36da9cd8083623adc5cb6e69f771fc99a", **SAME},
    ),
}


@pytest.mark.parametrize("case", RECORDED)
def test_the_label_is_as_it_always_was(tmp_path: Path, case: str) -> None:
    changes, reload, expected = RECORDED[case]
    assert labels(tmp_path, changes, reload) == expected


def test_a_symlinked_env_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / ".env").symlink_to("shop.env")
    assert labels(tmp_path, {".env": None, "shop.env": "LEVEL=info\n"}, {})["api"] == RECORDED["no .env"][2]["api"]
