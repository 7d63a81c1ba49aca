"""What was exported, for the lists that readers expect beside the folders."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Exported:
    """One asset that is in the folder.

    Attributes:
        uid: of the corpus.
        key: by which the layout knows it, such as TRELLIS's SHA-256.
        folder: relative to the root.
        caption: None where it has none.
        conditions: whether views of a second set are there too, for layouts that have a place for them.
    """

    uid: str
    key: str
    folder: str
    caption: str | None
    conditions: bool = False
