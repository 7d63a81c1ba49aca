"""Captions change: nothing becomes stale, training reads the present ones, and tars follow by being copied."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import dataengine
from dataengine.cli import build
from dataengine.corpus.corpus import Corpus
from dataengine.corpus.result import Result
from dataengine.corpus.rewrite import read_group
from dataengine.corpus.verify import verify
from dataengine.errors import UsageError
from dataengine.manifests.catalog import Catalog
from dataengine.manifests.compact import compact
from dataengine.manifests.status import status
from dataengine.stages.recaption import rewrite_captions, set_captions
from dataengine.stages.run import run_shards
from dataengine.stages.tokenize import TokenStage
from dataengine.tokenize import load
from dataengine.tokenize.device_tokenizer import DeviceTokenizer, pick_device
from dataengine.training.data.index import build_index
from dataengine.training.data.stream import Reader
from tests import token_corpus
from tests.synthetic import make_corpus, uid_of


def members(corpus: Corpus, stage: str) -> dict[str, bytes]:
    """<uid>.<name> → content, of all shards of a stage."""
    found = {}
    for shard in corpus.shards():
        fragment = corpus.fragment(stage, shard)
        assert fragment is not None
        for row in fragment.table.to_pylist():
            found |= {f"{row['uid']}.{name}": data for name, data in read_group(corpus.store, row).items()}
    return found


def csv(path: Path, captions: dict[str, str]) -> str:
    path.write_text("uid,caption\n" + "".join(f"{uid},{text}\n" for uid, text in captions.items()))
    return str(path)


@pytest.fixture(scope="module")
def tokenized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of pictures with tokens."""
    folder = tmp_path_factory.mktemp("recaption")
    os.environ["DATAENGINE_SPOOL"] = str(folder / "spool")
    corpus = token_corpus.make_corpus(folder / "corpus", assets=6, shard_size=3, views=2)
    stage = TokenStage.on(DeviceTokenizer(load("small"), pick_device("cpu")), checks=False)
    run_shards(corpus, stage, corpus.shards())
    del os.environ["DATAENGINE_SPOOL"]
    return folder / "corpus"


def test_a_changed_caption_makes_nothing_stale_and_training_reads_it(tokenized: Path, tmp_path: Path) -> None:
    corpus = Corpus.open(tokenized)
    before = build_index(Catalog(corpus), "small")
    assert not len(before.changed)
    reader = Reader(before)
    rows = np.arange(len(before))
    old = reader.batch(rows).captions
    uids = reader.uids(rows)
    new = {uids[0]: "a chair of wood", uids[-1]: "ein Stuhl aus Höß" * 40}
    done = set_captions(tokenized, [csv(tmp_path / "new.csv", {**new, "nobody": "words"})])
    assert (done.read, done.assets, done.changed, done.unknown) == (3, 2, 2, ("nobody",))
    corpus = Corpus.open(tokenized)
    assert all(s.shards_stale == 0 and s.assets_left == 0 for s in status(Catalog(corpus)).stages)
    index = build_index(Catalog(corpus), "small")
    assert Reader(index).batch(rows).captions == [new.get(uid, text) for uid, text in zip(uids, old, strict=True)]
    assert index.captions_hash != before.captions_hash and len(index.changed) == 2
    assert Reader(index, captions=False).batch(rows).captions == [""] * len(rows)

    pictures = {stage: members(corpus, stage) for stage in ("views/orbit8", "tokens/small")}
    hashes = [corpus.fragment(stage, n).sha256 for stage in pictures for n in corpus.shards()]  # type: ignore[union-attr]
    assert rewrite_captions(corpus) == 4
    assert rewrite_captions(corpus) == 0
    assert hashes == [corpus.fragment(stage, n).sha256 for stage in pictures for n in corpus.shards()]  # type: ignore[union-attr]
    for stage, was in pictures.items():
        now = members(corpus, stage)
        assert now == was | {f"{uid}.txt": text.encode() for uid, text in new.items()}
    assert not verify(corpus).differences
    assert all(s.shards_stale == 0 and s.assets_left == 0 for s in status(Catalog(corpus)).stages)
    again = build_index(Catalog(corpus), "small")
    captions = Reader(again).batch(rows).captions
    assert captions == [new.get(uid, text) for uid, text in zip(uids, old, strict=True)]
    assert again.captions_hash == index.captions_hash


