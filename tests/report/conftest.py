"""A small corpus with real pictures: a ball on a rig, seen by arithmetic instead of Blender."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dataengine.corpus import schema
from dataengine.corpus.config import CorpusConfig, SourceConfig
from dataengine.corpus.corpus import CONFIG, Corpus
from dataengine.corpus.fragments import tar_name, write_fragment
from dataengine.corpus.shards import write_shard
from dataengine.corpus.storage import Store
from dataengine.render.rigs import rig
from dataengine.render.views import Views, ViewsHeader, to_members
from tests.synthetic import START, plan_row, put_plan

SIZE = 48


def ball_views(rig_name: str) -> Views:
    """A red ball of radius 0.4; depth as if it were a disc at the camera's distance."""
    cameras = rig(rig_name).cameras(SIZE)
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    inside = np.hypot(x, y) < 14
    rgba = np.zeros((len(cameras), SIZE, SIZE, 4), np.uint8)
    rgba[:, inside] = (200, 30, 30, 255)
    depth = np.zeros((len(cameras), SIZE, SIZE), np.float32)
    for i, camera in enumerate(cameras):
        depth[i][inside] = np.linalg.norm(np.array(camera.c2w)[:3, 3]) - 0.3
    return Views(cameras, rgba, depth)


def make(url: Path, rig_name: str = "orbit8", assets: int = 4, title: str | None = None) -> Corpus:
    """Two shards of two assets: the second asset has failed, the second shard is not rendered."""
    store = Store(url)
    store.put(CONFIG, CorpusConfig(sources=(SourceConfig(spec="local:models"),), shard_size=2).to_yaml().encode())
    put_plan(store, [plan_row(n, 2, title=f"Ball {n}" if n else title) for n in range(assets)])
    corpus = Corpus.open(url)
    plan = corpus.plan(0).to_pylist()
    views = ball_views(rig_name)
    count = len(views.cameras)
    path = url / "tmp.tar"
    members = to_members(views, ViewsHeader(rig_name, "studio", "sphere", 2.0, [0.0, 0.0, 0.0]))
    written = write_shard(path, [(plan[0]["uid"], members)])
    tar = tar_name("views/orbit8", 0, written.sha256)
    store.put(tar, path)
    path.unlink()
    good: dict[str, Any] = {
        "status": "ok",
        "tar": tar,
        "members": [m.as_row() for m in written.members[plan[0]["uid"]]],
        "num_views": count,
        "resolution": SIZE,
        "imported_face_count": 1234,
        "imported_vertex_count": 700,
        "object_count": 1,
        "up": "Z",
        "scale": 2.0,
        "offset": [0.0, 0.0, 0.0],
        "radius": 0.5,
        "missing_textures": ["wood.png"],
        "complaints": [],
        "coverage": [0.25] * count,
        "clipped": [0] * count,
        "luminance_mean": [0.5] * count,
        "luminance_spread": [0.1] * count,
        "depth_coverage": [1.0] * count,
        "depth_error": 0.001,
        "depth_error_footprint": 0.2,
    }
    bad = {"status": "failed", "error": "EMPTY_SCENE", "message": "nothing visible", "log": "one\nlast words"}
    common = {"shard": 0, "attempts": 1, "cpu_seconds": 1.5, "wall_seconds": 2.0, "finished_at": START, "host": "test"}
    rows = [{**common, "uid": p["uid"], "row": p["row"], **r} for p, r in zip(plan, (good, bad), strict=True)]
    write_fragment(
        store,
        "views/orbit8",
        0,
        schema=schema.VIEWS,
        input=plan[0]["shard_input"] + corpus.config.sets[0].input,
        tar=tar,
        tar_sha256=written.sha256,
        settings={},
        rows=rows,
    )
    return corpus


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return make(tmp_path_factory.mktemp("report"))


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page; whatever it complains of on its console, or cannot load, fails the test."""
    context = browser.new_context()
    made = context.new_page()
    complaints: list[str] = []
    made.on("console", lambda message: complaints.append(message.text))
    made.on("pageerror", lambda error: complaints.append(str(error)))
    made.on("requestfailed", lambda request: complaints.append(request.url))
    yield made
    context.close()
    assert complaints == []


def open_page(page: Any, url: str) -> None:
    page.goto(url)
    page.wait_for_selector("body[data-ready]")


def go(page: Any, address: str, wait_for: str) -> None:
    page.evaluate("address => { location.hash = address }", address)
    page.wait_for_function("address => document.body.dataset.page === address", arg=page.evaluate("location.hash"))
    page.wait_for_selector(wait_for)
