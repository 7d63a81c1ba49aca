"""How good the decoded views of one object are, over the views that were not given: means, and counts of matches."""

import torch
from torch import Tensor

from dataengine.tokenize.decoder_quality import interior, near_given
from dataengine.tokenize.decoder_views import Pictures
from dataengine.tokenize.features import feature_distance
from dataengine.tokenize.metrics import psnr, ssim
from dataengine.training.camera_columns import ORTHOGRAPHIC, camera_rows
from dataengine.training.evaluation.correspondences import Geometry, count_correspondences
from dataengine.training.evaluation.metrics import reprojection_psnr

SCORES = ("near", "near_interior", "object", "interior", "ssim", "feature", "reprojection")
COUNTS = ("confirmed", "matches")


@torch.no_grad()
def score_views(shown: Tensor, truth: Pictures, *, correspondences: bool = True) -> dict[str, float]:
    """Scores the views of one object, of which the first one was given and is left out everywhere.

    Args:
        shown: (V, 3, H, W) in [0, 1].
        truth: of one object (B = 1), with its true depth.
        correspondences: whether to count them, which takes most of the time.

    Returns:
        near, near_interior: dB over the pixels of the object, over those two pixels or more from its silhouette's edge,
            of views within 60° of the given one; object, interior: of all views.
        ssim, feature: over whole views.
        reprojection: dB between neighbours carried over by true depth.
        confirmed, matches: places found again in the next view; those that the depth confirms, and all.

        NaN where no view has such pixels.
    """
    colour, alpha = (truth.colour[0, 1:] + 1) / 2, truth.alpha[0, 1:]
    ours, depth = shown[1:], truth.depth[0, 1:, 0]
    near = near_given(truth.c2w)[0, 1:]
    whole, inner = psnr(ours, colour, alpha > 0), psnr(ours, colour, interior(alpha))
    K, c2w, orthographic = truth.K[0, 1:], truth.c2w[0, 1:], truth.orthographic[0, 1:]
    ends = torch.ones(len(K), device=K.device)
    cameras = camera_rows(K, c2w, ends, ends, (depth.shape[-2], depth.shape[-1]))
    cameras[:, ORTHOGRAPHIC] = orthographic.to(cameras.dtype)
    out = {
        "near": whole[near].nanmean(),
        "near_interior": inner[near].nanmean(),
        "object": whole.nanmean(),
        "interior": inner.nanmean(),
        "ssim": ssim(ours, colour).mean(),
        "feature": feature_distance(ours, colour).mean(),
        "reprojection": reprojection_psnr(ours, depth, cameras),
    }
    scores = {name: float(value) for name, value in out.items()}
    if correspondences:
        geometry = Geometry(*(x.cpu() for x in (depth, K, c2w, orthographic)))
        counted = count_correspondences(ours.cpu(), geometry)
        scores.update(zip(COUNTS, map(float, counted), strict=True))
    return scores
