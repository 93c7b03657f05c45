"""The progress view of a deploy: a line per step with its seconds, the live output of the step that runs, and the outcome."""

from __future__ import annotations

import sys
from collections.abc import Callable

from rich.markup import escape
from rich.status import Status

from towline.deploy.events import Event
from towline.deploy.planning.comparison import ServicePlan
from towline.deploy.planning.plan import Plan
from towline.deploy.runner import Outcome
from towline.deploy.upload import Upload
from towline.engines.steps import RELEASE_ZERO
from towline.report.console import console
from towline.report.diffs import Diffs, file_lines, text_lines
from towline.text.amounts import comma_list, count_text, size_text
from towline.text.printable import one_line

TAIL = 15  # lines of output shown of a step that failed
MARKS = {"done": "[green]✓[/]", "failed": "[red]✗[/]", "cancelled": "[yellow]■[/]", "overdue": "[red]✗[/]"}
LEAST_DOWNTIME = 0.05  # seconds; shorter counts as none
LONG_DOWNTIME = 5  # seconds from which the cheaper strategies are named


def running_lines(plan: Plan) -> list[str]:
    """What runs without a release, and that a deploy keeps it."""
    if plan.running is None:
        return []
    origin = plan.running.origin
    names = [file.removeprefix(f"{origin.folder}/") for file in origin.files]
    started = f"from {origin.folder} by {comma_list(names)}" if names else "and its containers do not tell from where"
    if plan.running.kept:
        back = f"`inv rollback --stack={plan.stack} --to={RELEASE_ZERO}` goes back to it"
        return [f"ran before towline, {started}; an interrupted deploy has kept it as release {RELEASE_ZERO}: {back}"]
    containers = count_text(len(plan.running.containers), "container")
    back = f"kept as release {RELEASE_ZERO}: `inv rollback --stack={plan.stack} --to={RELEASE_ZERO}` goes back to it"
    return [f"runs already, not deployed by towline, {started}: {containers}", back]


def service_lines(plan: Plan) -> list[str]:
    """A line per service that something happens to, and one for those that nothing does."""
    width = max((len(service.name) for service in plan.services), default=0)
    changing = [service for service in plan.services if service.action != "unchanged"]
    lines = [f"{service.name:<{width}}  {service.action}" + _reasons(service) for service in changing]
    same = _unchanged(plan)
    return lines + ([f"unchanged: {', '.join(same)}"] if same and plan.previous else [])


def _unchanged(plan: Plan) -> list[str]:
    return [service.name for service in plan.services if service.action == "unchanged"]


def addition_lines(plan: Plan) -> list[str]:
    """What is not on the host yet: images to pull, networks and volumes to create."""
    new = plan.additions
    created = [*(f"network {name}" for name in new.networks), *(f"volume {name}" for name in new.volumes)]
    kinds = {"pull": new.images, "create": created}
    return [f"{kind}: {', '.join(names)}" for kind, names in kinds.items() if names]


def _called(release: str) -> str:
    return "what ran before" if release == RELEASE_ZERO else release


def _reasons(service: ServicePlan) -> str:
    return f" ({'; '.join(service.reasons)})" if service.reasons else ""


def cheaper_strategies(plan: Plan, outcome: Outcome) -> str:
    """The downtime that `update` would have cost, and that `rolling` costs none where it can be done."""
    alone = sorted(_unchanged(plan))
    kept = ("unchanged", "reload", "remove")
    changing = {service.name for service in plan.services if service.action not in kept}
    longest = max((seconds for name, seconds in outcome.downtime.items() if name in changing), default=0.0)
    spared = f", none for {', '.join(alone)}" if alone else ""
    return f"`strategy: update` would have cost about {longest:.1f} s{spared}; `rolling` none where it can be done"


ENGINE = {  # what the states of the event `engine` mean
    "away": "the Docker Engine does not answer; waiting for it, {seconds} s at most",
    "gone": "the Docker Engine has not answered for {seconds} s",
    "back": "the Docker Engine answers again; the step is repeated",
}


