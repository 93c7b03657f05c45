"""The checks that a stack declares itself (`x-towline.checks`): what is run on the server for them, what is asked, what it means.

What runs on the server runs in the one session of the survey, retries included; what is asked over TCP needs none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import singledispatch
from urllib.parse import quote, urljoin, urlsplit

from towline.catalog import Stack
from towline.checks.finding import About, Finding, listed
from towline.commands import shell
from towline.commands.docker import ONEOFF, PROJECT, SERVICE
from towline.declared import Check, Command, Dns, File, Http, Tcp, Tls
from towline.errors import closest
from towline.facts.probe import Answer, Question
from towline.facts.survey import Survey
from towline.remote.paths import StackPaths
from towline.ssh.session import Result

NOT_RUNNING, NOT_FOUND = 125, 127  # exit codes
TOO_LATE = (124, 143)  # the second is what busybox's timeout gives
RESOLVING = 10.0  # seconds that a name may take
MOST_LINES = 10


@dataclass(frozen=True)
class Where:
    """What a check's questions are made from. routes: router → one question for each of its asks."""

    host: str
    stack: Stack
    survey: Survey
    routes: Mapping[str, Sequence[Question]] = field(default_factory=dict)

    def about(self, check: Check) -> About:
        return About(f"stack.{self.stack.name}.check", self.host, self.stack.name, getattr(check, "service", ""))

    def address(self, name: str) -> str:
        """Where the host reaches it: a service of the stack at its container, '' when that has none; any other name is itself."""
        if name not in {service.name for service in self.stack.services}:
            return name
        containers = self.survey.of(self.stack.project, name)
        return next((one.address for one in containers if one.running and one.address), "")

    def server_name(self, check: Tls) -> str:
        """The name that its certificate must be for, '' for any."""
        return check.server_name or ("" if check.host in {one.name for one in self.stack.services} else check.host)


# --------------------------------------------------------------------------------------------- run on the server

# $1 times, $2 pause, $3 the exit code that is right, $4 what the output must have in it
_TRY = """
times=$1 pause=$2 right=$3 has=$4
shift 4
while :; do
    out=$("$@" 2>&1)
    code=$?
    if [ "$code" = "$right" ]; then case $out in *"$has"*) break ;; esac; fi
    [ "$times" -gt 0 ] || break
    times=$((times - 1))
    sleep "$pause"
done
printf '%s\\n' "$out"
exit "$code"
"""

_IN_LIVE = """
cd "$1" 2>/dev/null || :
shift
exec "$@"
"""

_IN_SERVICE = f"""
id=$(docker ps --quiet --filter "label={PROJECT}=$1" --filter "label={SERVICE}=$2" --filter label={ONEOFF}=False | head -n 1)
[ -n "$id" ] || exit {NOT_RUNNING}
shift 2
exec docker exec "$id" "$@"
"""

# $1 the live folder, $2 a path or a pattern: mode, owner, bytes, age and name of the newest that it matches
_NEWEST = """
case $2 in /*) ;; *) cd "$1" 2>/dev/null || exit 2 ;; esac
IFS=
newest=
for one in $2; do
    [ -e "$one" ] || [ -L "$one" ] || continue
    if [ -z "$newest" ] || [ "$one" -nt "$newest" ]; then newest=$one; fi
done
[ -n "$newest" ] || exit 2
stat -c "%a %U %s $(($(date +%s) - $(stat -c %Y -- "$newest"))) %n" -- "$newest"
"""


@singledispatch
def command(_check: Check, _stack: Stack, _root: str) -> shell.Command | None:
    """What is run on the server for a check; None: nothing, it is asked over TCP."""
    return None


@command.register
def _(check: Command, stack: Stack, root: str) -> shell.Command:
    if check.service:
        words = shell.script(_IN_SERVICE, stack.project, check.service, *check.words)
    else:
        words = shell.script(_IN_LIVE, StackPaths(root, stack.name).live, *check.words)
    return _tried(check, shell.limited(check.timeout, words), str(check.exit_code), check.contains)


@command.register
def _(check: File, stack: Stack, root: str) -> shell.Command:
    return _tried(
        check, shell.script(_NEWEST, StackPaths(root, stack.name).live, check.path), "0" if check.exists else "2"
    )


@command.register
def _(check: Dns, _stack: Stack, _root: str) -> shell.Command:
    return _tried(check, shell.limited(RESOLVING, ("getent", "ahosts", check.host)), "0", check.address)


