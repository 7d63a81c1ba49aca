import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from dataengine.cli import build
from dataengine.corpus.config import RenderConfig
from dataengine.corpus.corpus import Corpus
from dataengine.errors import ErrorCode, UsageError
from dataengine.manifests.catalog import Catalog
from dataengine.sources.attribution import credits
from dataengine.stages.fetch import prefetch
from dataengine.stages.plan import plan_corpus
from dataengine.training.config import TrainConfig
from dataengine.training.trainer import train
from tests import asset_files as files
from tests.hub_server import Hub
from tests.training.synthetic import make_corpus


@pytest.fixture
def corpus(hub: Hub, cache: Path, tmp_path: Path) -> Corpus:
    (tmp_path / "here.glb").write_bytes(files.glb(99))
    lines = ["uri,title,author,licence,page_url", "here.glb,,,,"]
    for i, licence in enumerate(("by", "by", "cc0", "by-nc")):
        hub.files[f"/{i}.glb"] = files.glb(i + 1)
        lines.append(f'{hub.url}/{i}.glb,"The  ""{i}""",Ann,{licence},https://x/{i}')
    (tmp_path / "list.csv").write_text("\n".join([*lines, f"{hub.url}/gone.glb,,,cc0,"]) + "\n")
    plan_corpus(
        tmp_path / "c", sources=[f"csv:{tmp_path / 'list.csv'}"], render=RenderConfig(), cache=cache, shard_size=4
    )
    return Corpus.open(tmp_path / "c")


def test_shards_are_fetched_ahead_once(corpus: Corpus, hub: Hub, cache: Path) -> None:
    seen = []
    result = prefetch(corpus, [0], cache=cache, on_asset=lambda row, failure: seen.append((row["uid"], failure)))
    assert (result.fetched, len(result.failures), len(seen)) == (4, 0, 4)
    result = prefetch(corpus, [0, 1], cache=cache)
    assert result.fetched == 5
    assert [f.code for f in result.failures.values()] == [ErrorCode.FETCH_404]
    assert {n: hub.requests[f"/{n}.glb"] for n in range(4)} == dict.fromkeys(range(4), 1)


def test_credits_name_what_is_used(corpus: Corpus) -> None:
    catalog = Catalog(corpus)
    text = "\n".join(credits(catalog))
    assert '## cc-by-4.0 (https://creativecommons.org/licenses/by/4.0/)\n\n- “The "0"” by Ann, https://x/0' in text
    assert "## cc-by-nc-4.0 (https://creativecommons.org/licenses/by-nc/4.0/): no commercial use" in text
    assert "## Unknown licence" in text
    assert text.count("\n- ") == 6
    chosen = "\n".join(credits(catalog, "licence = 'cc-by-4.0'"))
    assert chosen.count("\n- ") == 2 and "cc0" not in chosen
    with pytest.raises(UsageError):
        list(credits(catalog, "licnce = 'x'"))


def test_the_commands(corpus: Corpus, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dataengine.stages.fetch.cache_root", lambda: cache)
    run = CliRunner()
    result = run.invoke(build(), ["fetch", corpus.url, "--shard", "all"])
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("5 assets are here (0.0 MB), 1 are not\nFETCH_404: 1, such as http://")
    credits_file = tmp_path / "CREDITS.md"
    result = run.invoke(build(), ["attribution", corpus.url, "--where", "licence is not null", "-o", str(credits_file)])
    assert result.exit_code == 0, result.output
    assert credits_file.read_text().startswith("# Credits\n\n## cc-by-4.0")
    before = credits_file.read_bytes()
    result = run.invoke(build(), ["attribution", corpus.url, "--where", "uid = no_column", "-o", str(credits_file)])
    assert result.exit_code == 2
    assert credits_file.read_bytes() == before  # a failure costs nobody the file that was there


def test_credits_of_a_training_run_name_what_it_learned_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dataengine.training.model.config.SIZES", {"tiny": (64, 2)})
    corpus = make_corpus(tmp_path / "corpus")
    settings = {"tokenizer": "toy", "size": "tiny", "batch": 4, "steps": 1, "device": "cpu", "where": "uid < '8'"}
    train(TrainConfig(run=tmp_path / "run", corpus=corpus.url, stage="i2mv", **settings))
    learned = Catalog(corpus).sql("select uid from samples where split = 'train' and uid < '8'").fetchall()
    run = CliRunner()
    result = run.invoke(build(), ["attribution", corpus.url, "--run", str(tmp_path / "run")])
    assert result.exit_code == 0, result.output
    named = set(re.findall(r"`([0-9a-f]{32})`", result.output))
    assert named and named == {r[0] for r in learned}
    result = run.invoke(build(), ["attribution", corpus.url, "--run", str(tmp_path)])
    assert result.exit_code == 2 and "no folder of `dataengine train`" in result.output + result.stderr
