"""A report as a small server gives it, about seventy findings, and one whose texts would break a careless report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

from towline.checks.finding import Finding, Report, Result

AT = datetime(2026, 3, 14, 6, 25, 7, tzinfo=UTC)
SERVICE_CHECKS = {
    "count": "{service}: 1 of 1 container runs",
    "running": "{service} runs",
    "healthy": "{service} is healthy",
    "restarts": "{service} has not restarted",
    "memory": "{service} was never ended for want of memory",
    "image": "{service} runs the release's image",
    "configuration": "{service} runs as its compose file says",
    "mounts": "{service} sees the files of the release",
}
STACK_CHECKS = {
    "deployed": "{stack} is deployed",
    "release": "{stack} runs the working tree's release",
    "files": "the live files are as released",
    "networks": "its networks exist",
    "volumes": "its volumes exist",
    "orphans": "no container without a service",
}
SERVICES = {"traefik": ("traefik",), "guestbook": ("web", "backend", "db"), "whoami": ("whoami",)}
ROUTES = {"traefik": "dashboard", "guestbook": "guestbook", "whoami": "whoami"}
LOG = """\
exit code 1 from: python app.py health
redis.exceptions.ConnectionError: Error 111 connecting to db:6379. Connection refused.
  File "/app/store.py", line 31, in connect
    return self._pool.get_connection()
  File "/app/app.py", line 88, in health
    store.ping()