def _tried(check: Check, words: shell.Command, right: str, has: str = "") -> shell.Command:
    return shell.script(_TRY, str(check.retry.times), f"{check.retry.pause:g}", right, has, *words)


def judge_command(check: Check, where: Where, result: Result) -> Finding:
    """The finding out of what `command` answered."""
    about = where.about(check)
    if isinstance(check, File):
        return _judge_file(about, check, result)
    if isinstance(check, Dns):
        return _judge_dns(about, check, result)
    return _judge_output(about, check, result) if isinstance(check, Command) else about.skip(check.name, "not asked")


def _judge_output(about: About, check: Command, result: Result) -> Finding:
    if check.service and result.code == NOT_RUNNING:
        return about.skip(check.name, f"{check.service} does not run")
    said = _tail(result.out)
    if result.code != check.exit_code:
        late = f"did not end within {check.timeout:g} s" if result.code in TOO_LATE else f"ended with {result.code}"
        return about.fail(check.name, f"the command {late}, expected {check.exit_code}", said)
    if check.contains and check.contains not in result.out:
        return about.fail(check.name, f"the command does not say {check.contains!r}", said)
    return about.ok(check.name, "the command does what it should", said)


def _tail(text: str) -> str:
    lines = text.strip().splitlines()
    return listed(lines[-MOST_LINES:])


def _judge_dns(about: About, check: Dns, result: Result) -> Finding:
    if result.code == NOT_FOUND:
        return about.skip(check.name, "the server has no getent to resolve names with")
    addresses = list(dict.fromkeys(line.split()[0] for line in result.out.splitlines() if line.strip()))
    if result.code or not addresses:
        return about.fail(check.name, f"the server does not resolve {check.host}", hint="see `getent ahosts` there")
    if check.address and check.address not in addresses:
        return about.fail(check.name, f"{check.host} is not {check.address}", ", ".join(addresses))
    return about.ok(check.name, f"the server resolves {check.host}", ", ".join(addresses))


def _judge_file(about: About, check: File, result: Result) -> Finding:
    there = result.code == 0
    if there != check.exists:
        sentence = f"{check.path} does not exist" if check.exists else f"{check.path} exists, and should not"
        return about.fail(check.name, sentence, "" if check.exists else result.out.strip())
    if not there:
        return about.ok(check.name, f"{check.path} does not exist, as it should")
    mode, owner, size, age, path = [*result.out.strip().split(" ", 4), *[""] * 5][:5]
    evidence = f"{path}: mode {mode}, owner {owner}, {size} bytes, changed {_age(float(age))} ago"
    wrong = _wrong_file(check, mode, owner, int(size), float(age))
    return (
        about.fail(check.name, f"{path} {wrong}", evidence)
        if wrong
        else about.ok(check.name, f"{path} is as it should be", evidence)
    )


def _wrong_file(check: File, mode: str, owner: str, size: int, age: float) -> str:
    if check.mode and mode != check.mode:
        return f"has mode {mode}, expected {check.mode}"
    if check.owner and owner != check.owner:
        return f"is {owner}'s, expected {check.owner}"
    if check.max_age and age > check.max_age:
        return f"was changed {_age(age)} ago, expected at most {_age(check.max_age)}"
    return f"has {size} bytes, expected at least {check.min_bytes}" if size < check.min_bytes else ""


def _age(seconds: float) -> str:
    """
    >>> _age(90), _age(7200), _age(200000)
    ('2 min', '2.0 h', '2.3 days')
    """
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 86400 * 2 else f"{seconds / 86400:.1f} days"


# ------------------------------------------------------------------------------------------------ asked over TCP


def questions(check: Check, where: Where) -> tuple[Question, ...]:
    """What is asked for a check; nothing when its service has no container to ask, or no route has the path."""
    if isinstance(check, Tcp):
        found = [(where.address(check.host), Question("", check.port, http=False))]
    elif isinstance(check, Tls):
        found = [(where.address(check.host), Question("", check.port, where.server_name(check), tls=True, http=False))]
    elif isinstance(check, Http) and check.url.startswith("/"):
        return tuple(_on_path(one, check.url) for one in _routes(check, where))
    elif isinstance(check, Http):
        found = [_of_url(check.url, where)]
    else:
        return ()
    return tuple(_at(address, question) for address, question in found if address)


def _at(address: str, question: Question) -> Question:
    return Question(address, question.port, question.name, question.tls, question.http, path=question.path)


def _routes(check: Http, where: Where) -> list[Question]:
    return [one for router, asked in where.routes.items() if check.route in ("", router) for one in asked]


