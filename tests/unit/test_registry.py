"""Which images a deploy would pull, and what buildx 0.29 was heard to say of those that cannot be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from towline.facts.compose_model import Model
from towline.facts.registry import Unpullable, commands, parse, refusal, to_be_pulled
from towline.ssh.session import Result

HEAD = "ERROR: unexpected status from HEAD request to http://127.0.0.1:5917/v2/x/manifests/1:"
TOKEN = (
    "ERROR: failed to authorize: failed to fetch anonymous token: unexpected status from GET request to "
    "http://127.0.0.1:5918/token?scope=repository%3Alibrary%2Fx%3Apull&service=r: 401 Unauthorized"
)
SCOPE = (
    "ERROR: pull access denied, repository does not exist or may require authorization: "
    "server message: insufficient_scope: authorization failed"
)
REFUSED = (
    'ERROR: failed to do request: Head "http://127.0.0.1:1/v2/x/manifests/1": dial tcp 127.0.0.1:1: '
    "connect: connection refused"
)
NO_HOST = (
    'ERROR: failed to do request: Head "https://nosuch.invalid/v2/x/manifests/1": dial tcp: '
    "lookup nosuch.invalid on 10.0.0.53:53: no such host"
)
CUT = 'ERROR: failed to do request: Head "http://127.0.0.1:5919/v2/x/manifests/1": got 1 SIGTERM/SIGINTs, forcing shutdown'


@pytest.mark.parametrize(
    ("code", "said", "expected"),
    [
        (1, "ERROR: 127.0.0.1:5917/gone:1: not found", Unpullable("missing")),
        (1, f"{HEAD} 404 Not Found", Unpullable("missing")),
        (1, f"{HEAD} 401 Unauthorized", Unpullable("denied")),
        (1, f"{HEAD} 403 Forbidden", Unpullable("denied")),
        (1, TOKEN, Unpullable("denied")),
        (1, SCOPE, Unpullable("denied")),
        (
            1,
            f"WARNING: something\n{HEAD} 500 Internal Server Error\n",
            Unpullable("unreachable", "500 Internal Server Error"),
        ),
        (1, f"{HEAD} 429 Too Many Requests", Unpullable("unreachable", "429 Too Many Requests")),
        (1, REFUSED, Unpullable("unreachable", "connection refused")),
        (1, NO_HOST, Unpullable("unreachable", "no such host")),
        (124, CUT, Unpullable("unreachable", "no answer within 15 s")),
        (127, "", Unpullable("unreachable", "exit code 127")),
    ],
)
def test_what_a_registry_answers_tells_missing_from_denied_from_unreachable(
    code: int, said: str, expected: Unpullable
) -> None:
    assert refusal(Result(code, b"", said.encode()), certain=True) == expected


# `docker info` of an engine 28.5 as it comes, and with a proxy, a mirror, a registry over plain HTTP
PLAIN = b"::1/128\n127.0.0.0/8\n\n"


@pytest.mark.parametrize(
    ("ways", "certain"),
    [
        (PLAIN, True),
        (b"http://proxy:3128http://proxy:3128" + PLAIN, False),
        (b"https://mirror.lan/ " + PLAIN, False),
        (PLAIN.strip() + b"\n10.0.0.0/8\n", False),
        (PLAIN.strip() + b"\nregistry.lan:5000\n", False),
    ],
    ids=["as it comes", "proxy", "mirror", "range", "registry"],
)
def test_what_the_login_cannot_reach_an_engine_with_ways_of_its_own_may(ways: bytes, certain: bool) -> None:
    answers = [Result(0, ways), Result(0), Result(1, b"", NO_HOST.encode())]
    assert parse(answers, ["there:1", "x:1"]) == {"x:1": Unpullable("unreachable", "no such host", certain)}


def test_each_image_is_asked_for_by_a_command_of_its_own() -> None:
    made = commands({"a b": False, "c": True})
    assert [command[-2:] for command in made[1:]] == [("a b", "missing"), ("c", "always")]


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        ({"image": "here:1"}, {}),
        ({"image": "gone:1"}, {"gone:1": False}),
        ({"image": "unknown:1"}, {"unknown:1": False}),
        ({"image": "here:1", "pull_policy": "always"}, {"here:1": True}),
        ({"image": "gone:1", "pull_policy": "never"}, {}),
        ({"image": "gone:1", "pull_policy": "build"}, {}),
        ({"image": "gone:1", "build": {"context": "."}}, {}),
        ({"image": "built:1"}, {}),
        ({"build": {"context": "."}}, {}),
    ],
)
def test_what_would_be_pulled(service: Mapping[str, Any], expected: dict[str, bool]) -> None:
    model = Model({"app": service, "other": {"image": "built:1", "build": {"context": "."}}})
    assert to_be_pulled(model, {"here:1": "sha256:1", "gone:1": ""}) == expected
