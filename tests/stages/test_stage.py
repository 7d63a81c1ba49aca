"""The loop that runs every stage, with stages that need no Blender: commit, retry, twins, failures, stop, resume."""

import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from dataengine.corpus.config import RenderConfig
from dataengine.corpus.corpus import Corpus
from dataengine.corpus.result import Result
from dataengine.corpus.shards import read_member
from dataengine.corpus.verify import verify
from dataengine.errors import AssetFailure, DataengineError, ErrorCode
from dataengine.manifests.catalog import Catalog
from dataengine.manifests.compact import compact
from dataengine.manifests.status import status
from dataengine.render.asset import Renderer
from dataengine.stages.open_shard import assets_left, is_done
from dataengine.stages.pending import pending
from dataengine.stages.plan import plan_corpus
from dataengine.stages.render import RenderStage
from dataengine.stages.run import run_shards
from dataengine.stages.spool import Spool
from dataengine.stages.stage import Row, Stage
from dataengine.tokenize.images import decode_png
from tests import asset_files
from tests.synthetic import make_corpus
from tests.token_corpus import commit_views
from tests.token_corpus import make_corpus as make_pictures


@pytest.fixture(autouse=True)
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DATAENGINE_SPOOL", str(tmp_path / "spool"))
    return tmp_path / "spool"


@dataclass
class Letters(Stage):
    """A member and a column made from the uid; `act` may fail it, or do worse."""

    schema = pa.schema([("length", pa.int64())])

    act: Callable[[Row], None] = field(default=lambda row: None, compare=False)
    workers: int = 2
    calls: Counter[str] = field(default_factory=Counter, compare=False)
    label: str = "letters/plain"

    @property
    def name(self) -> str:
        return self.label

    def process(self, row: Row) -> Result:
        self.calls[row["uid"]] += 1
        self.act(row)
        return Result({"length": len(row["uid"])}, {"txt": row["uid"].encode()})


def planned(folder: Path, assets: int = 6, shard_size: int = 3) -> Corpus:
    return make_corpus(folder, assets, shard_size=shard_size, views=[])


def fails(*bad: str) -> Callable[[Row], None]:
    def act(row: Row) -> None:
        if row["uid"] in bad:
            raise AssetFailure(ErrorCode.MALFORMED, "has\na bad day", "last words")

    return act


def uids(corpus: Corpus, shard: int) -> list[str]:
    return [row["uid"] for row in corpus.plan(shard).to_pylist()]


def test_shards_are_committed_in_the_plans_order_and_left_alone_afterwards(tmp_path: Path) -> None:
    corpus = planned(tmp_path / "c")
    rows: list[str] = []
    shards: list[int] = []
    stage = Letters()
    assert assets_left(corpus, stage, [0, 1]) == {0: 3, 1: 3}
    run_shards(
        corpus, stage, [0, 1], on_asset=lambda r: rows.append(r["uid"]), on_shard=lambda f: shards.append(f.shard)
    )
    assert sorted(rows) == sorted(uids(corpus, 0) + uids(corpus, 1))
    assert sorted(shards) == [0, 1]
    for shard in (0, 1):
        fragment = corpus.fragment("letters/plain", shard)
        assert fragment is not None and fragment.input == corpus.plan(shard)["shard_input"][0].as_py()
        found = fragment.table.to_pylist()
        assert [r["uid"] for r in found] == uids(corpus, shard)
        for row in found:
            assert (row["status"], row["failed_in"], row["length"]) == ("ok", None, len(row["uid"]))
            assert read_member(corpus.store, row["tar"], row["members"][0]) == row["uid"].encode()
    assert not verify(corpus).differences
    run_shards(corpus, stage, [0, 1])
    assert set(stage.calls.values()) == {1}
    assert is_done(corpus, stage, 0) and assets_left(corpus, stage, [0, 1]) == {}