def _on_path(one: Question, path: str) -> Question:
    return Question(one.address, one.port, one.name, one.tls, path=path, headers=one.headers)


def _of_url(url: str, where: Where) -> tuple[str, Question]:
    parts = urlsplit(url)
    tls = parts.scheme == "https"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    name = parts.hostname or ""
    return where.address(name), Question("", parts.port or (443 if tls else 80), name, tls, path=path)


def redirects(answer: Answer) -> bool:
    return answer.status in (301, 302, 303, 307, 308) and bool(answer.headers.get("location"))


def follow(answer: Answer, question: Question, where: Where) -> Question | None:
    """The question that a redirect asks next, None when it cannot be asked; within the same host it stays on the same line."""
    target = quote(answer.headers["location"], safe="%:/?#[]@!$&'()*+,;=~")
    try:
        parts = urlsplit(target)
        scheme = parts.scheme or ("https" if question.tls else "http")
        if not parts.netloc and not parts.scheme:
            return _on_path(question, urljoin(question.path, target).partition("#")[0])
        if scheme not in ("http", "https") or not parts.hostname:
            return None
        address, then = _of_url(parts._replace(scheme=scheme).geturl(), where)
    except ValueError:
        return None
    known = [one for asked in where.routes.values() for one in asked if (one.name, one.tls) == (then.name, then.tls)]
    return _on_path(known[0], then.path) if known else _at(address, then) if address else None


def judge_answers(check: Check, where: Where, answers: Sequence[tuple[Question, Answer]]) -> Finding:
    """The finding out of the answers to `questions`."""
    about = where.about(check)
    if not answers:
        return _unasked(about, check, where)
    now = where.survey.host.now
    wrong = [(question, why) for question, answer in answers if (why := _wrong_answer(check, question, answer, now))]
    seen = listed([_seen(question, answer) for question, answer in answers])
    if wrong:
        return about.fail(check.name, f"{_subject(wrong[0][0])}: {wrong[0][1]}", seen)
    return about.ok(check.name, _holds(check), seen)


def _unasked(about: About, check: Check, where: Where) -> Finding:
    if not (isinstance(check, Http) and check.url.startswith("/")):
        return about.skip(check.name, "its service does not run")
    if not where.routes:
        hint = "a whole URL, such as http://web:8080/, is asked without a route"
        return about.fail(check.name, f"no Traefik serves a route of {about.stack} to ask {check.url} of", hint=hint)
    if check.route and check.route not in where.routes:
        return about.fail(check.name, f"there is no route {check.route!r}; {closest(check.route, where.routes)}")
    return about.skip(check.name, "no request to its route could be asked")


def _subject(question: Question) -> str:
    return f"{question.name or question.shown}{question.path if question.http else ''}"


def _seen(question: Question, answer: Answer) -> str:
    what = answer.problem or (f"{answer.status}" if question.http else "open")
    return f"{_subject(question)} at {question.shown}: {what} in {answer.seconds:.3f} s"


def _holds(check: Check) -> str:
    return {"Http": "it answers as it should", "Tcp": "it listens", "Tls": "its certificate is good"}[
        type(check).__name__
    ]


def _wrong_answer(check: Check, question: Question, answer: Answer, now: float) -> str:
    if answer.problem:
        return answer.problem
    if isinstance(check, Tls):
        return _wrong_certificate(check, answer, question.name, now)
    return _wrong_http(check, answer) if isinstance(check, Http) and question.http else ""


def _wrong_certificate(check: Tls, answer: Answer, name: str, now: float) -> str:
    served = answer.certificate
    if served is None:
        return "no certificate is served"
    days = served.days_left(now)
    if days < check.min_days:
        return "its certificate has expired" if days <= 0 else f"its certificate is good for {days:.0f} days only"
    return "" if not name or served.covers(name) else f"its certificate is for {', '.join(served.names) or 'no name'}"


def _wrong_http(check: Http, answer: Answer) -> str:
    if check.status and answer.status not in check.status:
        return f"status {answer.status}, expected {' or '.join(map(str, check.status))}"
    if not check.status and answer.status >= 400:
        return f"status {answer.status}"
    if check.contains and check.contains not in answer.text:
        return f"{check.contains!r} is not in the answer"
    for name, value in check.header.items():
        if value not in answer.headers.get(name.lower(), ""):
            return f"header {name} is {answer.headers.get(name.lower(), 'not there')!r}, expected {value!r}"
    slow = check.max_seconds and answer.seconds > check.max_seconds
    return f"it took {answer.seconds:.2f} s, expected at most {check.max_seconds:g}" if slow else ""
