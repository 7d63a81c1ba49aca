"""A stand-in of the Hub: what its public client asks for to publish a dataset, and to read it as a file system.

Writing: `/api/repos/create`, `/preupload`, LFS's batch API with its basic transfer, `/commit` as lines of JSON.
Reading: `/api/datasets/…` with `/revision`, `/tree` in pages, `/paths-info`, and `/resolve`, which sends small files
itself, in ranges where asked, and redirects to another origin for large ones, where a token is refused as S3 does.
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

LARGE = (".parquet", ".png", ".tar")  # kept by Git LFS
COMMIT = "0" * 40


class Hub:
    """Attributes:
    files: repository → path → content, at the head of `main`.
    tags: (repository, name of a tag or commit) → path → content.
    blobs: SHA-256 → content of what was uploaded; `uploaded` has the paths of each commit.
    token: the only one that is known; it may read everything, and write to repositories of `owner`.
    private, gated: repositories that are not seen, or not read, without the token.
    page: entries of a listing in one answer; the Hub sends 1,000.
    requests: what was asked for: method and path, and the range where there is one.
    """

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}
        self.tags: dict[tuple[str, str], dict[str, bytes]] = {}
        self.blobs: dict[str, bytes] = {}
        self.uploaded: list[list[str]] = []
        self.token, self.owner = "secret", "me"
        self.private: set[str] = set()
        self.gated: set[str] = set()
        self.page = 1000
        self.requests: list[str] = []
        self.url = self.storage = ""


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
        if self.command != "HEAD":
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
        asked = self.headers.get("Range")
        hub.requests.append(f"{self.command} {self.path}" + (f" {asked}" if asked else ""))
        url = urlsplit(self.path)
        parts = url.path.strip("/").split("/")
        if parts[0] == "storage":
            if "Authorization" in self.headers:
                return self._answer({"error": "Only one auth mechanism allowed"}, 400)
            return self._send(hub.blobs[parts[1]])
        if parts[:2] == ["api", "datasets"]:
            name, what = "/".join(parts[2:4]), parts[4] if len(parts) > 4 else ""
            revision, path = parts[5] if len(parts) > 5 else "main", "/".join(parts[6:])
        elif parts[0] == "datasets" and parts[3:4] == ["resolve"]:
            name, what, revision, path = "/".join(parts[1:3]), "resolve", parts[4], "/".join(parts[5:])
        else:
            return self._answer({"error": "not found"}, 404)
        files = self._readable(name, unquote(revision))
        if files is None:
            return None
        if what in ("", "revision"):
            return self._answer({"id": name, "sha": COMMIT, "private": name in hub.private, "tags": []})
        if what == "tree":
            return self._tree(files, unquote(path), parse_qs(url.query))
        if what == "resolve":
            return self._resolve(name, files, unquote(path))
        return self._answer({"error": "not found"}, 404)

    do_HEAD = do_GET

    def _readable(self, name: str, revision: str) -> dict[str, bytes] | None:
        """The files of a revision; None if an error was sent instead."""
        hub = self.server.hub
        given = self.headers.get("Authorization")
        if given not in (None, f"Bearer {hub.token}"):
            words = "Invalid credentials in Authorization header"
            self._answer({"error": words}, 401, X_Error_Message=words)
        elif name not in hub.files or (name in hub.private and given is None):
            if given is None:  # whether there is one is not told to strangers
                words = "Invalid username or password."
                self._answer({"error": words}, 401, X_Error_Message=words)
            else:
                self._answer({"error": "Repository not found"}, 404, X_Error_Code="RepoNotFound")
        elif revision != "main" and (name, revision) not in hub.tags:
            self._answer({"error": f"Invalid rev id: {revision}"}, 404, X_Error_Code="RevisionNotFound")
        elif name in hub.gated and given is None and not self.path.startswith("/api/"):
            self._answer({"error": "restricted"}, 403, X_Error_Code="GatedRepo")
        else:
            return hub.files[name] if revision == "main" else hub.tags[name, revision]
        return None

    def _tree(self, files: Mapping[str, bytes], folder: str, query: Mapping[str, list[str]]) -> None:
        hub = self.server.hub
        entries = [e for e in _entries(files) if folder == "" or e["path"].startswith(f"{folder}/")]
        if folder and not entries:
            return self._answer({"error": f"{folder} does not exist"}, 404, X_Error_Code="EntryNotFound")
        if query.get("recursive") != ["true"]:
            entries = [e for e in entries if "/" not in e["path"].removeprefix(f"{folder}/" if folder else "")]
        start = int(query.get("cursor", ["0"])[0])
        rest = {"recursive": query.get("recursive", ["false"])[0], "cursor": str(start + hub.page)}
        more = f"{hub.url}{self.path.partition('?')[0]}?" + "&".join(f"{k}={v}" for k, v in rest.items())
        links = {"Link": f'<{more}>; rel="next"'} if start + hub.page < len(entries) else {}
        return self._answer(entries[start : start + hub.page], **links)

    def _resolve(self, name: str, files: Mapping[str, bytes], path: str) -> None:
        content = files.get(path)
        if content is None:
            return self._answer({"error": "Entry not found"}, 404, X_Error_Code="EntryNotFound")
        if not path.endswith(LARGE):
            return self._send(content, ETag=f'"{_blob(content)}"', X_Repo_Commit=COMMIT)
        digest = hashlib.sha256(content).hexdigest()
        self.server.hub.blobs[digest] = content
        headers = {
            "Location": f"{self.server.hub.storage}/storage/{digest}",
            "X_Linked_Size": str(len(content)),
            "X_Linked_Etag": f'"{digest}"',
            "X_Repo_Commit": COMMIT,
        }
        return self._answer({}, 302, **headers)

    def _send(self, content: bytes, **headers: str) -> None:
        """A file, or the range of it that was asked for (RFC 9110)."""
        status = 200
        if asked := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            start, end = int(asked[1]), min(int(asked[2] or len(content) - 1), len(content) - 1)
            if start >= len(content):
                return self._answer({}, 416, Content_Range=f"bytes */{len(content)}")
            headers["Content_Range"] = f"bytes {start}-{end}/{len(content)}"
            content, status = content[start : end + 1], 206
        self.send_response(status)
        for name, value in {"Content_Length": str(len(content)), "Accept_Ranges": "bytes", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
        return None

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
        if parts[4] == "paths-info":
            hub.requests.append(f"POST {self.path}")
            files = self._readable(name, unquote(parts[5]))
            if files is not None:
                form = parse_qs(body.decode())
                found = [entry for entry in _entries(files) if entry["path"] in form["paths"]]
                last = {"id": COMMIT, "title": "Publish the dataset", "date": "2026-01-02T03:04:05.000Z"}
                self._answer([e | {"lastCommit": last} for e in found] if form["expand"] == ["true"] else found)
            return None
        if not self._allowed(name):
            return None
        if parts[4] == "preupload":
            modes = [
                {
                    "path": f["path"],
                    "uploadMode": "lfs" if f["path"].endswith(LARGE) else "regular",
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


def _entries(files: Mapping[str, bytes]) -> list[dict[str, Any]]:
    """Files and folders, as the API describes them."""
    folders = {"/".join(path.split("/")[:n]) for path in files for n in range(1, path.count("/") + 1)}
    found = [{"type": "directory", "path": path, "size": 0, "oid": _blob(path.encode())} for path in folders]
    return sorted([*found, *(_entry(path, content) for path, content in files.items())], key=lambda e: str(e["path"]))


def _entry(path: str, content: bytes) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "path": path, "size": len(content), "oid": _blob(content)}
    if path.endswith(LARGE):  # git keeps a pointer (git-lfs, docs/spec.md)
        digest = hashlib.sha256(content).hexdigest()
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {len(content)}\n".encode()
        entry |= {"oid": _blob(pointer), "lfs": {"oid": digest, "size": len(content), "pointerSize": len(pointer)}}
    return entry


def _blob(content: bytes) -> str:
    """Git's name of a blob."""
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content, usedforsecurity=False).hexdigest()


class _Server(ThreadingHTTPServer):
    hub: Hub


@contextmanager
def running() -> Iterator[Hub]:
    """A hub on loopback."""
    server = _Server(("127.0.0.1", 0), _Handler)
    hub = server.hub = Hub()
    hub.url, hub.storage = (f"http://{host}:{server.server_port}" for host in ("127.0.0.1", "localhost"))
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield hub
    server.shutdown()
    thread.join()
    server.server_close()
