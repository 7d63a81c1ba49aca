"""Views as they come out of an unfinished sampler: some tokens are true, the others a guess, and all are decoded."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from dataengine.tokenize.averaged_run import autocast
from dataengine.tokenize.model import Tokenizer
from dataengine.training.camera_columns import camera_rows
from dataengine.training.model.config import ModelConfig
from dataengine.training.model.view_model import ViewModel
from dataengine.training.text import PAD

MOST_MASKED = 0.7
"""VideoMV trains its reconstructor on predictions of the first 700 of 1,000 noise steps; the share that is masked."""
_FLIPPED = 0.15  # of the bits of a guessed token, where no model guesses


class Corruption:
    """Encodes views, replaces a share of each object's tokens, and decodes.

    Args:
        codec: a tokenizer on its device.
        model: of stage complete, with rays or none; guesses what is hidden, in one evaluation, a draw of each part.
            None, or where views are not of its size: a hidden token becomes that of the same place in another of the
            object's views, or one bit in seven of it is flipped, which is how wrong codes look.
    """

    def __init__(self, codec: Tokenizer, model: ViewModel | None = None) -> None:
        self.codec, self.model = codec, model

    @torch.no_grad()
    def __call__(self, colour: Tensor, K: Tensor, c2w: Tensor, random: torch.Generator) -> Tensor:
        """(B, V, 3, H, W) in [0, 1] over white → the same, in [0, 1]."""
        batch, views, _, height, width = colour.shape
        with autocast(colour.device):
            codes = self.codec.encode(colour.flatten(0, 1) * 2 - 1)
            grid = codes.shape[1:]
            codes = codes.view(batch, views, -1)
            share = torch.rand(batch, generator=random).to(colour.device) * MOST_MASKED
            score = torch.rand(batch, codes[0].numel(), generator=random).to(colour.device)
            hidden = (score < share[:, None]).view_as(codes)
            if self.model is None or tuple(grid) != self.model.config.grid:
                guess = self._other_views(codes, random)
            else:
                cameras = rows_around(K, c2w, (height, width))
                guess = self._guess(self.model, codes, hidden, cameras, random)
            mixed = torch.where(hidden, guess, codes)
            pixels = self.codec.decode(mixed.view(batch * views, *grid))
        return (pixels.float() / 2 + 0.5).clamp(0, 1).view_as(colour)

    def _other_views(self, codes: Tensor, random: torch.Generator) -> Tensor:
        bits = self.codec.spec.bits
        order = torch.randperm(codes.shape[1], generator=random).to(codes.device)
        flips = torch.rand(*codes.shape, bits, generator=random) < _FLIPPED
        flipped = codes ^ (flips.long() << torch.arange(bits)).sum(-1).to(codes.device)
        return torch.where((torch.rand(codes.shape, generator=random) < 0.5).to(codes.device), codes[:, order], flipped)

    def _guess(
        self, model: ViewModel, codes: Tensor, hidden: Tensor, cameras: Tensor, random: torch.Generator
    ) -> Tensor:
        text = torch.full((len(codes), model.config.text_length), PAD, device=codes.device)
        features = model(text, codes.masked_fill(hidden, model.config.mask), cameras)[hidden]
        known: list[Tensor] = []
        chance = torch.Generator(codes.device).manual_seed(int(torch.randint(1 << 62, (), generator=random)))
        for _ in model.head.parts:
            logits = model.head.logits(features, known)
            uniform = torch.rand(logits.shape, generator=chance, device=logits.device).clamp(1e-20, 1 - 1e-7)
            known.append((logits / 0.5 - (-uniform.log()).log()).argmax(-1))
        out = codes.clone()
        out[hidden] = model.head.join(known)
        return out


def rows_around(K: Tensor, c2w: Tensor, size: tuple[int, int]) -> Tensor:
    """(…, 30) as in cameras.npy of perspective views, whose planes are those of the object's sphere."""
    distance = c2w[..., :3, 3].norm(dim=-1)
    return camera_rows(K, c2w, distance - 0.505, distance + 0.505, size)


def guessing_model(folder: Path, device: str | torch.device) -> ViewModel:
    """The averaged weights of a checkpoint's folder, such as those that ship; in eval mode.

    `checkpoints.load_weights` does the same, but brings all of the engine along.
    """
    state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    model: nn.Module = ViewModel(ModelConfig.from_dict(state["model"]))
    model.load_state_dict({k: v.float() for k, v in load_file(folder / "ema.safetensors").items()})
    model.to(device).eval().requires_grad_(False)
    assert isinstance(model, ViewModel)
    return model
