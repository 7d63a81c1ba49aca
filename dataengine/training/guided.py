"""Codes of several views of an object → pictures, by a depth-guided decoder, with the depth that there is."""

from dataclasses import dataclass

import torch
from torch import Tensor

from dataengine.geometry.visual_hull import hull_depth, visual_hull
from dataengine.tokenize.depth_guided import DepthGuidedDecoder
from dataengine.tokenize.epipolar import Scene
from dataengine.tokenize.model import Tokenizer
from dataengine.training.camera_columns import ORTHOGRAPHIC, c2w_of, k_of

DIFFERENT = 0.04  # of a colour channel, from the background's: what is further away is the object


@dataclass(frozen=True)
class GuidedDecoding:
    """A depth-guided decoder and the tokenizer that it belongs to.

    Attributes:
        tokenizer: on its device.
        decoder: for its codes, on the same device.
        background: (3,) in [0, 1] that the views are over.
    """

    tokenizer: Tokenizer
    decoder: DepthGuidedDecoder
    background: Tensor

    @torch.no_grad()
    def __call__(
        self,
        codes: Tensor,
        grid: tuple[int, int],
        cameras: Tensor,
        *,
        given: Tensor | None = None,
        known: Tensor | None = None,
        depth: Tensor | None = None,
    ) -> Tensor:
        """Decodes objects one by one.

        Args:
            codes: (B, V, L).
            grid: rows and columns of the L tokens of a view.
            cameras: (B, V, 30), see camera_columns.py.
            given: (B, V, 3, H, W) in [0, 1]: pictures that are known.
            known: (B, V) bool: which of them are; None: none.
            depth: (B, V, H, W) planar, world units, 0 = none. None: of the visual hull of what the plain decoder shows.

        Returns:
            (B, V, 3, H, W) in [0, 1], on the CPU. A single view is decoded plainly.
        """
        device = next(self.decoder.parameters()).device
        decoded = []
        for i in range(len(codes)):
            z = self.tokenizer.quantize.features(codes[i].view(-1, *grid).to(device))
            plain = (self.tokenizer.pixels(z) + 1) / 2
            rows = cameras[i].to(device)
            K, c2w, orthographic = k_of(rows), c2w_of(rows), rows[:, ORTHOGRAPHIC] > 0
            own = hull_of(plain, self.background, K, c2w, orthographic) if depth is None else depth[i].to(device)
            here = torch.zeros(len(z), dtype=torch.bool, device=device) if known is None else known[i].to(device)
            shown = torch.zeros_like(plain) if given is None else given[i].to(device) * 2 - 1
            shown = shown * here[:, None, None, None]
            exact = torch.full_like(here, depth is not None)
            parts = (own[:, None], K, c2w, orthographic, shown, here, exact)
            scene = Scene(*(part[None] for part in parts))
            picture = self.decoder(z[None], scene)[0]
            decoded.append(((picture.float().clamp(-1, 1) + 1) / 2).cpu())
        return torch.stack(decoded)


def hull_of(pictures: Tensor, background: Tensor, K: Tensor, c2w: Tensor, orthographic: Tensor) -> Tensor:
    """(V, H, W) depth of the visual hull of pictures (V, 3, H, W) in [0, 1]: 0 where a picture shows its background."""
    colour = background.to(pictures)[:, None, None]
    masks = (pictures - colour).abs().amax(1) > DIFFERENT
    hull = visual_hull(masks, K, c2w, orthographic)
    return hull_depth(hull, K, c2w, orthographic, (pictures.shape[-2], pictures.shape[-1])) * masks
