"""A deploy as a person watches it: a line per step with its seconds, the live output of the step that runs, and the end."""

from __future__ import annotations

import sys
from collections.abc import Callable

from rich.console import Console
from rich.markup import escape
from rich.status import Status

from towline.deploy.events import Event
from towline.deploy.planning.comparison import ServicePlan
from towline.deploy.planning.plan import Plan
from towline.deploy.runner import Outcome
from towline.report.diffs import Diffs, file_lines, text_lines
from towline.text.amounts import count_text, size_text

TAIL = 15  # lines of output shown of a step that failed
MARKS = {"done": "[green]✓[/]", "failed": "[red]✗[/]", "cancelled": "[yellow]■[/]", "overdue": "[red]✗[/]"}


DOWN = 0.05  # seconds; shorter is none
DEAR = 5  # seconds of downtime from which the other strategies are held beside it


def service_lines(plan: Plan) -> list[str]:
    """A line per service that something happens to, and one for those that nothing does."""
    width = max((len(one.name) for one in plan.services), default=0)
    changing = [one for one in plan.services if one.action != "unchanged"]
    lines = [f"{one.name:<{width}}  {one.action}" + _reasons(one) for one in changing]
    same = [one.name for one in plan.services if one.action == "unchanged"]
    return lines + ([f"unchanged: {', '.join(same)}"] if same and plan.previous else [])


def addition_lines(plan: Plan) -> list[str]:
    """What is not on the host yet: images to pull, networks and volumes to create."""
    more = plan.additions
    created = [*(f"network {name}" for name in more.networks), *(f"volume {name}" for name in more.volumes)]
    kinds = {"pull": more.images, "create": created}
    return [f"{kind}: {', '.join(names)}" for kind, names in kinds.items() if names]


def _reasons(service: ServicePlan) -> str:
    return f" ({'; '.join(service.reasons)})" if service.reasons else ""


def cheaper(plan: Plan, outcome: Outcome) -> str:
    """What `update` would have left alone, and that `rolling` would have cost nothing where it can be done."""
    alone = sorted(one.name for one in plan.services if one.action == "unchanged")
    changing = {one.name for one in plan.services if one.action not in ("unchanged", "reload", "remove")}
    longest = max((seconds for name, seconds in outcome.downtime.items() if name in changing), default=0.0)
    spared = f", none for {', '.join(alone)}" if alone else ""
    return f"`strategy: update` would have cost about {longest:.1f} s{spared}; `rolling` none where it can be done"


