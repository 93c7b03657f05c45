"""What sandbox.up, sandbox.down, sandbox.status and demo do."""

from __future__ import annotations

from towline import sandbox
from towline.cli.output import say, show
from towline.sandbox import images, page
from towline.workspace import Workspace


def start_sandbox(workspace: Workspace) -> None:
    """Start the sandbox, with the images that the shipped stacks need, and print its address."""
    running = sandbox.up(images=images.shipped_images(workspace.settings.top), say=say)
    say(f"sandbox: {running.user}@127.0.0.1:{running.port}, stacks below {running.root}")


def stop_sandbox() -> None:
    show("sandbox: stopped" if sandbox.down() else "sandbox: was not running")


def show_sandbox() -> None:
    running = sandbox.read_status()
    show(
        f"sandbox: {running.user}@127.0.0.1:{running.port}, log {running.log}"
        if running
        else "sandbox: not running; `inv sandbox.up` starts it"
    )


def run_demo(workspace: Workspace) -> None:
    """Start the sandbox, deploy traefik and whoami to it, print the page that Traefik serves. Raises what a deploy raises."""
    from towline.cli.deploying import Deployer
    from towline.cli.options import DeployFlags
    from towline.deploy.planning.plan import Options

    start_sandbox(workspace)
    deployer = Deployer(workspace.on_host("sandbox"), Options(), DeployFlags(yes=True))
    traefik, whoami = workspace.stack("traefik"), workspace.stack("whoami")
    for stack in (traefik, whoami):
        deployer.deploy(workspace.working_tree(stack))
    address = page.page_address(traefik, whoami)
    say(f"{address}, fetched through Traefik:")
    show(page.fetch(address).strip())
