from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataengine.corpus import schema
from dataengine.corpus.config import RenderConfig
from dataengine.corpus.corpus import Corpus
from dataengine.corpus.fragments import write_fragment
from dataengine.corpus.storage import Store
from dataengine.errors import UsageError
from dataengine.sources.listing import ASSETS, SourceListing
from dataengine.stages.plan import PlanSummary, plan_assets, plan_corpus
from tests import asset_files as files


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    for i in range(5):
        (folder / f"m{i}.glb").write_bytes(files.glb(i + 1))
    return folder


def plan(corpus: Path, models: Path, **options: Any) -> PlanSummary:
    options = {"render": RenderConfig(), "shard_size": 2, **options}
    return plan_corpus(corpus, sources=[f"local:{models}"], **options)


def rows(corpus: Path) -> list[dict[str, Any]]:
    return pq.read_table(corpus / "plan" / "assets.parquet").to_pylist()


def planned(corpus: Path) -> dict[str, dict[str, Any]]:
    return {Path(r["uri"]).name: r for r in rows(corpus) if r["status"] == "planned"}


def places(corpus: Path) -> dict[str, tuple[int, int]]:
    return {name: (r["shard"], r["row"]) for name, r in planned(corpus).items()}


def inputs(corpus: Path) -> dict[int, str]:
    return {r["shard"]: r["shard_input"] for r in rows(corpus) if r["status"] == "planned"}


def commit(corpus: Path, shard: int) -> None:
    write_fragment(
        Store(corpus),
        "views/orbit8",
        shard,
        schema=schema.VIEWS,
        input=inputs(corpus)[shard] + Corpus.open(corpus).config.sets[0].input,
        tar=None,
        tar_sha256=None,
        settings={},
        rows=[],
    )


def test_shards_in_order_and_read_back(tmp_path: Path, models: Path) -> None:
    summary = plan(tmp_path / "c", models)
    assert (summary.found, summary.planned, summary.shards, summary.duplicates) == (5, 5, 3, 0)
    assert places(tmp_path / "c") == {
        "m0.glb": (0, 0),
        "m1.glb": (0, 1),
        "m2.glb": (1, 0),
        "m3.glb": (1, 1),
        "m4.glb": (2, 0),
    }
    corpus = Corpus.open(tmp_path / "c")
    assert corpus.shards() == [0, 1, 2]
    assert corpus.plan(1)["row"].to_pylist() == [0, 1]
    assert corpus.plan(1).schema.names == schema.PLAN.names


def test_the_same_arguments_give_the_same_bytes(tmp_path: Path, models: Path) -> None:
    plan(tmp_path / "c", models)
    first = (tmp_path / "c/plan/assets.parquet").read_bytes(), (tmp_path / "c/corpus.yaml").read_bytes()
    plan(tmp_path / "c", models)
    commit(tmp_path / "c", 0)
    plan(tmp_path / "c", models)
    plan(tmp_path / "d", models)
    for name in ("c", "d"):
        assert first == (
            (tmp_path / name / "plan/assets.parquet").read_bytes(),
            (tmp_path / name / "corpus.yaml").read_bytes(),
        )


def test_duplicates_are_rows_that_name_what_is_kept(tmp_path: Path, models: Path) -> None:
    for name in ("a copy.glb", "m4 copy.gltf"):
        (models / name).write_bytes((models / "m4.glb").read_bytes())
    summary = plan(tmp_path / "c", models)
    assert (summary.planned, summary.duplicates) == (5, 2)
    table = rows(tmp_path / "c")
    kept = planned(tmp_path / "c")["a copy.glb"]
    copies = [r for r in table if r["status"] == "duplicate"]
    assert len({r["uid"] for r in table}) == len(table) == 7
    for copy in copies:
        assert copy["reason"] == f"same content as {kept['uid']} ({kept['uri']})"
        assert copy["shard"] is None and copy["shard_input"] is None


