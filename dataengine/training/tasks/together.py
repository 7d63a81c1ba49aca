"""The tokens of an asset of a corpus, decoded together with the depth that the corpus has of it."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from dataengine.corpus.corpus import Corpus
from dataengine.corpus.fragments import Fragment
from dataengine.errors import UsageError
from dataengine.tokenize.decoder_file import load_decoder
from dataengine.tokenize.detokenize import Together
from dataengine.tokenize.model import Tokenizer
from dataengine.training.guided import GuidedDecoding
from dataengine.training.sample import background_of
from dataengine.training.tasks.objects import object_views


def decode_together(corpus: Corpus, fragment: Fragment, uid: str, tokenizer: Tokenizer, decoder: Path) -> Together:
    """What `detokenize` decodes an asset's codes with. No view is given.

    Args:
        fragment: of the asset's tokens.
        uid: in full.
        tokenizer: that made them.
        decoder: a file of `decoder fit`.

    Raises:
        UsageError: if the decoder is of another tokenizer or needs a given view, or the views have no depth.
        DataengineError: if the file or the views cannot be read.
    """
    spec = fragment.settings["tokenizer"]
    background = background_of(spec)
    model = load_decoder(decoder, tokenizer)
    if model.guidance.needs_given:
        raise UsageError(
            f"{decoder} carries over pixels of a given view, and here none is given: use it with `sample` or `eval`"
        )
    made_from = str(fragment.head.get("made_from") or "views")
    name = next((each.name for each in corpus.config.sets if each.stage == made_from), None)

    def together(codes: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        grid = (codes.shape[1], codes.shape[2])
        views = object_views(corpus, uid, background, grid[0] * tokenizer.spec.factor, name)
        decode = GuidedDecoding(tokenizer, model, torch.tensor(background) / 255)
        flat = torch.from_numpy(codes.astype(np.int64)).flatten(1)
        made = decode(flat[None], grid, views.cameras[None], depth=views.depth[None])[0]
        pictures: npt.NDArray[np.uint8] = (made * 255).round().byte().permute(0, 2, 3, 1).numpy()
        return pictures

    return together
