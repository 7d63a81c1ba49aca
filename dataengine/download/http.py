# A thousand files a second leave no time for Path objects.
# ruff: noqa: PTH108, PTH116
"""Downloads over HTTP: resumed, retried, checked, polite. Any other fsspec URL is copied through its file system.

All downloads of a process run on one event loop in a background thread, so that connections are shared and the
number of requests to a host is bounded whoever asks. What a kill leaves behind is resumed by a range request.

What is tried again, until the deadline of the asset: a host that is not there, 429 and 503 as long as Retry-After
asks, other 5xx and cut connections several times. What is not: 404 and 410, 401 and 403, a hash that is wrong twice.
"""

import asyncio
import atexit
import fcntl
import functools
import hashlib
import logging
import os
import random
import re
import tempfile
import threading
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import aiohttp
import fsspec

from dataengine._version import __version__
from dataengine.corpus.storage import explain
from dataengine.download.cache import Cache
from dataengine.download.hub import token_for
from dataengine.errors import AssetFailure, DataengineError, ErrorCode

T = TypeVar("T")

PER_HOST = 16
ATTEMPTS = 8  # without a new byte; waiting for a host to come back is bounded by the deadline alone
LONGEST_WAIT = 15.0
BLOCK = 1 << 18
RESUMED_BYTES = 1 << 18  # what a killed process leaves behind is continued from here on
QUIET_WAITS = 2  # in a row, before a person is told
TELL_SECONDS = 30.0
log = logging.getLogger(__name__)
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=15, sock_read=60)


@dataclass(frozen=True)
class Wanted:
    """A file to download.

    Attributes:
        url: http(s) or any that fsspec knows.
        suffix: of the file's name, with the dot: Blender and readers go by it.
        sha256: of the content, where it is published.
        max_bytes: more than this is TOO_LARGE.
        seconds: until it is FETCH_TIMEOUT, waiting included.
        version: tells apart what the same URL was at several times; the cache keeps each.
        unchanged: of what fsspec says of the file: whether it is still what was planned.
    """

    url: str
    suffix: str = ""
    sha256: str | None = None
    max_bytes: int = 2 << 30
    seconds: float = 600.0
    version: str = ""
    unchanged: Callable[[Mapping[str, Any]], bool] | None = None

    @property
    def key(self) -> str:
        """What the cache knows it by."""
        return f"{self.url}\n{self.version}" if self.version else self.url


class _Again(Exception):
    """This attempt failed and another may succeed.

    Attributes:
        wait: seconds that the host asked for.
        patient: whether only the deadline limits the attempts.
        fresh: whether what was gathered is to be thrown away.
    """

    def __init__(self, message: str, wait: float | None = None, *, patient: bool = False, fresh: bool = False) -> None:
        super().__init__(message)
        self.wait, self.patient, self.fresh = wait, patient, fresh


class _Host:
    """What is known of one host: how many requests it has to bear, and until when it wants to be left alone."""

    def __init__(self) -> None:
        self.slots = asyncio.Semaphore(PER_HOST)
        self.refusals = 0
        self.quiet_until = 0.0
        self.waits = 0
        self.told = 0.0

    def refused(self, wait: float) -> None:
        # One refusal concerns one request; several in a row, all of us.
        self.refusals += 1
        if self.refusals >= 3:
            self.quiet_until = max(self.quiet_until, time.monotonic() + wait)


