"""Exported folders: points projected by each reader's own formula land where our cameras put them."""

import csv
import json
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import OpenEXR
import pytest
from PIL import Image

from dataengine.corpus.corpus import Corpus
from dataengine.errors import UsageError
from dataengine.export.asset import ExportAsset
from dataengine.export.colmap import quaternion
from dataengine.export.export import MARK, export_corpus
from dataengine.export.layouts import LAYOUTS
from dataengine.render.rigs import rig
from dataengine.render.views import ViewsHeader, cameras_json, encode_depth
from tests.report.conftest import SIZE, ball_views, make
from tests.view_corpus import png, png16, trace

Array = npt.NDArray[np.float64]
POINTS = np.random.default_rng(0).uniform(-0.5, 0.5, (50, 3))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return make(tmp_path_factory.mktemp("corpus"), "orbit16")


def ours(view: int) -> Array:
    """(50, 2) pixels of POINTS in a view of orbit16, by the conventions of cameras.json."""
    camera = rig("orbit16").cameras(SIZE)[view]
    local = (POINTS - np.array(camera.c2w)[:3, 3]) @ np.array(camera.c2w)[:3, :3]
    pixels = local @ np.array(camera.K).T
    return np.asarray(pixels[:, :2] / pixels[:, 2:])


def opengl(c2w: Any, angle_x: float) -> Array:
    """NeRF's pinhole: the camera looks along its own -z with y up, the field of view spans the width."""
    matrix = np.array(c2w)
    x, y, z = (np.linalg.inv(matrix) @ np.c_[POINTS, np.ones(len(POINTS))].T)[:3]
    focal = SIZE / 2 / math.tan(angle_x / 2)
    return np.stack([SIZE / 2 + focal * x / -z, SIZE / 2 - focal * y / -z], -1)


def exported(corpus: Corpus, folder: Path, layout: str, **options: Any) -> Path:
    """The only good asset's folder."""
    summary = export_corpus(corpus, folder, layout, **options)
    assert (summary.written, summary.kept) == (1, 0)
    uid = corpus.plan(0).to_pylist()[0]["uid"]
    sha = corpus.plan(0).to_pylist()[0]["sha256"]
    return folder / LAYOUTS[layout].folder.format(
        uid=uid, key=(sha or uid) if layout == "trellis" else uid, start=uid[:2]
    )


def test_nerf(corpus: Corpus, tmp_path: Path) -> None:
    folder = exported(corpus, tmp_path / "out", "nerf")
    transforms = json.loads((folder / "transforms.json").read_text())
    assert not {"scale", "offset", "aabb"} & transforms.keys()  # camera scaling, to instant-ngp
    for view in (0, 5):
        frame = transforms["frames"][view]
        assert frame["fl_x"] == pytest.approx(SIZE / 2 / math.tan(transforms["camera_angle_x"] / 2))
        np.testing.assert_allclose(
            opengl(frame["transform_matrix"], transforms["camera_angle_x"]), ours(view), atol=1e-9
        )
        with Image.open(folder / frame["file_path"]) as image:
            np.testing.assert_array_equal(np.asarray(image), ball_views("orbit16").rgba[view])
        with Image.open(folder / frame["depth_file_path"]) as image:
            millimetres = np.asarray(image)
        assert millimetres.dtype == np.uint16
        np.testing.assert_allclose(millimetres * 1e-3, ball_views("orbit16").depth[view], atol=0.00051)


