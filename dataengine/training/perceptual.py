"""LPIPS (Zhang et al. 2018) on VGG-16, where the optional package and the backbone's weights are on this machine.

Nothing is imported and nothing is downloaded unless both are there: `pip install dataengine[lpips]`.
"""

import contextlib
import importlib.util
import io
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

BACKBONE = "vgg16-397923af.pth"

Distance = Callable[[Tensor, Tensor], Tensor]
"""(B, 3, H, W) RGB in [0, 1], twice → (B,), lower is better."""


@cache
def find_lpips() -> Distance | str:
    """The distance, or in one line what is missing for it."""
    if importlib.util.find_spec("lpips") is None:
        return "LPIPS is left out: `pip install dataengine[lpips]` brings it"
    if not _backbone().exists():
        return (
            f"LPIPS is left out: its backbone is not at {_backbone()}; "
            "`python -c 'import lpips; lpips.LPIPS(net=\"vgg\")'` downloads it"
        )
    try:
        import lpips
    except (ImportError, OSError, RuntimeError) as e:  # such as a torchvision that was built for another torch
        return f"LPIPS is left out: it cannot be imported here: {str(e).splitlines()[0]}"
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():  # it prints and warns as it loads
        warnings.simplefilter("ignore")
        network = lpips.LPIPS(net="vgg", verbose=False).eval()

    @torch.no_grad()
    def distance(a: Tensor, b: Tensor) -> Tensor:
        out: Tensor = network(a * 2 - 1, b * 2 - 1).flatten()
        return out

    return distance


def _backbone() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints" / BACKBONE
