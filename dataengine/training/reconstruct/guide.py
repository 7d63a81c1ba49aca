"""3D-aware sampling: what unfinished views would show if they were of one object (VideoMV, arXiv 2403.12010, 3.3)."""

import torch
from torch import Tensor

from dataengine.geometry.gaussians import Gaussians
from dataengine.geometry.rasterise import rasterise
from dataengine.geometry.tensors import coverage, scale_intrinsics
from dataengine.training.camera_columns import ORTHOGRAPHIC, WIDTH, c2w_of, k_of
from dataengine.training.contact_sheet import Codec
from dataengine.training.reconstruct.network import Reconstructor
from dataengine.training.reconstruct.view_choice import check_cameras, four_around
from dataengine.training.sampler import Agreement

AT_ONCE = 8  # views that are drawn, decoded or encoded together: what memory they take


class ReconstructionGuide:
    """Decodes views, reconstructs each object from four of them, renders it at all cameras, and encodes that.

    Args:
        model: in eval mode, on the tokenizer's device.
        codec: the run's tokenizer, over white.
        cameras: (B, V, 30) of the views.
        grid: rows and columns of a view's tokens.

    Attributes:
        gaussians: of the last look, (B, N, …); None before the first.

    Raises:
        UsageError: if there are fewer than four views, they are orthographic, or do not look at the object.
    """

    def __init__(self, model: Reconstructor, codec: Codec, cameras: Tensor, grid: tuple[int, int]) -> None:
        for own in cameras:
            check_cameras(c2w_of(own), own[:, ORTHOGRAPHIC] > 0.5)
        self.model, self.codec, self.grid = model, codec, grid
        self.device = next(model.parameters()).device
        self.K, self.c2w = k_of(cameras).to(self.device), c2w_of(cameras).to(self.device)
        self.width = cameras[..., WIDTH].to(self.device)
        self.four = torch.tensor([four_around(c2w_of(own)) for own in cameras], device=self.device)
        self.gaussians: Gaussians | None = None

    @torch.no_grad()
    def __call__(self, codes: Tensor) -> Agreement:
        """(B, V, L) codes without masks → those of the renderings, trusted by how much of a patch Gaussians cover.

        A reconstruction loses what is thin: where it shows nothing, it does not know that nothing is there.
        """
        pictures = torch.stack([self._decoded(own) for own in codes.to(self.device)])
        colour, alpha = self._drawn(self.reconstruct(pictures), (pictures.shape[-2], pictures.shape[-1]))
        flat = colour.flatten(0, 1)
        parts = [self.codec.encode(flat[i : i + AT_ONCE] * 2 - 1).long() for i in range(0, len(flat), AT_ONCE)]
        return Agreement(torch.cat(parts).view(codes.shape), coverage(alpha[:, :, 0], self.grid).flatten(2))

    @torch.no_grad()
    def reconstruct(self, pictures: Tensor) -> Gaussians:
        """From the four views of (B, V, 3, H, W) in [0, 1]."""
        rows = torch.arange(len(pictures), device=self.device)[:, None]
        K = self._intrinsics(pictures.shape[-1])[rows, self.four]
        made = self.model(pictures.to(self.device)[rows, self.four], K, self.c2w[rows, self.four])
        self.gaussians = made.gaussians
        return self.gaussians

    @torch.no_grad()
    def render(self, gaussians: Gaussians, size: tuple[int, int]) -> Tensor:
        """(B, V, 3, H, W) in [0, 1] over white, at all cameras."""
        return self._drawn(gaussians, size)[0]

    def _drawn(self, gaussians: Gaussians, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Colour over white, and alpha (B, V, 1, H, W)."""
        K, views = self._intrinsics(size[1]), self.c2w.shape[1]
        parts = [
            rasterise(gaussians, K[:, i : i + AT_ONCE], self.c2w[:, i : i + AT_ONCE], size)
            for i in range(0, views, AT_ONCE)
        ]
        return torch.cat([p.colour for p in parts], 1).clamp(0, 1), torch.cat([p.alpha for p in parts], 1).clamp(0, 1)

    def _intrinsics(self, width: int) -> Tensor:
        factor = width / self.width[..., None]
        return scale_intrinsics(self.K, factor, factor)

    def _decoded(self, codes: Tensor) -> Tensor:
        grids = codes.view(-1, *self.grid)
        parts = [self.codec.decode(grids[i : i + AT_ONCE]) for i in range(0, len(grids), AT_ONCE)]
        return (torch.cat(parts).float() / 2 + 0.5).clamp(0, 1)
