"""Views of an object drawn again from Gaussians that were fitted to them: where views do not agree in 3D, they blur.

"Pixel-Aligned Multi-View Generation with Depth Guided Decoder" (arXiv 2408.14016, section 4.2) fits NeuS to decoded
views and shows it from their cameras. Here the field is a set of Gaussians (gaussian_fit.py). With as few and as small
views as that fit has by default, its own blur is what is measured: true views came out no better than decoded ones of
the object that it was tried on. So more Gaussians are fitted here, to views of full size, and for longer.
"""

import torch
from torch import Tensor

from dataengine.errors import UsageError
from dataengine.tokenize.decoder_views import Pictures
from dataengine.training.evaluation.gaussian_fit import AT_ONCE, draw, fit_gaussians
from dataengine.training.evaluation.view_scores import score_views

COUNT = 3000  # Gaussians
STEPS = 300
PACE = 2.0  # times the fit's usual rates: true views of one object came out at 29.8 dB, with 1 at 27.4


def rerender(
    shown: Tensor, truth: Pictures, *, every: int = 1, count: int = COUNT, steps: int = STEPS, seed: int = 0
) -> Tensor:
    """Fits Gaussians to views of one object, the given one among them, and draws them at the cameras of all.

    Args:
        shown: (V, 3, H, W) in [0, 1] over white.
        truth: of one object (B = 1); its cameras are taken.
        every: 2 fits every second view, the first among them.
        count, steps, seed: of the fit.

    Returns:
        (V, 3, H, W) in [0, 1].

    Raises:
        UsageError: for orthographic views.
    """
    if bool(truth.orthographic.any()):
        raise UsageError("Gaussians are fitted to perspective views, and these are orthographic: take another view set")
    K, c2w = truth.K[0], truth.c2w[0]
    made = fit_gaussians(shown[::every], K[::every], c2w[::every], count=count, steps=steps, pace=PACE, seed=seed)
    with torch.no_grad():
        cameras = zip(torch.split(K, AT_ONCE), torch.split(c2w, AT_ONCE), strict=True)
        return torch.cat([draw(made, k, pose, shown).colour for k, pose in cameras]).clamp(0, 1)


def score_held_out(drawn: Tensor, truth: Pictures) -> dict[str, float]:
    """`score_views` of the views that `rerender` with `every` = 2 has not fitted; (V, 3, H, W) in [0, 1]."""
    kept = [0, *range(1, len(drawn), 2)]  # the first one is given: it is only told where views within 60° are
    some = Pictures(*(field[:, kept] for field in truth))
    return score_views(drawn[kept], some, correspondences=False)