class Downloader:
    """Fetches files into a cache. Safe for threads; make one a process and cache, see `downloads_in`."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache
        self._hosts: dict[str, _Host] = {}
        self._session: aiohttp.ClientSession | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="downloads", daemon=True)
        self._thread.start()

    def get(self, wanted: Wanted) -> Path:
        """One file. See `get_many` for the failures; here they are raised."""
        return self._run(self._get(wanted))

    def get_many(
        self, wanted: Sequence[Wanted], done: Callable[[int, Path | AssetFailure], None], *, at_once: int = 64
    ) -> None:
        """Many files; `done(index, path or failure)` is called on the loop's thread as each one ends.

        Raises:
            DataengineError: if the cache cannot be written. What is fetched stays.
        """
        self._run(self._get_many(wanted, done, at_once))

    def read(self, url: str, *, seconds: float = 120.0) -> bytes:
        """A small answer that must be fresh, such as what a branch stands for: never from the cache, nor kept."""

        async def ask() -> bytes:
            with tempfile.TemporaryDirectory(prefix="dataengine-") as folder:
                async with _alone(f"{folder}/answer.part") as f:
                    await self._fill(Wanted(url, seconds=seconds), f)
                    return os.pread(f.fd, f.size, 0)

        return self._run(ask())

    def close(self) -> None:
        """Ends the loop and its connections."""
        if self._loop.is_closed() or not self._thread.is_alive():
            return
        if self._session is not None:
            self._run(self._session.close())
        self._run(self._loop.shutdown_default_executor())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self.cache.release()

    def _run(self, task: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(task, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    async def _get_many(
        self, wanted: Sequence[Wanted], done: Callable[[int, Path | AssetFailure], None], at_once: int
    ) -> None:
        todo = iter(enumerate(wanted))

        async def work() -> None:
            for index, one in todo:
                try:
                    result: Path | AssetFailure = await self._get(one)
                except AssetFailure as e:
                    result = e
                done(index, result)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(at_once, len(wanted))):
                    group.create_task(work())
        except BaseExceptionGroup as failed:  # a full disk stops several at once, and is one line
            raise failed.exceptions[0] from failed

    async def _get(self, wanted: Wanted) -> Path:
        found = self.cache.find(wanted.key, wanted.sha256, wanted.suffix)
        if found is not None:
            return found
        part = self.cache.partial(wanted.key)
        try:
            async with _alone(part) as f:
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

    async def _fill(self, wanted: Wanted, f: "_Part") -> str:
        """Tries until the file is whole; returns its hash."""
        deadline = time.monotonic() + wanted.seconds
        failed = mismatched = 0
        while True:
            before = f.size
            try:
                async with asyncio.timeout(max(deadline - time.monotonic(), 0.001)):
                    if wanted.url.startswith(("http://", "https://")):
                        await self._request(wanted, f)
                    else:
                        await asyncio.to_thread(_copy, wanted, f)
                return f.digest()
            except _Again as e:
                reason = e
            except TimeoutError:
                reason = _Again("it is too slow", patient=True)
            except (aiohttp.ClientConnectorError, aiohttp.ServerDisconnectedError) as e:
                reason = _Again(f"no connection: {e}", patient=True)
            except (aiohttp.ClientError, ConnectionError) as e:
                reason = _Again(f"the connection was cut: {e}")
            mismatched += reason.fresh
            failed = 0 if f.size > before else failed + 1
            if reason.fresh:
                f.clear()
                if mismatched == 2:
                    raise AssetFailure(ErrorCode.SHA_MISMATCH, f"{wanted.url}: {reason}, twice")
            wait = (
                reason.wait if reason.wait is not None else min(0.25 * 2**failed, LONGEST_WAIT) * random.uniform(0.5, 1)
            )
            if time.monotonic() + wait >= deadline or (failed >= ATTEMPTS and not reason.patient):
                raise AssetFailure(ErrorCode.FETCH_TIMEOUT, f"{wanted.url}: {reason}")
            if reason.patient:
                self._tell(wanted.url, reason)
            await asyncio.sleep(wait)

    def _tell(self, url: str, reason: _Again) -> None:
        """Says now and then that a host lets us wait: a command must not be silent for minutes."""
        host = self._hosts.setdefault(urlsplit(url).netloc, _Host())
        host.waits += 1
        if host.waits > QUIET_WAITS and time.monotonic() > host.told + TELL_SECONDS:
            host.told = time.monotonic()
            log.warning("waiting for %s: %s", urlsplit(url).netloc, reason)

    async def _request(self, wanted: Wanted, f: "_Part") -> None:
        host = self._hosts.setdefault(urlsplit(wanted.url).netloc, _Host())
        while (pause := host.quiet_until - time.monotonic()) > 0:
            await asyncio.sleep(pause)
        headers = {"Accept-Encoding": "identity"}
        token = token_for(wanted.url)
        if token:
            headers["Authorization"] = f"Bearer {token}"
        if f.size and f.etag:
            headers |= {"Range": f"bytes={f.size}-", "If-Range": f.etag}
        else:
            f.clear()
        proxy = _proxy(urlsplit(wanted.url).scheme, urlsplit(wanted.url).hostname or "")
        session = self._open()
        async with host.slots, session.get(wanted.url, headers=headers, max_redirects=8, proxy=proxy) as response:
            _check_status(wanted, response, host, bool(f.size))
            host.refusals = host.waits = 0
            expected_hash, expected_size = _published(response)
            if response.status != 206:
                f.clear()
            whole = _whole_size(response, f.size)
            if max(whole or 0, expected_size or 0) > wanted.max_bytes:
                raise AssetFailure(ErrorCode.TOO_LARGE, f"{wanted.url}: {whole} bytes (limit {wanted.max_bytes})")
            etag = response.headers.get("ETag", "")
            f.begin(etag if etag.startswith('"') else "")
            async for block in response.content.iter_chunked(BLOCK):
                f.write(block)
                if f.size > wanted.max_bytes:
                    raise AssetFailure(ErrorCode.TOO_LARGE, f"{wanted.url}: over {wanted.max_bytes} bytes")
        if expected_size is not None and f.size != expected_size:
            raise _Again(f"it has {f.size} bytes and was published with {expected_size}", fresh=True)
        wanted_hash = wanted.sha256 or expected_hash
        if wanted_hash is not None and f.digest() != wanted_hash:
            raise _Again("its SHA-256 is not the published one", fresh=True)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0, limit_per_host=0)
            self._session = aiohttp.ClientSession(
                connector=connector,
                timeout=_TIMEOUT,
                auto_decompress=False,
                headers={"User-Agent": f"dataengine/{__version__}"},
            )
        return self._session


class _Part:
    """A download under way: what is on disk, and its running hash."""

    def __init__(self, path: str, fd: int, waited: bool) -> None:
        self.path, self.fd, self.waited = path, fd, waited
        self._hash = hashlib.sha256()
        self.size = 0
        self.etag = self._noted = ""
        self._stale = bool(os.fstat(fd).st_size)  # bytes of an earlier attempt
        if self._stale:
            with suppress(OSError, UnicodeDecodeError):
                self.etag = self._noted = _etag_file(path).read_text()
        if self.etag:
            while block := os.pread(fd, 1 << 20, self.size):
                self._hash.update(block)
                self.size += len(block)

    def clear(self) -> None:
        """Throws away what was gathered."""
        if self.size or self._stale:
            os.ftruncate(self.fd, 0)
            self._hash = hashlib.sha256()
            self.size, self._stale = 0, False

    def begin(self, etag: str) -> None:
        """Says what is being gathered, so that a later attempt continues only the same content."""
        self.etag = etag

    def finish(self) -> None:
        if self._noted:
            _etag_file(self.path).unlink(missing_ok=True)

    def write(self, block: bytes) -> None:
        view = memoryview(block)
        at = self.size
        while view:
            written = os.pwrite(self.fd, view, at)
            view, at = view[written:], at + written
        self._hash.update(block)
        self.size = at
        if at > RESUMED_BYTES and self.etag != self._noted:  # less is not worth a second file
            _etag_file(self.path).write_text(self.etag)
            self._noted = self.etag

    def digest(self) -> str:
        return self._hash.hexdigest()


@asynccontextmanager
async def _alone(path: str) -> AsyncIterator[_Part]:
    """The part file, locked against other processes and tasks."""
    waited = False
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            while not (free := _locked(fd)) and _is_at(path, fd):
                waited = True
                await asyncio.sleep(0.05)
            if free and (
                not os.fstat(fd).st_size or _is_at(path, fd)
            ):  # else it was finished and renamed while we waited
                yield _Part(path, fd, waited)
                return
            waited = True
        finally:
            os.close(fd)


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(path: str, fd: int) -> bool:
    info = os.fstat(fd)
    try:
        return os.stat(path).st_ino == info.st_ino
    except FileNotFoundError:
        return False


def _etag_file(part: str) -> Path:
    return Path(f"{part}.etag")


@functools.lru_cache(maxsize=256)
def _proxy(scheme: str, host: str) -> str | None:
    """The proxy that the environment names. (aiohttp would look, and read ~/.netrc, at every request.)"""
    return None if urllib.request.proxy_bypass(host) else urllib.request.getproxies().get(scheme)


def _check_status(wanted: Wanted, response: aiohttp.ClientResponse, host: _Host, resuming: bool) -> None:
    status, url = response.status, wanted.url
    if status in (200, 206):
        return
    said = response.headers.get("X-Error-Message") or response.reason or ""
    if status in (404, 410):
        raise AssetFailure(ErrorCode.FETCH_404, f"{url}: {status} {said}")
    if status in (401, 403):
        raise AssetFailure(
            ErrorCode.FETCH_DENIED, f"{url}: {status} {said}; set HF_TOKEN, or accept the terms on its page"
        )
    if status in (429, 503):
        wait = _retry_after(response.headers.get("Retry-After"))
        host.refused(wait if wait is not None else 1.0)
        raise _Again(f"{status} {said}", wait, patient=True)
    if status == 416 and resuming:
        raise _Again("the rest is not to be had", fresh=True)
    if status >= 500 or status == 408:
        raise _Again(f"{status} {said}")
    raise AssetFailure(ErrorCode.FETCH_404, f"{url}: {status} {said}")


def _retry_after(text: str | None) -> float | None:
    """Seconds to wait: a number, or a date."""
    if text is None:
        return None
    if text.strip().isdigit():
        return float(text)
    try:
        return max(parsedate_to_datetime(text).timestamp() - time.time(), 0.0)
    except ValueError:
        return None


def _published(response: aiohttp.ClientResponse) -> tuple[str | None, int | None]:
    """Hash and size as the Hugging Face hub publishes them on the answer before the redirect to storage."""
    for answer in (*response.history, response):
        etag = answer.headers.get("X-Linked-Etag", "").removeprefix("W/").strip('"')
        size = answer.headers.get("X-Linked-Size", "")
        if re.fullmatch(r"[0-9a-f]{64}", etag):
            return etag, int(size) if size.isdigit() else None
    return None, None


def _whole_size(response: aiohttp.ClientResponse, have: int) -> int | None:
    if response.status == 206:
        total = response.headers.get("Content-Range", "").rpartition("/")[2]
        if total.isdigit():
            return int(total)
    return have + response.content_length if response.content_length is not None else None


def _copy(wanted: Wanted, f: _Part) -> None:
    """Through fsspec, for s3://, gs://, memory:// …"""
    f.clear()
    try:
        fs, path = fsspec.core.url_to_fs(wanted.url, use_listings_cache=False)
        if wanted.unchanged is not None and not wanted.unchanged(fs.info(path)):
            raise AssetFailure(ErrorCode.SHA_MISMATCH, f"{wanted.url} has changed since it was planned; plan again")
        with fs.open(path, "rb") as source:
            f.begin("")
            while block := source.read(1 << 20):
                f.write(block)
                if f.size > wanted.max_bytes:
                    raise AssetFailure(ErrorCode.TOO_LARGE, f"{wanted.url}: over {wanted.max_bytes} bytes")
    except FileNotFoundError as e:
        raise AssetFailure(ErrorCode.FETCH_404, f"{wanted.url} is not there") from e
    except PermissionError as e:
        raise AssetFailure(ErrorCode.FETCH_DENIED, f"{wanted.url}: {e}") from e
    except (ValueError, ImportError) as e:
        raise DataengineError(f"cannot open {wanted.url}: {e}") from e
    except AssetFailure:
        raise
    except Exception as e:  # each fsspec backend raises its own client's errors
        raise _Again(f"{type(e).__name__}: {e}") from e
    if wanted.sha256 is not None and f.digest() != wanted.sha256:
        raise _Again("its SHA-256 is not the published one", fresh=True)


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
