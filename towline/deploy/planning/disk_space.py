"""Whether the host has room for what a plan brings. Pure."""

from __future__ import annotations

from towline.deploy.planning.plan import Plan
from towline.deploy.planning.situation import CurrentState
from towline.text.amounts import size_text


def disk_problem(plan: Plan, current: CurrentState, host: str) -> str:
    """What is missing of the free space on the host; '' when there is enough, or nothing is known.

    Needed are the files twice (release and live copy) and images as large as those of the last build.
    """
    disk, fact = current.disk, current.stack
    if disk is None:
        return ""
    files = 2 * sum(entry.size for entry in plan.uploads if entry.path not in plan.links)
    images = next((release.built for release in fact.releases if release.id == fact.current), 0)
    needs = [("stacks and images", files + images, min(disk.root, disk.engine))] if disk.shared else []
    needs = needs or [("stacks", files, disk.root), ("images", images, disk.engine)]
    for what, need, free in needs:
        if need > free:
            return (
                f"{host}: {plan.stack} needs {size_text(need)} for {what} "
                f"(files {size_text(files)}, images {size_text(images)}), and {size_text(free)} are free"
            )
    return ""