failing for 00:04:12, 26 times in a row
last healthy 2026-03-14 06:20:55 UTC"""
CHANGED = {
    "host.disk./var/lib/docker": (
        "warn",
        "/var/lib/docker is 87 % full: 5.1 GB of 40 GB left",
        "/dev/vda1  ext4  40G  34.9G  5.1G  87%  /\ninodes 21 %",
        "`docker system prune` would free 3.2 GB; a deploy of guestbook needs 1.1 GB",
    ),
    "stack.guestbook.service.backend.healthy": (
        "fail",
        "backend is unhealthy for 4 minutes",
        LOG,
        "look at it: inv logs --stack=guestbook --service=backend",
    ),
    "stack.guestbook.files": (
        "fail",
        "1 live file is not as released",
        "~ config/redis.conf  changed there 2026-03-13 22:41 UTC, by root",
        "`inv deploy --stack=guestbook` puts it back, and keeps yours beside it",
    ),
    "stack.guestbook.service.db.restarts": (
        "warn",
        "db restarted 3 times in the last hour",
        "06:02:11  exit 137\n06:11:40  exit 137\n06:20:52  exit 137",
        "give it more memory: it was ended with SIGKILL each time",
    ),
    "stack.traefik.route.dashboard.certificate": (
        "skip",
        "the certificate of the dashboard's route was not looked at",
        "no TLS on this entry point",
        "",
    ),
    "stack.whoami.route.whoami.certificate": (
        "skip",
        "the certificate of whoami.localhost was not looked at",
        "no TLS on this entry point",
        "",
    ),
    "stack.whoami.route.whoami.name": (
        "waived",
        "whoami.example.org does not resolve",
        "NXDOMAIN from 127.0.0.53",
        "waived until 2026-06-30: the domain moves to the new registrar",
    ),
    "stack.whoami.release": (
        "warn",
        "whoami runs a release that is behind the working tree",
        "live 20260311-174502-9c41e07, tree 20260314-062502-1f08b2c\ncompose.yaml: 2 lines differ",
        "inv plan --stack=whoami --diff",
    ),
}


def report(host: str = "prod") -> Report:
    """72 findings: 2 failed, 3 warned, 1 waived, 2 skipped."""
    return Report(tuple(_changed(finding) for finding in _all(host)), 0.94)


def two_hosts() -> Report:
    backup = tuple(replace(finding, host="backup") for finding in _host("backup"))
    return Report((*report().findings, *backup), 1.31)


def healthy() -> Report:
    return Report(tuple(_all("prod")), 0.88)


def one(result: Result = "pass", name: str = "stack.web.service.app.running", **texts: str) -> Finding:
    """A finding of the service app."""
    fields = {"host": "prod", "stack": "web", "service": "app", "sentence": f"app: {result}"} | texts
    return Finding(name, result=result, **fields)


HOSTILE = "</script><script>document.title='taken'</script><img src=x onerror=alert(1)>\"'`&amp;{{ 7*7 }}{% raw %}]]>"
CONTROLS = "\x1b[31mred\x1b[0m nul \x00 bell \x07 csi \x9b1m \ufffe half \udc80 \x1b]0;title\x07end\r\nnext\rlast"


def hostile() -> Report:
    """Every text of every finding tries to be more than text."""
    named = (f"{result}.</title>{HOSTILE}" for result in ("fail", "warn", "waived", "skip", "pass"))
    texts = {"host": "<b>h</b>\x1b[1m", "stack": f"s&{HOSTILE}", "service": "<i>\x00", "sentence": HOSTILE}
    return Report(
        tuple(
            one(result, name, **texts, evidence=f"{HOSTILE}\n{CONTROLS}", hint=HOSTILE + CONTROLS)
            for name, result in zip(named, ("fail", "warn", "waived", "skip", "pass"), strict=True)
        ),
        0.1,
    )


def _all(host: str) -> Iterator[Finding]:
    yield from _host(host)
    for stack in SERVICES:
        yield from _stack(host, stack)


def _host(host: str) -> Iterator[Finding]:
    for name, sentence, evidence in (
        ("host.reachable", f"{host} answers", "OpenSSH_9.2p1 Debian-2+deb12u7"),
        ("host.disk./", "/ has room", "/dev/vda1  ext4  40G  12.0G  28.0G  30%  /"),
        ("host.disk./var/lib/docker", "/var/lib/docker has room", ""),
        ("host.memory", "memory is free", "available 2.1 GB of 3.8 GB, no swap used"),
        ("host.load", "the load is low", "0.21 0.18 0.11 on 2 cores"),
        ("host.clock", "the clock agrees with ours", "0.02 s behind"),
        ("host.reboot", "no reboot is pending", ""),
        ("host.sessions", "sshd lets towline work", "MaxSessions 2, MaxStartups 3:50:6; towline uses 1"),
        ("host.docker", "the login may use Docker", "deploy, in group docker"),
        ("engine.running", "the engine runs", ""),
        ("engine.version", "the engine is recent enough", "engine 28.5.2, compose 2.40.3"),
        ("engine.storage", "the storage driver is overlay2", ""),
        ("engine.logs", "every container's log is rotated", "json-file, max-size 10m, max-file 3"),
    ):
        yield Finding(name, host, "", "", "pass", sentence, evidence)


def _stack(host: str, stack: str) -> Iterator[Finding]:
    for check, sentence in STACK_CHECKS.items():
        yield Finding(f"stack.{stack}.{check}", host, stack, "", "pass", sentence.format(stack=stack))
    for service in SERVICES[stack]:
        checks = list(SERVICE_CHECKS.items())[: 8 if service in SERVICES[stack][:1] else 4]
        for check, sentence in checks:
            name = f"stack.{stack}.service.{service}.{check}"
            yield Finding(name, host, stack, service, "pass", sentence.format(service=service), "as it should be")
    yield from _route(host, stack, ROUTES[stack])


def _route(host: str, stack: str, route: str) -> Iterator[Finding]:
    service = SERVICES[stack][0]
    for check, sentence, evidence in (
        ("answers", f"{route}.localhost answers", f"GET http://{route}.localhost/ → 200 in 4 ms, from the server"),
        ("certificate", f"{route}.localhost's certificate is valid", "CN=guestbook.localhost, R11, 61 days left"),
        ("name", f"{route}.localhost resolves", "127.0.0.1"),
    ):
        yield Finding(f"stack.{stack}.route.{route}.{check}", host, stack, service, "pass", sentence, evidence)


def _changed(finding: Finding) -> Finding:
    if finding.id not in CHANGED:
        return finding
    result, sentence, evidence, hint = CHANGED[finding.id]
    return replace(finding, result=result, sentence=sentence, evidence=evidence, hint=hint)
