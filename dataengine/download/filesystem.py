"""Copies through fsspec, for s3://, gs://, memory:// … They run in a thread of their own."""

from collections.abc import Generator
from contextlib import closing

import fsspec

from dataengine.download.partial import PartialFile
from dataengine.download.wanted import TryAgain, Wanted
from dataengine.errors import AssetFailure, DataengineError, ErrorCode


def copy(wanted: Wanted, f: PartialFile) -> None:
    """Fills a partial file. It may be closed meanwhile: then nobody waits for this copy any more, and it ends.

    Raises:
        TryAgain: for what may pass.
        AssetFailure: FETCH_404, FETCH_DENIED, SHA_MISMATCH or TOO_LARGE.
        DataengineError: if fsspec does not know the URL.
        OSError: if the partial file cannot be written, or is closed.
    """
    f.clear()
    f.begin("")
    with closing(_blocks(wanted)) as blocks:
        for block in blocks:
            f.write(block)
            if f.size > wanted.max_bytes:
                raise AssetFailure(ErrorCode.TOO_LARGE, f"{wanted.url}: over {wanted.max_bytes} bytes")
    if wanted.sha256 is not None and f.digest() != wanted.sha256:
        raise TryAgain("its SHA-256 is not the published one", fresh=True)


def _blocks(wanted: Wanted) -> Generator[bytes, None, None]:
    """What fsspec reads. An error of the reader of these blocks is none of its errors."""
    try:
        fs, path = fsspec.core.url_to_fs(wanted.url, use_listings_cache=False)
        if wanted.unchanged is not None and not wanted.unchanged(fs.info(path)):
            raise AssetFailure(ErrorCode.SHA_MISMATCH, f"{wanted.url} has changed since it was planned; plan again")
        with fs.open(path, "rb") as source:
            while block := source.read(1 << 20):
                yield block
    except FileNotFoundError as e:
        raise AssetFailure(ErrorCode.FETCH_404, f"{wanted.url} is not there") from e
    except PermissionError as e:
        raise AssetFailure(ErrorCode.FETCH_DENIED, f"{wanted.url}: {e}") from e
    except (ValueError, ImportError) as e:
        raise DataengineError(f"cannot open {wanted.url}: {e}") from e
    except AssetFailure:
        raise
    except Exception as e:  # each fsspec backend raises its own client's errors
        raise TryAgain(f"{type(e).__name__}: {e}") from e
