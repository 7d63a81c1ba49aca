"""Corpora are merged and cut anew by copying: every member keeps its bytes, and nothing is left to be made."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from dataengine.cli import build
from dataengine.corpus.config import CorpusConfig, RenderConfig, SourceConfig, ViewSet
from dataengine.corpus.corpus import CONFIG, PLAN, Corpus
from dataengine.corpus.rewrite import read_group
from dataengine.corpus.storage import Store
from dataengine.corpus.verify import verify
from dataengine.errors import UsageError
from dataengine.manifests.catalog import Catalog
from dataengine.manifests.compact import compact
from dataengine.manifests.status import status
from dataengine.stages.merge import merge
from dataengine.stages.rebalance import rebalance
from dataengine.stages.takedown import remove
from tests import synthetic
from tests.synthetic import make_corpus, uid_of

STAGES = ("views/orbit8", "tokens/small")


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATAENGINE_SPOOL", str(tmp_path / "spool"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def content(*corpora: Corpus) -> dict[str, bytes]:
    """<stage> <uid>.<name> → bytes of every member."""
    found = {}
    for corpus in corpora:
        for stage in STAGES:
            for shard in corpus.shards():
                fragment = corpus.fragment(stage, shard)
                for row in fragment.table.to_pylist() if fragment else ():
                    group = read_group(corpus.store, row)
                    found |= {f"{stage} {row['uid']}.{name}": data for name, data in group.items()}
    return found


def tokenized(folder: Path | str, assets: int = 10, first: int = 0, **more: object) -> Corpus:
    """A corpus of the assets first … first + assets - 1, all rendered and tokenized; every fifth has failed."""
    shards = list(range(-(-assets // 4)))
    corpus = make_corpus(folder, assets, shard_size=4, views=[], **more)  # type: ignore[arg-type]
    if first:
        rows = [synthetic.plan_row(n, 4) for n in range(first, first + assets)]
        rows = [{**row, "shard": i // 4, "row": i % 4} for i, row in enumerate(rows)]
        synthetic.put_plan(corpus.store, rows)
        corpus = Corpus.open(folder)
    for n in shards:
        synthetic.commit_views(corpus, n, tmp=more.get("tmp"))  # type: ignore[arg-type]
        synthetic.commit_tokens(corpus, n, tmp=more.get("tmp"))  # type: ignore[arg-type]
    return corpus


def is_done(corpus: Corpus) -> bool:
    found = verify(corpus)
    assert not found.differences and not found.garbage, (found.differences, found.garbage)
    stages = status(Catalog(corpus)).stages
    return all(s.assets_left == 0 and s.shards_stale == 0 and s.shards_done == s.shards for s in stages)


@pytest.mark.parametrize("size", [1, 3, 100])
def test_another_size_of_shards(tmp_path: Path, size: int) -> None:
    corpus = tokenized(tmp_path / "c")
    compact(corpus)
    remove(tmp_path / "c", [uid_of(5)], "asked")
    before = content(Corpus.open(tmp_path / "c"))
    order = Catalog(tmp_path / "c").sql("select uid from samples order by shard, row").fetchall()
    assert rebalance(tmp_path / "c", size) == -(-9 // size)
    corpus = Corpus.open(tmp_path / "c")
    assert corpus.config.shard_size == size and corpus.shards() == list(range(-(-9 // size)))
    assert content(corpus) == before and is_done(corpus)
    assert Catalog(corpus).sql("select uid from samples order by shard, row").fetchall() == order
    assert corpus.tombstones()["uid"].to_pylist() == [uid_of(5)]
    assert not (tmp_path / "c" / ".rebalance").exists()
    assert rebalance(tmp_path / "c", size) == -(-9 // size)


@pytest.mark.parametrize("step", ["views/orbit8/00001-", ".rebalance/ready", "views/orbit8/00001.", PLAN, CONFIG])
def test_a_killed_cut_goes_on(tmp_path: Path, step: str) -> None:
    corpus = tokenized(tmp_path / "c")
    before = content(corpus)
    code = (
        "import os, signal, sys\nfrom dataengine.corpus.storage import Store\n"
        "from dataengine.stages.rebalance import rebalance\nreal = Store.put\n"
        "def put(self, name, content):\n    real(self, name, content)\n"
        "    if not self.url.endswith('.rebalance') and name.startswith(sys.argv[2]): os.kill(os.getpid(), 9)\n"
        "Store.put = put\nrebalance(sys.argv[1], 3)"
    )
    killed = subprocess.run([sys.executable, "-c", code, corpus.url, step], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert rebalance(tmp_path / "c", 3) == 4
    corpus = Corpus.open(tmp_path / "c")
    assert content(corpus) == before and is_done(corpus) and os.path.isdir(tmp_path)  # noqa: PTH112


def test_what_is_not_done_is_not_moved(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "c", 12, views=[0, 2])
    result = CliRunner().invoke(build(), ["rebalance", corpus.url, "--shard-size", "3"])
    assert result.exit_code == 2 and "views/orbit8 has not made shard 1" in result.output


def test_two_corpora_become_one(tmp_path: Path) -> None:
    a, b = tokenized(tmp_path / "a", 10), tokenized(tmp_path / "b", 7, first=8)  # 8 and 9 are in both
    remove(tmp_path / "b", [uid_of(14)], "asked")
    remove(tmp_path / "a", [uid_of(0)], "asked")
    a, b = Corpus.open(tmp_path / "a"), Corpus.open(tmp_path / "b")
    result = CliRunner().invoke(build(), ["merge", a.url, b.url, "-o", str(tmp_path / "c")])
    assert result.exit_code == 0, result.output
    assert "13 assets, 2 of them in several corpora; shards: views/orbit8 5, tokens/small 5" in result.output
    c = Corpus.open(tmp_path / "c")
    assert content(c) == content(b) | content(a) and is_done(c)
    assert sorted(c.tombstones()["uid"].to_pylist()) == sorted([uid_of(0), uid_of(14)])
    assert content(a, b) == content(b) | content(a) and is_done(a) and is_done(b)
    assert rebalance(tmp_path / "c", 4) == 4 and is_done(Corpus.open(tmp_path / "c"))


def test_merging_into_a_bucket(s3_url: str, tmp_path: Path) -> None:
    a, b = tokenized(tmp_path / "a", 4), tokenized(tmp_path / "b", 4, first=4)
    merge([a.url, b.url], s3_url)
    assert content(Corpus.open(s3_url)) == content(a, b) and is_done(Corpus.open(s3_url))


def test_a_killed_merge_goes_on(tmp_path: Path) -> None:
    a, b = tokenized(tmp_path / "a", 4), tokenized(tmp_path / "b", 4, first=4)
    code = (
        "import os, sys\nfrom dataengine.stages.merge import merge\n"
        "merge(sys.argv[1:3], sys.argv[3], on_shard=lambda stage, n: os.kill(os.getpid(), 9))"
    )
    words = [a.url, b.url, str(tmp_path / "c")]
    assert subprocess.run([sys.executable, "-c", code, *words], check=False).returncode == -signal.SIGKILL
    with pytest.raises(UsageError, match="is not a corpus"):
        Corpus.open(tmp_path / "c")
    merge(words[:2], words[2])
    assert content(Corpus.open(tmp_path / "c")) == content(a, b) and is_done(Corpus.open(tmp_path / "c"))


def test_clashing_corpora(tmp_path: Path) -> None:
    a, b = tokenized(tmp_path / "a", 4), tokenized(tmp_path / "b", 4)
    config = CorpusConfig(
        sources=(SourceConfig(spec="local:models"),), sets=(ViewSet(render=RenderConfig(resolution=512, seed=7)),)
    )
    other = Store(tmp_path / "other")
    other.put(CONFIG, config.to_yaml().encode())
    synthetic.put_plan(other, [synthetic.plan_row(50, 4) | {"shard": 0, "row": 0}])
    with pytest.raises(UsageError) as clash:
        merge([a.url, other.url], tmp_path / "c")
    assert f"{a.url}: resolution: 256; {other.url}: resolution: 512" in str(clash.value)
    assert f"{a.url}: seed: 0; {other.url}: seed: 7" in str(clash.value)
    synthetic.put_plan(b.store, [synthetic.plan_row(n, 4, uri=f"elsewhere/{n}.glb") for n in range(4)])
    with pytest.raises(UsageError, match=f"{uid_of(0)} is another asset in .*b .elsewhere/0.glb. than in .*a"):
        merge([a.url, b.url], tmp_path / "c")
    with pytest.raises(UsageError, match="is a corpus already"):
        merge([a.url, b.url], a.url)