def test_trellis(corpus: Corpus, tmp_path: Path) -> None:
    folder = exported(corpus, tmp_path, "trellis")
    transforms = json.loads((folder / "transforms.json").read_text())
    for view in (0, 5):
        frame = transforms["frames"][view]
        np.testing.assert_allclose(opengl(frame["transform_matrix"], frame["camera_angle_x"]), ours(view), atol=1e-9)
    with (tmp_path / "metadata.csv").open(encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert (row["sha256"], row["rendered"], row["cond_rendered"]) == (folder.name, "True", "False")


def test_mv_adapter(corpus: Corpus, tmp_path: Path) -> None:
    folder = exported(corpus, tmp_path, "mv-adapter")
    meta = json.loads((folder / "meta.json").read_text())
    place = {location["index"]: location for location in meta["locations"]}["0005"]
    np.testing.assert_allclose(opengl(place["transform_matrix"], meta["camera_angle_x"]), ours(5), atol=1e-9)
    with OpenEXR.File(str(folder / "depth_0005.exr"), separate_channels=True) as file:
        planes = {name: channel.pixels for name, channel in file.channels().items()}
    assert planes.keys() == {"R", "G", "B"}
    true = ball_views("orbit16").depth[5]
    assert (planes["R"][true == 0] == 65535).all()
    np.testing.assert_allclose(planes["R"][true > 0], true[true > 0], atol=1e-4)
    with Image.open(folder / "render_0005.webp") as image:
        np.testing.assert_array_equal(np.asarray(image), ball_views("orbit16").rgba[5])
    assert json.loads((tmp_path / "scenes.json").read_text()) == [str(folder.relative_to(tmp_path))]


def test_mv_adapter_orthographic(tmp_path: Path) -> None:
    folder = exported(make(tmp_path / "corpus", "six_views"), tmp_path / "out", "mv-adapter")
    meta = json.loads((folder / "meta.json").read_text())
    camera = rig("six_views").cameras(SIZE)[1]
    matrix = np.linalg.inv(meta["locations"][1]["transform_matrix"])
    x, y, _ = (matrix @ np.c_[POINTS, np.ones(len(POINTS))].T)[:3]
    theirs = np.stack([SIZE / 2 + x * SIZE / meta["ortho_scale"], SIZE / 2 - y * SIZE / meta["ortho_scale"]], -1)
    local = (POINTS - np.array(camera.c2w)[:3, 3]) @ np.array(camera.c2w)[:3, :3]
    np.testing.assert_allclose(theirs, local[:, :2] * camera.K[0][0] + SIZE / 2, atol=1e-9)


def test_zero123(corpus: Corpus, tmp_path: Path) -> None:
    folder = exported(corpus, tmp_path, "zero123")
    matrix = np.load(folder / "005.npy")
    assert matrix.shape == (3, 4)
    c2w = np.linalg.inv(np.vstack([matrix, [0, 0, 0, 1]]))
    np.testing.assert_allclose(opengl(c2w, math.radians(49.134342641202636)), ours(5), atol=1e-6)
    # its get_T: the camera's place is -R.T @ T
    place = -matrix[:, :3].T @ matrix[:, 3]
    np.testing.assert_allclose(place, np.array(rig("orbit16").cameras(SIZE)[5].c2w)[:3, 3], atol=1e-12)
    assert json.loads((tmp_path / "valid_paths.json").read_text()) == [folder.name]


def test_syncdreamer(corpus: Corpus, tmp_path: Path) -> None:
    folder = exported(corpus, tmp_path, "syncdreamer")
    k, azimuths, elevations, distances, poses = pickle.loads((folder / "meta.pkl").read_bytes())
    pixels = (np.c_[POINTS, np.ones(len(POINTS))] @ poses[5].T) @ k.T
    np.testing.assert_allclose(pixels[:, :2] / pixels[:, 2:], ours(5), atol=1e-4)
    x = distances[5] * np.array([math.cos(azimuths[5]) * math.cos(elevations[5]), math.sin(elevations[5])])
    np.testing.assert_allclose(x, np.array(rig("orbit16").cameras(SIZE)[5].c2w)[[0, 2], 3], atol=1e-6)


def test_colmap(corpus: Corpus, tmp_path: Path) -> None:
    folder = exported(corpus, tmp_path, "colmap")
    model = folder / "sparse" / "0"
    cameras = [line.split() for line in (model / "cameras.txt").read_text().splitlines()]
    images = (model / "images.txt").read_text().splitlines()
    assert images[1::2] == [""] * 16
    number, w, x, y, z, *rest = images[10].split()
    t, (camera, name) = np.array(rest[:3], float), rest[3:]
    assert (number, camera, name) == ("6", "6", "05.png") and (folder / "images" / name).exists()
    q = [float(v) for v in (w, x, y, z)]
    vector, scalar = np.array(q[1:]), q[0]  # rotation of a vector by a unit quaternion
    turned = POINTS + 2 * np.cross(vector, np.cross(vector, POINTS) + scalar * POINTS)
    local = turned + t
    fx, fy, cx, cy = (float(v) for v in cameras[5][4:])
    np.testing.assert_allclose(local[:, :2] / local[:, 2:] * [fx, fy] + [cx, cy], ours(5), atol=1e-9)
    points = np.loadtxt(model / "points3D.txt")
    disc = np.linalg.norm(points[:, 1:4], axis=1)  # of the disc that the fixture's ball is, 0.3 before the middle
    assert len(points) > 1000 and disc.min() > 0.29 and disc.max() < 0.75 and (points[:, 4:7] == [200, 30, 30]).all()


@pytest.mark.parametrize("axis", range(3))
def test_quaternion_of_half_turns(axis: int) -> None:
    turn = -np.eye(3)
    turn[axis, axis] = 1
    np.testing.assert_allclose(np.abs(quaternion(turn)), np.eye(4)[axis + 1], atol=1e-12)
    np.testing.assert_allclose(quaternion(np.eye(3)), [1, 0, 0, 0], atol=1e-12)


def test_cameras_only(corpus: Corpus, tmp_path: Path) -> None:
    for layout in ("nerf", "zero123", "colmap", "mv-adapter", "trellis", "syncdreamer", "gobjaverse", "instantmesh"):
        folder = exported(corpus, tmp_path / layout, layout, cameras_only=True)
        assert any(folder.iterdir())
        assert not [p for p in folder.rglob("*") if p.suffix in (".png", ".webp", ".exr")]


def test_goes_on_and_refuses_other_settings(corpus: Corpus, tmp_path: Path) -> None:
    folder = exported(corpus, tmp_path, "nerf")
    before = (folder / "transforms.json").stat().st_mtime_ns
    (tmp_path / ".export-half").mkdir()  # of a run that was killed
    summary = export_corpus(corpus, tmp_path, "nerf")
    assert (summary.written, summary.kept, summary.left_out) == (0, 1, 3)
    assert (folder / "transforms.json").stat().st_mtime_ns == before and not (tmp_path / ".export-half").exists()
    with pytest.raises(UsageError, match="layout = 'nerf'"):
        export_corpus(corpus, tmp_path, "zero123")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").touch()
    with pytest.raises(UsageError, match="not empty"):
        export_corpus(corpus, tmp_path / "full", "nerf")


@pytest.mark.parametrize(
    ("layout", "rig_name", "words"),
    [
        ("nerff", "orbit8", "did you mean nerf"),
        ("syncdreamer", "orbit8", "16 views"),
        ("zero123", "six_views", "no orthographic cameras"),
        ("gobjaverse", "orbit8", "needs normal"),
        ("instantmesh", "orbit8", "--channels normal"),
    ],
)
def test_what_a_layout_cannot_hold(tmp_path: Path, layout: str, rig_name: str, words: str) -> None:
    corpus = make(tmp_path / "corpus", rig_name)
    with pytest.raises(UsageError, match=words):
        export_corpus(corpus, tmp_path / "out", layout)
    assert not (tmp_path / "out" / MARK).exists()


def test_nothing_to_export(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no rendered assets that --where selects"):
        export_corpus(corpus, tmp_path / "out", "nerf", where="title = 'no such'")
    assert not list(tmp_path.iterdir())


SIDE = 32
MIDDLE = np.array([0.1, -0.05, 0.0])


def sphere(layout: str) -> ExportAsset:
    """A sphere traced by its formula, with normals in the world, see tests/view_corpus.py."""
    cameras = rig("hammersley-3").cameras(SIDE)
    header = ViewsHeader("hammersley-3", "studio", "sphere", 1.0, [0.0, 0.0, 0.0])
    files = {"cameras.json": cameras_json(cameras, SIDE, SIDE, header)}
    for i, camera in enumerate(cameras):
        depth, normal = trace(camera, SIDE, MIDDLE)
        stored = np.round((normal + 1) * 32767.5).astype(np.uint16) * (depth > 0)[..., None].astype(np.uint16)
        rgba = np.dstack([np.full((SIDE, SIDE, 3), 90), (depth > 0) * 255]).astype(np.uint8)
        files[f"{i:02d}.rgba.png"] = png(rgba)
        files[f"{i:02d}.depth.png"] = encode_depth(depth.astype(np.float32), camera.near, camera.far)
        files[f"{i:02d}.normal.png"] = png16(stored)
    return ExportAsset("0" * 32, None, None, files, layout)


def test_gobjaverse(tmp_path: Path) -> None:
    LAYOUTS["gobjaverse"].write(sphere("gobjaverse"), tmp_path, True)
    for view, camera in enumerate(rig("hammersley-3").cameras(SIDE)):
        place = tmp_path / "campos_512_v4" / f"{view:05d}" / f"{view:05d}"
        told = json.loads(place.with_suffix(".json").read_text())
        axes = np.array([told["x"], told["y"], told["z"]])  # OpenCV's: a point lies at axes @ (p - origin)
        local = (POINTS - told["origin"]) @ axes.T
        focal = SIDE / 2 / np.tan(np.array([told["x_fov"], told["y_fov"]]) / 2)
        theirs = local[:, :2] / local[:, 2:] * focal + SIDE / 2
        mine = (POINTS - np.array(camera.c2w)[:3, 3]) @ np.array(camera.c2w)[:3, :3] @ np.array(camera.K).T
        np.testing.assert_allclose(theirs, mine[:, :2] / mine[:, 2:], atol=1e-9)
        with OpenEXR.File(f"{place}_nd.exr", separate_channels=True) as file:
            planes = {name: channel.pixels for name, channel in file.channels().items()}
        depth, normal = trace(camera, SIDE, MIDDLE)
        np.testing.assert_allclose(planes["A"], depth, atol=1e-4)
        found = np.dstack([planes["R"], planes["G"], planes["B"]])
        np.testing.assert_allclose(found[depth > 0], normal[depth > 0], atol=1e-3)


def test_instantmesh(tmp_path: Path) -> None:
    LAYOUTS["instantmesh"].write(sphere("instantmesh"), tmp_path, True)
    poses = np.load(tmp_path / "cameras.npz")["cam_poses"]
    for view, camera in enumerate(rig("hammersley-3").cameras(SIDE)):
        c2w = np.linalg.inv(np.vstack([poses[view], [0, 0, 0, 1]]))  # as it does
        np.testing.assert_allclose(c2w @ np.diag([1.0, -1.0, -1.0, 1.0]), camera.c2w, atol=1e-9)
        depth, normal = trace(camera, SIDE, MIDDLE)
        with Image.open(tmp_path / f"{view:03d}_depth.png") as image:
            np.testing.assert_allclose(np.asarray(image) / 255 * 4.0, depth, atol=4 / 255 / 2 + 1e-4)
        with Image.open(tmp_path / f"{view:03d}_normal.png") as image:
            stored = np.asarray(image)
        np.testing.assert_array_equal(stored[..., 3] > 0, depth > 0)
        np.testing.assert_allclose((stored[..., :3] / 255 * 2 - 1)[depth > 0], normal[depth > 0], atol=1 / 255 + 1e-3)
