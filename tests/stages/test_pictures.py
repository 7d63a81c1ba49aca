"""`tokenize --images`: from tars of pictures to a corpus like any other."""

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from dataengine.cli import build
from dataengine.corpus.corpus import Corpus
from dataengine.corpus.shards import read_member
from dataengine.corpus.verify import verify
from dataengine.errors import UsageError
from dataengine.manifests.catalog import Catalog
from dataengine.manifests.compact import compact
from dataengine.manifests.status import status
from dataengine.stages.fetch import prefetch
from dataengine.stages.pictures import PictureStage, plan_pictures
from dataengine.stages.render import RenderStage
from dataengine.stages.run import run_shards
from dataengine.tokenize import load
from dataengine.training.data.index import build_index
from dataengine.training.data.stream import Stream
from tests.pictures import encoded, picture, triples, write_tar
from tests.tokenize.published import save_small


@pytest.fixture(autouse=True)
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATAENGINE_SPOOL", str(tmp_path / "spool"))


def run(*words: object) -> Result:
    return CliRunner().invoke(build(), [str(w) for w in words])


@pytest.fixture
def tars(tmp_path: Path) -> Path:
    bad = [("bad.jpg", b"\xff\xd8\xff"), ("bad.txt", b"broken"), ("again.jpg", encoded(picture(0)))]
    write_tar(tmp_path / "tars/00000.tar", triples(0, 4))
    write_tar(tmp_path / "tars/00001.tar", [*triples(4, 3), *bad])
    return tmp_path / "tars"


def test_a_corpus_of_pictures(tmp_path: Path, tars: Path) -> None:
    weights = save_small(tmp_path / "tiny.safetensors")
    more = ("--weights", weights, "--resolution", 32, "--device", "cpu")
    made = run("tokenize", "--images", tars, "-o", tmp_path / "corpus", *more)
    assert made.exit_code == 0, made.output
    assert "8 pictures in 1 shards, 8 with a caption, 1 more are copies" in made.output
    corpus = Corpus.open(tmp_path / "corpus")
    catalog = Catalog(corpus)
    assert catalog.sql("SELECT stage, error FROM failures").fetchall() == [("views/pictures", "MALFORMED")]
    rows = catalog.sql("SELECT uid, caption, num_views, grid FROM samples ORDER BY caption").fetchall()
    assert [r[1:] for r in rows] == [(f"waves of number {n}", 1, [4, 4]) for n in range(7)]
    row = next(r for r in corpus.fragment("tokens/small", 0).table.to_pylist() if r["uid"] == rows[2][0])  # type: ignore[union-attr]
    members = {m["name"]: read_member(corpus.store, row["tar"], m) for m in row["members"]}
    assert members["txt"] == b"waves of number 2"
    assert not np.load(io.BytesIO(members["cameras.npy"]))[:, :28].any()
    views = corpus.fragment("views/pictures", 0)
    view = next(r for r in views.table.to_pylist() if r["uid"] == row["uid"])  # type: ignore[union-attr]
    png = read_member(corpus.store, view["tar"], next(m for m in view["members"] if m["name"] == "00.rgba.png"))
    rgb = np.array(Image.open(io.BytesIO(png)))[..., :3]
    x = torch.from_numpy(rgb)[None].permute(0, 3, 1, 2).float() / 127.5 - 1
    assert np.array_equal(np.load(io.BytesIO(members["tokens.npy"])), load("small", weights).encode(x).numpy())
    assert verify(corpus).differences == []
    stages = status(catalog).stages
    assert [(s.stage, s.assets_ok, s.assets_failed) for s in stages] == [
        ("views/pictures", 7, 1),
        ("tokens/small", 7, 0),
    ]
    compact(corpus)
    index = build_index(Catalog(corpus), "small")
    batch = next(Stream(index, batch_size=7))
    assert batch.tokens.shape == (7, 1, 4, 4)
    assert sorted(batch.captions) == [r[1] for r in rows]
    again = run("tokenize", corpus.url, "--shard", "all", "--weights", weights)
    assert "nothing to do" in again.output


