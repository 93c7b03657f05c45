"""What pruning freed, as one line."""

from __future__ import annotations

from towline.deploy.prune import Pruned
from towline.text.amounts import count_text, size_text


def sentence(host: str, pruned: Pruned, *, really: bool) -> str:
    """
    >>> sentence("prod", Pruned((("web", "r1"),), 4096, "12MB"), really=False)
    'prod: would free 1 release (4.0 KB: web r1) and 12MB of build cache'
    """
    count = len(pruned.releases)
    names = ", ".join(f"{stack} {release}" for stack, release in pruned.releases)
    releases = f"{count_text(count, 'release')} ({size_text(pruned.bytes)}: {names})" if count else "no release"
    return f"{host}: {'freed' if really else 'would free'} {releases} and {pruned.cache} of build cache"
