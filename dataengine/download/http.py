# A thousand files per second leave no time for Path objects.
# ruff: noqa: PTH108
"""Downloads over HTTP: resumed, retried, checked, polite. Any other fsspec URL is copied through its file system.

All downloads of a process run on one event loop in a background thread, so that connections are shared and the
number of requests to a host is bounded whoever asks. What a kill leaves behind is resumed by a range request.

What is tried again, until the deadline of the asset: a host that is not there, 429 and 503 as long as Retry-After
asks, other 5xx and cut connections several times. What is not: 404 and 410, 401 and 403, a hash that is wrong twice.
"""

import asyncio
import atexit
import os
import random
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import aiohttp

from dataengine._version import __version__
from dataengine.corpus.os_errors import explain
from dataengine.download import filesystem
from dataengine.download.adopted import copy_adopted, package_folder
from dataengine.download.cache import Cache
from dataengine.download.content_encoding import decoder_of
from dataengine.download.host import Host, proxy_for
from dataengine.download.hub import token_for
from dataengine.download.partial import PartialFile, alone_with
from dataengine.download.public_only import PublicConnector, check_listed
from dataengine.download.response import check_status, published, whole_size
from dataengine.download.wanted import TryAgain, Wanted
from dataengine.errors import AssetFailure, DataengineError, ErrorCode

T = TypeVar("T")

AT_ONCE = 64  # files
ATTEMPTS = 8  # without a new byte; waiting for a host to come back is bounded by the deadline alone
LONGEST_WAIT = 15.0
NOWHERE = (
    aiohttp.InvalidURL,
    aiohttp.NonHttpUrlClientError,
    aiohttp.RedirectClientError,
    aiohttp.TooManyRedirects,
)
BLOCK = 1 << 18
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=15, sock_read=60)


