"""A hub on loopback that behaves like the published ones: redirects, hashes, ranges, gates, rate limits, and faults."""

import asyncio
import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from aiohttp import web

COMMIT = "c0ffee" * 6 + "c0ff"


class Hub:
    """Files by path, and what goes wrong with them.

    Attributes:
        files: path → content, both for `/resolve/` addresses (answered by a redirect to /cdn, as the hub does for
            large files) and for plain ones.
        faults: path → list of faults, each used once, in order: '404', '429', '500', 'cut', 'short', 'garbage', 'slow'.
        always: path → a fault that stays.
        whole: how often each file was sent from its first byte to its last, as it is.
        gated: path prefix → the token that opens it.
        redirects: path → the address that it leads to.
        requests: how often each path was asked for; `sent`: bytes of bodies sent a path.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list[str]] = {}
        self.gated: dict[str, str] = {}
        self.requests: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()
        self.tokens_at_cdn: list[str] = []
        self.always: dict[str, str] = {}
        self.whole: Counter[str] = Counter()
        self.retry_after = "0"
        self.redirects: dict[str, str] = {}
        self.down = False
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        self.requests[path] += 1
        if self.down:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if path in self.redirects:
            return web.Response(status=302, headers={"Location": self.redirects[path]})
        for prefix, token in self.gated.items():
            if (
                path.removeprefix("/api").startswith(prefix)
                and request.headers.get("Authorization") != f"Bearer {token}"
            ):
                headers = {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access to this dataset is restricted."}
                return web.Response(status=401 if "Authorization" in request.headers else 403, headers=headers)
        if path.startswith("/api/"):
            return web.json_response({"id": path, "sha": COMMIT, "siblings": self.siblings(path)})
        name = path.removeprefix("/cdn")
        content = self.files.get(name)
        if content is None:
            return web.Response(status=404, headers={"X-Error-Code": "EntryNotFound"})
        sha256 = hashlib.sha256(content).hexdigest()
        if "/resolve/" in path and not path.startswith("/cdn"):
            headers = {"X-Linked-Etag": f'"{sha256}"', "X-Linked-Size": str(len(content)), "X-Repo-Commit": COMMIT}
            return web.Response(status=302, headers={**headers, "Location": f"/cdn{path}"})
        if "Authorization" in request.headers:
            self.tokens_at_cdn.append(path)
        fault = self.faults[name].pop(0) if self.faults.get(name) else self.always.get(name, "")
        return await self.send(request, name, content, sha256, fault)

    def siblings(self, path: str) -> list[dict[str, object]]:
        """The files of a repository, as /api/datasets/OWNER/NAME/revision/REVISION?blobs=true lists them."""
        home = path.removeprefix("/api").partition("/revision/")[0] + f"/resolve/{COMMIT}/"
        return [
            {
                "rfilename": name.removeprefix(home),
                "size": len(content),
                "lfs": {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)},
            }
            for name, content in self.files.items()
            if name.startswith(home)
        ]

    async def send(
        self, request: web.Request, name: str, content: bytes, sha256: str, fault: str
    ) -> web.StreamResponse:
        if fault in ("404", "429", "500", "503"):
            return web.Response(status=int(fault), headers={"Retry-After": self.retry_after} if fault == "429" else {})
        if fault == "slow":
            await asyncio.sleep(0.2)
        if fault == "garbage":
            content = b"X" * len(content)
        if fault == "short":
            content = content[: len(content) // 2]
        start, status = 0, 200
        headers = {"ETag": f'"{sha256}"', "Accept-Ranges": "bytes"}
        wanted = request.headers.get("Range", "")
        stop = len(content)
        if wanted.startswith("bytes=") and request.headers.get("If-Range", headers["ETag"]) == headers["ETag"]:
            first, last = wanted[6:].split("-")
            start, status = int(first), 206
            stop = min(int(last) + 1, stop) if last else stop
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(content)}"
        body = content[start:stop]
        response = web.StreamResponse(status=status, headers={**headers, "Content-Length": str(len(body))})
        await response.prepare(request)
        if fault == "cut":
            await response.write(body[: max(len(body) * 2 // 3, 1)])
            await asyncio.sleep(0.05)
            assert request.transport is not None
            request.transport.abort()
            return response
        self.sent[name] += len(body)
        self.whole[name] += body == self.files[name]
        await response.write(body)
        return response


@contextmanager
def running(hub: Hub) -> Iterator[Hub]:
    """Serves the hub on a free port of 127.0.0.1."""
    loop = asyncio.new_event_loop()
    started = threading.Event()
    runner: list[web.AppRunner] = []

    async def start() -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", hub.handle)
        runner.append(web.AppRunner(app, access_log=None, shutdown_timeout=0.1))
        await runner[0].setup()
        site = web.TCPSite(runner[0], "127.0.0.1", 0)
        await site.start()
        assert site._server is not None
        port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
        hub.url = f"http://127.0.0.1:{port}"
        started.set()

    def serve() -> None:
        loop.run_until_complete(start())
        loop.run_forever()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    started.wait()
    try:
        yield hub
    finally:

        def call(task: Callable[[], object]) -> None:
            loop.call_soon_threadsafe(task)

        asyncio.run_coroutine_threadsafe(runner[0].cleanup(), loop).result()
        call(loop.stop)
        thread.join()
        loop.close()
