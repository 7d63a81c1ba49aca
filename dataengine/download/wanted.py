"""What a download is asked for, and how an attempt says that another may succeed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


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
        from_list: whether a stranger may have written the URL, see public_only.py.
    """

    url: str
    suffix: str = ""
    sha256: str | None = None
    max_bytes: int = 2 << 30
    seconds: float = 600.0
    version: str = ""
    unchanged: Callable[[Mapping[str, Any]], bool] | None = None
    from_list: bool = False

    @property
    def key(self) -> str:
        """What the cache knows it by."""
        return f"{self.url}\n{self.version}" if self.version else self.url


class TryAgain(Exception):
    """This attempt failed and another may succeed.

    Attributes:
        wait: seconds that the host asked for.
        patient: whether only the deadline limits the attempts.
        fresh: whether what was gathered is to be thrown away.
    """

    def __init__(self, message: str, wait: float | None = None, *, patient: bool = False, fresh: bool = False) -> None:
        super().__init__(message)
        self.wait, self.patient, self.fresh = wait, patient, fresh
