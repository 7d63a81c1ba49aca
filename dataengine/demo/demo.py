"""The whole pipeline on models of our own: files → plan → views → manifest → tokens → models that draw → pictures."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dataengine.api.learning import sample
from dataengine.corpus.config import RenderConfig
from dataengine.corpus.corpus import Corpus
from dataengine.corpus.os_errors import explain
from dataengine.demo.models import write_models
from dataengine.errors import DataengineError
from dataengine.manifests.catalog import Catalog
from dataengine.report.asset import Asset, find_asset
from dataengine.report.contact import contact_sheet
from dataengine.report.sheet import asset_sheet
from dataengine.stages.plan import plan_corpus
from dataengine.stages.run import OnAsset, run_shards
from dataengine.stages.tokenize import TokenStage
from dataengine.tokenize import load
from dataengine.tokenize.checkpoint import shipped_as
from dataengine.tokenize.device_tokenizer import DeviceTokenizer
from dataengine.tokenize.model import Tokenizer
from dataengine.training.checkpoints import PACKAGED, read_state
from dataengine.training.config import Sampling, TrainConfig
from dataengine.training.contact_sheet import Comparison
from dataengine.training.evaluation.evaluate import evaluate
from dataengine.training.evaluation.means import means
from dataengine.training.reconstruct.outputs import write_object
from dataengine.training.reconstruct.true_views import reconstruct_object
from dataengine.training.reconstruct.weights import load_reconstructor
from dataengine.training.sample import load_run
from dataengine.training.step_log import OnStep
from dataengine.training.trainer import train

SIDE = 64  # pixels of the views that are learned: 64 tokens each, what two cores can learn from in a minute
LEARNING = {"batch": 8, "steps": 100, "lr": 1e-4, "warmup": 10, "ema": 0.95}
SHARD_SIZE = 4  # more than one shard, so that the demo shows what shards are

THREE_QUARTERS = 7  # of orbit8: azimuth 315°; what faces glTF's front looks towards 270°

HELD_OUT = "split <> 'train'"

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


@dataclass(frozen=True)
class Drawn:
    """What `draw_held_out` found.

    Attributes:
        figures: a row a method, see training/evaluate.py.
        picture: true and drawn views.
    """

    figures: list[dict[str, Any]]
    picture: Path


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


def tokenize(corpus: Corpus, on_asset: OnAsset = lambda row: None) -> Tokenizer:
    """Encodes all views, scaled down, with the weights that the shipped model learned from. Returns the tokenizer."""
    learned_from = read_state(PACKAGED).tokenizer
    tokenizer = load(learned_from["name"], shipped_as(learned_from["weights_sha256"]))
    stage = TokenStage.on(DeviceTokenizer(tokenizer, torch.device("cpu")), resolution=SIDE)
    run_shards(corpus, stage, corpus.shards(), on_asset=on_asset)
    return tokenizer


def learn(corpus: Corpus, out: Path, on_step: OnStep = lambda step: None, **settings: Any) -> Path:
    """Goes on with `nano`, which ships, on the demo's models of split `train`; returns the checkpoint.

    Args:
        on_step: called with each step's number and figures.
        settings: fields of `TrainConfig` other than the demo's own.

    Raises:
        UsageError, DataengineError: as `train`.
    """
    own = {"run": out / "run", "corpus": corpus.url, "stage": "i2mv", "start": PACKAGED, "device": "cpu"}
    return train(TrainConfig.model_validate({**own, **LEARNING, **settings}), on_step=on_step).checkpoint


def draw_held_out(corpus: Corpus, tokenizer: Tokenizer, out: Path) -> Drawn:
    """Lets what `learn` made draw three views from one of each model that it never saw, and measures them.

    Raises:
        UsageError, DataengineError: as `evaluate`.
    """
    seen = Comparison()
    rows = evaluate(
        load_run(out / "run", ("i2mv",)), corpus, tokenizer, tokenizer="small", split=None, where=HELD_OUT,
        limit=None, sampling=Sampling(), train=corpus, on_object=seen.add,
    )  # fmt: skip
    picture = out / "drawn.png"
    try:
        seen.sheet().save(picture)
    except OSError as e:
        raise DataengineError(explain(e, str(out))) from e
    return Drawn(means(rows), picture)


def draw_around(corpus: Corpus, out: Path) -> None:
    """What the models that ship make of each held-out model: of one view and its depth the others; of four, a 3D model.

    Writes folders `NAME-novel-views` and `NAME-reconstructed`, each with a sheet.png beside the true views.

    Raises:
        UsageError, DataengineError: as `sample` and `reconstruct_object`.
    """
    reconstructor = load_reconstructor()
    for uid in Catalog(corpus).uids(f"status = 'ok' AND {HELD_OUT}"):
        name = find_asset(corpus, uid).title.lower().replace(" ", "-")
        novel, reconstructed = out / f"{name}-novel-views", out / f"{name}-reconstructed"
        sample("slim", novel, task="novel-view", corpus=corpus.url, uid=uid, device="cpu")
        write_object(reconstructed, reconstruct_object(corpus, uid, reconstructor))
