"""A model hub on 127.0.0.1 that speaks as much of the protocol as the real client needs to download."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMITS = {"main": "a" * 40, "v1": "b" * 40}


@dataclass
class Hub:
    """What the server holds, and what it was asked."""

    files: dict[str, bytes]
    private: bool = False
    gated: bool = False
    broken: bool = False
    token: str | None = None
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    url: str = ""

    @property
    def downloads(self) -> set[str]:
        """The names of the files that were fetched."""
        return {path.split("/resolve/")[1].partition("/")[2] for path, _ in self.requests if "/resolve/" in path}


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _send(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def _answer(self) -> None:
        hub, path = self.hub, self.path.partition("?")[0]
        token = self.headers.get("Authorization")
        hub.requests.append((path, token))
        allowed = hub.token is not None and token == f"Bearer {hub.token}"
        if hub.broken:
            self._send(500)
        elif "/org/model" not in path:
            self._send(404 if token else 401, X_Error_Code="RepoNotFound")
        elif hub.private and not allowed:
            self._send(401, X_Error_Code="RepoNotFound")
        elif hub.gated and not allowed:
            self._send(403, X_Error_Code="GatedRepo")
        elif "/resolve/" in path:
            revision, _, name = path.split("/resolve/")[1].partition("/")
            self._file(revision, name)
        else:
            self._api(path)

    def _api(self, path: str) -> None:
        rest = path.split("/org/model")[1].strip("/").split("/")
        revision = rest[1] if len(rest) > 1 else "main"
        commit = revision if revision in COMMITS.values() else COMMITS.get(revision)
        if commit is None:
            self._send(404, X_Error_Code="RevisionNotFound")
        elif rest[0] == "tree":
            files = [
                {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                for name, data in self.hub.files.items()
            ]
            self._json(files)
        else:
            siblings = [{"rfilename": name} for name in self.hub.files]
            self._json({"id": "org/model", "modelId": "org/model", "sha": commit, "siblings": siblings})

    def _file(self, revision: str, name: str) -> None:
        commit = revision if revision in COMMITS.values() else COMMITS.get(revision)
        if commit is None or name not in self.hub.files:
            self._send(404, X_Error_Code="EntryNotFound", **({"X_Repo_Commit": commit} if commit else {}))
            return
        data = self.hub.files[name]
        etag = f'"{hashlib.sha1(data).hexdigest()}"'
        self._send(200, data, ETag=etag, X_Repo_Commit=commit)

    def _json(self, content: Any) -> None:
        self._send(200, json.dumps(content).encode(), Content_Type="application/json")


@contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    """Runs the hub until the block ends; its address is in ``hub.url``."""
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
