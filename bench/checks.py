"""What test-infra costs, as ratios within one run: python bench/checks.py

Deploys this repository's stacks to a sandbox sshd of its own and the running Docker Engine, and checks them. The reference is one
`sh -s` session that runs `docker inspect` on the same containers. Prints one line per figure.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.slow_proxy import slow_proxy
from towline import sandbox
from towline.bundle.working_tree import load_working_tree
from towline.checks.baseline import baseline_of
from towline.checks.run import run_checks
from towline.checks.scope import Scope
from towline.deploy.deploy import deploy
from towline.deploy.planning.plan import Options
from towline.project.catalog import load_catalog
from towline.project.settings import Host, load_settings
from towline.sandbox import images
from towline.ssh.connection import Connection

TOP = Path(__file__).parent.parent
ROUNDS = 15


class Silent:
    """A progress view that shows nothing and agrees to everything."""

    def __getattr__(self, _name: str) -> Callable[..., bool]:
        return lambda *_: True


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def inspect(connection: Connection, names: list[str]) -> None:
    done = connection.run(("sh", "-s"), stdin=("docker inspect " + " ".join(names) + "\n").encode())
    assert done.ok, done.err


def bench_looks(connection: Connection, scope: Scope, names: list[str]) -> None:
    first, _ = run_checks(connection, scope)
    ours, theirs = [], []
    for _ in range(ROUNDS):
        ours.append(seconds(lambda: run_checks(connection, scope)))
        theirs.append(seconds(lambda: inspect(connection, names)))
    print(f"{len(first.findings)} checks over {len(names)} containers, beyond connecting")
    print(f"  the first look                  {first.seconds:.3f} s")
    print(f"  a look, median of {ROUNDS}            {median(ours):.3f} s")
    print(f"  docker inspect in one session   {median(theirs):.3f} s")
    print(f"  look / docker inspect           {median(ours) / median(theirs):.2f}   (aim: at most 3)")


def bench_slow_connection(host: Host, scope: Scope, folder: Path) -> None:
    assert host.port
    with slow_proxy(host.port, 0.05) as port:
        known_hosts = folder / "known_hosts"
        known_hosts.write_text(host.known_hosts[0].read_text().replace(f":{host.port}", f":{port}"))
        connection = Connection(replace(host, port=port, known_hosts=(known_hosts,)), note=print)
        total = seconds(lambda: run_checks(connection, scope))
        connection.close()
    print(f"at a round trip of 50 ms, with login {total:.2f} s   (aim: under 2)")


def main() -> None:
    catalog = load_catalog(load_settings(TOP))
    scope = Scope(catalog.order(), {stack.name: baseline_of(load_working_tree(stack)) for stack in catalog.stacks})
    with tempfile.TemporaryDirectory(prefix="towline-bench-") as place:
        folder = Path(place)
        box = sandbox.up(folder=folder / "box", images=images.shipped_images(TOP))
        connection = Connection(box.host(), note=print)
        try:
            for stack in catalog.order():
                tree = load_working_tree(stack, catalog.missing_networks(stack))
                deploy(connection, tree, Options(cache=True), Silent())  # type: ignore[arg-type]
            names = [name for stack in catalog.stacks for name in containers(stack.project)]
            bench_looks(connection, scope, names)
            bench_slow_connection(box.host(), scope, folder)
        finally:
            for stack in catalog.stacks:
                words = ["docker", "compose", "--project-name", stack.project, "down"]
                subprocess.run(words, capture_output=True, check=False)
            connection.close()
            sandbox.down(folder / "box")


def containers(project: str) -> list[str]:
    words = ["docker", "ps", "--quiet", "--filter", f"label=com.docker.compose.project={project}"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()


if __name__ == "__main__":
    main()
