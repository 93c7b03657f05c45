"""Waivers: known failures are shown as such until their day, and fail again after it."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from towline.checks.finding import RESULTS, Finding, Report, Result, Subject, counts, listed, of_result
from towline.checks.waivers import waive
from towline.project.waivers import Waiver

DAY = date(2027, 1, 31)
ABOUT = Subject("stack.web", "prod", "web")
FAIL = ABOUT.fail("certificate.a.pem", "it has expired", "CN=a", "renew it")
WARN = ABOUT.warn("release", "it is behind")
OWN = Waiver("*.certificate.*", "the authority is down", DAY)


def one(finding: Finding, today: date, *waivers: Waiver) -> Finding:
    (found,) = waive([finding], waivers or (OWN,), today)
    return found


@pytest.mark.parametrize("before", [0, 1, 300])
def test_failure_is_waived_up_to_and_with_its_day(before: int) -> None:
    found = one(FAIL, DAY - timedelta(days=before))
    assert (found.result, found.hint) == ("waived", "waived until 2027-01-31: the authority is down")
    assert (found.id, found.sentence, found.evidence) == (FAIL.id, FAIL.sentence, FAIL.evidence)


def test_failure_fails_again_after_the_day_and_says_why() -> None:
    found = one(FAIL, DAY + timedelta(days=1))
    assert found.result == "fail"
    assert found.hint == "renew it; its waiver ended on 2027-01-31: the authority is down"
    bare = one(ABOUT.fail("certificate.x", "bad"), DAY + timedelta(days=1))
    assert bare.hint == "its waiver ended on 2027-01-31: the authority is down"


def test_warning_is_waived_too() -> None:
    assert one(WARN, DAY, Waiver("stack.web.release", "on purpose", DAY)).result == "waived"


@pytest.mark.parametrize("finding", [ABOUT.ok("certificate.a.pem", "good"), ABOUT.skip("certificate.a.pem", "why")])
def test_what_does_not_fail_is_left_as_it_is(finding: Finding) -> None:
    assert one(finding, DAY) == finding


def test_other_findings_are_left_as_they_are() -> None:
    assert one(WARN, DAY) == WARN
    assert one(FAIL, DAY, Waiver("*.CERTIFICATE.*", "case counts", DAY)) == FAIL


def test_of_several_waivers_the_last_day_counts() -> None:
    short, long = Waiver("*", "short", DAY - timedelta(days=9)), Waiver("*", "long", DAY)
    for both in ((short, long), (long, short)):
        assert one(FAIL, DAY, *both).hint == "waived until 2027-01-31: long"


# ---------------------------------------------------------------------------------------------------------- findings


@pytest.mark.parametrize("name", [name for name in RESULTS if name != "waived"])
def test_finding_s_id_begins_with_what_it_is_about(name: Result) -> None:
    make = {"pass": ABOUT.ok, "fail": ABOUT.fail, "warn": ABOUT.warn, "skip": ABOUT.skip}[name]
    found = make("x.y", "a sentence")
    assert found == Finding("stack.web.x.y", "prod", "web", "", name, "a sentence")


def test_counts_have_every_result() -> None:
    assert counts([FAIL, WARN, FAIL]) == {"fail": 2, "warn": 1, "waived": 0, "skip": 0, "pass": 0}
    assert Report((FAIL, WARN), 0.0).count("warn") == 1
    assert of_result([FAIL, WARN], "warn", "skip") == (WARN,)


def test_long_lists_are_cut_and_that_is_said() -> None:
    assert listed(["a", "b"]) == "a\nb"
    assert listed([str(n) for n in range(12)]).endswith("9\nand 2 more")
    assert listed([str(n) for n in range(10)]).endswith("8\n9")
