"""A registry on 127.0.0.1, over plain HTTP, that gives images of this engine to whoever pulls them."""

from __future__ import annotations

import hashlib
import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@dataclass
class Registry:
    """tags: `NAME:TAG` → manifest's bytes. blobs: digest → file."""

    folder: Path
    port: int = 0
    tags: dict[str, bytes] = field(default_factory=dict)
    blobs: dict[str, Path] = field(default_factory=dict)

    def name(self, tag: str) -> str:
        return f"127.0.0.1:{self.port}/{tag}"

    def push(self, image: str, tag: str) -> str:
        """Gives the engine's `image` under the tag from now on; its digest."""
        saved = self.folder / f"saved{len(list(self.folder.iterdir()))}"
        saved.mkdir()
        subprocess.run(f"docker save '{image}' | tar -xC '{saved}'", shell=True, check=True)
        (about,) = json.loads((saved / "manifest.json").read_text())
        made = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self._part(saved / about["Config"], "config.v1+json"),
            "layers": [self._part(saved / layer, "layer.v1.tar") for layer in about["Layers"]],
        }
        self.tags[tag] = json.dumps(made).encode()
        return _digest(self.tags[tag])

    def _part(self, file: Path, kind: str) -> dict[str, Any]:
        digest = f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"
        self.blobs[digest] = file
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": digest, "size": file.stat().st_size}

    def answer(self, path: str) -> tuple[int, bytes, str]:
        """Status, body and media type."""
        words = path.strip("/").split("/")
        if words == ["v2"]:
            return 200, b"{}", "application/json"
        name, kind, wanted = "/".join(words[1:-2]), words[-2], words[-1]
        if kind == "blobs" and wanted in self.blobs:
            return 200, self.blobs[wanted].read_bytes(), "application/octet-stream"
        for tag, manifest in self.tags.items():
            if kind == "manifests" and (f"{name}:{wanted}" == tag or wanted == _digest(manifest)):
                return 200, manifest, MANIFEST
        return 404, b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}', "application/json"


def _digest(manifest: bytes) -> str:
    return f"sha256:{hashlib.sha256(manifest).hexdigest()}"


@contextmanager
def running_registry(folder: Path) -> Iterator[Registry]:
    registry = Registry(folder)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body, kind = registry.answer(self.path)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            if kind == MANIFEST:
                self.send_header("Docker-Content-Digest", _digest(body))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815 - http.server's names

        def log_message(self, format: str, *args: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        registry.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield registry
        server.shutdown()
