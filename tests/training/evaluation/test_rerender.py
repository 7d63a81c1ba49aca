"""Views that do not agree blur when they are drawn again, and views that were held out are none of the fit's."""

import pytest
import torch
from torch import Tensor

from dataengine.errors import UsageError
from dataengine.tokenize.decoder_views import Pictures
from dataengine.training.evaluation.rerender import rerender, score_held_out
from dataengine.training.evaluation.view_scores import score_views
from tests.training.evaluation.test_surface import ring, sphere_depth, stripes

VIEWS = 8


def sphere() -> tuple[Tensor, Pictures]:
    """Views (V, 3, H, W) in [0, 1] of a sphere with stripes, and what is true of them."""
    K, c2w = ring(VIEWS, (20.0,))
    depth = sphere_depth(0.4, VIEWS)
    colour = stripes(depth, K, c2w)
    alpha = (depth > 0).float()[None, :, None]
    parallel = torch.zeros(1, VIEWS, dtype=torch.bool)
    return colour, Pictures(colour[None] * 2 - 1, alpha, depth[None, :, None], K[None], c2w[None], parallel)


def test_views_that_disagree_blur() -> None:
    colour, truth = sphere()
    moved = torch.stack([view.roll(3 * (-1) ** i, -1) for i, view in enumerate(colour)])  # in turn left and right
    straight = score_views(moved, truth, correspondences=False)
    agreeing, apart = (rerender(views, truth, count=800, steps=30) for views in (colour, moved))
    assert agreeing.shape == colour.shape and float(agreeing.min()) >= 0 and float(agreeing.max()) <= 1
    better, worse = (score_views(drawn, truth, correspondences=False) for drawn in (agreeing, apart))
    assert better["interior"] > straight["interior"], "the fit is sharp enough to tell"
    assert better["interior"] > worse["interior"] + 3


def test_views_held_out_are_scored_and_not_fitted() -> None:
    colour, truth = sphere()
    drawn = rerender(colour, truth, every=2, count=200, steps=4)
    other = colour.clone()
    other[1::2] = 0
    assert torch.equal(rerender(other, truth, every=2, count=200, steps=4), drawn)
    scores = score_held_out(drawn, truth)
    drawn[::2] = 0  # what was fitted, the given view among it
    assert score_held_out(drawn, truth) == scores
    assert score_held_out(colour, truth)["object"] == 100


def test_orthographic_views_are_refused() -> None:
    colour, truth = sphere()
    with pytest.raises(UsageError, match="perspective"):
        rerender(colour, truth._replace(orthographic=torch.ones(1, VIEWS, dtype=torch.bool)))
