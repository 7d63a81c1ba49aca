"""The loss of objects that are not trained on, while a run goes on: where it rises again, there is nothing to gain."""

import torch
import torch.distributed as dist

from dataengine.errors import UsageError
from dataengine.manifests.catalog import Catalog
from dataengine.training.data.index import build_index
from dataengine.training.data.stream import Batch, Stream
from dataengine.training.run import TrainingRun
from dataengine.training.stage_masks import stage_randoms

SAMPLES = 64  # at least: as many batches as hold them


class HeldOut:
    """The first samples of split `val`, hidden as in training: each time the same ones, and the same of their tokens.

    Attributes:
        batches: this rank's parts; none where the split is empty.
    """

    def __init__(self, run: TrainingRun, catalog: Catalog) -> None:
        config, ranks = run.config, run.ranks
        self.batches: list[Batch] = []
        try:
            index = build_index(catalog, config.tokenizer, split="val", where=config.where)
        except UsageError:  # there are none, or of another shape than what is trained on
            return
        if index.tokens_layout.shape[1:] != run.model.config.grid:
            return
        size = (config.micro_batch or config.batch // ranks.count) * ranks.count
        views, rows, columns = index.tokens_layout.shape
        width = stage_randoms(config.stage, views, rows * columns)
        stream = Stream(
            index, batch_size=size, seed=config.seed, rank=ranks.rank, ranks=ranks.count, width=width,
            cache=config.cache, cache_bytes=config.cache_bytes,
        )  # fmt: skip
        try:
            self.batches = [next(stream).clone() for _ in range(-(-SAMPLES // size))]
        finally:
            stream.close()

    @torch.no_grad()
    def measure(self, run: TrainingRun) -> float:
        """Nats per hidden token, of the averaged weights. Every rank calls it."""
        sums = torch.zeros(2, dtype=torch.float64, device=run.ranks.device)
        for batch in self.batches:
            seen = run.inputs(batch)
            masked = seen.masked
            with run.autocast():
                nll = run.ema(seen.words, masked.codes, seen.cameras, masked.targets, masked.masked)
            sums += torch.stack([nll.double().sum(), masked.masked.sum().double()])
        run.reshard_ema()
        if run.ranks.count > 1:
            dist.all_reduce(sums)
        return float(sums[0] / sums[1])
