"""The cameras are right: known corners are found where K and c2w say, in real renders, for every rig."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataengine.corpus.config import Limits
from dataengine.render.blender.protocol import Camera, RenderReply, RenderRequest
from dataengine.render.chance import asset_seed
from dataengine.render.checks import check_views, depth_agreement
from dataengine.render.looks import look
from dataengine.render.pool import BlenderPool, discard
from dataengine.render.recipes import RECIPES, recipe
from dataengine.render.rigs import Rig, rig
from dataengine.render.views import Views, ViewsHeader, load_views, read_exr, to_members
from tests.render import solid
from tests.render.analytic import rays

UID = "5011d" + 27 * "0"
SIZE = 256

OURS = [rig(name) for name in ("orbit8", "orbit16", "orbit24", "six_views", "sphere12", "hammersley-150")]
PUBLISHED = [r.rig for r in RECIPES.values()]


@pytest.fixture(scope="module")
def pool() -> Iterator[BlenderPool]:
    with BlenderPool(Limits()) as pool:
        yield pool


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return solid.write_glb(tmp_path_factory.mktemp("solid") / "solid.glb")


def render(
    pool: BlenderPool, path: Path, one: Rig, size: int = SIZE, samples: int = 8, views: int = 8
) -> tuple[Views, RenderReply, dict[str, bytes]]:
    """Views as a user gets them, from the members of the shard: `views` of the rig's at most, evenly chosen."""
    cameras = one.cameras(size, asset_seed(0, UID))
    cameras = cameras[:: -(-len(cameras) // views)]
    request = RenderRequest(
        uid=UID,
        path=str(path),
        format=path.suffix[1:],
        up=None,
        frame=None,
        width=size,
        height=size,
        normalisation=one.normalisation,
        look=look("studio").to_json(),
        samples=samples,
        engine="CYCLES",
        device="CPU",
        threads=2,
        seed=0,
        max_texture=0,
        cameras=cameras,
    )
    reply = pool.render(request)
    try:
        pixels = read_exr(reply.exr, cameras)
    finally:
        discard(reply)
    members = to_members(pixels, ViewsHeader(one.name, "studio", one.normalisation, reply.scale, reply.offset))
    return load_views(members), reply, members


@pytest.mark.parametrize("one", OURS + PUBLISHED, ids=lambda r: r.name)
def test_known_corners_are_where_the_cameras_say(one: Rig, pool: BlenderPool, model: Path) -> None:
    views, reply, _ = render(pool, model, one)
    triples = zip(views.cameras, views.rgba, views.depth, strict=True)
    found = [solid.find_corners(c, rgba, z, reply.scale, np.array(reply.offset)) for c, rgba, z in triples]
    errors = np.array([corner.error for view in found for corner in view])
    depths = np.array([corner.depth_error for view in found for corner in view])
    assert sum(len(view) > 0 for view in found) >= 0.8 * len(found)
    assert len(errors) >= 2 * len(views.cameras)
    assert errors.max() < 0.5
    assert np.median(errors) < 0.15
    assert depths.max() < 1e-3
    seen = {(corner.face.channel, corner.face.level) for view in found for corner in view}
    assert len(seen) >= 4

    checks = check_views(views, reply.radius)
    assert checks.depth_error is not None and checks.depth_error < 1e-3
    if one in OURS:
        assert checks.clipped == [0] * len(views.cameras)


def test_wrong_cameras_and_ray_lengths_show_in_real_depth(pool: BlenderPool, model: Path) -> None:
    views, _, _ = render(pool, model, rig("orbit8"), size=128, samples=1)

    def error(cameras: Sequence[Camera], depth: np.ndarray) -> float:
        asset = depth_agreement(cameras, depth, 1.0).asset
        assert asset is not None
        return asset

    def refocused(factor: float) -> list[Camera]:
        return [
            replace(c, K=(np.array(c.K) * [[factor, 1, 1], [1, factor, 1], [1, 1, 1]]).tolist()) for c in views.cameras
        ]

    mirror = np.diag([1.0, -1, 1, 1])
    flipped = [replace(c, c2w=(mirror @ c.c2w @ np.diag([-1.0, 1, 1, 1])).tolist()) for c in views.cameras]
    lengths = [np.linalg.norm(rays(c, 128, 128)[1], axis=-1) for c in views.cameras]
    assert error(views.cameras, views.depth) < 1e-3
    assert error(refocused(1.1), views.depth) > 5e-3
    assert error(refocused(0.9), views.depth) > 5e-3
    assert error(flipped, views.depth) > 2e-2
    assert error(views.cameras, (views.depth * lengths).astype(np.float32)) > 3e-3


def test_azimuth_zero_and_the_direction_of_travel(pool: BlenderPool, model: Path) -> None:
    views, _, _ = render(pool, model, rig("orbit8"), size=64, samples=4)
    # Below the top face, the middle of the image shows the face that looks at the camera.
    seen = []
    for rgba in views.rgba[::2]:
        rows, columns = np.nonzero(rgba[..., 3] == 255)
        low = rows > np.percentile(rows, 70)
        middle = abs(columns - np.median(columns)) < 3
        colour = np.median(rgba[rows[low & middle], columns[low & middle], :3], axis=0)
        seen.append((int(colour.argmax()), int(colour.max())))
    assert [channel for channel, _ in seen] == [0, 1, 0, 1]  # +x red, +y green, -x red, -y green
    assert seen[0][1] > seen[2][1] + 20 and seen[1][1] > seen[3][1] + 20  # the positive sides are the brighter
    assert [views.cameras[i].azimuth for i in (0, 2, 4, 6)] == [0, 90, 180, 270]


def test_the_same_request_gives_the_same_members(pool: BlenderPool, model: Path) -> None:
    first = render(pool, model, rig("six_views"), size=48, samples=2)[2]
    assert first == render(pool, model, rig("six_views"), size=48, samples=2)[2]


@pytest.mark.parametrize("name", ["solid.glb", "rotated.glb"])
def test_recipe_objaverse_has_the_published_silhouettes(
    name: str, pool: BlenderPool, model: Path, tmp_path: Path
) -> None:
    path = model if name == "solid.glb" else solid.write_rotated_glb(tmp_path / name)
    assert_published_silhouettes(pool, path, tmp_path)


OPEN = Path(__file__).parents[3] / "shared" / "assets" / "open"


@pytest.mark.slow
@pytest.mark.skipif(not OPEN.is_dir(), reason="needs ../shared/assets")
@pytest.mark.parametrize("name", ["kh_Duck.glb", "ms_chair.glb", "kk_chest_gold.glb", "pc_cat.glb"])
def test_real_models_have_the_published_silhouettes(name: str, pool: BlenderPool, tmp_path: Path) -> None:
    assert_published_silhouettes(pool, OPEN / name, tmp_path)


def assert_published_silhouettes(pool: BlenderPool, path: Path, folder: Path) -> None:
    """IoU ≥ 0.99 with what the script's own steps render, in a Blender of its own."""
    script = Path(__file__).parents[2] / "benchmarks" / "todays_procedure.py"
    options = ["--views", "4", "--size", str(SIZE), "--samples", "16", "--plain"]
    command = [sys.executable, str(script), str(path), str(folder), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    theirs = [np.asarray(Image.open(folder / f"{i:03d}.png"))[..., 3] > 127 for i in range(4)]
    ours = render(pool, path, recipe("objaverse").rig, samples=16, views=4)[0].rgba[..., 3] > 127
    for a, b in zip(ours, theirs, strict=True):
        assert (a & b).sum() / (a | b).sum() >= 0.99
