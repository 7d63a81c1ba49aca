"""An asset's files on this machine, and what every asset that has to be downloaded has in common."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path

from dataengine.corpus.config import Limits
from dataengine.download.http import Downloader, downloads_in
from dataengine.download.wanted import Wanted


@dataclass(frozen=True)
class AssetFiles:
    """What `fetch` gives.

    Attributes:
        main: the file to import.
        root: the folder that its references may not leave, as `preflight` wants it.
        dependencies: the files that came with it: where Blender finds textures that are not where the file says.
    """

    main: Path
    root: Path
    dependencies: tuple[Path, ...] = ()

    @property
    def bytes(self) -> int:
        """Of all files together."""
        return sum(file.stat().st_size for file in (self.main, *self.dependencies))


class Downloaded(ABC):
    """An asset that is downloaded, or found in the cache, where it stays until this process has fetched 64 more."""

    @abstractmethod
    async def download(self, downloads: Downloader, limits: Limits) -> AssetFiles:
        """As `fetch`, on the downloader's loop: any number at once."""

    def fetch(self, cache: Path, limits: Limits) -> AssetFiles:
        """The asset's files.

        Args:
            cache: folder that keeps what is downloaded; safe to share between processes.
            limits: of the corpus.

        Raises:
            AssetFailure: FETCH_404, FETCH_TIMEOUT, FETCH_DENIED, SHA_MISMATCH, UNSAFE_PATH, TOO_LARGE or MALFORMED.
            DataengineError: if the cache cannot be written.
        """
        downloads = downloads_in(cache)
        return downloads.run(self.download(downloads, limits))


@dataclass(frozen=True)
class Remote(Downloaded):
    """One file behind a URL, which refers to no other. See `Wanted` for the attributes."""

    wanted: Wanted

    async def download(self, downloads: Downloader, limits: Limits) -> AssetFiles:
        main = await self.download_main(downloads, limits)
        return AssetFiles(main, main.parent)

    async def download_main(self, downloads: Downloader, limits: Limits) -> Path:
        """The file itself."""
        return await downloads.fetch(replace(self.wanted, max_bytes=limits.file_bytes, seconds=limits.wall_seconds))


def files_below(root: Path, main: str) -> AssetFiles:
    """An asset that has a folder of the cache to itself; `main` is relative to it."""
    path = root / main
    return AssetFiles(path, root, tuple(sorted(p for p in root.rglob("*") if p.is_file() and p != path)))
