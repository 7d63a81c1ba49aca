"""What goes with a run when it draws: its tokenizer, and where they are asked for a reconstructor and a decoder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from dataengine.errors import UsageError
from dataengine.tokenize import load
from dataengine.tokenize.checkpoint import shipped_as
from dataengine.tokenize.decoder_file import load_decoder
from dataengine.tokenize.device_tokenizer import pick_device
from dataengine.tokenize.model import Tokenizer
from dataengine.training.guided import GuidedDecoding
from dataengine.training.reconstruct.aware import Reconstruct
from dataengine.training.reconstruct.weights import load_reconstructor
from dataengine.training.sample import background_of
from dataengine.training.sampler import Guide


def tokenizer_for(spec: Mapping[str, Any], weights: str | None, device: str) -> Tokenizer:
    """The tokenizer of a run, by its spec.

    Args:
        weights: its file; None: those that the run learned from, if they ship.
        device: auto, cpu or cuda.

    Raises:
        UsageError: if there are none.
    """
    return load(spec["name"], weights or shipped_as(spec["weights_sha256"])).to(pick_device(device))


def reconstruct_for(every: int | None, weight: float | None, weights: str | None, device: str) -> Reconstruct | None:
    """How views are made to agree; None where `every` is.

    Args:
        every, weight: see `Reconstruct`; a weight of None: as `Guide` has it.
        weights: the reconstructor's; None: those that ship.

    Raises:
        UsageError: if there are weights, and nothing is reconstructed.
    """
    if every is not None:
        counts = Guide.weight if weight is None else weight
        return Reconstruct(every, counts, load_reconstructor(weights, str(pick_device(device))))
    if weights is not None:
        raise UsageError(
            "--reconstructor goes with --reconstruct-every, with --task interpolate, and with novel-view without "
            "--depth: nothing else is reconstructed"
        )
    return None


def decoder_for(decoder: Path | None, codec: Tokenizer, spec: Mapping[str, Any]) -> GuidedDecoding | None:
    """What decodes the views of a run together, by a file or `small`; None where there is none.

    Raises:
        UsageError: if it is for other codes.
    """
    if decoder is None:
        return None
    return GuidedDecoding(codec, load_decoder(decoder, codec), torch.tensor(background_of(spec)) / 255)
