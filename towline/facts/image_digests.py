"""Whether registries have other images than the host under the same tags; the host asks, with the login's credentials."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from towline.commands.shell import Command, script
from towline.facts.compose_model import Model
from towline.facts.registry import ANSWER_IN, refusal
from towline.ssh.connection import Connection
from towline.ssh.session import Result


@dataclass(frozen=True)
class ImageDigests:
    """here: the digests that the host's image was pulled by, () for one that is not there or was not pulled. there: the
    registry's.

    why: why the registry did not tell it, '' when it did.
    """

    here: tuple[str, ...] = ()
    there: str = ""
    why: str = ""

    @property
    def outdated(self) -> bool:
        return bool(self.here and self.there and self.there not in self.here)

    @property
    def change(self) -> str:
        return f"{short_digest(self.here[0])} → {short_digest(self.there)}" if self.outdated else ""


def short_digest(digest: str) -> str:
    """
    >>> short_digest("sha256:0123456789abcdef")
    '0123456789ab'
    """
    return digest.partition(":")[2][:12]


def pulled_images(model: Model) -> dict[str, tuple[str, ...]]:
    """Image → the services that run it, of those that a registry may have newer: not built, not pinned by digest, not kept."""
    found: dict[str, tuple[str, ...]] = {}
    built = {keys.get("image") for keys in model.services.values() if keys.get("build")}
    for name, keys in sorted(model.services.items()):
        image, kept = keys.get("image"), keys.get("pull_policy") in ("never", "build")
        if image and image not in built and "@" not in image and not kept and not keys.get("build"):
            found[image] = (*found.get(image, ()), name)
    return found


# $1 the image. Prints rows `here DIGEST`, and `there DIGEST` of the registry. The manifest alone is requested.
_ASK = r"""
tab=$(printf '\t')
docker image inspect --format '{{range .RepoDigests}}{{println .}}{{end}}' "$1" 2>/dev/null | sed -n "s/.*@/here$tab/p"
told=$(docker buildx imagetools inspect "$1") || exit
printf '%s\n' "$told" | sed -n "s/^Digest: */there$tab/p"
"""


def read_image_digests(connection: Connection, images: Collection[str]) -> dict[str, ImageDigests]:
    """One session, all registries at once; nothing is pulled. None without images."""
    if not images:
        return {}
    results = connection.batch(commands(images), parallel=True, timeout=ANSWER_IN, name="registries")
    return parse(results, list(images))


def commands(images: Collection[str]) -> tuple[Command, ...]:
    return tuple(script(_ASK, image) for image in images)


def parse(results: Sequence[Result], images: Sequence[str]) -> dict[str, ImageDigests]:
    """The fact from the results of `commands(images)`, in their order."""
    return {image: _digests(result) for image, result in zip(images, results, strict=True)}


def _digests(result: Result) -> ImageDigests:
    rows = [line.partition("\t") for line in result.out.splitlines()]
    here = tuple(digest for kind, _, digest in rows if kind == "here")
    there = next((digest for kind, _, digest in rows if kind == "there"), "")
    if result.ok and there:
        return ImageDigests(here, there)
    said = refusal(result, certain=True)
    return ImageDigests(here, why=said.said or _WHY[said.why])


_WHY = {"missing": "the registry has no such image", "denied": "the registry does not give it to this login"}
