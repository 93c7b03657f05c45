"""The HTML report in a real headless Chromium: it agrees with the JSON, and no text of a server can be more than text.

Every test also asserts that the page asked for nothing, logged nothing and broke no rule of its own policy.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.example_report import AT, HOSTILE, hostile, report, two_hosts
from towline.checks.finding import RESULTS, Report
from towline.cli import suite
from towline.report import findings_json, html
from towline.report.groups import total
from towline.text.printable import printable

pytestmark = pytest.mark.xdist_group("browser")

PHONE = {"width": 390, "height": 844}
TEXTS = "h1, .total, dt, dd, .kind, .count, .chip, .shown, .plain, .of, .sentence, .id, .hint, .evidence, footer"
# WCAG 2.2, 1.4.3: those whose text and background are not 4.5 times as light as one another
CONTRAST = """all => all.filter((element) => {
    const channel = (v) => { v /= 255; return v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; };
    const light = (c) => { const [r, g, b] = c.match(/[\\d.]+/g).map(Number).map(channel);
                           return .2126 * r + .7152 * g + .0722 * b; };
    let behind = element;
    while (getComputedStyle(behind).backgroundColor === "rgba(0, 0, 0, 0)") behind = behind.parentElement;
    const [text, paper] = [getComputedStyle(element).color, getComputedStyle(behind).backgroundColor].map(light);
    return (Math.max(text, paper) + .05) / (Math.min(text, paper) + .05) < 4.5;
}).map((element) => element.outerHTML)"""


@dataclass
class Opened:
    """A report opened from its file, and what the browser said of it."""

    page: Any
    url: str
    found: dict[str, Any]
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    @property
    def findings(self) -> list[dict[str, str]]:
        return self.found["findings"]

    def ids(self, **wanted: str) -> set[str]:
        """The ids of those findings in the JSON that have all these values."""
        return {f["id"] for f in self.findings if all(f[key] == value for key, value in wanted.items())}

    def shown(self) -> set[str]:
        """The ids of the findings that can be seen; the page's own count agrees."""
        ids = self.page.locator(".finding:visible").evaluate_all("all => all.map((one) => one.dataset.id)")
        counted = self.page.locator(".shown")
        assert not counted.is_visible() or counted.inner_text() == f"{len(ids)} of {len(self.findings)}"
        return set(ids)

    def finding(self, name: str) -> Any:
        return self.page.locator(f'.finding[data-id="{name}"]')

    def tile(self, key: str) -> Any:
        return self.page.locator(f'.tile[data-stack="{key}"]')

    def chip(self, result: str) -> Any:
        return self.page.locator(f'.chip[data-result="{result}"]')

    def wider_than_the_window(self) -> int:
        return self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


Open = Callable[..., Opened]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A Chromium without a display: the machine's, else the one that its driver may have brought."""
    from playwright.sync_api import Error, sync_playwright

    path, missing = suite.find_browser(), suite.missing_browser()
    with sync_playwright() as playwright:
        try:
            # as root its own sandbox cannot start, and in a container /dev/shm is too small for it
            browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        except Error as error:
            if not missing:
                raise
            pytest.fail(f"Chromium is missing: {'; '.join(missing.lines())} ({error.message.splitlines()[0]})")
        yield browser
        browser.close()


