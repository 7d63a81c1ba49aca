"""Answers whose bytes are encoded although none were asked for so: S3 and GCS send an object that was uploaded with
`Content-Encoding: gzip` as it is, whatever the request accepts. The file is what comes out (RFC 9110, 8.4)."""

import zlib
from collections.abc import Iterator

import aiohttp

from dataengine.download.wanted import TryAgain
from dataengine.errors import AssetFailure, ErrorCode

BLOCK = 1 << 20


class Decoder:
    """Undoes gzip or deflate as the bytes arrive."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(wbits=32 + zlib.MAX_WBITS)  # gzip or zlib, told by their first bytes

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The bytes that come out, in blocks of at most BLOCK. Raises TryAgain for what is not encoded so."""
        while data:
            if self._inflate.eof:  # gzip members may follow one another
                self._inflate = zlib.decompressobj(wbits=32 + zlib.MAX_WBITS)
            try:
                yield self._inflate.decompress(data, BLOCK)
            except zlib.error as e:
                raise TryAgain(f"its content encoding is broken: {e}", fresh=True) from e
            data = self._inflate.unconsumed_tail or self._inflate.unused_data

    def close(self) -> None:
        """Raises TryAgain if the end is missing."""
        if not self._inflate.eof:
            raise TryAgain("its encoded content is cut short", fresh=True)


def decoder_of(url: str, response: aiohttp.ClientResponse) -> Decoder | None:
    """What undoes the answer's encoding; None where there is none.

    Raises:
        AssetFailure: UNSUPPORTED for an encoding that is neither gzip nor deflate.
    """
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding in ("", "identity"):
        return None
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise AssetFailure(ErrorCode.UNSUPPORTED, f"{url}: the server sends it encoded as {encoding[:40]}, unasked")
    return Decoder()
