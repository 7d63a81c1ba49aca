"""A stand-in of the Hub's write side: create a repository, list its tree, upload by Git LFS, commit.

The answers are those that huggingface_hub's public client asks for: `/api/repos/create`, `/api/datasets/…/tree`,
`/preupload`, LFS's batch API with its basic transfer, `/commit` as lines of JSON.
"""

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


class Hub:
    """Attributes:
    files: repository → path → content; `commits` counts; `uploaded` has the paths of each commit.
    token: the only one that is known; it may write to repositories of `owner`.
    """

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}
        self.blobs: dict[str, bytes] = {}
        self.uploaded: list[list[str]] = []
        self.token, self.owner = "secret", "me"
        self.url = ""


class _Handler(BaseHTTPRequestHandler):
    server: "_Server"

    def log_message(self, *args: Any) -> None:
        pass

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _answer(self, data: Any, status: int = 200, **headers: str) -> None:
        body = json.dumps(data).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def _allowed(self, repository: str) -> bool:
        if self.headers.get("Authorization") != f"Bearer {self.server.hub.token}":
            self._answer({"error": "Invalid username or password."}, 401)
        elif not repository.startswith(f"{self.server.hub.owner}/"):
            self._answer({"error": "Forbidden"}, 403)
        else:
            return True
        return False

    def do_GET(self) -> None:
        hub = self.server.hub
        parts = self.path.partition("?")[0].strip("/").split("/")
        name = "/".join(parts[2:4])
        if parts[:2] == ["api", "datasets"] and parts[4:5] == ["tree"]:
            if name not in hub.files:
                return self._answer({"error": "not found"}, 404, X_Error_Code="RepoNotFound")
            return self._answer([_entry(path, content) for path, content in sorted(hub.files[name].items())])
        return self._answer({"error": "not found"}, 404)

    def do_PUT(self) -> None:
        self.server.hub.blobs[self.path.rpartition("/")[2]] = self._body()
        self._answer({})

    def do_POST(self) -> None:
        hub = self.server.hub
        body = self._body()
        path = self.path.partition("?")[0].strip("/")
        if path == "api/repos/create":
            wanted = json.loads(body)
            name = f"{wanted.get('organization') or hub.owner}/{wanted['name']}"
            if not self._allowed(name):
                return None
            if name in hub.files:
                return self._answer({"url": f"{hub.url}/datasets/{name}"}, 409)
            hub.files[name] = {".gitattributes": b"*.parquet filter=lfs\n"}
            return self._answer({"url": f"{hub.url}/datasets/{name}", "id": name})
        if path == "api/validate-yaml":  # of a card that is about to be committed
            return self._answer({"errors": [], "warnings": []})
        parts = path.split("/")
        if path.endswith("/info/lfs/objects/batch"):
            objects = [
                {**o, "actions": {"upload": {"href": f"{hub.url}/upload/{o['oid']}", "header": {}}}}
                for o in json.loads(body)["objects"]
            ]
            return self._answer({"transfer": "basic", "objects": objects})
        name = "/".join(parts[2:4])
        if not self._allowed(name):
            return None
        if parts[4] == "preupload":
            modes = [
                {
                    "path": f["path"],
                    "uploadMode": "lfs" if f["path"].endswith((".parquet", ".png")) else "regular",
                    "shouldIgnore": False,
                }
                for f in json.loads(body)["files"]
            ]
            return self._answer({"files": modes})
        if parts[4] == "commit":
            self._commit(hub.files[name], [json.loads(line) for line in body.splitlines()])
            return self._answer(
                {"success": True, "commitOid": "0" * 40, "commitUrl": f"{hub.url}/datasets/{name}/commit/{0:040}"}
            )
        return self._answer({"error": "not found"}, 404)

    def _commit(self, files: dict[str, bytes], lines: list[dict[str, Any]]) -> None:
        changed = []
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.server.hub.blobs[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
            else:
                continue
            changed.append(value["path"])
        self.server.hub.uploaded.append(changed)


def _entry(path: str, content: bytes) -> dict[str, Any]:
    blob = hashlib.sha1(f"blob {len(content)}\0".encode() + content, usedforsecurity=False).hexdigest()
    entry: dict[str, Any] = {"type": "file", "path": path, "size": len(content), "oid": blob}
    if path.endswith((".parquet", ".png")):
        pointer = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
        entry |= {"oid": "f" * 40, "lfs": pointer}
    return entry


class _Server(ThreadingHTTPServer):
    hub: Hub


@contextmanager
def running() -> Iterator[Hub]:
    """A hub on loopback."""
    server = _Server(("127.0.0.1", 0), _Handler)
    hub = server.hub = Hub()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield hub
    server.shutdown()
    thread.join()
    server.server_close()
