"""What a corpus of format 2 freezes and refuses, and that one of format 1 reads, verifies and resumes."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from dataengine.cli import build
from dataengine.corpus.config import CorpusConfig, Limits, RenderConfig, SourceConfig, ViewSet
from dataengine.corpus.corpus import CONFIG, PLAN, Corpus
from dataengine.corpus.parquet import read_parquet
from dataengine.corpus.result import Result
from dataengine.corpus.shards import read_member
from dataengine.corpus.verify import verify
from dataengine.errors import UsageError
from dataengine.manifests.catalog import Catalog
from dataengine.manifests.compact import compact
from dataengine.manifests.status import status
from dataengine.render import frozen
from dataengine.stages.open_shard import is_done
from dataengine.stages.pending import pending
from dataengine.stages.plan import plan_corpus
from dataengine.stages.render import RenderStage
from dataengine.stages.run import run_shards
from tests import asset_files
from tests.synthetic import plan_row, put_plan


@pytest.fixture(autouse=True)
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATAENGINE_SPOOL", str(tmp_path / "spool"))


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    for n in (1, 2):
        (folder / f"m{n}.glb").write_bytes(asset_files.glb(n))
    return folder


class FakeRenderer:
    """Stands in for Blender: the tests are about what is committed around it."""

    limits = Limits()

    def render(self, _row: Any, _path: Any, _files: Any, sets: Sequence[str]) -> Iterator[tuple[str, Result]]:
        for name in sets:
            pixels = f"pixels of {name}".encode()
            yield name, Result({"num_views": 1, "resolution": 256, "azimuth": [0.0]}, {"00.rgba.png": pixels})

    def settings(self, name: str) -> dict[str, Any]:
        return {"set": name}

    def kill(self) -> None:
        return None


def renders(corpus: Corpus, **more: Any) -> RenderStage:
    def open_fake(_corpus: Corpus, _stage: RenderStage) -> Any:
        return FakeRenderer()

    return RenderStage(corpus.config.sets, workers=1, open=open_fake, **more)


def plan(folder: Path, models: Path, **options: Any) -> Corpus:
    plan_corpus(folder, sources=[f"local:{models}"], **{"render": RenderConfig(), **options})
    return Corpus.open(folder)


def captions(folder: Path, text: str) -> list[str]:
    folder.mkdir(exist_ok=True)
    (folder / "captions.csv").write_text(f"key,caption\nm1.glb,{text}\n")
    return [str(folder / "captions.csv")]


def test_a_caption_makes_nothing_stale_and_every_sample_has_its_text(tmp_path: Path, models: Path) -> None:
    corpus = plan(tmp_path / "c", models, captions=captions(tmp_path / "a", "a chair"))
    run_shards(corpus, renders(corpus), corpus.shards())
    fragment = corpus.fragment("views/orbit8", 0)
    assert fragment is not None
    texts = [read_member(corpus.store, r["tar"], r["members"][-1]) for r in fragment.table.to_pylist()]
    assert sorted(texts) == [b"", b"a chair"]
    again = plan(tmp_path / "c", models, captions=captions(tmp_path / "a", "an armchair"))
    assert is_done(again, renders(again), 0)
    assert not pending(Catalog(again), [renders(again)]).shards["views/orbit8"]
    assert "an armchair" in [r[0] for r in Catalog(again).sql("SELECT caption FROM assets").fetchall()]
    assert not verify(again).differences


def test_limits_may_change_and_settings_may_not(tmp_path: Path, models: Path) -> None:
    corpus = plan(tmp_path / "c", models)
    run_shards(corpus, renders(corpus), corpus.shards())
    again = plan(tmp_path / "c", models, render=RenderConfig(limits=Limits(cpu_seconds=7)))
    assert again.config.limits.cpu_seconds == 7 and is_done(again, renders(again), 0)
    with pytest.raises(UsageError, match="resolution 256 → 64"):
        plan(tmp_path / "c", models, render=RenderConfig(resolution=64))


def test_the_numbers_behind_the_names_are_frozen(tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = plan(tmp_path / "c", models)
    numbers = corpus.config.sets[0].numbers
    assert numbers is not None
    assert numbers["look"]["lights"][0]["energy"] == 1.6 and numbers["rig"]["poses"][1][0] == 45
    input = corpus.config.sets[0].input
    real = frozen.resolve
    brighter = lambda config: replace(real(config), samples=9)  # noqa: E731
    monkeypatch.setattr(frozen, "resolve", brighter)
    with pytest.raises(UsageError, match="for another samples, and this version draws other pictures"):
        run_shards(corpus, renders(corpus), [0])
    monkeypatch.setattr(frozen, "resolve", real)
    monkeypatch.setattr(frozen, "RENDER_REVISION", 99)
    with pytest.raises(UsageError, match=r"--accept-revision") as refusal:
        run_shards(corpus, renders(corpus), [0])
    assert "(revision 99)" in str(refusal.value)
    run_shards(corpus, renders(corpus, accept_revision=True), [0])
    fragment = corpus.fragment("views/orbit8", 0)
    assert fragment is not None and fragment.input.endswith(input)


def test_a_corpus_yaml_that_was_changed_by_hand_is_refused_with_the_line(tmp_path: Path, models: Path) -> None:
    corpus = plan(tmp_path / "c", models)
    text = (tmp_path / "c" / CONFIG).read_text()
    (tmp_path / "c" / CONFIG).write_text(text.replace("resolution: 256", "resolution: 512"))
    result = CliRunner().invoke(build(), ["render", corpus.url, "--shard", "all"])
    assert result.exit_code == 2 and result.output.count("\n") == 1
    number = text.splitlines().index("    resolution: 256") + 1
    assert f"line {number} says 'resolution: 512', the plan was made with 'resolution: 256'" in result.output


def test_an_unknown_format_says_who_made_it(tmp_path: Path, models: Path) -> None:
    corpus = plan(tmp_path / "c", models)
    text = (tmp_path / "c" / CONFIG).read_text()
    (tmp_path / "c" / CONFIG).write_text(text.replace("format: 2", "format: 7").replace("version: ", "version: 9.9 #"))
    result = CliRunner().invoke(build(), ["status", corpus.url])
    assert result.exit_code == 2
    assert "was made by dataengine 9.9 (format 7)" in result.output and "use that version" in result.output


def test_verify_knows_the_plan_it_was_made_with(tmp_path: Path, models: Path) -> None:
    corpus = plan(tmp_path / "c", models)
    run_shards(corpus, renders(corpus), corpus.shards())
    assert not verify(corpus).differences
    fragment = corpus.fragment("views/orbit8", 0)
    assert fragment is not None and fragment.head["plan"] == corpus.config.plan_sha256
    table = read_parquet((tmp_path / "c" / PLAN).read_bytes())
    pq.write_table(table, tmp_path / "c" / PLAN, compression="none")  # the same rows, in another file
    (difference,) = verify(Corpus.open(tmp_path / "c")).differences
    assert str(difference) == f"{PLAN}: its hash is not the one in {CONFIG}"


def test_a_removed_asset_is_a_tombstone(tmp_path: Path) -> None:
    store_corpus = old_corpus(tmp_path / "c", format=2)
    rows = store_corpus.store
    plan_rows = [plan_row(n, 2) for n in range(4)]
    plan_rows[1] |= {"status": "removed", "reason": "its owner asked"}
    put_plan(rows, plan_rows)
    corpus = Corpus.open(tmp_path / "c")
    assert [r["row"] for r in corpus.plan(0).to_pylist()] == [0]
    catalog = Catalog(corpus)
    assert catalog.sql("SELECT status, reason FROM assets WHERE status = 'removed'").fetchall() == [
        ("removed", "its owner asked")
    ]
    assert status(catalog).planned == 3 and len(catalog.uids()) == 3


# --- format 1 ---


def old_corpus(folder: Path, format: int = 1) -> Corpus:
    """As the first version wrote it: views in `views`, the settings in the plan's hash."""
    from dataengine.corpus.storage import Store

    store = Store(folder)
    config = CorpusConfig(format=format, sources=(SourceConfig(spec="local:models"),), shard_size=2)
    store.put(CONFIG, config.to_yaml().encode())
    put_plan(store, [plan_row(n, 2) for n in range(4)])
    return Corpus.open(folder)