def test_a_failure_is_a_row_and_a_retry_takes_up_nothing_else(tmp_path: Path) -> None:
    corpus = planned(tmp_path / "c", 3)
    good, bad, other = uids(corpus, 0)

    def act(row: Row) -> None:
        fails(bad)(row)
        if row["uid"] == other:
            raise ZeroDivisionError("a fault of ours")

    run_shards(corpus, Letters(act), [0])
    fragment = corpus.fragment("letters/plain", 0)
    assert fragment is not None
    rows = {r["uid"]: r for r in fragment.table.to_pylist()}
    assert (rows[bad]["error"], rows[bad]["message"], rows[bad]["log"]) == ("MALFORMED", "has a bad day", "last words")
    assert (rows[other]["error"], rows[other]["message"]) == ("CRASH", "internal: ZeroDivisionError: a fault of ours")
    assert {r["failed_in"] for r in rows.values()} == {None, "letters/plain"}
    kept = read_member(corpus.store, rows[good]["tar"], rows[good]["members"][0])

    again = Letters(fails(other))
    assert assets_left(corpus, again, [0]) == {}
    assert assets_left(corpus, again, [0], retry=True) == {0: 2}
    run_shards(corpus, again, [0], retry=True)
    assert again.calls.keys() == {bad, other}
    fragment = corpus.fragment("letters/plain", 0)
    assert fragment is not None
    rows = {r["uid"]: r for r in fragment.table.to_pylist()}
    assert [rows[u]["status"] for u in (good, bad, other)] == ["ok", "ok", "failed"]
    assert read_member(corpus.store, rows[good]["tar"], rows[good]["members"][0]) == kept


def test_what_a_stopped_run_has_finished_is_not_made_again_and_the_bytes_are_the_same(tmp_path: Path) -> None:
    corpus, twin = planned(tmp_path / "c", 6, 6), planned(tmp_path / "twin", 6, 6)
    victim = uids(corpus, 0)[3]

    def die(row: Row) -> None:
        if row["uid"] == victim:
            raise DataengineError("the disk is full")

    stage = Letters(die, workers=1)
    with pytest.raises(DataengineError, match="disk is full"):
        run_shards(corpus, stage, [0])
    assert corpus.fragment("letters/plain", 0) is None
    again = Letters(workers=1)
    run_shards(corpus, again, [0])
    assert victim in again.calls and not again.calls.keys() & set(uids(corpus, 0)[:3])
    run_shards(twin, Letters(workers=3), [0])
    one, two = corpus.fragment("letters/plain", 0), twin.fragment("letters/plain", 0)
    assert one is not None and two is not None
    assert (one.tar, one.sha256) == (two.tar, two.sha256)


def test_twin_runs_of_one_shard_end_well(tmp_path: Path) -> None:
    """The slower run finds the faster one's commit, and its spool cleared while it writes there."""
    corpus = planned(tmp_path / "c", 4, 4)
    halfway, committed = threading.Event(), threading.Event()
    last = uids(corpus, 0)[-1]

    def wait(row: Row) -> None:
        if row["uid"] == last:
            halfway.set()
            assert committed.wait(30)

    errors: list[BaseException] = []

    def slow() -> None:
        try:
            run_shards(corpus, Letters(wait, workers=1), [0])
        except BaseException as e:  # noqa: BLE001 - told to the test
            errors.append(e)

    thread = threading.Thread(target=slow)
    thread.start()
    assert halfway.wait(30)
    run_shards(corpus, Letters(), [0])
    fragment = corpus.fragment("letters/plain", 0)
    committed.set()
    thread.join(30)
    assert not errors
    after = corpus.fragment("letters/plain", 0)
    assert fragment is not None and after is not None and after.sha256 == fragment.sha256
    assert not verify(corpus).differences


def test_a_spool_that_is_cleared_while_it_is_written_keeps_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool("key")
    put, times = spool._put, iter([True, False])

    def cleared(uid: str, result: Result) -> None:
        if next(times):
            raise FileNotFoundError(2, "No such file or directory", str(spool.folder))
        put(uid, result)

    monkeypatch.setattr(spool, "_put", cleared)
    spool.put("a", Result({"uid": "a", "finished_at": datetime.now(UTC)}, {"txt": b"x"}))
    found = spool.get("a")
    assert found is not None and found.members["txt"] == b"x"


def test_the_render_stage_with_a_renderer_of_ones_own(tmp_path: Path) -> None:
    """What the stage adds to the renderer: the file, its check before Blender, and the caption."""
    folder = tmp_path / "models"
    folder.mkdir()
    for n in (1, 2):
        (folder / f"{n}.glb").write_bytes(asset_files.glb(n))
    (folder / "broken.glb").write_bytes(b"glTF, but no more")
    plan_corpus(tmp_path / "c", sources=[f"local:{folder}"], render=RenderConfig())
    corpus = Corpus.open(tmp_path / "c")
    killed: list[bool] = []

    class Fake:
        limits = corpus.config.limits

        def render(self, row: Row, path: Path, _files: Any, sets: Sequence[str]) -> Iterator[tuple[str, Result]]:
            assert path.is_file()
            for name in sets:
                yield name, Result({"num_views": 1}, {"00.rgba.png": hashlib.sha256(path.read_bytes()).digest()})

        def settings(self, name: str) -> dict[str, Any]:
            return {"look": "none"}

        def kill(self) -> None:
            killed.append(True)

    def open_fake(_corpus: Corpus, _stage: RenderStage) -> Renderer:
        return Fake()  # type: ignore[return-value]

    run_shards(corpus, RenderStage(corpus.config.sets, workers=2, open=open_fake), corpus.shards())
    rows = [r for n in corpus.shards() for r in corpus.fragment("views/orbit8", n).table.to_pylist()]  # type: ignore[union-attr]
    assert sorted((r["status"], r["error"]) for r in rows) == [("failed", "MALFORMED"), ("ok", None), ("ok", None)]
    assert killed == [True]


