"""Counting places that are found again: two views of a textured plane, of which arithmetic tells what matches what."""

import pytest
import torch

from dataengine.training.evaluation.correspondences import Geometry, confirmed, count_correspondences, match

SIDE = 128
SHIFT = 16.0  # pixels by which the second view shows the plane further to the left


def plane(orthographic: bool = False) -> Geometry:
    """Two cameras side by side that look along z at a plane 2 away. A step of `apart` moves pictures by SHIFT."""
    focal = 0.5 * SIDE if orthographic else float(SIDE)
    apart = SHIFT / focal * (1 if orthographic else 2)
    K = torch.tensor([[focal, 0, SIDE / 2], [0, focal, SIDE / 2], [0, 0, 1]]).expand(2, 3, 3)
    c2w = torch.eye(4).repeat(2, 1, 1)
    c2w[1, 0, 3] = apart
    return Geometry(torch.full((2, SIDE, SIDE), 2.0), K, c2w, torch.full((2,), orthographic))


@pytest.mark.parametrize("orthographic", [False, True])
def test_matches_are_confirmed_within_a_pixel(orthographic: bool) -> None:
    geometry = plane(orthographic)
    here = torch.tensor([[64.3, 20.5], [100.0, 90.0], [30.0, 64.0]])
    right = here - torch.tensor([SHIFT, 0.0])
    assert confirmed(here, right, geometry, 0, 1).all()
    assert confirmed(right, here, geometry, 1, 0).all()
    for off, kept in (((0.9, 0.0), True), ((0.0, -0.9), True), ((0.8, 0.8), False), ((1.1, 0.0), False)):
        assert confirmed(here, right + torch.tensor(off), geometry, 0, 1).all() == kept
    assert not confirmed(here, here, geometry, 0, 1).any()


def test_what_cannot_be_the_same_place_is_none() -> None:
    """No depth, hidden by another surface, outside the other picture."""
    here = torch.tensor([[64.5, 20.5], [64.5, 60.5], [10.0, 64.0]])
    there = here - torch.tensor([SHIFT, 0.0])
    geometry = plane()
    geometry.depth[0, :40] = 0
    assert confirmed(here, there, geometry, 0, 1).tolist() == [False, True, False]
    geometry = plane()
    geometry.depth[1, 40:80, 40:60] = 1.5  # stands before the plane there
    assert confirmed(here, there, geometry, 0, 1).tolist() == [True, False, False]
    assert confirmed(here[:0], there[:0], geometry, 0, 1).shape == (0,)


def test_only_mutual_and_clear_matches_are_kept() -> None:
    first = torch.tensor([[0.0, 0], [1, 0], [2, 0], [3, 0]]), torch.tensor([[0.0, 0], [10, 0], [20, 0], [20.5, 0]])
    second = torch.tensor([[5.0, 5], [6, 5], [7, 5]]), torch.tensor([[0.1, 0], [10.2, 0], [20.24, 0]])
    here, there = match(first, second)
    assert here.tolist() == [[0, 0], [1, 0]] and there.tolist() == [[5, 5], [6, 5]]  # 20 and 20.5 are about as near
    unclear = torch.tensor([[5.0, 5], [6, 5]]), torch.tensor([[1.0, 0], [1.1, 0]])
    assert not len(match(first, unclear)[0])
    assert not len(match((first[0][:1], first[1][:1]), second)[0])


def test_sift_finds_the_texture_of_a_plane_again() -> None:
    pytest.importorskip("cv2")
    chance = torch.Generator().manual_seed(0)
    wide = torch.rand((1, 1, 24, 36), generator=chance)
    wide = torch.nn.functional.interpolate(wide, (SIDE, SIDE * 3 // 2), mode="bicubic").clamp(0, 1)
    wide = wide[0].expand(3, -1, -1)
    shift = int(SHIFT)
    views = torch.stack([wide[:, :, :SIDE], wide[:, :, shift : shift + SIDE]])
    right, total = count_correspondences(views, plane())
    assert right > 50 and right > 0.9 * total
    other = torch.stack([views[0], views[1].roll(5, -1)])  # matches well, five pixels beside where it is
    wrong, found = count_correspondences(other, plane())
    assert found > 50 and wrong < 0.1 * found
    assert count_correspondences(torch.ones(2, 3, SIDE, SIDE), plane()) == (0, 0)