def test_planning_again_keeps_captions_that_were_set_later(tmp_path: Path) -> None:
    from tests import asset_files

    models = tmp_path / "models"
    models.mkdir()
    (models / "m1.glb").write_bytes(asset_files.glb(1))
    first = tmp_path / "first.csv"
    first.write_text("path,caption\nm1.glb,a chair\n")
    dataengine.plan(tmp_path / "c", [f"local:{models}"], captions=[str(first)])
    later = tmp_path / "later.jsonl"
    later.write_text(json.dumps({"path": "m1.glb", "caption": "an armchair"}) + "\nno json\n")
    done = set_captions(tmp_path / "c", [str(later)])
    assert done.changed == 1 and done.notes == (
        f"{later}: the row on line 2 is refused: no JSON object with a key and a caption",
    )
    config = Corpus.open(tmp_path / "c").config
    assert config.captions == (str(later), str(first))
    dataengine.plan(tmp_path / "c", [f"local:{models}"], captions=config.captions)
    assert [r[0] for r in Catalog(tmp_path / "c").sql("select caption from assets").fetchall()] == ["an armchair"]


class Captioner(dataengine.Stage):
    name = "captions/counting"
    made_from = "views"
    schema = pa.schema([("caption", pa.string())])

    def process(self, row: Any) -> Result:
        return Result({"caption": f"asset with {len(row['members'])} members"}, {})


def test_captions_of_a_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATAENGINE_SPOOL", str(tmp_path / "spool"))
    corpus = make_corpus(tmp_path / "c", 6, shard_size=4)
    run_shards(corpus, Captioner(), corpus.shards())
    done = set_captions(tmp_path / "c", ["captions/counting"])
    assert done.changed == done.assets == 5  # one has no views
    captions = Catalog(tmp_path / "c").sql("select distinct caption from assets where status = 'ok'").fetchall()
    assert captions == [("asset with 6 members",)]
    with pytest.raises(UsageError, match="no caption file captions/other"):
        set_captions(tmp_path / "c", ["captions/other"])


def test_ten_thousand_captions_at_once_and_a_compacted_corpus(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "c", 40, shard_size=16, tokens=[0, 1, 2], failing=lambda n: False)
    compact(corpus)
    table = pa.table({"uid": [uid_of(n) for n in range(40)], "text": [f"caption {n}" for n in range(40)]})
    pq.write_table(table, tmp_path / "new.parquet")
    result = CliRunner().invoke(
        build(), ["captions", corpus.url, "--from", str(tmp_path / "new.parquet"), "--rewrite-shards"]
    )
    assert result.exit_code == 0, result.output
    assert "40 captions for 40 assets: 40 changed, 0 have none" in result.output
    assert "6 tars written again" in result.output
    corpus = Corpus.open(tmp_path / "c")
    compact(corpus)
    rows = Catalog(corpus).sql("select uid, caption, caption_size from samples order by shard, row").fetchall()
    assert rows == [(uid_of(n), f"caption {n}", len(f"caption {n}")) for n in range(40)]
    assert len(verify(corpus, prune=True).differences) == 0


def test_a_killed_rewriting_goes_on(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "c", 24, shard_size=4, failing=lambda n: False)
    set_captions(tmp_path / "c", [csv(tmp_path / "new.csv", {uid_of(n): f"other {n}" for n in range(24)})])
    code = (
        "import os, signal, sys\nfrom dataengine.corpus.corpus import Corpus\n"
        "from dataengine.stages.recaption import rewrite_captions\n"
        "def stop(stage, shard):\n    if shard == 2: os.kill(os.getpid(), signal.SIGKILL)\n"
        "rewrite_captions(Corpus.open(sys.argv[1]), on_shard=stop)"
    )
    killed = subprocess.run([sys.executable, "-c", code, corpus.url], check=False)
    assert killed.returncode == -signal.SIGKILL
    corpus = Corpus.open(tmp_path / "c")
    assert not verify(corpus).differences
    assert rewrite_captions(corpus) == 3
    assert {k: v for k, v in members(corpus, "views/orbit8").items() if k.endswith(".txt")} == {
        f"{uid_of(n)}.txt": f"other {n}".encode() for n in range(24)
    }


def test_wrong_requests(tmp_path: Path) -> None:
    make_corpus(tmp_path / "c", 2)
    run = CliRunner().invoke
    assert "give --from FILE" in run(build(), ["captions", str(tmp_path / "c")]).output
    result = run(build(), ["captions", str(tmp_path / "none"), "--from", "x.csv"])
    assert result.exit_code == 2 and "is not a corpus" in result.output
    result = run(build(), ["captions", str(tmp_path / "c"), "--from", "x.csv"])
    assert result.exit_code == 2 and "there is no caption file x.csv" in result.output
