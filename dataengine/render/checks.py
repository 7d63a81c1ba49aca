"""What the pixels say about an asset: coverage, clipping, luminance, and whether the views' geometry agrees.

Cross-view depth agreement. A pixel of view i with depth becomes a 3D point; the point is projected into a neighbour j;
what j's depth map holds there is compared with the point's own depth in j. It is not compared where j cannot be
expected to see it: where the surface turns away from j, where something stands in front, at silhouettes and steps.
A ray length taken for a planar depth, a flipped azimuth or a focal length off by 10 % shows as several per cent of the
object; thin and transparent parts disturb few pixels, and the median does not mind those. Half a pixel, or a
world turned as a whole, cannot show: cameras are proven by projecting known corners, in the tests.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dataengine.geometry import arrays
from dataengine.render.blender.protocol import Camera
from dataengine.render.colour import linear_of_srgb
from dataengine.render.views import Views

Float = npt.NDArray[np.float32]

POINTS_PER_VIEW = 2000  # a median needs no more
FEWEST_POINTS = 40  # a median of fewer says nothing
LEAST_COSINE = 0.3  # surfaces seen flatter than this, from either camera, are not compared
SMALLEST_ANGLE, WIDEST_ANGLE = 20.0, 95.0  # degrees between neighbours: nearer tell little, wider see another side
IN_FRONT = 0.05  # share of the object's size behind j's surface from which a point counts as hidden by it


@dataclass(frozen=True)
class ViewChecks:
    """The manifest's columns that are measured on the pixels; one value per view unless said, None without colour where
    colour is measured. See docs/formats.md."""

    coverage: list[float]
    clipped: list[int]
    luminance_mean: list[float] | None
    luminance_spread: list[float] | None
    depth_coverage: list[float]
    view_depth_error: list[float | None]
    depth_error: float | None
    depth_error_footprint: float | None


def check_views(views: Views, radius: float = 0.5) -> ViewChecks:
    """Measures one asset's views.

    Args:
        views: as rendered, or as `load_views` reads them back.
        radius: of the object's bounding sphere in the views' world; 2 * radius is its size.
    """
    covered = views.covered
    count = covered.sum((1, 2))
    border = covered.copy()
    border[:, 1:-1, 1:-1] = False
    with_depth = ((views.depth > 0) & covered).sum((1, 2))
    pixels = [] if views.rgba is None else list(zip(views.rgba, covered, strict=True))
    luminance = [_luminance(rgba[mask]) for rgba, mask in pixels]
    agreement = depth_agreement(views.cameras, views.depth, 2 * radius)
    return ViewChecks(
        coverage=(count / covered[0].size).tolist(),
        clipped=border.sum((1, 2)).tolist(),
        luminance_mean=[mean for mean, _ in luminance] or None,
        luminance_spread=[spread for _, spread in luminance] or None,
        depth_coverage=(with_depth / np.maximum(count, 1)).tolist(),
        view_depth_error=agreement.views,
        depth_error=agreement.asset,
        depth_error_footprint=agreement.footprint,
    )


def _luminance(rgba: npt.NDArray[np.uint8]) -> tuple[float, float]:
    """Mean and standard deviation of the relative luminance (Rec. 709, linear light) of (N, 4) pixels."""
    if not len(rgba):
        return 0.0, 0.0
    luminance = linear_of_srgb().take(rgba[:, :3]) @ np.array([0.2126, 0.7152, 0.0722], np.float32)
    return float(luminance.mean()), float(luminance.std())


@dataclass(frozen=True)
class Agreement:
    """Median disagreement of depth maps: a view, over all pairs, and over all pairs in pixel footprints.

    In units of the object's size; None where too few points could be compared.
    """

    views: list[float | None]
    asset: float | None
    footprint: float | None


def depth_agreement(cameras: Sequence[Camera], depth: Float, size: float) -> Agreement:
    """How well each view's depth agrees with what its neighbours see.

    Args:
        cameras: perspective or orthographic.
        depth: (V, H, W) planar depth, 0 = none.
        size: of the object, in world units; disagreements are cut at this.
    """
    clouds = [_surface(camera, z) for camera, z in zip(cameras, depth, strict=True)]
    per_view: list[list[Float]] = [[] for _ in cameras]
    footprints: list[Float] = []
    for i, j in neighbours(cameras):
        points, normals = clouds[i]
        error, footprint = _disagreement(points, normals, cameras[j], depth[j], size)
        per_view[i].append(error / np.float32(size))
        footprints.append(error / footprint)
    views = [_median(errors) for errors in per_view]
    return Agreement(views, _median([e for errors in per_view for e in errors]), _median(footprints))


def _median(errors: Sequence[Float]) -> float | None:
    values = np.concatenate(errors) if errors else np.empty(0, np.float32)
    return float(np.median(values)) if values.size >= FEWEST_POINTS else None


def neighbours(cameras: Sequence[Camera]) -> Iterator[tuple[int, int]]:
    """(i, j): for each view its two nearest by direction that are far enough apart to tell something."""
    forward = np.array([camera.c2w for camera in cameras])[:, :3, 2]
    angle = np.degrees(np.arccos(np.clip(forward @ forward.T, -1, 1)))
    for i, row in enumerate(angle):
        usable = np.flatnonzero((row >= SMALLEST_ANGLE) & (row <= WIDEST_ANGLE))
        for j in usable[np.argsort(row[usable], kind="stable")][:2]:
            yield i, int(j)


def _surface(camera: Camera, depth: Float) -> tuple[Float, Float]:
    """World points (N, 3) and unit normals towards the camera (N, 3) of a view's smooth, not too slanted pixels.

    The normal is the cross product of the central differences of the unprojected neighbours; across a step it lies
    nearly in the image's plane, so that the limit on its slant drops steps too.
    """
    inner = depth[1:-1, 1:-1] > 0
    inner &= (depth[:-2, 1:-1] > 0) & (depth[2:, 1:-1] > 0) & (depth[1:-1, :-2] > 0) & (depth[1:-1, 2:] > 0)
    pixels = np.flatnonzero(inner)
    if len(pixels) > POINTS_PER_VIEW:
        pixels = pixels[np.linspace(0, len(pixels) - 1, POINTS_PER_VIEW).astype(np.intp)]
    v, u = np.divmod(pixels, inner.shape[1])
    u, v = u + 1, v + 1

    def at(du: int, dv: int) -> Float:
        z = depth[v + dv, u + du]
        return arrays.unproject(camera.K, u + du, v + dv, z, orthographic=camera.orthographic, centre=0)

    point = at(0, 0)
    (ax, ay, az), (bx, by, bz) = (at(0, 1) - at(0, -1)).T, (at(1, 0) - at(-1, 0)).T
    normal = np.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], 1)
    normal /= np.sqrt(np.einsum("ij,ij->i", normal, normal) + np.float32(1e-30))[:, None]
    towards = arrays.towards_camera(point, np.eye(4).tolist(), orthographic=camera.orthographic)
    keep = np.einsum("ij,ij->i", normal, towards) > LEAST_COSINE
    rotation = np.array(camera.c2w, np.float32)[:3, :3]
    return arrays.to_world(point[keep], camera.c2w), normal[keep] @ rotation.T


def _disagreement(points: Float, normals: Float, camera: Camera, depth: Float, size: float) -> tuple[Float, Float]:
    """|difference| in world units between points and what a camera's depth map shows there, and the pixel's footprint.

    Points that the camera cannot be expected to see are left out; points that it should see but does not (it sees
    past them) count with the object's whole size.
    """
    towards = arrays.towards_camera(points, camera.c2w, orthographic=camera.orthographic)
    facing = points[np.einsum("ij,ij->i", normals, towards) > LEAST_COSINE]
    u, v, z = arrays.project(facing, camera.K, camera.c2w, orthographic=camera.orthographic, centre=0)
    height, width = depth.shape
    inside = (u >= 0) & (v >= 0) & (u < width - 1) & (v < height - 1) & (z > 0)
    u, v, z = u[inside], v[inside], z[inside]
    footprint = arrays.footprint(camera.K, z, orthographic=camera.orthographic)

    col, row = u.astype(np.intp), v.astype(np.intp)
    corners = np.stack([depth[row, col], depth[row, col + 1], depth[row + 1, col], depth[row + 1, col + 1]])
    s, t = u - col, v - row
    seen = (1 - t) * ((1 - s) * corners[0] + s * corners[1]) + t * ((1 - s) * corners[2] + s * corners[3])
    nearest, furthest = corners.min(0), corners.max(0)
    # Two neighbouring pixels of a surface at the least cosine differ by 3.2 footprints, diagonal ones by 4.5.
    smooth = (nearest > 0) & (furthest - nearest < 5 * footprint)
    missed = furthest <= 0
    behind = z - seen
    compared = smooth & (behind < np.maximum(IN_FRONT * size, 2 * footprint))
    error = np.where(missed, size, np.minimum(np.abs(behind), size)).astype(np.float32)
    use = compared | missed
    return error[use], footprint[use].astype(np.float32)
