"""Our shards through other people's readers, to known pixels. The snippets of docs/formats.md are run as they stand."""

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset
from PIL import Image

import dataengine
from dataengine.corpus.shards import write_shard
from dataengine.render.rigs import rig
from dataengine.render.views import Views, ViewsHeader, to_members

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it leaves files open
UID = "0123456789abcdef" * 2
DOCS = Path(__file__).parents[2] / "docs" / "formats.md"


def known_views() -> Views:
    """A ramp of alpha over one colour, and a ramp of depth from near to far with a hole."""
    cameras = rig("hammersley-2").cameras(8)
    rgba = np.zeros((2, 8, 8, 4), np.uint8)
    rgba[..., :3], rgba[..., 3] = (200, 60, 40), np.arange(8) * 36 + 3
    near, far = cameras[0].near, cameras[0].far
    depth = np.broadcast_to(np.linspace(near, far, 8, dtype=np.float32), (2, 8, 8)).copy()
    depth[:, 0, 0] = 0
    return Views(cameras, rgba, depth)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus folder with a views and a tokens shard of one asset."""
    folder = tmp_path_factory.mktemp("corpus")
    members = {
        **to_members(known_views(), ViewsHeader("r", "l", "sphere", 1.0, [0, 0, 0])),
        "txt": "a chair, été".encode(),
    }
    arrays: dict[str, bytes] = {}
    for name, array in (("tokens.npy", np.arange(8, dtype=np.uint16)), ("cameras.npy", np.eye(3, dtype=np.float32))):
        buffer = io.BytesIO()
        np.save(buffer, array)
        arrays[name] = buffer.getvalue()
    for stage, content in (("views/orbit8", members), ("tokens/small", {**arrays, "txt": b"a chair"})):
        (folder / "corpus" / stage).mkdir(parents=True)
        write_shard(folder / "corpus" / stage / "00000-0.tar", [(UID, content)])
    return folder


def sample_of(dataset: Any) -> dict[str, Any]:
    (sample,) = dataset
    return dict(sample)


def read(path: Path) -> Any:
    return webdataset.WebDataset(str(path), shardshuffle=False, empty_check=False)


def test_a_sample_through_webdataset(shards: Path) -> None:
    views = known_views()
    sample = sample_of(read(shards / "corpus/views/orbit8/00000-0.tar").map(dataengine.decode))
    assert sample["__key__"] == UID and sample["txt"] == "a chair, été"
    for i in range(2):
        np.testing.assert_array_equal(sample[f"0{i}.rgba.png"], views.rgba[i])
        step = (views.cameras[i].far - views.cameras[i].near) / 65534
        np.testing.assert_allclose(sample[f"0{i}.depth.png"], views.depth[i], atol=0.51 * step + 1e-6)
        assert sample[f"0{i}.depth.png"].dtype == np.float32 and sample[f"0{i}.depth.png"][0, 0] == 0
    assert sample["cameras.json"]["views"][1]["K"] == views.cameras[1].K


def test_a_member_at_a_time(shards: Path) -> None:
    sample = sample_of(read(shards / "corpus/views/orbit8/00000-0.tar").decode(dataengine.decode))
    np.testing.assert_array_equal(sample["00.rgba.png"], known_views().rgba[0])
    assert sample["00.depth.png"].dtype == np.uint16
    assert (sample["00.depth.png"][1] == np.round(np.linspace(1, 65535, 8))).all()
    assert sample["txt"] == "a chair, été" and isinstance(sample["cameras.json"], dict)


def test_what_other_readers_have_opened_already(shards: Path) -> None:
    raw = sample_of(read(shards / "corpus/views/orbit8/00000-0.tar"))
    opened = {k: Image.open(io.BytesIO(v)) if k.endswith(".png") else v for k, v in raw.items()}
    ours, theirs = dataengine.decode(raw), dataengine.decode(opened)
    for name in ("01.rgba.png", "01.depth.png"):
        np.testing.assert_array_equal(ours[name], theirs[name])


def test_tokens(shards: Path) -> None:
    sample = sample_of(read(shards / "corpus/tokens/small/00000-0.tar").map(dataengine.decode))
    assert sample["tokens.npy"].dtype == np.uint16 and sample["tokens.npy"].tolist() == list(range(8))
    np.testing.assert_array_equal(sample["cameras.npy"], np.eye(3))


def test_the_snippets_of_the_docs(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shards)
    snippets = [s for s in re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL) if "webdataset" in s]
    assert len(snippets) >= 2
    for snippet in snippets:
        names: dict[str, Any] = {}
        exec(snippet.replace("-….tar", "-0.tar"), names)
        if "front" in names:
            np.testing.assert_array_equal(names["front"], known_views().rgba[0])
            assert len(np.unique(names["depth"])) == 9 and names["caption"] == "a chair, été"
        else:
            assert names["tokens"].dtype == np.uint16 and names["caption"] == "a chair"