@pytest.fixture
def open_report(browser: Any, tmp_path: Path) -> Iterator[Open]:
    """Opens a report's page; at the end none has asked for anything, or had anything to say."""
    everything: list[Opened] = []

    def opened(found: Report, fragment: str = "", **context: Any) -> Opened:
        file = tmp_path / f"report {len(everything)}.html"
        file.write_text(html.page(found, AT), encoding="utf-8")
        page = browser.new_context(**context).new_page()
        one = Opened(page, file.as_uri() + fragment, json.loads(findings_json.text(found)))
        everything.append(one)
        page.on("console", lambda message: one.said.append(message.text))
        page.on("pageerror", lambda error: one.said.append(str(error)))
        page.on("dialog", lambda dialog: (one.said.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: one.asked.append(request.url))
        page.goto(one.url)
        return one

    yield opened
    for one in everything:
        one.page.context.close()
        assert one.said == []
        assert [url for url in one.asked if not url.startswith("data:")] == [one.url.partition("#")[0]]


@pytest.mark.parametrize("found", [report(), two_hosts(), Report((), 0.0)], ids=["one host", "two hosts", "none"])
def test_counts_agree_with_the_json(open_report: Open, found: Report) -> None:
    one = open_report(found)
    summary = one.found["summary"]
    chips = {result: int(one.chip(result).locator("b").text_content()) for result in RESULTS}
    rows = {result: one.page.locator(f".finding[data-result={result}]").count() for result in RESULTS}
    assert chips == rows == {result: summary[result] for result in RESULTS}
    assert one.page.locator(".total").inner_text() == total(found)
    assert one.shown() == one.ids()


def test_every_tile_tells_its_counts_and_the_worst(open_report: Open) -> None:
    one = open_report(two_hosts())
    places = {(f["host"], f["stack"]) for f in one.findings}
    assert one.page.locator(".tile").count() == len(places) == 5
    for host, stack in places:
        tile = one.tile(f"{host}/{stack}" if stack else host)
        counted = {result: len(one.ids(host=host, stack=stack, result=result)) for result in RESULTS}
        told = {b.get_attribute("data-count"): int(b.inner_text()) for b in tile.locator("[data-count]").all()}
        assert told == {result: count for result, count in counted.items() if count}
        assert tile.get_attribute("data-result") == next(result for result in RESULTS if counted[result])


def test_header_tells_when_and_where(open_report: Open) -> None:
    one = open_report(two_hosts())
    assert one.page.locator("h1").inner_text() == "2 checks failed"
    assert one.page.locator("time").inner_text() == "2026-03-14 06:25:07 UTC"
    assert one.page.locator("dd").first.inner_text() == "prod, backup"
    assert one.page.title().startswith("2 checks failed · prod, backup")


def test_tile_shows_exactly_its_findings_and_again_all(open_report: Open) -> None:
    one = open_report(two_hosts())
    for host, stack in {(f["host"], f["stack"]) for f in one.findings}:
        key = f"{host}/{stack}" if stack else host
        one.tile(key).click()
        shown = one.page.locator(".finding:visible").evaluate_all(
            "all => all.map((one) => [one.closest('section').dataset.stack, one.dataset.id])"
        )
        assert {tuple(pair) for pair in shown} == {(key, name) for name in one.ids(host=host, stack=stack)}
        assert one.tile(key).get_attribute("aria-current") == "true"
        assert one.page.locator("main section:visible").count() == 1
        one.tile(key).click()
        assert one.page.locator(".finding:visible").count() == len(one.findings)


@pytest.mark.parametrize("results", [["fail"], ["fail", "warn"], ["pass", "skip", "waived"], list(RESULTS)])
def test_results_show_exactly_their_findings(open_report: Open, results: list[str]) -> None:
    one = open_report(report())
    for result in results:
        one.chip(result).click()
        assert one.chip(result).get_attribute("aria-pressed") == "true"
    assert one.shown() == set().union(*(one.ids(result=result) for result in results))
    for result in results:
        one.chip(result).click()
    assert one.shown() == one.ids()


def test_filters_narrow_one_another_and_are_undone_together(open_report: Open) -> None:
    one = open_report(report())
    one.tile("prod/guestbook").click()
    one.chip("pass").click()
    assert one.shown() == one.ids(stack="guestbook", result="pass")
    one.page.get_by_role("searchbox").fill("WEB  healthy")
    assert one.shown() == {"stack.guestbook.service.web.healthy"}
    assert one.chip("fail").inner_text().split() == ["failed", "0"]
    one.page.get_by_role("button", name="Show all").click()
    assert one.shown() == one.ids()
    assert one.page.get_by_role("searchbox").input_value() == ""


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("pool.get_connection", "stack.guestbook.service.backend.healthy"),
        ("give it more memory", "stack.guestbook.service.db.restarts"),
        ("the clock agrees", "host.clock"),
        ("engine.version", "engine.version"),
    ],
)
def test_search_looks_into_sentence_id_evidence_and_hint(open_report: Open, text: str, name: str) -> None:
    one = open_report(report())
    one.page.keyboard.press("/")
    one.page.keyboard.type(text)
    assert one.shown() == {name}


