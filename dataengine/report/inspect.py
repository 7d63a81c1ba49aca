"""What `dataengine inspect` shows: the picture of an asset or a recording for rerun, and its facts as text."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from PIL import Image

from dataengine.corpus.corpus import Corpus
from dataengine.corpus.output import whole_file
from dataengine.report.asset import Asset, find_asset
from dataengine.report.rerun_file import recording_of
from dataengine.report.sheet import asset_sheet, facts


@dataclass(frozen=True)
class Inspection:
    """One asset, for a person to look at."""

    asset: Asset
    text: str

    @property
    def uid(self) -> str:
        return self.asset.uid

    @cached_property
    def image(self) -> Image.Image:
        """Views, depth and cameras. Raises DataengineError if its members cannot be read."""
        return asset_sheet(self.asset)

    def save(self, path: Path) -> None:
        """Writes the picture, or a recording for rerun if the path ends in .rrd.

        Raises:
            DataengineError: if its members cannot be read; for a recording, if it has no views.
            UsageError: if the file cannot be written.
        """
        if path.suffix == ".rrd":
            content = recording_of(self.asset)
            with whole_file(path) as file:
                file.write(content)
            return
        image = self.image
        with whole_file(path) as file:
            image.save(file, "png")


def inspect_asset(corpus: Corpus, uid: str, views: str | None = None) -> Inspection:
    """Looks at an asset.

    Args:
        uid: of the asset, or the beginning of it.
        views: name of the view set to look at it in; None: the first.

    Raises:
        UsageError: if the corpus has no such asset or view set.
    """
    corpus.check_models()
    asset = find_asset(corpus, uid, views)
    lines = []
    for label, value in facts(asset):
        first, *more = value.splitlines()
        lines += [f"{label:<17} {first}", *(f"{'':<17} {line}" for line in more)]
    return Inspection(asset, "\n".join(lines))