def test_one_model_is_on_one_side_of_the_split(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    for i in range(300):
        (models / f"m{i}.glb").write_bytes(files.glb(1, extras={"n": i}))
        (models / f"m{i}.obj").write_text(f"v 0 0 {i}\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    plan(tmp_path / "c", models, shard_size=64)
    table = rows(tmp_path / "c")
    sides: dict[str, set[str]] = {}
    for row in table:
        sides.setdefault(Path(row["uri"]).stem, set()).add(row["split"])
    assert all(len(s) == 1 for s in sides.values())
    counts = {s: sum(r["split"] == s for r in table) for s in ("train", "val", "test")}
    assert 500 < counts["train"] < 580 and counts["val"] and counts["test"]


def test_where_is_sql_over_what_is_known(tmp_path: Path, models: Path) -> None:
    summary = plan(tmp_path / "c", models, where="face_count between 2 and 3 or path = 'm4.glb'")
    assert set(planned(tmp_path / "c")) == {"m1.glb", "m2.glb", "m4.glb"}
    assert summary.left_out == 2


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("face_cuont > 3", 'no column "face_cuont"; did you mean "face_count"'),
        ('licence = "by"', "single quotes"),
        ("face_count >", "--where"),
        ("face_count > 100", "selects none of 5"),
        ("licence = 'nothing'", "licences here: null"),
        ("license = 'nothing'", "licences here: null"),
        ("nonsense(uid)", "nonsense"),
        ("format in (select 1 from read_csv('/etc/passwd'))", "disabled"),
    ],
)
def test_a_wrong_filter_is_one_clear_line(tmp_path: Path, models: Path, where: str, words: str) -> None:
    with pytest.raises(UsageError) as error:
        plan(tmp_path / "c", models, where=where)
    assert words in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "c").exists()


def test_new_files_are_appended_and_finished_shards_stay_finished(tmp_path: Path, models: Path) -> None:
    corpus = tmp_path / "c"
    plan(corpus, models)
    commit(corpus, 0)
    before, old_inputs = places(corpus), inputs(corpus)
    for i in range(3):
        (models / f"a{i}.glb").write_bytes(files.glb(i + 11))
    summary = plan(corpus, models)
    assert (summary.shards, summary.new_shards) == (5, 2)
    after = places(corpus)
    assert {k: after[k] for k in before} == before
    assert {after[f"a{i}.glb"] for i in range(3)} == {(3, 0), (3, 1), (4, 0)}
    assert {k: inputs(corpus)[k] for k in old_inputs} == old_inputs


def test_a_file_that_changed_makes_its_shard_stale_and_no_other(tmp_path: Path, models: Path) -> None:
    corpus = tmp_path / "c"
    plan(corpus, models)
    commit(corpus, 0)
    before, old_inputs = places(corpus), inputs(corpus)
    (models / "m2.glb").write_bytes(files.glb(99))
    plan(corpus, models)
    assert places(corpus) == before
    assert {s for s, i in inputs(corpus).items() if i != old_inputs[s]} == {1}


def test_a_file_that_is_gone_keeps_its_row(tmp_path: Path, models: Path) -> None:
    corpus = tmp_path / "c"
    plan(corpus, models)
    commit(corpus, 0)
    before, old_inputs = places(corpus), inputs(corpus)
    (models / "m1.glb").unlink()
    (models / "m0.glb").rename(models / "z.glb")
    summary = plan(corpus, models)
    assert "1 assets of the earlier plan are no longer in the sources" in summary.notes[-1]
    assert inputs(corpus) == old_inputs
    assert places(corpus) == {**{k: v for k, v in before.items() if k != "m0.glb"}, "z.glb": (0, 0)}


def test_a_new_format_of_a_planned_model_joins_its_split(tmp_path: Path, models: Path) -> None:
    corpus = tmp_path / "c"
    for i in range(30):
        (models / f"big{i}.glb").write_bytes(files.glb(100 + i))
    plan(corpus, models)
    commit(corpus, 0)
    for i in range(30):  # the same geometry under names that sort first: alone they would found groups of their own
        (models / f"a{i}.glb").write_bytes(files.glb(100 + i, extras={"n": i}))
    plan(corpus, models)
    table = planned(corpus)
    for i in range(30):
        assert table[f"a{i}.glb"]["split"] == table[f"big{i}.glb"]["split"]
        assert table[f"a{i}.glb"]["group_id"] == table[f"big{i}.glb"]["group_id"]


