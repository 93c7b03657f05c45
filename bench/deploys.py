"""What a deploy costs, as ratios within one run: python bench/deploys.py

Uses a sandbox sshd of its own and the running Docker Engine; the stacks are one idle busybox container and its files.
Prints one line per figure. The figures for facts, plan and upload do not include the engine's own time.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from towline import sandbox
from towline.bundle.working_tree import load_working_tree
from towline.deploy.planning.plan import Options
from towline.deploy.prepare import prepare
from towline.deploy.runner import Outcome, run_plan
from towline.deploy.upload import upload_release
from towline.project.catalog import Catalog, load_catalog
from towline.project.settings import load_settings
from towline.ssh.connection import Connection
from towline.text.amounts import size_text

COMPOSE = 'services: {idle: {image: "busybox:1.37", init: true, command: sleep 3600}}\n'
BIG = 500 << 20  # bytes
MANY = 20_000  # files


class Silent:
    """A progress view that shows nothing and agrees to everything."""

    def __getattr__(self, _name: str) -> Callable[..., bool]:
        return lambda *_: True


def timed(name: str, work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    seconds = time.perf_counter() - start
    print(f"  {name:<44} {seconds:8.3f} s")
    return seconds


def deploy_and_measure(connection: Connection, catalog: Catalog, name: str) -> tuple[float, float, int]:
    """Seconds for facts and plan, seconds for the upload, bytes sent; the run itself is not timed."""
    start, before = time.perf_counter(), connection.ledger.bytes_up
    stack = catalog.stack(name)
    tree = load_working_tree(stack, catalog.missing_networks(stack))
    plan = prepare(connection, tree, Options(), Silent())  # type: ignore[arg-type]
    planned = time.perf_counter() - start
    start = time.perf_counter()
    if plan.new_release:
        upload_release(connection, tree, plan)
    sent = time.perf_counter() - start
    size = connection.ledger.bytes_up - before
    outcome: Outcome = run_plan(connection, plan, Options(), Silent())  # type: ignore[arg-type]
    assert outcome.result == "deployed", outcome
    return planned, sent, size


def report(name: str, figures: tuple[float, float, int]) -> None:
    planned, sent, size = figures
    print(f"  {name:<44} {planned:8.3f} s facts and plan, {sent:8.3f} s upload, {size_text(size)} up")


def bench_context(connection: Connection, folder: Path) -> None:
    print(f"a context of {size_text(BIG)}")
    place = stack_in(folder, "towbench-big")
    catalog = load_catalog(load_settings(folder))
    with (place / "big").open("wb") as big:
        for _ in range(BIG >> 20):
            big.write(os.urandom(1 << 20))
    first = deploy_and_measure(connection, catalog, place.name)
    report("first deploy", first)
    (place / "small").write_bytes(os.urandom(1024))
    second = deploy_and_measure(connection, catalog, place.name)
    report("one changed file of 1 KB", second)
    print(f"  second upload / first upload: {second[1] / first[1]:.3f}   (aim: under 0.1)")


def bench_files(connection: Connection, folder: Path) -> None:
    print(f"{MANY} small files")
    place = stack_in(folder, "towbench-many")
    catalog = load_catalog(load_settings(folder))
    for number in range(MANY):
        file = place / f"d{number % 100}" / f"{number}.txt"
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"{number}\n")
    report("first deploy", deploy_and_measure(connection, catalog, place.name))
    (place / "d0" / "0.txt").write_text("changed\n")
    second = deploy_and_measure(connection, catalog, place.name)
    report("one changed file", second)
    print(f"  facts, plan and upload together: {second[0] + second[1]:.2f} s   (aim: under 3)")


def bench_stream(connection: Connection, folder: Path, box: sandbox.Sandbox) -> None:
    print(f"{size_text(BIG)} into a session's stdin, beside OpenSSH's own client")
    file = folder / "stream"
    file.write_bytes(os.urandom(BIG))

    def ours() -> None:
        with file.open("rb") as source:
            connection.upload(iter(lambda: source.read(1 << 18), b""), ("sh", "-c", "cat >/dev/null"))

    def openssh() -> None:
        options = ["-F", "/dev/null", "-i", str(box.identity), "-p", str(box.port)]
        options += ["-o", f"UserKnownHostsFile={box.known_hosts}", "-o", "BatchMode=yes"]
        with file.open("rb") as source:
            subprocess.run(["ssh", *options, f"{box.user}@127.0.0.1", "cat >/dev/null"], stdin=source, check=True)

    ratio = timed("towline", ours) / timed("ssh", openssh)
    print(f"  towline / ssh: {ratio:.2f}")


def stack_in(folder: Path, name: str) -> Path:
    place = folder / "stacks" / name
    place.mkdir(parents=True)
    (place / "compose.yaml").write_text(COMPOSE)
    return place


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="towline-bench-") as place:
        folder = Path(place)
        (folder / "stacks").mkdir()
        box = sandbox.up(folder=folder / "box", images=["busybox:1.37"])
        connection = Connection(box.host(), note=print)
        try:
            bench_stream(connection, folder, box)
            bench_context(connection, folder)
            bench_files(connection, folder)
        finally:
            for name in ("towbench-big", "towbench-many"):
                subprocess.run(["docker", "compose", "--project-name", name, "down"], capture_output=True, check=False)
            connection.close()
            sandbox.down(folder / "box")


if __name__ == "__main__":
    main()