def test_search_without_a_match_says_so(open_report: Open) -> None:
    one = open_report(report())
    one.page.get_by_role("searchbox").fill("no such thing")
    assert one.shown() == set()
    assert one.page.get_by_text("No finding matches.").is_visible()


def test_address_carries_the_filters(open_report: Open) -> None:
    one = open_report(report())
    one.tile("prod/guestbook").click()
    one.chip("pass").click()
    one.chip("warn").click()
    one.page.get_by_role("searchbox").fill("db & <")
    one.page.get_by_role("searchbox").fill("db")
    shown = one.shown()
    again = open_report(report(), fragment=f"#{one.page.url.partition('#')[2]}")
    assert again.shown() == shown < again.ids(stack="guestbook")
    assert again.page.get_by_role("searchbox").input_value() == "db"
    again.page.evaluate("location.hash = 'result=fail'")
    again.page.wait_for_function("document.querySelector('.shown').textContent.startsWith('2 ')")
    assert again.shown() == again.ids(result="fail")


@pytest.mark.parametrize("fragment", ["#stack=gone&result=bad", "#%", "#&=&", "#stack=%3Cimg%3E"])
def test_address_that_means_nothing_shows_all(open_report: Open, fragment: str) -> None:
    one = open_report(report(), fragment=fragment)
    assert one.shown() == one.ids()


def test_evidence_and_hint_open_on_click(open_report: Open) -> None:
    one = open_report(report())
    for name in ("stack.guestbook.service.backend.healthy", "host.clock"):
        told = next(f for f in one.findings if f["id"] == name)
        evidence = one.finding(name).locator(".evidence")
        assert not evidence.is_visible()
        one.finding(name).locator("summary").click()
        assert evidence.is_visible()
        assert evidence.text_content() == told["evidence"]
        assert one.finding(name).locator(".hint").all_text_contents() == [told["hint"]] * bool(told["hint"])
        one.finding(name).locator("summary").click()
        assert not evidence.is_visible()


def test_all_can_be_opened_and_closed(open_report: Open) -> None:
    one = open_report(report())
    one.page.get_by_role("button", name="Open all").click()
    assert one.page.locator(".evidence:visible").count() == sum(bool(f["evidence"]) for f in one.findings)
    one.page.get_by_role("button", name="Close all").click()
    assert one.page.locator(".evidence:visible").count() == 0


def test_keyboard_reaches_tiles_filters_and_evidence(open_report: Open) -> None:
    one = open_report(report())
    press = one.page.keyboard.press
    press("Tab")
    press("Enter")
    assert one.shown() == one.ids(stack="guestbook")
    for _ in range(4):  # the other three tiles, then the first result
        press("Tab")
    press("Space")
    assert one.shown() == one.ids(stack="guestbook", result="fail")
    for _ in range(8):  # four results, search, show all, open all, then the first finding
        press("Tab")
    press("Enter")
    assert one.finding("stack.guestbook.files").locator(".evidence").is_visible()


@pytest.mark.parametrize("found", [report(), two_hosts(), hostile()], ids=["one host", "two hosts", "hostile"])
@pytest.mark.parametrize("width", [320, 390, 820])
def test_nothing_is_wider_than_the_window(open_report: Open, found: Report, width: int) -> None:
    one = open_report(found, viewport=PHONE | {"width": width})
    assert one.wider_than_the_window() == 0
    one.page.get_by_role("button", name="Open all").click()
    for chip in one.page.locator(".chip").all():
        chip.click()
    assert one.wider_than_the_window() == 0
    beyond = "all => all.filter((one) => one.getBoundingClientRect().right > innerWidth + 1).length"
    assert one.page.locator("main *, nav *, header *, .filters *").evaluate_all(beyond) == 0