def test_other_settings_for_finished_shards_are_refused(tmp_path: Path, models: Path) -> None:
    corpus = tmp_path / "c"
    plan(corpus, models)
    plan(corpus, models, render=RenderConfig(resolution=128))  # nothing is finished yet: planned afresh
    commit(corpus, 0)
    for options, words in (
        ({"render": RenderConfig(resolution=512)}, "resolution 128 → 512"),
        ({"render": RenderConfig(resolution=128), "shard_size": 4}, "shard size 2 → 4"),
        ({"render": RenderConfig(resolution=128), "where": "face_count > 1"}, "where"),
    ):
        with pytest.raises(UsageError, match=f"{words}.*new folder"):
            plan(corpus, models, **options)


def test_captions_make_no_shard_stale(tmp_path: Path, models: Path) -> None:
    corpus = tmp_path / "c"
    plan(corpus, models)
    old_inputs = inputs(corpus)
    commit(corpus, 0)
    (tmp_path / "captions.csv").write_text("path,caption\nm2.glb,a duck\n")
    summary = plan(corpus, models, captions=[str(tmp_path / "captions.csv")])
    assert summary.captioned == 1
    assert inputs(corpus) == old_inputs
    assert planned(corpus)["m2.glb"]["caption"] == "a duck"


def test_licences_do_not_make_a_shard_stale(tmp_path: Path, models: Path) -> None:
    plan(tmp_path / "c", models)
    (models / "assets.csv").write_text("path,licence\nm0.glb,cc0\nm1.glb,by-nc\n")
    summary = plan(tmp_path / "d", models)
    assert inputs(tmp_path / "c") == inputs(tmp_path / "d")
    assert summary.licences == {"unknown": 3, "cc-by-nc-4.0": 1, "cc0-1.0": 1}
    assert summary.flagged == 4


def test_a_kill_between_the_two_writes_leaves_no_corpus_and_the_next_plan_heals_it(
    tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = tmp_path / "c"
    plan(corpus, models)
    put = Store.put

    def dies(self: Store, name: str, content: bytes | Path) -> None:
        if name == "corpus.yaml":
            raise KeyboardInterrupt
        put(self, name, content)

    monkeypatch.setattr(Store, "put", dies)
    with pytest.raises(KeyboardInterrupt):
        plan(corpus, models, render=RenderConfig(resolution=64))
    monkeypatch.undo()
    with pytest.raises(UsageError, match="not a corpus"):
        Corpus.open(corpus)
    plan(corpus, models, render=RenderConfig(resolution=64))
    assert Corpus.open(corpus).config.sets[0].render.resolution == 64


def test_two_sources_share_one_plan(tmp_path: Path, models: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "new.glb").write_bytes(files.glb(50))
    (other / "old.glb").write_bytes((models / "m0.glb").read_bytes())
    summary = plan_corpus(
        tmp_path / "c", sources=[f"local:{models}", f"local:{other}"], render=RenderConfig(), shard_size=4
    )
    assert (summary.planned, summary.duplicates) == (6, 1)
    assert planned(tmp_path / "c")["new.glb"]["shard"] == 1


def test_unknown_source(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown source 'nowhere:x'"):
        plan_corpus(tmp_path, sources=["nowhere:x"], render=RenderConfig())


def fake_assets(count: int) -> SourceListing:
    uids = [f"{i:032x}" for i in range(count)]
    columns = {name: pa.nulls(count, ASSETS.field(name).type) for name in ASSETS.names}
    for name in ("uid", "uri", "group_id", "stem"):
        columns[name] = pa.array(uids)
    columns["source"] = pa.array(["fake"] * count)
    columns["format"] = pa.array(["glb"] * count)
    columns["face_count"] = pa.array(range(count), pa.int64())
    return SourceListing("fake", None, pa.table(columns, schema=ASSETS))


def test_ten_thousand_assets_by_columns(tmp_path: Path) -> None:
    summary = plan_assets(tmp_path, [fake_assets(10_000)], render=RenderConfig(), where="face_count % 2 = 0")
    assert (summary.planned, summary.shards) == (5_000, 20)
    file = pq.ParquetFile(tmp_path / "plan/assets.parquet")
    assert Corpus.open(tmp_path).plan(19).num_rows == 5_000 - 19 * 256
    assert file.metadata.num_row_groups == 1


def test_row_groups_hold_whole_shards(tmp_path: Path) -> None:
    plan_assets(tmp_path, [fake_assets(20_000)], render=RenderConfig(), shard_size=1000)
    file = pq.ParquetFile(tmp_path / "plan/assets.parquet")
    assert [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)] == [8000, 8000, 4000]
    assert Corpus.open(tmp_path).plan(8).num_rows == 1000
