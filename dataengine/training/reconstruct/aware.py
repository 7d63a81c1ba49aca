"""3D-aware sampling as `sample` and `eval` ask for it."""

from dataclasses import dataclass

from torch import Tensor

from dataengine.errors import UsageError
from dataengine.training.contact_sheet import Codec
from dataengine.training.reconstruct.guide import ReconstructionGuide
from dataengine.training.reconstruct.network import Reconstructor
from dataengine.training.reconstruct.view_choice import check_background
from dataengine.training.sample import Trained, background_of
from dataengine.training.sampler import Guide


@dataclass(frozen=True)
class Reconstruct:
    """How views are made to agree, see `guide.py`.

    Attributes:
        every: steps between two reconstructions; of more than the sampling takes, only what is drawn is reconstructed.
        weight: log-odds that a bit of a rendering's tokens is right.
        model: the reconstructor, in eval mode.
    """

    every: int
    weight: float
    model: Reconstructor

    def of(self, trained: Trained, codec: Codec, cameras: Tensor) -> tuple[ReconstructionGuide, Guide]:
        """For the views (B, V, 30) that a run draws: what reconstructs them, and what the sampler is told.

        Raises:
            UsageError: if its views are not over white, its codes are not made of bits, or see ReconstructionGuide.
        """
        tokenizer = trained.state.tokenizer
        check_background(background_of(tokenizer))
        if tokenizer.get("bit_order") == "none":
            raise UsageError(f"codes of {tokenizer['name']} are not made of bits, which reconstruction pulls at")
        look = ReconstructionGuide(self.model, codec, cameras, trained.state.model.grid)
        return look, Guide(look, self.every, weight=self.weight)