class DeployView:
    """Prints to stderr: on a terminal with a live line, else plain lines. `redact` blots secrets out of all that is shown."""

    def __init__(self, redact: Callable[[str], str], *, verbose: bool = False, yes: bool = False) -> None:
        self._yes = yes
        self.console = console(stderr=True, soft_wrap=True)
        self._redact = redact
        self._verbose = verbose
        self._status: Status | None = None
        self._output = bytearray()
        self._partial = b""  # the output's last line, as far as it came
        self._step, self._step_start, self._step_output = "", 0.0, 0
        self._failed = (0, 0)  # where in the output that of the failed step begins and ends
        self._restoring = False

    def __enter__(self) -> DeployView:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # the interface of runner.ProgressView ----------------------------------------------------------------------------

    def planned(self, plan: Plan) -> None:
        changes = plan.changes
        kinds = {"added": changes.added, "changed": changes.changed, "removed": changes.removed}
        counts = ", ".join(f"{len(entries)} {kind}" for kind, entries in kinds.items() if entries)
        files = f"files: {counts}" if changes else "files unchanged"
        if plan.strategy == "rollback":
            files = "files of that release"
        took = f" ({plan.last_seconds:.1f} s)" if plan.last_seconds else ""
        before = f"live: {plan.previous}{took}" if plan.previous not in ("", RELEASE_ZERO) else "first deploy"
        self._say(
            f"[bold]{escape(plan.stack)}[/] · {plan.strategy} · release {escape(plan.release)} · {escape(before)} · {files}"
        )
        for line in (*running_lines(plan), *service_lines(plan), *addition_lines(plan), *plan.notes):
            self._say(f"  {escape(self._redact(line))}")
        for drift in plan.drift:
            subject = f"{drift.service}: " if drift.service else ""
            self._say(f"  [yellow]≠[/] {escape(self._redact(f'{subject}{drift.sentence}'))}")
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

    def confirm(self, plan: Plan) -> bool:
        """Whether the person takes the risks; True without a terminal or with --yes: then they have only been shown."""
        if self._yes or sys.stdin is None or not sys.stdin.isatty():
            return True
        question = f"  {escape(plan.stack)}: go on all the same? [y/N] "
        try:
            return self.console.input(question).strip().lower() in ("y", "yes")
        except (EOFError, UnicodeDecodeError):
            return False

    def uploaded(self, plan: Plan, upload: Upload) -> None:
        what = f"{count_text(len(plan.uploads), 'file')}, {size_text(upload.size)}"
        self._say(f"  {MARKS['done']} {'upload':<10} {upload.seconds:6.1f} s  {what}")

    def event(self, event: Event) -> None:
        show = getattr(self, f"_on_{event.name}", None)
        if show:
            show(event)

    def output(self, text: bytes) -> None:
        self._output += text
        *lines, self._partial = (self._partial + text).split(b"\n")
        for line in lines:
            for part in self._redact(line.decode(errors="replace")).splitlines():
                self._output_line(part.rstrip())

    def note(self, text: str) -> None:
        self._say(f"  [yellow]![/] {escape(self._redact(text))}")

    def cancelling(self) -> None:
        self.note("cancelling and restoring what ran before; Ctrl-C again leaves that to the server")

    def ended(self, plan: Plan, outcome: Outcome) -> None:
        self.close()
        if outcome.result == "deployed":
            took = outcome.events[-1].at - outcome.events[0].at if outcome.events else 0.0
            down = ", ".join(
                f"{name} {seconds:.1f} s" for name, seconds in outcome.downtime.items() if seconds >= LEAST_DOWNTIME
            )
            self._say(f"  {_verdict(plan, outcome)}, {took:.1f} s" + (f"; down: {escape(down)}" if down else ""))
            for line in untold_lines(outcome):
                self._say(f"  {escape(line)}")
            if plan.strategy == "recreate" and max(outcome.downtime.values(), default=0) > LONG_DOWNTIME:
                self._say(f"  {escape(cheaper_strategies(plan, outcome))}")
        elif not (outcome.cancelled or outcome.named("unhealthy") or self._verbose):
            output = bytes(self._output[slice(*self._failed)]).decode(errors="replace")
            filled = [line for line in output.splitlines() if line.strip()][-TAIL * 4 :]
            for line in self._redact("\n".join(filled)).splitlines()[-TAIL:]:
                self._say(f"    [dim]│[/] {escape(line.rstrip())}")

    # events ----------------------------------------------------------------------------------------------------------

    def _on_step(self, event: Event) -> None:
        name, state = event.values["name"], event.values["state"]
        self.close()
        if state == "begin":
            self._step, self._step_start, self._step_output = name, event.at, int(event.number("output"))
            self._status = self.console.status(f"{escape(name)} …", spinner="dots")
            self._status.start()
            return
        if state != "done" and not self._restoring:
            self._failed = (self._step_output, int(event.number("output")))
        shown = f"{name:<10}" if not self._restoring else f"↩ {name:<8}"
        self._say(
            f"  {MARKS.get(state, '?')} {escape(shown)} {event.at - self._step_start:6.1f} s{escape(_failure(event))}"
        )

    def _on_restore(self, event: Event) -> None:
        self._restoring = True
        self.note(f"{event.values['after']} failed: restoring {_called(event.values['release'])}")

    def _on_stale(self, event: Event) -> None:
        self.note(f"{event.values['service']} still saw old content of a mounted file: recreated")

    def _on_rebuild(self, event: Event) -> None:
        self.note(f"the image that was kept for {event.values['service']} is gone; building it again")

    def _on_aside(self, event: Event) -> None:
        self.note(f"{event.values['path']} was changed on the server; kept as {event.values['kept']}")

    def _on_image_gone(self, event: Event) -> None:
        self.note(f"the image that {event.values['service']} ran with is gone, here and in its registry")

    def _on_known(self, event: Event) -> None:
        service, why = event.values["service"], event.values["why"]
        self.note(f"{service} was bad before and this does not change it, so it does not count: {why}")

    def _on_job(self, event: Event) -> None:
        service, seconds, most = (event.values[key] for key in ("service", "seconds", "limit"))
        text = f"{service} is at work, {seconds} s of at most {most} s"
        if self._status and self.console.is_terminal:
            self._status.update(escape(f"{self._step:<10} {text}"))
        else:
            self._say(f"  [dim]· {escape(text)}[/]")

    def _on_cut(self, event: Event) -> None:
        self.note(f"{event.values['service']} was still at work and is cut half-way, after {event.values['seconds']} s")

    def _on_returned(self, event: Event) -> None:
        self.note(f"{event.values['path']}, which was kept as {event.values['kept']}, is back")

    def _on_network(self, event: Event) -> None:
        self.note(f"no stack creates the external network {event.values['name']}: created it")

    def _on_waiting(self, event: Event) -> None:
        self.note(f"waiting for the lock: {event.values['holder']}")

    def _on_engine(self, event: Event) -> None:
        self.note(ENGINE[event.values["state"]].format(seconds=event.values.get("wait", "")))

    def _on_unhealthy(self, event: Event) -> None:
        self._say(f"  {MARKS['failed']} {escape(event.values['service'])}: {escape(self._redact(event.values['why']))}")

    def _on_log(self, event: Event) -> None:
        line = self._redact(event.values["line"])
        self._say(f"    [dim]{escape(event.values['service'])} │[/] {escape(line)}")

    def _on_unreadable(self, event: Event) -> None:
        self.note(f"a line of the runner that is no event: {event.values['line']}")

    # ----------------------------------------------------------------------------------------------------------------

    def _output_line(self, line: str) -> None:
        if not line:
            return
        if self._verbose:
            self._say(f"    [dim]│[/] {escape(line)}")
        elif self._status:
            room = max(20, self.console.width - 20)
            self._status.update(f"{escape(self._step):<10} [dim]{escape(line[:room])}[/]")

    def _say(self, text: str) -> None:
        """One line; text: with our own markup, what is foreign in it escaped."""
        self.console.print(one_line(text))

    def close(self) -> None:
        if self._status:
            self._status.stop()
            self._status = None


def _verdict(plan: Plan, outcome: Outcome) -> str:
    known = list(dict.fromkeys(event.values["service"] for event in outcome.named("known")))
    if known:
        return f"[green]✓ {escape(plan.stack)} runs[/]; as bad as before: {escape(', '.join(known))}"
    return f"[green]✓ {escape(plan.stack)} runs and is healthy[/]"


def untold_lines(outcome: Outcome) -> list[str]:
    """What the end of a good run cannot say for sure."""
    watched: dict[str, list[str]] = {}
    for event in outcome.named("watched"):
        watched.setdefault(event.values["seconds"], []).append(event.values["service"])
    lines = [
        f"{', '.join(names)}: no health check; all that is known is that it did not end within {seconds} s"
        for seconds, names in watched.items()
    ]
    unknown = (event.values["why"] for event in outcome.named("downtime_unknown"))
    return lines + [f"how long services were down is not known: {why}" for why in unknown]


def _failure(event: Event) -> str:
    match event.values:
        case {"state": "failed", "code": code}:
            return f"  exit code {code}"
        case {"state": "overdue"}:
            return "  took too long and was ended"
        case {"state": "cancelled"}:
            return "  cancelled"
    return ""
