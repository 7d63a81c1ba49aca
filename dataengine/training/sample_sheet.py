"""What the averaged weights draw for a few training samples, as a contact sheet, while a run goes on."""

import numpy as np
import torch

from dataengine.training.config import TrainConfig, sampling_of
from dataengine.training.contact_sheet import Codec, decode_views, sheet, write_picture
from dataengine.training.data.index import SampleIndex
from dataengine.training.data.stream import Reader
from dataengine.training.masking import VIEWS
from dataengine.training.run import TrainingRun
from dataengine.training.sampler import generate
from dataengine.training.text import text_tokenizer


class SampleSheet:
    """Four samples, spread over the index, drawn from what the stage is given.

    Args:
        index: of the training samples.
        config: the run's; its cache is where remote shards are copied to.
        codec: the corpus's tokenizer; None: `draw` does nothing.

    Attributes:
        cameras: (views, 30) of the first sample: the rig that the run knows.
    """

    def __init__(self, index: SampleIndex, config: TrainConfig, codec: Codec | None) -> None:
        reader = Reader(index, cache=config.cache, cache_bytes=config.cache_bytes)
        try:
            self._batch = reader.batch(np.linspace(0, len(index) - 1, min(4, len(index))).astype(np.int64))
        finally:
            reader.close()
        self._codec = codec
        self.cameras: list[list[float]] = self._batch.cameras[0].tolist()

    def draw(self, run: TrainingRun) -> None:
        """Writes RUN/<stage>/sheets/<step>.png. Every rank takes part where weights are sharded."""
        if self._codec is None or not (run.ranks.first or run.config.sharded):
            return
        batch, config = self._batch, run.model.config
        count = 1 if run.config.stage == "pretrain" else min(VIEWS, batch.tokens.shape[1])
        views = torch.arange(count) * batch.tokens.shape[1] // count
        real = batch.tokens[:, views].flatten(2)
        codes = torch.full_like(real, config.mask)
        if run.config.stage in ("i2mv", "complete"):
            codes[:, 0] = real[:, 0]
        text = text_tokenizer().encode(batch.captions)
        how = sampling_of(run.sampling, "i2mv" if run.config.stage in ("i2mv", "complete") else "t2mv")
        drawn = generate(run.ema, text, codes, batch.cameras[:, views], how, seed=run.config.seed)
        run.reshard_ema()
        if run.ranks.first:
            true, made = (decode_views(self._codec, c.to(run.ranks.device), config.grid) for c in (real, drawn))
            given = " (the first view is given)" if run.config.stage in ("i2mv", "complete") else ""
            rows = zip(batch.captions, true, made, strict=True)
            pairs = [((f"true: {caption or 'no caption'}", a), (f"drawn{given}", b)) for caption, a, b in rows]
            picture = sheet([row for pair in pairs for row in pair], scale=max(1, 160 // true.shape[-1]))
            (run.folder / "sheets").mkdir(exist_ok=True)
            write_picture(picture, run.folder / "sheets" / f"{run.step:08d}.png")
