"""The findings as JSON, as JUnit XML read back by junitparser, and as the page's source."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from datetime import datetime, timedelta, timezone

import pytest
from junitparser import Failure, JUnitXml, Skipped, TestCase

from tests.example_report import AT, HOSTILE, healthy, hostile, one, report, two_hosts
from towline.checks.finding import Report, counts
from towline.report import findings_json, html, junit
from towline.text.printable import printable

REPORTS = [report(), two_hosts(), healthy(), hostile(), Report((), 0.0)]


def parsed(found: Report) -> JUnitXml:
    return JUnitXml.fromstring(junit.xml(found, AT))


def case(result: str, **texts: str) -> TestCase:
    (suite,) = parsed(Report((one(result, **texts),), 0.5))
    (found,) = suite
    return found


# --- text ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x9b31mred", "red"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x07", "link"),
        ("\x1b(Bplain \x1b", "plain �"),
        ("a\r\nb\rc\n\td", "a\nb\nc\n\td"),
        ("nul \x00 del \x7f half \udc80 \ufffe", "nul � del � half � �"),
        ("ümläut 🚢 ⚠️ \u2028", "ümläut 🚢 ⚠️ �"),
        ("\x1b]52;c;aGk=\x07\x1b]0;title\x1b\\\x9d2;c1\x9c\x1b[2J\x1b[Hclear", "clear"),
        ("\x1b]0;no end\nnext", "0;no end\nnext"),
        ("a\u202eb\u2066c\u2069d\u200fe\u061cf\u200bg\ufeffh\u2060i", "a�b�c�d�e�f�g�h�i"),
    ],
)
def test_printable_text(text: str, shown: str) -> None:
    assert printable(text) == shown


# --- JSON ---------------------------------------------------------------------------------------------------------------


def test_json_has_the_shape_of_the_contract() -> None:
    found = Report((one("fail", "a.b", evidence="seen", hint="do"), one("skip"), one("waived")), 0.94321)
    assert json.loads(findings_json.text(found)) == {
        "summary": {"pass": 0, "fail": 1, "warn": 0, "skip": 1, "waived": 1, "seconds": 0.943},
        "findings": [
            {"id": "a.b", "host": "prod", "stack": "web", "service": "app", "result": "fail"}
            | {"sentence": "app: fail", "evidence": "seen", "hint": "do", "because": ""},
            *(findings_json.row(found)["findings"][1:]),
        ],
    }


def test_json_can_be_written_whatever_the_server_said() -> None:
    text = findings_json.text(hostile()).encode().decode()
    assert json.loads(text)["findings"][0]["sentence"] == HOSTILE
    assert "\x1b" in json.loads(text)["findings"][0]["evidence"]


# --- JUnit --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("found", REPORTS)
def test_junit_counts_agree_with_the_findings(found: Report) -> None:
    whole, expected = parsed(found), counts(found.findings)
    cases = [case for suite in whole for case in suite]
    assert whole.tests == len(cases) == len(found.findings)
    assert whole.failures == sum(case.is_failure for case in cases) == expected["fail"]
    assert whole.skipped == sum(case.is_skipped for case in cases) == expected["skip"] + expected["waived"]
    assert whole.errors == 0
    assert sum(case.is_passed for case in cases) == expected["pass"] + expected["warn"]
    assert sorted(case.name for case in cases) == sorted(printable(finding.id) for finding in found.findings)


def test_junit_has_a_suite_per_host_and_stack() -> None:
    suites = {suite.name: (suite.hostname, suite.tests) for suite in parsed(two_hosts())}
    assert suites == {
        "prod": ("prod", 13),
        "prod/traefik": ("prod", 17),
        "prod/guestbook": ("prod", 25),
        "prod/whoami": ("prod", 17),
        "backup": ("backup", 13),
    }


def test_junit_times_add_up_to_the_seconds_of_the_report() -> None:
    whole = parsed(report())
    assert whole.time == pytest.approx(0.94, abs=0.001)
    assert sum(suite.time for suite in whole) == pytest.approx(0.94, abs=0.003)


def test_junit_timestamp_is_utc() -> None:
    at = datetime(2026, 3, 14, 8, 0, tzinfo=timezone(timedelta(hours=2)))
    (suite,) = JUnitXml.fromstring(junit.xml(Report((one(),), 0.1), at))
    assert suite.timestamp == "2026-03-14T06:00:00+00:00"


@pytest.mark.parametrize(
    ("name", "stack", "service", "group"),
    [
        ("host.disk./", "", "", "prod.host"),
        ("engine.version", "", "", "prod.engine"),
        ("stack.web.files", "web", "", "prod.web"),
        ("stack.web.service.app.healthy", "web", "app", "prod.web.app"),
    ],
)
def test_junit_groups_by_host_stack_and_service(name: str, stack: str, service: str, group: str) -> None:
    assert case("pass", name=name, stack=stack, service=service).classname == group


def test_junit_failure_has_sentence_evidence_and_hint() -> None:
    (failure,) = case("fail", sentence="app is down", evidence="exit 1\nexit 2", hint="look at it").result
    assert isinstance(failure, Failure)
    assert (failure.message, failure.text) == ("app is down", "app is down\nexit 1\nexit 2\nhint: look at it")


@pytest.mark.parametrize(
    ("result", "why"), [("skip", "no TLS on this route"), ("waived", "waived until 2026-06-30: moving")]
)
def test_junit_skips_say_why(result: str, why: str) -> None:
    (skipped,) = case(result, evidence="no TLS on this route", hint="waived until 2026-06-30: moving").result
    assert isinstance(skipped, Skipped)
    assert (skipped.message, skipped.type) == (why, result)


def test_junit_warning_passes_and_is_told() -> None:
    warned = case("warn", sentence="disk is filling", evidence="87 %")
    assert warned.is_passed
    assert warned.system_out == "warned: disk is filling\n87 %"


def test_junit_survives_what_xml_forbids() -> None:
    (suite,) = parsed(hostile())
    failed = next(case for case in suite if case.is_failure)
    assert failed.result[0].message == HOSTILE
    assert failed.result[0].text.splitlines()[2] == "red nul � bell � csi  � half � end"


# --- the page's source; what a browser makes of it is tested in one --------------------------------------------------------


@pytest.mark.parametrize("found", REPORTS)
def test_page_can_be_written_and_begins_as_a_document(found: Report) -> None:
    page = html.page(found, AT).encode().decode()
    assert page.startswith("<!doctype html>\n<html lang=")
    assert page.endswith("</html>\n")


def test_page_allows_only_its_own_style_and_script() -> None:
    page = html.page(hostile(), AT)
    for tag, kind in (("style", "style-src"), ("script", "script-src")):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        allowed = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind} 'sha256-{allowed}';" in page
    assert "default-src 'none'" in page
    assert "unsafe" not in page


def test_page_escapes_every_text() -> None:
    page = html.page(hostile(), AT)
    assert page.count("<script") == page.count("</script>") == 1
    assert page.count("</title>") == 1
    assert "<img" not in page
    assert "{{ 7*7 }}" in page


def test_page_links_to_nothing() -> None:
    page = html.page(report(), AT)
    texts = re.sub(r'<link rel="icon" href="data:[^"]*">', "", page)
    assert re.findall(r"""(?:href|src)="(?!#)""", texts) == []
    assert re.findall(r"url\(|@import|https?:", re.sub(r"<pre.*?</pre>", "", texts, flags=re.DOTALL)) == []


@pytest.mark.parametrize(
    ("results", "headline"),
    [
        (("pass", "fail", "warn"), "1 check failed"),
        (("fail", "fail"), "2 checks failed"),
        (("warn", "pass"), "No failures, 1 warning"),
        (("pass", "skip", "waived"), "All is as it should be"),
        ((), "Nothing was checked"),
    ],
)
def test_headline_says_the_worst(results: tuple[str, ...], headline: str) -> None:
    assert html.verdict(Report(tuple(one(result) for result in results), 0.1)) == headline
