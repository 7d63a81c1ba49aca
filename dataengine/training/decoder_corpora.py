"""What a depth-guided decoder is trained and measured on: the views of several corpora and view sets, in turns."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from dataengine.corpus.corpus import Corpus
from dataengine.errors import UsageError
from dataengine.tokenize.decoder_views import Pictures
from dataengine.training.data.views import Views

MEASURED = 32  # held-out objects of each view set


@dataclass(frozen=True)
class Streams:
    """Batches of several streams, each step's from one of them, drawn by how many samples they have.

    Attributes:
        train: streams of batches.
        measured: streams of held-out samples, one a batch.
        batch: samples of a batch.
    """

    train: Sequence[Views]
    measured: Sequence[Views]
    batch: int

    def batches(self, seen: int) -> Iterator[dict[str, Tensor]]:
        """The batches that follow the first `seen`: a function of the streams and that number alone."""
        sizes = torch.tensor([float(stream.num_samples) for stream in self.train])
        used = [0] * len(self.train)
        for step in range(seen):
            used[_drawn(sizes, step)] += self.batch
        running = []
        for stream, position in zip(self.train, used, strict=True):
            epoch, samples = divmod(position, stream.num_samples)
            stream.load_state_dict({"epoch": epoch, "samples": samples, "of": stream.num_samples})
            running.append(iter(stream))
        step = seen
        while True:
            yield next(running[_drawn(sizes, step)])
            step += 1

    def held_out(self) -> list[dict[str, Tensor]]:
        """The first samples of each stream of held-out objects."""
        return [sample for stream in self.measured for sample in islice(iter(stream), MEASURED)]


def open_streams(
    corpora: Sequence[str], view_sets: Sequence[str], *, where: str | None, resolution: int | None, batch: int
) -> Streams:
    """Opens what `decoder fit` is asked for.

    Args:
        corpora: folders or URLs.
        view_sets: names; those that a corpus does not have are left out there. None named: all with colour.

    Raises:
        UsageError: if a corpus has none of the view sets, no view set has depth and three views, nothing is selected,
            or nothing is held out.
    """
    train, measured = [], []
    for url in corpora:
        corpus = Corpus.open(url)
        for name in _chosen(corpus, view_sets):
            common: dict[str, Any] = {
                "view_set": name,
                "fields": Pictures._fields,
                "where": where,
                "resolution": resolution,
            }
            train.append(Views(corpus, split="train", batch_size=batch, **common))
            for split in ("val", "test"):
                try:
                    measured.append(Views(corpus, split=split, batch_size=1, epochs=1, **common))
                except UsageError:  # no asset of that split: the other one has some
                    continue
    if not measured:
        raise UsageError("no asset of the val or test split has such views: there is nothing to measure on")
    return Streams(train, measured, batch)


def _chosen(corpus: Corpus, wanted: Sequence[str]) -> list[str]:
    sets = {each.name: each for each in corpus.config.sets}
    if wanted:
        found = [name for name in wanted if name in sets]
        if not found:
            raise UsageError(f"{corpus.url} has no view set {' or '.join(wanted)} (it has {', '.join(sets)})")
        return found
    return [name for name, each in sets.items() if each.render.colour]


def _drawn(sizes: Tensor, step: int) -> int:
    chance = torch.Generator().manual_seed(step)
    return int(torch.multinomial(sizes, 1, generator=chance))
