"""A recording for the rerun viewer, read back by rerun itself."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dataengine.corpus.corpus import Corpus
from dataengine.errors import DataengineError
from dataengine.report.inspect import inspect_asset
from tests.report.conftest import make
from tests.view_corpus import RADIUS, centre, make_view_corpus

rr = pytest.importorskip("rerun")
SIDE = 24


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return make_view_corpus(tmp_path_factory.mktemp("rerun") / "corpus", assets=3, side=SIDE)


def read(path: Path) -> tuple[dict[int, dict[str, Any]], dict[str, Any]]:
    """(view → column → value logged at it, column → value for all time)."""
    view = rr.dataframe.load_recording(path).view(index="view", contents="/**")
    rows = view.select().read_all().to_pylist()
    return {row["view"]: row for row in rows}, view.select_static().read_all().to_pylist()[0]


def test_points_land_on_their_pixels(corpus: Corpus, tmp_path: Path) -> None:
    """rerun's formula: u = (K R^T (p - t))_x / z, a picture spanning (0, 0) to (width, height)."""
    uid = corpus.plan(0)["uid"][1].as_py()
    inspection = inspect_asset(corpus, uid)
    inspection.save(tmp_path / "view.rrd")
    at, always = read(tmp_path / "view.rrd")
    assert always["/world:ViewCoordinates"] == [[3, 5, 1]]  # right, forward, up: z is up
    assert always["/facts:Text"][0].startswith(f"uid: {uid}\nstatus: ok\n")
    assert sorted(at) == [0, 1, 2, 3]
    for n in range(3):
        view, points = f"/world/views/{n:02d}", np.array(at[n][f"/world/points/{n:02d}:Position3D"])
        assert np.abs(np.linalg.norm(points - centre(1), axis=1) - RADIUS).max() < 1e-3  # in the world, on the sphere
        # rerun keeps matrices by columns
        K = np.array(at[n][f"{view}:PinholeProjection"]).reshape(3, 3).T
        R = np.array(at[n][f"{view}:TransformMat3x3"]).reshape(3, 3).T
        t = np.array(at[n][f"{view}:Translation3D"][0])
        assert at[n][f"{view}:ViewCoordinates"] == [[3, 2, 5]]  # right, down, forward
        assert at[n][f"{view}:Resolution"] == [[SIDE, SIDE]]
        seen = ((points - t) @ R) @ K.T
        pixels = seen[:, :2] / seen[:, 2:]
        assert np.abs(pixels - np.floor(pixels) - 0.5).max() < 1e-3  # the centre of a pixel
        picture = np.asarray(Image.open(io.BytesIO(bytes(at[n][f"{view}/colour:Blob"][0]))))
        colours = picture[pixels[:, 1].astype(int), pixels[:, 0].astype(int)]
        logged = np.array(at[n][f"/world/points/{n:02d}:Color"], np.uint32)
        assert np.array_equal(np.stack([logged >> s & 255 for s in (24, 16, 8)], 1), colours[:, :3])


def test_an_orthographic_view_is_an_outline(corpus: Corpus, tmp_path: Path) -> None:
    inspect_asset(corpus, corpus.plan(0)["uid"][0].as_py()).save(tmp_path / "view.rrd")
    row = read(tmp_path / "view.rrd")[0][3]
    assert "/world/views/03:PinholeProjection" not in row
    (outline,) = row["/world/views/03/outline:LineStrip3D"]
    points = np.array(row["/world/points/03:Position3D"])
    R = np.array(row["/world/views/03:TransformMat3x3"]).reshape(3, 3).T
    local = (points - np.array(row["/world/views/03:Translation3D"][0])) @ R
    low, high = np.min(outline, 0), np.max(outline, 0)
    assert (local[:, :2] > low[:2]).all() and (local[:, :2] < high[:2]).all() and (local[:, 2] > low[2]).all()
    steps = (local[:, :2] - low[:2]) / (high[:2] - low[:2]) * SIDE  # parallel rays through pixels' centres
    assert np.abs(steps - np.floor(steps) - 0.5).max() < 1e-3


def test_what_cannot_be_recorded(tmp_path: Path) -> None:
    corpus = make(tmp_path / "corpus")
    with pytest.raises(DataengineError, match="its status is failed"):
        inspect_asset(corpus, corpus.plan(0)["uid"][1].as_py()).save(tmp_path / "view.rrd")
    assert not (tmp_path / "view.rrd").exists()
