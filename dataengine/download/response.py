"""What an HTTP answer says besides its bytes: whether to go on, wait or give up; the published hash; the size."""

import re
import time
from email.utils import parsedate_to_datetime

import aiohttp

from dataengine.download.host import Host
from dataengine.download.wanted import TryAgain
from dataengine.errors import AssetFailure, ErrorCode


def check_status(url: str, response: aiohttp.ClientResponse, host: Host, resuming: bool) -> None:
    """Returns if the answer's bytes are what was asked for.

    Raises:
        TryAgain: if it is worth it.
        AssetFailure: FETCH_404 or FETCH_DENIED if not.
    """
    status = response.status
    if status in (200, 206):
        return
    said = response.headers.get("X-Error-Message") or response.reason or ""
    if status in (401, 403):
        raise AssetFailure(
            ErrorCode.FETCH_DENIED, f"{url}: {status} {said}; set HF_TOKEN, or accept the terms on its page"
        )
    if status in (429, 503):
        wait = _retry_after(response.headers.get("Retry-After"))
        host.refused(wait if wait is not None else 1.0)
        raise TryAgain(f"{status} {said}", wait, patient=True)
    if status == 416 and resuming:
        raise TryAgain("the rest is unavailable", fresh=True)
    if status >= 500 or status == 408:
        raise TryAgain(f"{status} {said}")
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


def published(response: aiohttp.ClientResponse) -> tuple[str | None, int | None]:
    """Hash and size as the Hugging Face hub publishes them on the answer before the redirect to storage."""
    for answer in (*response.history, response):
        etag = answer.headers.get("X-Linked-Etag", "").removeprefix("W/").strip('"')
        size = answer.headers.get("X-Linked-Size", "")
        if re.fullmatch(r"[0-9a-f]{64}", etag):
            return etag, int(size) if size.isdigit() else None
    return None, None


def whole_size(response: aiohttp.ClientResponse, have: int) -> int | None:
    """Bytes of the whole file, of which `have` are here already; None where the host does not say."""
    if response.status == 206:
        total = response.headers.get("Content-Range", "").rpartition("/")[2]
        if total.isdigit():
            return int(total)
    return have + response.content_length if response.content_length is not None else None
