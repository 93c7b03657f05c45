// Filters over what the page already shows. Their state stands in the address, so that a link can carry it.
"use strict";
(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const one = (selector) => document.querySelector(selector);
  const findings = all(".finding").map((element) => ({
    element,
    result: element.dataset.result,
    stack: element.closest("section").dataset.stack,
    text: element.textContent.toLowerCase(),
  }));
  const sections = all("main section");
  const chips = all(".chip");
  const tiles = all(".tile");
  const search = one("input[type=search]");
  const unfold = one(".unfold");
  const state = { stack: "", results: new Set(), text: "" };

  function read() {
    const asked = new URLSearchParams(location.hash.slice(1));
    const stack = asked.get("stack") ?? "";
    const results = (asked.get("result") ?? "").split(",");
    state.stack = tiles.some((tile) => tile.dataset.stack === stack) ? stack : "";
    state.results = new Set(results.filter((result) => chips.some((chip) => chip.dataset.result === result)));
    state.text = asked.get("text") ?? "";
    search.value = state.text;
  }

  function write() {
    const told = new URLSearchParams();
    if (state.stack) told.set("stack", state.stack);
    if (state.results.size) told.set("result", [...state.results].join(","));
    if (state.text.trim()) told.set("text", state.text);
    history.replaceState(null, "", `#${told}`);
  }

  function show() {
    const words = state.text.toLowerCase().split(/\s+/).filter(Boolean);
    const found = findings.filter(
      ({ stack, text }) => (!state.stack || stack === state.stack) && words.every((word) => text.includes(word)),
    );
    const shown = new Set(found.filter(({ result }) => !state.results.size || state.results.has(result)));
    for (const finding of findings) finding.element.hidden = !shown.has(finding);
    for (const section of sections) section.hidden = !section.querySelector(".finding:not([hidden])");
    for (const chip of chips) {
      const count = found.filter(({ result }) => result === chip.dataset.result).length;
      chip.querySelector("b").textContent = count;
      chip.classList.toggle("empty", !count);
      chip.setAttribute("aria-pressed", state.results.has(chip.dataset.result));
    }
    for (const tile of tiles) {
      if (tile.dataset.stack === state.stack) tile.setAttribute("aria-current", "true");
      else tile.removeAttribute("aria-current");
    }
    one(".shown").textContent = `${shown.size} of ${findings.length}`;
    one(".none").hidden = shown.size > 0 || !findings.length;
    one(".clear").hidden = !(state.stack || state.results.size || words.length);
  }

  function change(changes) {
    Object.assign(state, changes);
    write();
    show();
  }

  function opened(open) {
    for (const details of all(".finding details")) details.open = open;
    unfold.setAttribute("aria-pressed", open);
    unfold.textContent = open ? "Close all" : "Open all";
  }

  for (const tile of tiles) {
    tile.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      change({ stack: state.stack === tile.dataset.stack ? "" : tile.dataset.stack });
    });
  }
  for (const chip of chips) {
    chip.addEventListener("click", () => {
      const results = new Set(state.results);
      if (!results.delete(chip.dataset.result)) results.add(chip.dataset.result);
      change({ results });
    });
  }
  search.addEventListener("input", () => change({ text: search.value }));
  one(".clear").addEventListener("click", () => {
    search.value = "";
    change({ stack: "", results: new Set(), text: "" });
    search.focus();
  });
  unfold.addEventListener("click", () => opened(unfold.getAttribute("aria-pressed") !== "true"));
  addEventListener("hashchange", () => { read(); show(); });
  addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.target === search || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    search.focus();
  });

  one(".filters").hidden = !findings.length;
  read();
  show();
})();
