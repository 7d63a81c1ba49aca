"""What a kind of `--source` is: how its models are listed for the plan, and how a row of the plan is found again."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataengine.download.archives import Member
from dataengine.download.asset_files import Remote
from dataengine.download.dependencies import Bundle
from dataengine.sources.listing import SourceListing, SourceQuery
from dataengine.sources.local_file import ListedFile, LocalFile

Row = Mapping[str, Any]
Location = LocalFile | ListedFile | Remote | Member | Bundle
"""Where an asset's files are. Each has `fetch(cache, limits)`."""


@dataclass(frozen=True)
class Source:
    """A kind of source. Each is one file of this folder, and a line in registry.py.

    Attributes:
        name: what stands before the colon.
        usage: as help and messages show it: `objaverse[:lvis]`.
        find: what follows the colon, and what is asked for besides → what the source holds.
        locate: a row of the plan that this source listed → where its files are.
        folder: what follows the colon → the folder of this machine in which all its models lie; None: there is none.
    """

    name: str
    usage: str
    find: Callable[[str, SourceQuery], SourceListing]
    locate: Callable[[Row], Location]
    folder: Callable[[str], Path | None] = lambda rest: None
