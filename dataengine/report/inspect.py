"""What `dataengine inspect` shows: the picture of an asset, and its facts as text."""

from dataclasses import dataclass

from PIL import Image

from dataengine.corpus.corpus import Corpus
from dataengine.report.asset import find_asset
from dataengine.report.sheet import asset_sheet, facts


@dataclass(frozen=True)
class Inspection:
    """One asset, for a person to look at."""

    uid: str
    image: Image.Image
    text: str


def inspect_asset(corpus: Corpus, uid: str, views: str | None = None) -> Inspection:
    """Looks at an asset.

    Args:
        uid: of the asset, or the beginning of it.
        views: name of the view set to look at it in; None: the first.

    Raises:
        UsageError: if the corpus has no such asset or view set.
        DataengineError: if its members cannot be read.
    """
    corpus.check_models()
    asset = find_asset(corpus, uid, views)
    lines = []
    for label, value in facts(asset):
        first, *more = value.splitlines()
        lines += [f"{label:<17} {first}", *(f"{'':<17} {line}" for line in more)]
    return Inspection(asset.uid, asset_sheet(asset), "\n".join(lines))
