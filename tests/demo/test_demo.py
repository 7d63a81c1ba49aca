"""The demo's own steps, at a size for tests."""

from pathlib import Path

import pytest
from PIL import Image

from dataengine.corpus.config import RenderConfig
from dataengine.demo import demo
from dataengine.demo.models import KINDS
from dataengine.errors import DataengineError
from dataengine.manifests.catalog import Catalog
from dataengine.report.asset import find_asset
from dataengine.stages.render import RenderStage
from dataengine.stages.run import run_shards


def test_from_nothing_to_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATAENGINE_SPOOL", str(tmp_path / "spool"))
    small = RenderConfig(resolution=128, samples=1)
    corpus = demo.prepare(tmp_path / "demo", small)
    with pytest.raises(DataengineError, match="none of the demo's models rendered"):
        demo.draw_pictures(corpus, tmp_path / "demo")
    catalog = Catalog(corpus)
    shards = sorted({0, *(catalog.find(uid)[0] for uid in catalog.uids("split <> 'train'"))})
    run_shards(corpus, RenderStage(corpus.config.sets), shards)
    catalog = Catalog(corpus)
    assert len(catalog.sql(demo.QUERY).fetchall()) == len(KINDS)
    assert catalog.uids("status = 'failed'") == []
    assert len(catalog.uids("status = 'ok' and list_max(clipped) = 0")) == demo.SHARD_SIZE * len(shards)
    pictures = demo.draw_pictures(corpus, tmp_path / "demo")
    for path in (pictures.everything, pictures.one):
        with Image.open(path) as picture:
            assert picture.width > 1000
    assert (
        demo.prepare(tmp_path / "demo", small).fragment("views/orbit8", 0) is not None
    )  # a second run keeps what is done
    tokenizer = demo.tokenize(corpus)
    demo.learn(corpus, tmp_path / "demo", steps=2, batch=2)
    drawn = demo.draw_held_out(corpus, tokenizer, tmp_path / "demo")
    assert [row["method"] for row in drawn.figures] == ["mean", "reference", "model", "round_trip"]
    assert drawn.figures[0]["objects"] == len(catalog.uids("split <> 'train'"))
    with Image.open(drawn.picture) as picture:
        assert picture.width > 500
    demo.draw_around(corpus, tmp_path / "demo")
    for uid in catalog.uids(demo.HELD_OUT):
        name = find_asset(corpus, uid).title.lower().replace(" ", "-")
        for folder in (f"{name}-novel-views", f"{name}-reconstructed"):
            with Image.open(tmp_path / "demo" / folder / "sheet.png") as picture:
                assert picture.width > 1000
