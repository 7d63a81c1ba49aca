"""LPIPS (Zhang et al. 2018) on VGG-16, where the optional package and the backbone's weights are on this machine.

Nothing is imported and nothing is downloaded unless both are there: `pip install dataengine[lpips]`.
"""

import contextlib
import importlib.util
import io
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

BACKBONE = "vgg16-397923af.pth"

Distance = Callable[[Tensor, Tensor], Tensor]
"""(B, 3, H, W) RGB in [0, 1], twice → (B,), lower is better."""


def why_not() -> str | None:
    """What is missing for LPIPS, in words; None if nothing is."""
    if importlib.util.find_spec("lpips") is None:
        return "LPIPS is left out: `pip install dataengine[lpips]` brings it"
    if not _backbone().exists():
        return (
            f"LPIPS is left out: its backbone is not at {_backbone()}; "
            "`python -c 'import lpips; lpips.LPIPS(net=\"vgg\")'` downloads it"
        )
    return None


def load_lpips() -> Distance:
    """The distance. Call it only where `why_not` finds nothing."""
    import lpips

    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does
        network = lpips.LPIPS(net="vgg", verbose=False).eval()

    @torch.no_grad()
    def distance(a: Tensor, b: Tensor) -> Tensor:
        out: Tensor = network(a * 2 - 1, b * 2 - 1).flatten()
        return out

    return distance


def _backbone() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints" / BACKBONE