def test_a_larger_set_is_appended_and_a_killed_run_ends_in_the_same_bytes(tmp_path: Path, tars: Path) -> None:
    corpora = []
    for name in ("whole", "stopped"):
        plan_pictures(tmp_path / name, [str(tars / "00000.tar")], resolution=32, shard_size=3)
        corpora.append(Corpus.open(tmp_path / name))

    class Killed(Exception):
        pass

    def stop(_: Any) -> None:
        raise Killed

    run_shards(corpora[0], PictureStage(workers=1), [0, 1])
    with pytest.raises(Killed):
        run_shards(corpora[1], PictureStage(workers=1), [0, 1], on_asset=stop)
    run_shards(corpora[1], PictureStage(workers=2), [0, 1])
    for shard in (0, 1):
        one, other = (c.fragment("views/pictures", shard) for c in corpora)
        assert one is not None and other is not None
        assert (one.sha256, one.tar_sha256) == (other.sha256, other.tar_sha256)
    old = (tars / "00000.tar").read_bytes()
    shutil.copy(tars / "00001.tar", tars / "00002.tar")
    summary = plan_pictures(
        tmp_path / "whole", [str(tars / "00000.tar"), str(tars / "00002.tar")], resolution=32, shard_size=3
    )
    assert (summary.shards, summary.new_shards, summary.duplicates) == (4, 2, 1)
    assert (
        corpora[0]
        .fragment("views/pictures", 0)
        .input.startswith(  # type: ignore[union-attr]
            Corpus.open(tmp_path / "whole").plan(0)["shard_input"][0].as_py()
        )
    )
    assert (tars / "00000.tar").read_bytes() == old
    with pytest.raises(UsageError, match="finished shards made with other settings .resolution 32 → 64"):
        plan_pictures(
            tmp_path / "whole", [str(tars / "00000.tar"), str(tars / "00002.tar")], resolution=64, shard_size=3
        )


def test_a_picture_that_changed_is_a_row(tmp_path: Path, tars: Path) -> None:
    plan_pictures(tmp_path / "corpus", [str(tars)], resolution=32)
    corpus = Corpus.open(tmp_path / "corpus")
    tar = tars / "00000.tar"
    content = bytearray(tar.read_bytes())
    content[700] ^= 1
    tar.write_bytes(content)
    (tars / "00001.tar").unlink()
    run_shards(corpus, PictureStage(), [0])
    fragment = corpus.fragment("views/pictures", 0)
    assert fragment is not None
    assert fragment.table["error"].to_pylist() == ["SHA_MISMATCH", None, None, None, *["FETCH_404"] * 4]


def test_what_needs_models_refuses_pictures(tmp_path: Path, tars: Path) -> None:
    plan_pictures(tmp_path / "corpus", [str(tars)], resolution=32)
    corpus = Corpus.open(tmp_path / "corpus")
    for call in (lambda: run_shards(corpus, RenderStage(corpus.config.sets), [0]), lambda: prefetch(corpus, [0])):
        with pytest.raises(UsageError, match="is a corpus of pictures, without models or cameras"):
            call()
    for words in (("export-cameras", corpus.url, "0" * 32, "--to", "nerf"), ("inspect", corpus.url, "0" * 32)):
        assert "is a corpus of pictures" in run(*words).output


def test_wrong_requests(tmp_path: Path, tars: Path) -> None:
    assert "go together" in run("tokenize", "--images", tars).output
    assert "go together" in run("tokenize", "-o", tmp_path / "x").output
    assert "is not a corpus" in run("tokenize", tmp_path).output
    assert "holds no pictures" in run("tokenize", "--images", Path(__file__), "-o", tmp_path / "x").output
    assert not (tmp_path / "x").exists()