def test_hostile_text_is_text(open_report: Open) -> None:
    one = open_report(hostile())
    one.page.get_by_role("button", name="Open all").click()
    texts = one.page.locator(".finding").evaluate_all(
        "all => all.map((one) => ['.id', '.sentence', '.evidence', '.hint'].map((c) => one.querySelector(c).textContent))"
    )
    for (name, sentence, evidence, hint), told in zip(texts, hostile().findings, strict=True):
        assert name == printable(told.id)
        assert sentence.endswith(f": {HOSTILE}")
        assert evidence == printable(told.evidence)
        assert hint == printable(told.hint)
    assert one.page.locator("script").count() == 1
    assert one.page.locator("img, iframe, object, embed, [onerror], main b i").count() == 0
    assert one.page.title().startswith("1 check failed · <b>h</b>")
    one.page.locator(".tile").click()
    assert len(one.shown()) == 5


def test_policy_lets_no_other_script_style_or_picture_in(open_report: Open) -> None:
    one = open_report(report())
    refused: list[str | None] = []
    one.page.on("requestfailed", lambda request: refused.append(request.failure))
    one.page.evaluate("""() => {
        window.broken = [];
        document.addEventListener("securitypolicyviolation", (event) => window.broken.push(event.effectiveDirective));
        const add = (tag, put) => document.body.append(Object.assign(document.createElement(tag), put));
        add("script", { textContent: "window.taken = true" });
        add("style", { textContent: "h1 { display: none }" });
        add("img", { src: "https://example.org/x.png" });
        add("iframe", { src: "https://example.org/" });
        fetch("https://example.org/").catch(() => 0);
    }""")
    kinds = {"script-src-elem", "style-src-elem", "img-src", "frame-src", "connect-src"}
    one.page.wait_for_function(f"new Set(window.broken).size === {len(kinds)}")
    assert set(one.page.evaluate("window.broken")) == kinds
    assert one.page.evaluate("window.taken") is None
    assert one.page.locator("h1").is_visible()
    assert set(refused) == {"csp"}  # the picture is the one that the browser tells of
    assert len(one.asked) == 1 + len(refused)
    assert all("violates" in line or "Refused" in line for line in one.said)
    one.said.clear()
    del one.asked[1:]


def test_without_scripts_all_is_there_and_evidence_opens(open_report: Open) -> None:
    one = open_report(report(), java_script_enabled=False)
    assert one.page.locator(".finding:visible").count() == len(one.findings)
    assert not one.page.locator(".filters").is_visible()
    evidence = one.finding("stack.guestbook.files").locator(".evidence")
    assert not evidence.is_visible()
    one.finding("stack.guestbook.files").locator("summary").click()
    assert evidence.is_visible()
    one.tile("prod/whoami").click()
    assert one.page.locator("section[data-stack='prod/whoami'] h2").bounding_box()["y"] < 720


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_light_and_dark(open_report: Open, scheme: str) -> None:
    one = open_report(report(), color_scheme=scheme)
    one.page.get_by_role("button", name="Open all").click()
    one.chip("fail").click()
    one.chip("fail").click()
    weak = one.page.locator(f":is({TEXTS}):visible").evaluate_all(CONTRAST)
    assert weak == []
    paper = one.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (int(paper.strip("rgb()").split(",")[0]) > 128) == (scheme == "light")


def test_print_shows_what_is_wrong_with_its_evidence_and_no_controls(open_report: Open) -> None:
    one = open_report(report())
    one.page.emulate_media(media="print")
    assert not one.page.locator(".filters").is_visible()
    assert one.page.locator(".finding:visible").count() == len(one.findings)
    assert one.finding("stack.guestbook.files").locator(".evidence").is_visible()
    assert not one.finding("host.clock").locator(".evidence").is_visible()
    assert one.page.pdf(format="A4").startswith(b"%PDF")
