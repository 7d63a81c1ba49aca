"""What is known of one host: how many requests it bears, until when it wants to be left alone, and by which way."""

import asyncio
import functools
import logging
import time
import urllib.request

PER_HOST = 16
QUIET_WAITS = 2  # in a row, before a person is told
TELL_SECONDS = 30.0
log = logging.getLogger(__name__)


class Host:
    """One per `scheme://name:port`'s name and port, shared by all downloads of the process."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.slots = asyncio.Semaphore(PER_HOST)
        self._refusals = 0
        self._quiet_until = 0.0
        self._waits = 0
        self._told = 0.0

    async def ready(self) -> None:
        """Returns when the host may be asked."""
        while (pause := self._quiet_until - time.monotonic()) > 0:
            await asyncio.sleep(pause)

    def answered(self) -> None:
        """It served a request."""
        self._refusals = self._waits = 0

    def refused(self, wait: float) -> None:
        """It asked for a pause of `wait` seconds."""
        # One refusal concerns one request; several in a row, all of us.
        self._refusals += 1
        if self._refusals >= 3:
            self._quiet_until = max(self._quiet_until, time.monotonic() + wait)

    def tell(self, reason: object) -> None:
        """Says now and then that a host lets us wait: a command must not be silent for minutes."""
        self._waits += 1
        if self._waits > QUIET_WAITS and time.monotonic() > self._told + TELL_SECONDS:
            self._told = time.monotonic()
            log.warning("waiting for %s: %s", self.name, reason)


@functools.lru_cache(maxsize=256)
def proxy_for(scheme: str, host: str) -> str | None:
    """The proxy that the environment names. (aiohttp would look, and read ~/.netrc, at every request.)"""
    return None if urllib.request.proxy_bypass(host) else urllib.request.getproxies().get(scheme)