class DeployView:
    """Prints to stderr: on a terminal with a live line, else plain lines. `redact` blots secrets out of all that is shown."""

    def __init__(self, redact: Callable[[str], str], *, verbose: bool = False, yes: bool = False) -> None:
        self._yes = yes
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._redact = redact
        self._verbose = verbose
        self._status: Status | None = None
        self._all = bytearray()
        self._partial = b""
        self._from = 0
        self._step = ""
        self._begun = 0.0
        self._undoing = False

    def __enter__(self) -> DeployView:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # what run.Watch asks for ---------------------------------------------------------------------------------------

    def planned(self, plan: Plan) -> None:
        changes = plan.changes
        kinds = {"added": changes.added, "changed": changes.changed, "removed": changes.removed}
        counts = ", ".join(f"{len(entries)} {kind}" for kind, entries in kinds.items() if entries)
        files = f"files: {counts}" if changes else "files as they are there"
        if plan.strategy == "rollback":
            files = "files as that release has them"
        took = f" ({plan.last_seconds:.1f} s)" if plan.last_seconds else ""
        before = f"live: {plan.previous}{took}" if plan.previous else "first deploy"
        self._say(f"[bold]{escape(plan.stack)}[/] · {plan.strategy} · release {plan.release} · {before} · {files}")
        for line in (*service_lines(plan), *addition_lines(plan), *plan.notes):
            self._say(f"  {escape(self._redact(line))}")
        for drift in plan.drift:
            whose = f"{drift.service}: " if drift.service else ""
            self._say(f"  [yellow]≠[/] {escape(self._redact(f'{whose}{drift.sentence}'))}")
        for risk in plan.risks:
            self._say(
                f"  [{'red' if risk.stops else 'yellow'}]![/] {escape(self._redact(f'{risk.name}: {risk.sentence}'))}"
            )

    def details(self, plan: Plan, diffs: Diffs, *, redact: Callable[[str], str], diff: bool) -> None:
        """The files of a plan, with `diff` the text that changed, and the steps; `redact` knows the secrets of both texts."""
        for line in file_lines(plan.changes, diffs):
            self._say(f"  {escape(line)}")
        for line in text_lines(plan.changes, diffs) if diff else ():
            style = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "")
            shown = escape(redact(line))
            self._say(f"    [{style}]{shown}[/]" if style else f"    {shown}")
        if not plan.empty:
            self._say(f"  steps: {escape(', '.join(step.name for step in plan.steps))}")

    def agreed(self, plan: Plan) -> bool:
        """The person's answer; without a terminal, or with --yes, the risks have been shown and that is all."""
        if self._yes or not sys.stdin.isatty():
            return True
        question = f"  {escape(plan.stack)}: go on all the same? [y/N] "
        return self.console.input(question).strip().lower() in ("y", "yes")

    def sent(self, plan: Plan, size: int, seconds: float) -> None:
        what = f"{count_text(len(plan.send), 'file')}, {size_text(size)}"
        self._say(f"  {MARKS['done']} {'put':<10} {seconds:6.1f} s  {what}")

    def event(self, event: Event) -> None:
        show = getattr(self, f"_on_{event.name}", None)
        if show:
            show(event)

    def output(self, text: bytes) -> None:
        self._all += text
        *lines, self._partial = (self._partial + text).split(b"\n")
        for line in lines:
            self._output_line(self._redact(line.decode(errors="replace").rstrip()))

    def note(self, text: str) -> None:
        self._say(f"  [yellow]![/] {escape(self._redact(text))}")

    def cancelling(self) -> None:
        self.note("cancelling, and putting things back; Ctrl-C again leaves that to the server")

    def ended(self, plan: Plan, outcome: Outcome) -> None:
        self.close()
        if outcome.result == "deployed":
            first, last = outcome.events[0].at, outcome.events[-1].at
            down = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in outcome.downtime.items() if seconds >= DOWN)
            self._say(
                f"  [green]✓ {escape(plan.stack)} runs and is healthy[/], {last - first:.1f} s"
                + (f"; down: {escape(down)}" if down else "")
            )
            if plan.strategy == "recreate" and max(outcome.downtime.values(), default=0) > DEAR:
                self._say(f"  {escape(cheaper(plan, outcome))}")
        elif not (outcome.cancelled or outcome.named("unhealthy") or self._verbose):
            failed = bytes(self._all[slice(*self._failed)]).decode(errors="replace")
            for line in [line for line in failed.splitlines() if line.strip()][-TAIL:]:
                self._say(f"    [dim]│[/] {escape(self._redact(line.rstrip()))}")

    # events ----------------------------------------------------------------------------------------------------------

    _failed = (0, 0)  # where in all output the step that failed stands

    def _on_step(self, event: Event) -> None:
        name, state = event.values["name"], event.values["state"]
        self.close()
        if state == "begin":
            self._step, self._begun = name, event.at
            self._from = int(event.values["output"])
            self._status = self.console.status(f"{name} …", spinner="dots")
            self._status.start()
            return
        if state != "done" and not self._undoing:
            self._failed = (self._from, int(event.values["output"]))
        shown = f"{name:<10}" if not self._undoing else f"↩ {name:<8}"
        self._say(f"  {MARKS[state]} {shown} {event.at - self._begun:6.1f} s" + _why(event))

    def _on_restore(self, event: Event) -> None:
        self._undoing = True
        self.note(f"{event.values['after']} failed: putting back {event.values['release']}")

    def _on_stale(self, event: Event) -> None:
        self.note(f"{event.values['service']} still saw old content of a mounted file: made anew")

    def _on_rebuild(self, event: Event) -> None:
        self.note(f"the image that was kept for {event.values['service']} is gone; building it again")

    def _on_aside(self, event: Event) -> None:
        self.note(f"{event.values['path']} was changed there; kept beside as {event.values['kept']}")

    def _on_network(self, event: Event) -> None:
        self.note(f"no stack creates the external network {event.values['name']}: created it")

    def _on_waiting(self, event: Event) -> None:
        self.note(f"waiting for the lock: {event.values['holder']}")

    def _on_unhealthy(self, event: Event) -> None:
        self._say(f"  {MARKS['failed']} {escape(event.values['service'])}: {escape(event.values['why'])}")

    def _on_log(self, event: Event) -> None:
        line = self._redact(event.values["line"])
        self._say(f"    [dim]{escape(event.values['service'])} │[/] {escape(line)}")

    # ----------------------------------------------------------------------------------------------------------------

    def _output_line(self, line: str) -> None:
        if not line:
            return
        if self._verbose:
            self._say(f"    [dim]│[/] {escape(line)}")
        elif self._status:
            room = max(20, self.console.width - 20)
            self._status.update(f"{self._step:<10} [dim]{escape(line[:room])}[/]")

    def _say(self, text: str) -> None:
        self.console.print(text)

    def close(self) -> None:
        if self._status:
            self._status.stop()
            self._status = None


def _why(event: Event) -> str:
    match event.values:
        case {"state": "failed", "code": code}:
            return f"  exit code {code}"
        case {"state": "overdue"}:
            return "  took too long and was ended"
        case {"state": "cancelled"}:
            return "  cancelled"
    return ""
