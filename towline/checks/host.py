"""The machine: room, memory, load, clock, sshd's limits, and the login's right to use Docker."""

from __future__ import annotations

from collections.abc import Iterator

from towline.checks.finding import Finding, Subject
from towline.facts.host import FileSystem, HostFact
from towline.facts.survey import Survey
from towline.project.settings import Host
from towline.text.amounts import size_text

LEAST_FREE, LITTLE_FREE = 0.03, 0.10  # of a file system or of its inodes: fail, warn
LEAST_BYTES = 1 << 30  # no warning while so much is free: a tenth of a large disk is a lot
LEAST_MEMORY, LITTLE_MEMORY = 0.02, 0.08
MOST_LOAD = 4.0  # for each CPU, over five minutes
SKEW, BAD_SKEW = 5.0, 120.0  # seconds; beyond two minutes TOTP codes and short-lived tokens are refused


def check_host(host: Host, survey: Survey) -> Iterator[Finding]:
    """The findings `host.*`."""
    about = Subject("host", host.name)
    machine = survey.host
    yield about.ok("reachable", f"{host.name} takes the login as {machine.user}", host.address)
    yield about.ok("system", "the operating system is known", f"{machine.os or 'unknown'}, kernel {machine.kernel}")
    yield _docker(about, survey)
    yield _memory(about, machine)
    yield _load(about, machine)
    yield _clock(about, survey)
    yield _reboot(about, machine)
    yield _sessions(about, machine, host)
    yield _startups(about, machine)
    for disk in survey.disks:
        yield _disk(about, disk)
        yield _inodes(about, disk)


def _docker(about: Subject, survey: Survey) -> Finding:
    who = survey.host.user
    if survey.engine.socket == "denied":
        hint = f"on the server, as root: usermod -aG docker {who} (it counts from the next login)"
        return about.fail("docker", f"{who} may not use Docker", survey.engine.problem, hint)
    if survey.engine.socket == "none":
        return about.fail("docker", "docker is not installed", hint="install Docker Engine and its compose plugin")
    return about.ok("docker", f"{who} may use Docker")


def _memory(about: Subject, machine: HostFact) -> Finding:
    if not machine.memory:
        return about.skip("memory", "the memory cannot be read")
    share = machine.memory_free / machine.memory
    evidence = f"{size_text(machine.memory_free)} of {size_text(machine.memory)} available"
    if share < LITTLE_MEMORY:
        make = about.fail if share < LEAST_MEMORY else about.warn
        return make("memory", "memory is nearly used up", evidence, "see `docker stats` on the server")
    return about.ok("memory", "memory is available", evidence)


def _load(about: Subject, machine: HostFact) -> Finding:
    evidence = f"{' '.join(f'{load:.2f}' for load in machine.load)} on {machine.cpus} CPUs"
    if machine.load[1] > MOST_LOAD * machine.cpus:
        return about.warn("load", "the load is more than the CPUs can handle", evidence, "see `top` on the server")
    return about.ok("load", "the load is within what the CPUs can handle", evidence)


def _clock(about: Subject, survey: Survey) -> Finding:
    if not survey.host.now:
        return about.skip("clock", "the time cannot be read")
    skew = survey.skew
    if abs(skew) > SKEW:
        make = about.fail if abs(skew) > BAD_SKEW else about.warn
        sentence = f"the server's clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} this machine's"
        return make("clock", sentence, hint="see `timedatectl` on both; one of them is wrong")
    return about.ok("clock", "the server's clock agrees with the local one", f"within {max(abs(skew), 1):.0f} s")


def _reboot(about: Subject, machine: HostFact) -> Finding:
    why = {"yes": "an update asks for a reboot", "kernel": "the running kernel has been removed by an update"}
    if machine.reboot in why:
        return about.warn(
            "reboot", why[machine.reboot], hint="reboot when it suits: stacks with a restart policy come back"
        )
    return about.ok("reboot", "no reboot is due", f"up for {machine.uptime / 86400:.1f} days")


def _sessions(about: Subject, machine: HostFact, host: Host) -> Finding:
    if not machine.max_sessions:
        return about.skip(
            "sshd.sessions", "this login cannot read sshd's settings; `inv test-connectivity` counts them"
        )
    evidence = f"MaxSessions {machine.max_sessions}, towline opens {host.max_sessions} at a time"
    if machine.max_sessions < host.max_sessions:
        hint = f"set hosts.{host.name}.max_sessions to {machine.max_sessions}"
        return about.fail("sshd.sessions", "sshd allows fewer sessions than the settings say", evidence, hint)
    return about.ok("sshd.sessions", "sshd allows the sessions that towline opens", evidence)


def _startups(about: Subject, machine: HostFact) -> Finding:
    if not machine.max_startups:
        return about.skip("sshd.startups", "this login cannot read sshd's settings")
    return about.ok("sshd.startups", "towline needs one login", f"MaxStartups {machine.max_startups}")


def _disk(about: Subject, disk: FileSystem) -> Finding:
    name, share = f"disk.{disk.path}", disk.free / disk.size
    evidence = f"{size_text(disk.free)} of {size_text(disk.size)} free ({share:.0%})"
    if share < LEAST_FREE or (share < LITTLE_FREE and disk.free < LEAST_BYTES):
        make = about.fail if share < LEAST_FREE else about.warn
        return make(
            name, f"the file system of {disk.path} is nearly full", evidence, "see `inv prune` and `docker system df`"
        )
    return about.ok(name, f"the file system of {disk.path} has room", evidence)


def _inodes(about: Subject, disk: FileSystem) -> Finding:
    name = f"inodes.{disk.path}"
    if not disk.inodes:
        return about.skip(name, f"the file system of {disk.path} has no fixed number of inodes")
    share = disk.inodes_free / disk.inodes
    evidence = f"{disk.inodes_free} of {disk.inodes} free ({share:.0%})"
    if share < LITTLE_FREE:
        make = about.fail if share < LEAST_FREE else about.warn
        return make(
            name,
            f"the file system of {disk.path} has nearly no inodes left",
            evidence,
            "many small files: see `du --inodes`",
        )
    return about.ok(name, f"the file system of {disk.path} has inodes", evidence)
