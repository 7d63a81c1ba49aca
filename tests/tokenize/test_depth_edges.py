"""What a decoder is told of depth at its own pixels. Right values are arithmetic."""

import math

import pytest
import torch

from dataengine.tokenize.decoder_step import DecoderSettings
from dataengine.tokenize.decoder_views import Pictures, draw
from dataengine.tokenize.depth_edges import DepthEdges, normals, relief
from dataengine.tokenize.epipolar import Scene
from dataengine.tokenize.given_pixels import CARRIED

SIDE = 16


def scene(depth: torch.Tensor, *, exact: bool = True, orthographic: bool = False) -> Scene:
    """One view (H, W) whose focal length is the number of its pixels a side; orthographic: one world unit wide."""
    side = depth.shape[-1]
    K = torch.tensor([[side, 0, side / 2], [0, side, side / 2], [0, 0, 1.0]])
    flags = torch.tensor([[exact]])
    return Scene(
        depth[None, None, None],
        K[None, None],
        torch.eye(4)[None, None],
        torch.tensor([[orthographic]]),
        torch.zeros(1, 1, 3, side, side),
        torch.zeros(1, 1, dtype=torch.bool),
        flags,
    )


@pytest.mark.parametrize("orthographic", [False, True])
def test_normals_of_a_tilted_plane(orthographic: bool) -> None:
    """The plane z = 2 + x/2 of the camera's frame: its unit normal is (1/2, 0, -1) / √1.25, to the camera."""
    side = 128
    column = (torch.arange(side) + 0.5 - side / 2) / side
    # x = column · z where rays meet in the camera: z = 2 + column · z / 2. Where they are parallel x = column.
    z = 2 + column / 2 if orthographic else 2 / (1 - column / 2)
    found = normals(scene(z.expand(side, side), orthographic=orthographic))[0, 0]
    wanted = torch.tensor([0.5, 0.0, -1.0]) / math.sqrt(1.25)
    assert torch.allclose(found[:, 2:-2, 2:-2], wanted[:, None, None].expand(3, side - 4, side - 4), atol=1e-4)


def test_there_are_no_normals_across_an_edge() -> None:
    depth = torch.full((SIDE, SIDE), 2.0)
    depth[:, 8:] = 2.5
    depth[0] = 0
    there = normals(scene(depth))[0, 0].norm(dim=0)
    assert not there[:, 7:9].any() and not there[:2].any()
    assert torch.allclose(there[2:, 1:7], torch.ones(SIDE - 2, 6))


def test_relief_is_the_difference_from_the_mean_around() -> None:
    depth = torch.full((SIDE, SIDE), 2.0)
    depth[8, 8] = 1.985
    depth[3, 3] = 0
    there, exact, _, _, _, fine, share, coarse, _ = relief(scene(depth))[0, 0]
    assert there[8, 8] == 1 and there[3, 3] == 0 and bool((exact == 1).all())
    assert not relief(scene(depth, exact=False))[0, 0, 1].any()
    mean = (8 * 2.0 + 1.985) / 9
    assert float(fine[8, 8]) == pytest.approx((1.985 - mean) / 0.02, abs=1e-3)
    assert float(coarse[8, 8]) == pytest.approx((1.985 - (80 * 2.0 + 1.985) / 81) / 0.1, abs=1e-3)
    assert float(share[3, 4]) == pytest.approx(8 / 9) and float(share[8, 8]) == 1
    assert float(share[0, 0]) == pytest.approx(4 / 9)  # outside the picture there is nothing
    assert float(fine[3, 3]) == 0


def test_pixels_without_depth_are_left_alone() -> None:
    torch.manual_seed(0)
    depth = torch.zeros(SIDE, SIDE)
    depth[4:12, 4:12] = 2
    network, seen, carried = DepthEdges(8), torch.rand(1, 1, 3, SIDE, SIDE), torch.rand(1, 1, CARRIED, SIDE, SIDE)
    assert not network(seen, carried, scene(depth)).any()
    torch.nn.init.normal_(network.leave.weight)
    added = network(seen, carried, scene(depth))[0, 0]
    assert bool((added[:, 4:12, 4:12] != 0).all())
    added[:, 4:12, 4:12] = 0
    assert not added.any()
    told = network(seen, carried, scene(depth))
    assert not torch.equal(told, network(seen, carried, scene(depth, exact=False)))
    assert not torch.equal(told, network(seen, carried * 0, scene(depth)))


def test_what_is_said_to_be_exact_is() -> None:
    """In training, the depth of some samples is as rendered; the others' is wrong, and is not said to be right."""
    many = 64
    depth = torch.zeros(many, 2, 1, 32, 32)
    depth[..., 8:24, 8:24] = 2
    pictures = Pictures(
        torch.zeros(many, 2, 3, 32, 32),
        (depth > 0).float(),
        depth,
        torch.eye(3).expand(many, 2, 3, 3),
        torch.eye(4).expand(many, 2, 4, 4),
        torch.zeros(many, 2, dtype=torch.bool),
    )
    drawn = draw(pictures, DecoderSettings(exact=0.25), 3).scene
    right = (drawn.depth == depth).flatten(2).all(2)
    assert torch.equal(right, drawn.exact)
    assert 6 <= int(drawn.exact[:, 0].sum()) <= 28  # 16 expected; the chance of so many others is below 1e-3
    assert not draw(pictures, DecoderSettings(exact=0.0), 3).scene.exact.any()