# --- a third stage: one file and its schema, and nothing else ---


@dataclass
class ColourHistogram(Stage):
    """A colour histogram per view, over the object's pixels."""

    schema = pa.schema([("num_views", pa.int32()), ("bins", pa.list_(pa.list_(pa.int32())))])
    made_from = "views"
    name = "histograms/rgb"  # type: ignore[assignment]  # a plain name will do

    _corpus: Corpus | None = field(default=None, init=False, compare=False)

    def start(self, corpus: Corpus) -> None:
        self._corpus = corpus

    def process(self, row: Row) -> Result:
        assert self._corpus is not None
        views = [m for m in row["members"] if m["name"].endswith(".rgba.png")]
        pixels = [decode_png(read_member(self._corpus.store, row["tar"], m)) for m in views]
        bins = [np.histogram(p[p[..., 3] > 0][:, :3], bins=8, range=(0, 256))[0].tolist() for p in pixels]
        return Result({"num_views": len(views), "bins": bins}, {"histogram.npy": np.array(bins).tobytes()})


def test_a_third_stage_gets_everything_without_another_line(tmp_path: Path) -> None:
    corpus = make_pictures(tmp_path / "c", assets=8, shard_size=4)
    stage = ColourHistogram()
    name = "histograms/rgb"
    assert pending(Catalog(corpus), [stage]).shards == {name: {0: 4, 1: 4}}
    run_shards(corpus, stage, [0])
    assert list(pending(Catalog(corpus), [stage]).shards[name]) == [1]
    run_shards(corpus, stage, corpus.shards())

    catalog = Catalog(corpus)
    rows = catalog.sql(
        "SELECT uid, name, status, stale, error, len(bins) FROM histograms ORDER BY shard, row"
    ).fetchall()
    assert [r[1:] for r in rows if r[2] == "ok"] == [("rgb", "ok", False, None, 3)] * sum(r[2] == "ok" for r in rows)
    failed = catalog.sql("SELECT stage, count(*) FROM failures GROUP BY stage").fetchall()
    assert [s for s, _ in failed] == ["views/orbit8"]  # what failed there is not counted twice
    found = {s.stage: s for s in status(catalog).stages}
    assert (found[name].shards_done, found[name].assets_ok, found[name].assets_left) == (2, len(rows) - failed[0][1], 0)
    assert not verify(corpus).differences
    before = catalog.sql("SELECT * FROM histograms ORDER BY uid").fetchall()
    compact(corpus)
    assert Catalog(corpus).sql("SELECT * FROM histograms ORDER BY uid").fetchall() == before

    commit_views(corpus, 0, seed=3)  # as `render --retry` does: what was made from the old views is stale
    assert list(pending(Catalog(corpus), [stage]).shards[name]) == [0]
    assert {r[0] for r in Catalog(corpus).sql("SELECT stale FROM histograms WHERE shard = 0").fetchall()} == {True}


def test_status_counts_what_is_finished_of_a_shard_under_way(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "c", 8, shard_size=4, views=[0, 1])
    stage = Letters(workers=1)
    stage.made_from = "views"

    def act(row: Row) -> None:
        if len(stage.calls) >= 3:
            raise DataengineError(f"pulled the plug at {row['uid']}")

    stage.act = act
    with pytest.raises(DataengineError, match="pulled"):
        run_shards(corpus, stage, [0, 1])
    (letters,) = (s for s in status(Catalog(corpus)).stages if s.stage == "letters/plain")
    assert (letters.shards_done, letters.assets_ok, letters.assets_spooled) == (0, 0, 2)
    stage.act = lambda row: None
    run_shards(corpus, stage, [0, 1])
    (letters,) = (s for s in status(Catalog(corpus)).stages if s.stage == "letters/plain")
    assert (letters.shards_done, letters.assets_left, letters.assets_spooled) == (2, 0, 0)
