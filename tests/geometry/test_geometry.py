"""Right values by arithmetic: a camera of 100 × 80 pixels at (0, -3, 0) that looks along +y, z up."""

import numpy as np
import pytest
import torch

from dataengine.geometry import arrays, tensors

WIDTH, HEIGHT = 100, 80
K = [[200.0, 0.0, 50.0], [0.0, 200.0, 40.0], [0.0, 0.0, 1.0]]
# Columns: right is +x, down is -z, forward is +y; then the position.
C2W = [[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, -3.0], [0.0, -1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
# A point half a unit to the right, a quarter up, one further than the origin: z = 4.
POINT, Z = [0.5, 1.0, 0.25], 4.0
PERSPECTIVE = (200 * 0.5 / 4 + 50, 200 * -0.25 / 4 + 40)  # (75, 27.5)
PARALLEL = (200 * 0.5 + 50, 200 * -0.25 + 40)  # (150, -10): outside


@pytest.mark.parametrize(("orthographic", "uv"), [(False, PERSPECTIVE), (True, PARALLEL)])
def test_a_point_lands_where_the_lens_says_in_numpy_and_torch(orthographic: bool, uv: tuple[float, float]) -> None:
    u, v, z = arrays.project(np.array([POINT], np.float32), K, C2W, orthographic=orthographic)
    assert (float(u[0]), float(v[0]), float(z[0])) == (*uv, Z)
    pixels, depth = tensors.project(
        torch.tensor([POINT]), torch.tensor(K), torch.tensor(C2W), orthographic=orthographic
    )
    assert (pixels[0].tolist(), depth.tolist()) == ([*uv], [Z])


@pytest.mark.parametrize("orthographic", [False, True])
@pytest.mark.parametrize("centre", [0.0, 0.5])
def test_unproject_undoes_project(orthographic: bool, centre: float) -> None:
    rng = np.random.default_rng(0)
    points = (rng.random((200, 3)) - 0.5).astype(np.float32)
    u, v, z = arrays.project(points, K, C2W, orthographic=orthographic, centre=centre)
    again = arrays.to_world(arrays.unproject(K, u, v, z, orthographic=orthographic, centre=centre), C2W)
    np.testing.assert_allclose(again, points, atol=1e-6)


def test_index_coordinates_are_half_a_pixel_less() -> None:
    point = np.array([POINT], np.float32)
    (u, v, _), (i, j, _) = arrays.project(point, K, C2W), arrays.project(point, K, C2W, centre=0)
    assert (u - i, v - j) == (0.5, 0.5)


def test_a_pixel_is_as_wide_as_its_depth_over_the_focal_length() -> None:
    z = np.array([1, 4], np.float32)
    assert arrays.footprint(K, z).tolist() == pytest.approx([1 / 200, 4 / 200])
    assert arrays.footprint(K, z, orthographic=True).tolist() == pytest.approx([1 / 200] * 2)


def test_the_way_to_the_camera() -> None:
    points = np.array([[0, 0, 0], [4, -3, 0]], np.float32)
    assert arrays.towards_camera(points, C2W).tolist() == [[0, -1, 0], [-1, 0, 0]]
    assert arrays.towards_camera(points, C2W, orthographic=True).tolist() == [[0, -1, 0]] * 2


@pytest.mark.parametrize("orthographic", [False, True])
def test_lifted_pixels_lie_on_the_plane_they_were_seen_on_and_project_back(orthographic: bool) -> None:
    depth = torch.zeros(HEIGHT, WIDTH)
    depth[10, 20], depth[70, 99] = 2.0, 5.0
    k, c2w = torch.tensor(K), torch.tensor(C2W)
    points, pixels = tensors.lift(depth, k, c2w, orthographic=orthographic)
    assert pixels.tolist() == [10 * WIDTH + 20, 70 * WIDTH + 99]
    assert torch.allclose(points[:, 1], torch.tensor([-1.0, 2.0]))  # y = z - 3: planar
    uv, z = tensors.project(points, k, c2w, orthographic=orthographic)
    assert torch.allclose(z, torch.tensor([2.0, 5.0]))
    assert torch.allclose(uv, torch.tensor([[20.5, 10.5], [99.5, 70.5]]), atol=1e-4)


def test_the_z_buffer_keeps_the_nearest_and_leaves_out_what_is_not_in_the_picture() -> None:
    pixels = torch.tensor([[1.5, 0.5], [1.9, 0.9], [-0.1, 0.5], [2.0, 1.0], [3.0, 0.0], [0.5, 0.5]])
    z = torch.tensor([2.0, 1.5, 1.0, 4.0, 1.0, -1.0])
    place, nearest = tensors.z_buffer(pixels, z, height=2, width=3)
    assert place.tolist() == [1, 1, -1, 5, -1, -1]
    assert nearest.tolist() == [[torch.inf, 1.5, torch.inf], [torch.inf, torch.inf, 4.0]]


def test_coverage_is_the_share_of_each_cell() -> None:
    mask = torch.zeros(2, 4, 6, dtype=torch.bool)
    mask[0, :2, :3] = True
    mask[1, 3, 5] = True
    share = tensors.coverage(mask, (2, 2))
    assert share[0].tolist() == [[1, 0], [0, 0]]
    assert torch.allclose(share[1], torch.tensor([[0, 0], [0, 1 / 6]]))


def test_intrinsics_scale_with_the_pixels() -> None:
    half = tensors.scale_intrinsics(torch.tensor(K), 0.5, 0.25)
    assert half.tolist() == [[100, 0, 25], [0, 50, 10], [0, 0, 1]]


def test_rays_meet_what_projects_to_their_pixels() -> None:
    rng = torch.Generator().manual_seed(0)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=rng))[0]
    other = torch.eye(4)
    other[:3, :3], other[:3, 3] = turn * torch.linalg.det(turn), torch.tensor([1.0, 2.0, 3.0])
    c2w = torch.stack([torch.tensor(C2W), other])
    skewed = torch.tensor(K)
    skewed[0, 1] = 5.0
    k = torch.stack([torch.tensor(K), skewed])
    pixels = torch.rand(2, 7, 2, generator=rng) * 80
    for orthographic in (False, True):
        origins, directions = tensors.rays(k, c2w, pixels, orthographic=orthographic)
        assert torch.allclose(directions.norm(dim=-1), torch.ones(2, 7))
        for v in range(2):
            along = origins[v] + 2.5 * directions[v]
            uv, z = tensors.project(along, k[v], c2w[v], orthographic=orthographic)
            assert torch.allclose(uv, pixels[v], atol=1e-3)
            assert (z > 0).all()
    mixed = tensors.rays(k, c2w, pixels, orthographic=torch.tensor([False, True]))
    assert torch.equal(mixed[0][0], tensors.rays(k, c2w, pixels)[0][0])
    assert torch.equal(mixed[1][1], tensors.rays(k, c2w, pixels, orthographic=True)[1][1])


def test_pluecker_coordinates_are_the_lines_and_not_the_points() -> None:
    origin, direction = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 1.0, 0.0])
    line = tensors.pluecker(origin, direction)
    assert line.tolist() == [0, 1, 0, 0, 0, 1]  # x × y = z
    assert torch.equal(tensors.pluecker(origin + 3 * direction, direction), line)
    assert (line[:3] * line[3:]).sum() == 0