class Downloader:
    """Fetches files into a cache. Safe for threads; make one per process and cache, see `downloads_in`."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache
        self._hosts: dict[str, Host] = {}
        self._sessions: dict[bool, aiohttp.ClientSession] = {}
        self._loop = asyncio.new_event_loop()
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._thread = threading.Thread(target=self._loop.run_forever, name="downloads", daemon=True)
        self._thread.start()

    def get(self, wanted: Wanted) -> Path:
        """One file. See `fetch` for the errors."""
        return self.run(self.fetch(wanted))

    def get_many(
        self, wanted: Sequence[Wanted], done: Callable[[int, Path | AssetFailure], None], *, at_once: int = AT_ONCE
    ) -> None:
        """Many files, see `run_many`."""
        self.run_many([partial(self.fetch, one) for one in wanted], done, at_once=at_once)

    def run_many(
        self,
        jobs: Sequence[Callable[[], Awaitable[T]]],
        done: Callable[[int, T | AssetFailure], None],
        *,
        at_once: int = AT_ONCE,
    ) -> None:
        """Runs coroutines on the loop; `done(index, result or failure)` is called on its thread as each one ends.

        Raises:
            DataengineError: if the cache cannot be written. What is fetched stays.
        """
        self.run(self._run_many(jobs, done, at_once))

    def run(self, task: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine on the loop, and waits for it. Not for the loop's own thread."""
        future = asyncio.run_coroutine_threadsafe(task, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    async def fetch(self, wanted: Wanted) -> Path:
        """One file, from the cache or its host; at most AT_ONCE are under way. To be awaited on the loop.

        Raises:
            AssetFailure: FETCH_404, FETCH_DENIED, FETCH_TIMEOUT, SHA_MISMATCH, TOO_LARGE; UNSAFE_PATH or MALFORMED for
                what a list may not name.
            DataengineError: if the cache cannot be written, or fsspec does not know the URL.
        """
        if wanted.from_list:
            check_listed(wanted.url)
        async with self._slots:
            return await self._fetch(wanted)

    def read(self, url: str, *, seconds: float = 120.0) -> bytes:
        """A small answer that must be fresh, such as what a branch stands for: never from the cache, nor kept."""

        async def ask() -> bytes:
            with tempfile.TemporaryDirectory(prefix="dataengine-") as folder:
                async with alone_with(f"{folder}/answer.part") as f:
                    await self._fill(Wanted(url, seconds=seconds), f)
                    return os.pread(f.fd, f.size, 0)

        return self.run(ask())

    def close(self) -> None:
        """Ends the loop and its connections."""
        if self._loop.is_closed() or not self._thread.is_alive():
            return
        for session in self._sessions.values():
            self.run(session.close())
        self.run(self._loop.shutdown_default_executor())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self.cache.release()

    async def _run_many(
        self, jobs: Sequence[Callable[[], Awaitable[T]]], done: Callable[[int, T | AssetFailure], None], at_once: int
    ) -> None:
        waiting = iter(enumerate(jobs))

        async def work() -> None:
            for index, job in waiting:
                try:
                    result: T | AssetFailure = await job()
                except AssetFailure as e:
                    result = e
                done(index, result)

        await together([work() for _ in range(min(at_once, len(jobs)))])

    async def _fetch(self, wanted: Wanted) -> Path:
        found = self.cache.find(wanted.key, wanted.sha256, wanted.suffix)
        if found is not None:
            return found
        part = self.cache.partial(wanted.key)
        try:
            async with alone_with(part) as f:
                found = self.cache.find(wanted.key, wanted.sha256, wanted.suffix) if f.waited else None
                if found is not None:  # another process was faster
                    os.unlink(part)
                    return found
                digest = await self._fill(wanted, f)
                f.finish()
                key = wanted.key if wanted.sha256 is None else None
                return self.cache.adopt(key, part, f.fd, f.size, digest, wanted.suffix)
        except OSError as e:
            raise DataengineError(explain(e, part)) from e

    async def _fill(self, wanted: Wanted, f: PartialFile) -> str:
        """Tries until the file is whole; returns its hash."""
        if package_folder().is_dir() and await asyncio.to_thread(copy_adopted, wanted, f):
            return f.digest()
        deadline = time.monotonic() + wanted.seconds
        failed = mismatched = 0
        while True:
            before = f.size
            try:
                async with asyncio.timeout(max(deadline - time.monotonic(), 0.001)):
                    if wanted.url.startswith(("http://", "https://")):
                        await self._request(wanted, f)
                    else:
                        await asyncio.to_thread(filesystem.copy, wanted, f)
                return f.digest()
            except TryAgain as e:
                reason = e
            except TimeoutError:
                reason = TryAgain("it is too slow", patient=True)
            except NOWHERE as e:  # a redirect to file:, or in a circle
                raise AssetFailure(ErrorCode.FETCH_404, f"{wanted.url} leads nowhere: {type(e).__name__} {e}") from e
            except (aiohttp.ClientConnectorError, aiohttp.ServerDisconnectedError) as e:
                reason = TryAgain(f"no connection: {e}", patient=True)
            except (aiohttp.ClientError, ConnectionError) as e:
                reason = TryAgain(f"the connection was cut: {e}")
            mismatched += reason.fresh
            failed = 0 if f.size > before else failed + 1
            if reason.fresh:
                f.clear()
                if mismatched == 2:
                    raise AssetFailure(ErrorCode.SHA_MISMATCH, f"{wanted.url}: {reason}, twice")
            # A host that says `Retry-After: 0` for ever is not asked more often than one that says nothing.
            wait = max(reason.wait or 0.0, min(0.25 * 2 ** min(failed, 10), LONGEST_WAIT) * random.uniform(0.5, 1))
            if time.monotonic() + wait >= deadline or (failed >= ATTEMPTS and not reason.patient):
                raise AssetFailure(ErrorCode.FETCH_TIMEOUT, f"{wanted.url}: {reason}")
            if reason.patient:
                self._host(wanted.url).tell(reason)
            await asyncio.sleep(wait)

    async def _request(self, wanted: Wanted, f: PartialFile) -> None:
        host = self._host(wanted.url)
        await host.ready()
        headers = {"Accept-Encoding": "identity"}
        token = token_for(wanted.url)
        if token:
            headers["Authorization"] = f"Bearer {token}"
        if f.size and f.etag:
            headers |= {"Range": f"bytes={f.size}-", "If-Range": f.etag}
        else:
            f.clear()
        proxy = proxy_for(urlsplit(wanted.url).scheme, urlsplit(wanted.url).hostname or "")
        session = self._open(wanted.from_list)
        async with host.slots, session.get(wanted.url, headers=headers, max_redirects=8, proxy=proxy) as response:
            check_status(wanted.url, response, host, bool(f.size))
            host.answered()
            expected_hash, expected_size = published(response)
            if response.status != 206:
                f.clear()
            whole = whole_size(response, f.size)
            if max(whole or 0, expected_size or 0) > wanted.max_bytes:
                raise AssetFailure(ErrorCode.TOO_LARGE, f"{wanted.url}: {whole} bytes (limit {wanted.max_bytes})")
            decoder = decoder_of(wanted.url, response)
            etag = response.headers.get("ETag", "")
            f.begin(etag if etag.startswith('"') and decoder is None else "")  # what is decoded cannot be continued
            async for block in response.content.iter_chunked(BLOCK):
                for part in decoder.feed(block) if decoder else (block,):
                    f.write(part)
                    if f.size > wanted.max_bytes:
                        raise AssetFailure(ErrorCode.TOO_LARGE, f"{wanted.url}: over {wanted.max_bytes} bytes")
            if decoder:
                decoder.close()
        if expected_size is not None and f.size != expected_size:
            raise TryAgain(f"it has {f.size} bytes and was published with {expected_size}", fresh=True)
        wanted_hash = wanted.sha256 or expected_hash
        if wanted_hash is not None and f.digest() != wanted_hash:
            raise TryAgain("its SHA-256 is not the published one", fresh=True)

    def _host(self, url: str) -> Host:
        name = urlsplit(url).netloc
        return self._hosts.setdefault(name, Host(name))

    def _open(self, from_list: bool) -> aiohttp.ClientSession:
        if from_list not in self._sessions:
            connector = (PublicConnector if from_list else aiohttp.TCPConnector)(limit=0, limit_per_host=0)
            self._sessions[from_list] = aiohttp.ClientSession(
                connector=connector,
                timeout=_TIMEOUT,
                auto_decompress=False,
                headers={"User-Agent": f"dataengine/{__version__}"},
            )
        return self._sessions[from_list]


async def together(tasks: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """The results of coroutines that run at once; the first error ends the others and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(task) for task in tasks]
    except BaseExceptionGroup as failed:  # a full disk stops several at once, and is one line
        raise failed.exceptions[0] from failed
    return [task.result() for task in running]


_downloaders: dict[tuple[int, Path], Downloader] = {}
_making = threading.Lock()


def downloads_in(cache: Path) -> Downloader:
    """This process's downloader for the user's cache folder. After a fork the child gets its own."""
    with _making:
        key = (os.getpid(), cache)
        if key not in _downloaders:
            _downloaders[key] = Downloader(Cache(cache / "downloads"))
            atexit.register(_downloaders[key].close)
        return _downloaders[key]
