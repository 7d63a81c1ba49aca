"""What the card and Croissant say of a published dataset."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Facts:
    """Gathered while the rows are written.

    Attributes:
        name: of the dataset, such as `owner/name`, or the folder's.
        view_set: which set of the corpus; `channels`: its channels; `views`: per asset, at `resolution` pixels.
        rig, look: names.
        splits: as the Hub calls them → rows.
        licences, sources: → assets.
        failures: error → assets of the corpus that have no views.
        planned: assets of the corpus that are neither rendered nor failed.
        captioned: rows with a caption.
        version: of dataengine.
        tokens: tokens dataset → {"tokenizer", "rows", "grid"}.
        pinned: source as it was planned → revision.
    """

    name: str
    view_set: str
    channels: list[str]
    rig: str
    look: str
    resolution: int
    views: int
    version: str
    splits: dict[str, int] = field(default_factory=dict)
    licences: Counter[str | None] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    planned: int = 0
    captioned: int = 0
    tokens: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    pinned: dict[str, str | None] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        return sum(self.splits.values())
