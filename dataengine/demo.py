"""The whole main job on models of our own: files → plan → views → manifest → pictures."""

from dataclasses import dataclass
from pathlib import Path

from dataengine.assets.generated import write_models
from dataengine.assets.plan import plan_corpus
from dataengine.config import RenderConfig
from dataengine.corpus import Corpus
from dataengine.errors import DataengineError
from dataengine.manifests.catalog import Catalog
from dataengine.report.asset import Asset, find_asset
from dataengine.report.sheet import asset_sheet, contact_sheet
from dataengine.storage import explain

SHARD_SIZE = 4  # more than one shard, so that the demo shows what shards are

THREE_QUARTERS = 7  # of orbit8: azimuth 315°; what faces glTF's front looks towards 270°

QUERY = """
SELECT title, caption, num_views AS views, round(list_avg(coverage), 2) AS coverage,
       round(100 * depth_error, 3) AS "depth error %", round(cpu_seconds, 1) AS "CPU s"
FROM assets ORDER BY title
"""


@dataclass(frozen=True)
class Pictures:
    """What `draw_pictures` wrote."""

    everything: Path
    one: Path


def prepare(out: Path, render: RenderConfig | None = None) -> Corpus:
    """Makes the models in `out/models` and plans a corpus of them in `out/corpus`; both are kept if they are there.

    Raises:
        DataengineError: if the folder cannot be written.
        UsageError: if another version of the project made the corpus there.
    """
    models, corpus = out / "models", out / "corpus"
    write_models(models)
    plan_corpus(
        str(corpus),
        sources=[f"local:{models.absolute()}"],
        render=render or RenderConfig(),
        captions=[str(models / "captions.csv")],
        where=None,
        shard_size=SHARD_SIZE,
    )
    return Corpus.open(corpus)


def draw_pictures(corpus: Corpus, out: Path) -> Pictures:
    """All models side by side, and the sheet of the first in the alphabet that rendered.

    Raises:
        DataengineError: if nothing rendered, or the folder cannot be written.
    """
    assets = sorted((find_asset(corpus, uid) for uid in Catalog(corpus).uids()), key=lambda a: a.title)
    good: list[Asset] = [asset for asset in assets if asset.status == "ok"]
    if not good:
        raise DataengineError("none of the demo's models rendered; `dataengine doctor` says what is wrong here")
    pictures = Pictures(out / "models.png", out / f"{good[0].title.lower().replace(' ', '-')}.png")
    try:
        contact_sheet(assets, view=THREE_QUARTERS, side=208).save(pictures.everything)
        asset_sheet(good[0]).save(pictures.one)
    except OSError as e:
        raise DataengineError(explain(e, str(out))) from e
    return pictures
