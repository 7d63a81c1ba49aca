"""`dataengine eval`: evaluates a run on held-out objects, beside what no model is needed for.

Four ways to predict the views of an object, each measured against the rendered views:
    model        what the run draws (i2mv: from the first view; t2mv: from the caption)
    reference    the first view, copied (i2mv only)
    mean         the mean of the training views, view by view
    round_trip   the true views through the tokenizer and back: the ceiling

Measured on the views that had to be predicted: PSNR and SSIM (data range 1), PSNR on the object's own pixels, the
feature distance (metrics.py) and, where it is installed, LPIPS; on all views: reprojection PSNR with the true depth,
how far they show one object. For t2mv also whether the drawn views are nearer to the object whose caption it was than
to nine others, all seen from whichever side fits best: a caption does not say where the front is.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from dataengine.corpus.corpus import Corpus
from dataengine.corpus.output import whole_file
from dataengine.errors import UsageError
from dataengine.manifests.catalog import Catalog
from dataengine.tokenize.features import feature_distance
from dataengine.tokenize.metrics import psnr, ssim
from dataengine.training.config import Sampling
from dataengine.training.contact_sheet import Codec, Colour, decode_views
from dataengine.training.data.index import build_index
from dataengine.training.data.stream import Batch
from dataengine.training.evaluation.ground_truth import GroundTruth, objects_of, scale_views
from dataengine.training.evaluation.metrics import Distance, find_lpips, reprojection_psnr
from dataengine.training.evaluation.retrieval import Retrieval
from dataengine.training.evaluation.surface import shape_of_views
from dataengine.training.guided import GuidedDecoding
from dataengine.training.reconstruct.aware import Reconstruct
from dataengine.training.sample import Trained, background_of
from dataengine.training.sampler import Guide, generate
from dataengine.training.text import text_tokenizer
from dataengine.training.tokens_spec import check_tokenizer, tokenizer_of, tokens_for

OnObject = Callable[[str, Tensor, Tensor], None]

SCHEMA = pa.schema(
    [
        ("uid", pa.string()),
        ("method", pa.string()),  # model, reference, mean, round_trip
        ("stage", pa.string()),
        ("task", pa.string()),  # i2mv or t2mv
        ("psnr", pa.float64()),  # dB, mean over the predicted views
        ("ssim", pa.float64()),
        ("psnr_object", pa.float64()),  # dB, on pixels with alpha
        ("feature", pa.float64()),  # distance, lower is better
        ("lpips", pa.float64()),  # VGG's, lower is better; null where it is not installed
        ("reprojection", pa.float64()),  # dB, over all views of the object
        ("chamfer", pa.float64()),  # world units, lower is better; protocols alone
        ("volume_iou", pa.float64()),
        ("retrieval", pa.float64()),  # t2mv: 1 if the nearest of ten objects is the right one, else 0
    ]
)


def task_of(trained: Trained, task: Literal["i2mv", "t2mv"] | None) -> Literal["i2mv", "t2mv"]:
    """What a run is measured at: the task that is asked for, else what it was trained for.

    Raises:
        UsageError: if it was not trained for that.
    """
    stage = trained.state.stage
    if stage == "pretrain":
        raise UsageError(f"{trained.checkpoint} knows single views only: train stage i2mv or t2mv, then evaluate")
    if task == "t2mv" and stage == "i2mv":
        raise UsageError(f"{trained.checkpoint} was trained for i2mv: train stage t2mv or complete for views from text")
    return task or ("t2mv" if stage == "t2mv" else "i2mv")


def evaluate(
    trained: Trained,
    corpus: Corpus,
    codec: Codec,
    *,
    tokenizer: str,
    task: Literal["i2mv", "t2mv"] | None = None,
    split: str | None = "test",
    where: str | None = None,
    limit: int | None = 64,
    sampling: Sampling,
    seed: int = 0,
    train: Corpus | None = None,
    reconstruct: Reconstruct | None = None,
    decoder: GuidedDecoding | None = None,
    resolution: int | None = None,
    shapes: bool = False,
    on_start: Callable[[int], None] = lambda objects: None,
    on_object: OnObject = lambda caption, true, drawn: None,
) -> pa.Table:
    """Measures a run on a corpus that was rendered and tokenized.

    Args:
        trained: of stage i2mv, t2mv or complete.
        corpus: with views and tokens.
        codec: the run's tokenizer.
        tokenizer: the name of the corpus's tokens.
        task: views from the first one, or from the caption; None: the stage's, i2mv for complete.
        split, where, limit: which objects, and how many at most (the first in the corpus's order); None: all.
        sampling, seed: see sampler.py.
        train: the corpus over whose split `train` the mean is taken; None: there is no mean.
        reconstruct: how the drawn views are made to agree; None: they are not.
        decoder: decodes the views of each object together: drawn ones with the depth of their visual hull, those of the
            round trip with the corpus's; the first view is given. None: one by one.
        resolution: side to which all views are scaled down before they are measured; None: the run's own.
        shapes: also fit Gaussians to the views that the model draws and to the round trip, and compare their surfaces
            with the true one: seconds an object.
        on_start: told how many objects there are.
        on_object: called with each object's caption, true views and drawn views.

    Returns:
        One row per object and method, as SCHEMA has it.

    Raises:
        UsageError: if nothing is selected, the run is of another tokenizer or stage, its views are smaller than
            `resolution`, or cannot be reconstructed.
    """
    stage, task = trained.state.stage, task_of(trained, task)
    check_tokenizer(trained.state, tokenizer_of(corpus, tokenizer), trained.checkpoint)
    catalog = Catalog(corpus)
    given = 0 if task == "t2mv" else 1
    held_out = build_index(catalog, tokenizer, split=split, where=where)
    background = background_of(trained.state.tokenizer)
    grid = trained.state.model.grid
    if held_out.tokens_layout.shape[1:] != grid:
        high, wide = held_out.tokens_layout.shape[1:]
        raise UsageError(f"the run knows views of {grid[0]}×{grid[1]} tokens, the corpus has {high}×{wide}")
    side = tokenizer_of(corpus, tokenizer).get("resolution")
    mean = None
    if train is not None:
        learned_from = tokenizer if train is corpus else tokens_for(train, trained.state)
        mean = _training_mean(train, learned_from, background)
        mean = mean if resolution is None else scale_views(mean, resolution)
    found_lpips = find_lpips()
    lpips = None if isinstance(found_lpips, str) else found_lpips
    rows: list[dict[str, Any]] = []
    compared = Retrieval()
    on_start(len(held_out) if limit is None else min(limit, len(held_out)))
    for batch, truth in objects_of(catalog, tokenizer, held_out, background, side, limit):
        codes = batch.tokens.flatten(2)
        guide = reconstruct.of(trained, codec, truth.cameras)[1] if reconstruct else None
        drawn = _draw(trained, batch, codes, truth.cameras, given, sampling, seed, guide)
        methods = {
            "model": _decode(trained, codec, decoder, drawn, truth, given, None),
            "round_trip": _decode(trained, codec, decoder, codes.to(trained.device), truth, given, truth.depth),
        }
        if resolution is not None:
            methods = {method: scale_views(images, resolution) for method, images in methods.items()}
            truth = truth.scaled(resolution)
        if mean is not None:
            methods["mean"] = mean.expand_as(truth.images)
        if given:
            methods["reference"] = truth.images[:, :1].expand_as(truth.images)
        for method, images in methods.items():
            rows += [
                {"uid": uid, "method": method, "stage": stage, "task": task, **found}
                for uid, found in zip(truth.uids, _metrics_of(images, truth, given, lpips), strict=True)
            ]
            if shapes and method in ("model", "round_trip"):
                for row, *views in zip(rows[-len(images) :], images.cpu(), truth.depth, truth.cameras, strict=True):
                    row["chamfer"], row["volume_iou"] = shape_of_views(*views)
        for caption, true, made in zip(batch.captions, truth.images, methods["model"], strict=True):
            on_object(caption, true, made)
        if not given:
            compared.add(methods["model"], truth.images)
    if not given:
        hits = iter(compared.hits())
        for row in rows:
            if row["method"] == "model":
                row["retrieval"] = next(hits)
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def write(table: pa.Table, path: Path) -> None:
    """Writes the rows as Parquet, which `dataengine query` reads: `SELECT … FROM 'eval.parquet'`.

    Raises:
        UsageError: if the file cannot be written; an older one is untouched then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        pq.write_table(table, file)


def _draw(
    trained: Trained,
    batch: Batch,
    codes: Tensor,
    cameras: Tensor,
    given: int,
    sampling: Sampling,
    seed: int,
    guide: Guide | None,
) -> Tensor:
    hidden = torch.full_like(codes, trained.state.model.mask)
    hidden[:, :given] = codes[:, :given]
    captions = [""] * len(codes) if given else batch.captions  # an image alone is what people bring
    text = text_tokenizer().encode(captions)
    return generate(trained.model, text, hidden, cameras, sampling, seed + int(batch.rows[0]), guide=guide)


def _decode(
    trained: Trained,
    codec: Codec,
    decoder: GuidedDecoding | None,
    codes: Tensor,
    truth: GroundTruth,
    given: int,
    depth: Tensor | None,
) -> Tensor:
    grid = trained.state.model.grid
    if decoder is None:
        return decode_views(codec, codes, grid)
    known = torch.zeros(codes.shape[:2], dtype=torch.bool)
    known[:, :given] = True
    return decoder(codes, grid, truth.cameras, given=truth.images, known=known, depth=depth)


def _metrics_of(
    images: Tensor, truth: GroundTruth, given: int, lpips: Distance | None
) -> Iterator[dict[str, float | None]]:
    for own, real, covered, depth, cameras in zip(
        images, truth.images, truth.covered, truth.depth, truth.cameras, strict=True
    ):
        predicted, wanted = own[given:].contiguous(), real[given:].contiguous()
        yield {
            "psnr": float(psnr(predicted, wanted).mean()),
            "ssim": float(ssim(predicted, wanted).mean()),
            "psnr_object": float(psnr(predicted, wanted, covered[given:, None]).nanmean()),
            "feature": float(feature_distance(predicted, wanted).mean()),
            "lpips": float(lpips(predicted, wanted).mean()) if lpips else None,
            "reprojection": float(reprojection_psnr(own, depth, cameras)),
        }


def _training_mean(corpus: Corpus, tokenizer: str, background: Colour, limit: int = 256) -> Tensor:
    catalog, side = Catalog(corpus), tokenizer_of(corpus, tokenizer).get("resolution")
    index = build_index(catalog, tokenizer, split="train")
    total, count = torch.zeros(()), 0
    for _, truth in objects_of(catalog, tokenizer, index, background, side, limit):
        total, count = total + truth.images.sum(0), count + len(truth.images)
    return total / count
