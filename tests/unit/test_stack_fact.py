"""The state of a stack as state.sh tells it, also where a full disk or a power cut left files empty, cut or full of others."""

from __future__ import annotations

import gzip
import json

import pytest

from towline.bundle.manifest import Manifest
from towline.errors import RemoteFailed
from towline.facts import interrupted, release, stack
from towline.facts.drift import from_rows
from towline.facts.stack import RunFact, StackFact
from towline.ssh.session import Result

STATE = "now\t20260101-000000\nlive\tyes\ncurrent\tr1\nbefore\t-\nlock\tfree\n"
MANIFEST = f"f\t0644\t1\t{'a' * 64}\tcompose.yaml\t\n"
MODEL = '/srv\n{"services": {"web": {}}}'
GOOD = ("r1", "good", "2.5", "4096", "web=1.5", '{"by": "ann"}')


def file(text: str | bytes) -> Result:
    content = text.encode() if isinstance(text, str) else text
    return Result(0, gzip.compress(content) if content else b"")


def fact(state: str = "", manifest: str | bytes = MANIFEST, model: str | bytes = MODEL, head: str = STATE) -> StackFact:
    return stack.parse([Result(0, (head + state).encode(errors="surrogateescape")), file(manifest), file(model)])


def row(*changes: tuple[int, str]) -> str:
    words = list(GOOD)
    for at, word in changes:
        words[at] = word
    return "\t".join(("release", *words)) + "\n"


def test_whole_files_are_read_and_nothing_is_told() -> None:
    found = fact(row())
    (only,) = found.releases
    assert (only.id, only.outcome, only.seconds, only.built, only.downtime) == ("r1", "good", 2.5, 4096, {"web": 1.5})
    assert only.meta == {"by": "ann"}
    assert found.broken == ()


@pytest.mark.parametrize(
    ("at", "text", "file"),
    [
        *((1, text, "outcome") for text in ("", "\ufffd\ufffd", "go od", "x" * 50)),
        *((2, text, "seconds") for text in ("", "x", "nan", "inf", "-1", "1e999", "\ufffd", "1.5\ufffd")),
        *((3, text, "built") for text in ("", "4k", "--")),
        *((4, text, "downtime") for text in ("web", "web=", "=1.5", "web=x", "web=1.5=2", "a=1 \ufffd", "web=1e400")),
        *((5, text, "meta.json") for text in ('{"by": "an', "[]", "7", "{}}", "[" * 100_000, "\ufffd")),
    ],
)
def test_broken_file_is_told_and_the_release_is_there(at: int, text: str, file: str) -> None:
    found = fact(row((at, text)))
    (only,) = found.releases
    assert only.id == "r1"
    (sentence,) = found.broken
    assert sentence.startswith("release r1: ") and sentence.endswith(f": {file}")
    if at != 1:
        assert only.outcome == "good"


def test_row_that_is_cut_is_a_release_all_the_same() -> None:
    found = fact("release\tr1\nrelease\nrelease\tr2\tgood\t1\t0\t\t\tmore\tthan\tthere\tis\n")
    assert [(each.id, each.outcome) for each in found.releases] == [("r1", "-"), ("r2", "good")]


def test_release_without_meta_is_not_told() -> None:
    assert fact(row((5, ""))).broken == ()


def test_run_without_all_its_words_is_one() -> None:
    assert fact("run\tr1\tcut\n").last_run == RunFact("r1", "cut", "-", "-")


def test_empty_name_of_the_live_release_is_told() -> None:
    found = fact(row(), head=STATE.replace("current\tr1", "current\t"), manifest="", model="")
    assert found.current == ""
    assert ["names the live release is empty or broken" in sentence for sentence in found.broken] == [True]


@pytest.mark.parametrize(
    "text", ["", b"\x7fELF\0\0\xff\xfe", "cut in the mid", "f\t0644\t1\tx\t../up\t\n", b"\0" * 100]
)
def test_broken_manifest_is_told_and_taken_for_none(text: str | bytes) -> None:
    found = fact(row(), manifest=text)
    assert found.manifest is None
    assert ["manifest" in sentence for sentence in found.broken] == [True]
    assert found.model


@pytest.mark.parametrize("text", [b"\x7fELF\0\0\xff\xfe", "/srv\n{", "{}", "/srv\n[]", b"\0", "/srv\n" + "[" * 100_000])
def test_broken_model_is_told_and_taken_for_none(text: str | bytes) -> None:
    found = fact(row(), model=text)
    assert found.model is None
    assert ["model" in sentence for sentence in found.broken] == [True]
    assert found.manifest == Manifest(found.manifest.entries if found.manifest else ())


@pytest.mark.parametrize(
    "content",
    [b"no gzip", gzip.compress(b"x" * 5000)[:40], gzip.compress(b"x")[:-4] + b"oops"],
    ids=["no gzip", "cut", "another checksum"],
)
def test_answer_that_is_cut_on_its_way_is_none(content: bytes) -> None:
    assert release.parse([Result(0, content), Result(0, content)]) == release.ReleaseFiles(broken_model=True)


def test_folder_of_a_person_is_not_the_newest_run() -> None:
    assert fact("newest\tz of a person\n").newest == ""
    assert fact("newest\t20260101-000000-ab\n").newest == "20260101-000000-ab"


@pytest.mark.parametrize("said", ["", "sh: not found\n", "now\tx\n", STATE.replace("20260101-000000", "")])
def test_state_that_is_not_told_is_one_line(said: str) -> None:
    with pytest.raises(RemoteFailed, match=r"state .*could not be read|did not tell the state"):
        stack.parse([Result(127, said.encode(), b"sh: awk: not found"), file(""), file("")])


def test_folders_of_other_people_are_no_interrupted_deploys() -> None:
    result = Result(0, "my files\t2026\tdown\tx\n\nx\nweb\tr1\tup\n\u2028 a\n".encode())
    assert interrupted.parse(result) == [("web", "r1", "up")]


@pytest.mark.parametrize(
    "words", [["edited"], ["edited", "a", "b"], ["hash", "web"], ["stale", "x"], ["kept", "a", "b", "c"], [""]]
)
def test_row_of_drift_with_other_words_is_passed_over(words: list[str]) -> None:
    assert from_rows([words, ["edited", "compose.yaml"]]).edited == ("compose.yaml",)


def test_json_of_meta_may_hold_anything() -> None:
    (only,) = fact(row((5, json.dumps({"by": ["x"], "at": None})))).releases
    assert only.meta == {"by": ["x"], "at": None}