def test_format_1_reads_verifies_and_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = old_corpus(tmp_path / "c")
    text = (tmp_path / "c" / CONFIG).read_text()
    assert "render:" in text and "views:" not in text and "format: 1" in text
    monkeypatch.setattr("dataengine.stages.render.locate", lambda _row: _Located())
    monkeypatch.setattr("dataengine.stages.render.preflight", lambda *_: None)
    with pytest.raises(UsageError, match="render revision 1, and this version draws other pictures"):
        run_shards(corpus, renders(corpus), [0])
    monkeypatch.setattr(frozen, "RENDER_REVISION", 1)  # as format 1 was
    stage = renders(corpus)
    assert stage.name == "views"
    run_shards(corpus, stage, [0])
    catalog = Catalog(corpus)
    assert pending(catalog, [stage]).shards == {"views": {1: 2}}
    run_shards(corpus, stage, corpus.shards())
    assert not pending(catalog, [stage]).shards["views"]
    fragment = corpus.fragment("views", 0)
    assert fragment is not None
    assert fragment.input == corpus.plan(0)["shard_input"][0].as_py()
    names = {m["name"] for r in fragment.table.to_pylist() for m in r["members"]}
    with_caption = any(r["caption"] for r in corpus.plan(0).to_pylist())
    assert names == {"00.rgba.png"} | ({"txt"} if with_caption else set())
    assert not verify(corpus).differences
    assert [s.stage for s in status(Catalog(corpus)).stages] == ["views"]
    compact(corpus)
    assert Catalog(corpus).sql("SELECT count(*), any_value(view_set) FROM views").fetchall() == [(4, "orbit8")]


class _Located:
    """An asset whose file is at hand: what is fetched is not what this is about."""

    main, root, dependencies = Path(__file__), Path(__file__).parent, ()

    def fetch(self, *_: Any) -> "_Located":
        return self


def test_the_config_survives_its_file() -> None:
    numbers = json.loads(json.dumps(frozen.render_numbers(RenderConfig(samples=3, seed=5))))
    config = CorpusConfig(
        sources=(SourceConfig(spec="local:models"),),
        sets=(ViewSet(render=RenderConfig(samples=3, seed=5), numbers=numbers, revision=1),),
    )
    assert CorpusConfig.from_yaml(config.to_yaml(), "here") == config
