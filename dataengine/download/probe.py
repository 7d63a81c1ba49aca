"""A look at a remote file without fetching it: a few bytes by range, and its size. One attempt, no cache."""

import asyncio
import io
import re
from dataclasses import dataclass
from typing import Literal

import aiohttp

from dataengine._version import __version__
from dataengine.download.hub import token_for
from dataengine.errors import DataengineError

Trouble = Literal["gated", "moved", "unreachable"]
SECONDS = 30.0
BLOCK = 1 << 16


class Refused(DataengineError):
    """What was asked for is unavailable.

    Attributes:
        state: 'gated' (a token or accepted terms are wanted), 'moved' (the host answers, and does not have it, or has
            something else) or 'unreachable' (no answer, or none that helps).
    """

    def __init__(self, state: Trouble, message: str) -> None:
        super().__init__(message)
        self.state = state


@dataclass(frozen=True)
class Probe:
    """Some bytes of a remote file.

    Attributes:
        data: those asked for; fewer where the file ends.
        size: of the whole file; None where the host does not say.
    """

    data: bytes
    size: int | None


def probe(url: str, start: int = 0, count: int = BLOCK) -> Probe:
    """`count` bytes from `start` on. Raises Refused."""
    return asyncio.run(_probe(url, start, count))


async def _probe(url: str, start: int, count: int) -> Probe:
    headers = {"Range": f"bytes={start}-{start + count - 1}", "Accept-Encoding": "identity"}
    headers["User-Agent"] = f"dataengine/{__version__}"
    if token := token_for(url):
        headers["Authorization"] = f"Bearer {token}"
    timeout = aiohttp.ClientTimeout(total=SECONDS)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=True, auto_decompress=False) as session,
            session.get(url, headers=headers, max_redirects=8) as response,
        ):
            _check(url, response)
            if response.status == 206:
                whole = re.search(r"/(\d+)$", response.headers.get("Content-Range", ""))
                return Probe(await _read(response, count), int(whole[1]) if whole else None)
            skipped = await _read(response, start + count)  # a host without ranges sends all of it
            return Probe(skipped[start:], response.content_length)
    except TimeoutError as e:
        raise Refused("unreachable", f"{url}: no answer in {SECONDS:.0f} s") from e
    except (aiohttp.ClientError, OSError) as e:
        raise Refused("unreachable", f"{url}: {' '.join(str(e).split()) or type(e).__name__}") from e


async def _read(response: aiohttp.ClientResponse, most: int) -> bytes:
    data = b""
    while len(data) < most and (block := await response.content.read(most - len(data))):
        data += block
    return data


def _check(url: str, response: aiohttp.ClientResponse) -> None:
    status, code = response.status, response.headers.get("X-Error-Code", "")
    if status in (200, 206):
        return
    said = f"{url}: {status} {response.headers.get('X-Error-Message') or response.reason or ''}".rstrip()
    if code == "RepoNotFound" or status in (404, 410):  # the hub hides what is not there behind a 401
        raise Refused("moved", said)
    if status in (401, 403):
        raise Refused("gated", said)
    raise Refused("unreachable" if status >= 500 or status in (408, 429) else "moved", said)


class RemoteFile(io.RawIOBase):
    """A remote file to seek in, read in blocks that are kept. For directories at the ends of large files."""

    def __init__(self, url: str) -> None:
        first = probe(url)
        if first.size is None:
            raise Refused("moved", f"{url}: the host does not say how large it is")
        self.url, self.size, self._at = url, first.size, 0
        self._blocks = {0: first.data}

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        self._at = max(base + offset, 0)
        return self._at

    def read(self, size: int = -1) -> bytes:
        stop = self.size if size is None or size < 0 else min(self._at + size, self.size)
        data = b""
        while self._at < stop:
            number, skip = divmod(self._at, BLOCK)
            if number not in self._blocks:
                self._blocks[number] = probe(self.url, number * BLOCK, BLOCK).data
            block = self._blocks[number][skip : skip + stop - self._at]
            if not block:
                break
            data += block
            self._at += len(block)
        return data
