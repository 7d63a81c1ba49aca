"""What the decoding benchmark scores: which pixels and views, and how sure figures over objects are."""

import math

import pytest
import torch

from dataengine.tokenize.decoder_quality import interior
from dataengine.tokenize.decoder_views import Pictures
from dataengine.training.evaluation.intervals import mean_interval, ratio_interval
from dataengine.training.evaluation.view_scores import score_views

SIDE = 32


def test_the_interior_is_two_pixels_from_the_edge() -> None:
    alpha = torch.zeros(1, 2, 1, 9, 9)
    alpha[0, 0, 0, 1:8, 1:8] = 1
    alpha[0, 1] = 1
    alpha[0, 1, 0, 4, 0] = 0.5  # half covered is an edge
    inner = interior(alpha)
    assert inner[0, 0, 0].nonzero().tolist() == [[y, x] for y in range(3, 6) for x in range(3, 6)]
    assert not inner[0, 1, 0, 2:7, :3].any() and inner[0, 1, 0].sum() == 81 - 15
    assert interior(alpha[0, 0], 0)[0].sum() == 49


def pictures() -> Pictures:
    """Four views round the z axis, 0°, 50°, 70° and 180°, of a square of the colour 0.5 in a white picture."""
    angles = torch.tensor([0.0, 50, 70, 180]) * (math.pi / 180)
    c2w = torch.eye(4).repeat(1, 4, 1, 1)
    c2w[0, :, 0, 3], c2w[0, :, 1, 3] = angles.cos() * 2, angles.sin() * 2
    alpha = torch.zeros(1, 4, 1, SIDE, SIDE)
    alpha[..., 8:24, 8:24] = 1
    colour = 1 - alpha.expand(-1, -1, 3, -1, -1)  # in [-1, 1]: 0 is 0.5, 1 is white
    K = torch.tensor([[SIDE, 0, SIDE / 2], [0, SIDE, SIDE / 2], [0, 0, 1]]).expand(1, 4, 3, 3)
    return Pictures(colour, alpha, alpha * 2, K, c2w, torch.zeros(1, 4, dtype=torch.bool))


def test_scores_are_of_the_views_that_were_not_given() -> None:
    truth = pictures()
    shown = (truth.colour[0] + 1) / 2
    shown[0] = 0  # the given view: whatever it is
    shown[1, :, 8:24, 8:24] += 0.1  # 20 dB, everywhere on the object
    shown[2:, :, 12:20, 12:20] += 0.01  # 40 dB there: 64 of 256 pixels, 64 of the interior's 144
    scores = score_views(shown, truth, correspondences=False)
    part = [-10 * math.log10(1e-4 * 64 / pixels) for pixels in (256, 144)]
    assert scores["near"] == pytest.approx(20, abs=1e-3) == scores["near_interior"]  # 50°, not 70°
    assert scores["object"] == pytest.approx((20 + 2 * part[0]) / 3, abs=1e-2)
    assert scores["interior"] == pytest.approx((20 + 2 * part[1]) / 3, abs=1e-2)
    shown[1:] = (truth.colour[0, 1:] + 1) / 2
    right = score_views(shown, truth, correspondences=False)
    assert right["near"] == right["interior"] == 100 and right["ssim"] == pytest.approx(1) and right["feature"] == 0


def test_intervals_are_over_objects_and_paired() -> None:
    same = mean_interval(torch.tensor([0.5, 0.5, float("nan"), 0.5]))
    assert (same.value, same.low, same.high, same.objects) == (0.5, 0.5, 0.5, 3)
    values = torch.randn(400, generator=torch.Generator().manual_seed(0))
    wide = mean_interval(values)
    half = 1.96 * float(values.std()) / 20  # the central limit theorem
    assert wide.value == pytest.approx(float(values.mean()), abs=1e-6)
    assert wide.high - wide.low == pytest.approx(2 * half, rel=0.1)
    plain = torch.rand(50, generator=torch.Generator().manual_seed(1)) * 100
    paired = ratio_interval(plain * 1.3, plain)  # each object has 1.3 times as many, however many that are
    assert paired.low == pytest.approx(1.3) == paired.high
    assert math.isnan(ratio_interval(torch.ones(3), torch.zeros(3)).low)
    assert math.isnan(mean_interval(torch.tensor([1.0])).low)
