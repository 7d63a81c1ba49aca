"""The model: one bidirectional transformer over a caption and several views of an object.

    text tokens | [SOI] view 0 [EOI] | [SOI] view 1 [EOI] | …

What is unusual:
- Codebooks above 2^13 have neither an embedding table nor a softmax of their size: a code goes in as its bits (MaskBit,
  Weber et al. 2024) and comes out in two halves, the second predicted given the first, which is an exact joint
  distribution (Open-MAGVIT2, Luo et al. 2024, factorises in the same way).
- RoPE with three axes: place in the sequence (one step a text token, one step a view), row, column. So any number of
  views fits, also more than were trained on.
- Where a view was taken from is told in one of four ways, see cameras.py.
- No padding mask: captions are padded with a token of its own to a fixed length, in training and sampling alike.
"""

import math

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dataengine.training.model.cameras import CameraEmbedding, angle_features
from dataengine.training.model.codes import CodeEmbedding, CodeHead
from dataengine.training.model.config import ModelConfig
from dataengine.training.model.transformer import Block, rotations


class ViewModel(nn.Module):
    """The whole model. See the module's docstring.

    Args:
        config: sizes.
        checkpointing: recompute each block in the backward pass: memory for a third more time.
    """

    def __init__(self, config: ModelConfig, checkpointing: bool = False) -> None:
        super().__init__()
        self.config, self.checkpointing = config, checkpointing
        width = config.width
        self.text = nn.Embedding(config.text_vocabulary, width)
        self.codes = CodeEmbedding(width, config.bits)
        self.borders = nn.Parameter(torch.empty(2, width))  # [SOI] and [EOI]
        if config.camera == "azimuth":
            self.angles = nn.Linear(10, width, bias=False)
        elif config.camera != "none":
            self.camera = CameraEmbedding(config.camera, width, config.grid)
        self.blocks = nn.ModuleList(Block(width) for _ in range(config.layers))
        self.head = CodeHead(width, config.bits)
        self.apply(self._init)
        nn.init.normal_(self.borders, std=0.02)
        nn.init.normal_(self.codes.unknown, std=0.02)
        for block in self.blocks:
            for last in (block.attention.out, block.mlp.down):  # type: ignore[union-attr]
                nn.init.normal_(last.weight, std=0.02 / math.sqrt(2 * config.layers))  # type: ignore[arg-type, union-attr]
        if config.camera in ("matrix", "rays"):
            nn.init.zeros_(self.camera.leave.weight)
            nn.init.zeros_(self.camera.leave.bias)

    @staticmethod
    def _init(module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)

    def forward(
        self, text: Tensor, codes: Tensor, cameras: Tensor, targets: Tensor | None = None, masked: Tensor | None = None
    ) -> Tensor:
        """Features, or losses where targets are given (in one call: data-parallel wrappers hook `forward`).

        Args:
            text: (B, text_length) ids.
            codes: (B, V, L) codes, `config.mask` where unknown.
            cameras: (B, V, 30), see camera_columns.py; poses are told in the first view's frame.
            targets: (B, V, L) codes.
            masked: (B, V, L) bool: where the loss is asked for.

        Returns:
            (B, V, L, width); with targets (N,) nats, one per masked token, in the order of `masked`.
        """
        batch, views, length = codes.shape
        x: Tensor = self.codes(codes)
        if self.config.camera in ("matrix", "rays"):
            x = x + self.camera(cameras)
        soi, eoi = (b.expand(batch, views, 1, -1) for b in self.borders)
        x = torch.cat([soi, x, eoi], 2)
        if self.config.camera == "azimuth":
            x = x + self.angles(angle_features(cameras))[:, :, None]
        x = torch.cat([self.text(text), x.flatten(1, 2)], 1)
        cos, sin = rotations(self.config, views, x.device)
        for block in self.blocks:
            if self.checkpointing and torch.is_grad_enabled():
                x = checkpoint(block, x, (cos, sin), use_reentrant=False)
            else:
                x = block(x, (cos, sin))
        x = x[:, text.shape[1] :].view(batch, views, length + 2, -1)[:, :, 1:-1]
        if targets is None or masked is None:
            return x
        # Only here is a tensor's size decided by data: the blocks, which are compiled, see fixed shapes.
        nll: Tensor = self.head.nll(x[masked], targets[masked])
        return nll
