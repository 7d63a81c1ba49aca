"""An asset is removed: its neighbours keep their bytes, nothing becomes stale, and nothing but a tombstone names it."""

import io
import json
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import dataengine
from dataengine.cli import build
from dataengine.corpus.corpus import PLAN, Corpus
from dataengine.corpus.result import Result
from dataengine.corpus.rewrite import read_group
from dataengine.corpus.verify import verify
from dataengine.errors import UsageError
from dataengine.manifests.catalog import Catalog
from dataengine.manifests.compact import compact
from dataengine.manifests.status import status
from dataengine.report.asset import find_asset
from dataengine.stages.spool import Spool
from dataengine.stages.takedown import remove
from dataengine.stages.takedown_folder import clean_folder
from tests import asset_files
from tests.synthetic import make_corpus, uid_of

GONE = uid_of(5)


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATAENGINE_SPOOL", str(tmp_path / "spool"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def tokenized(folder: Path | str, **options: Any) -> Corpus:
    options = {"failing": lambda n: n == 2, "tokens": [0, 1, 2], **options}
    return make_corpus(folder, 12, shard_size=4, **options)


def content(corpus: Corpus) -> dict[str, bytes]:
    """<stage> <uid>.<name> → bytes of every member that a fragment names."""
    found = {}
    for stage in ("views/orbit8", "tokens/small"):
        for shard in corpus.shards():
            fragment = corpus.fragment(stage, shard)
            assert fragment is not None
            for row in fragment.table.to_pylist():
                group = read_group(corpus.store, row)
                found |= {f"{stage} {row['uid']}.{name}": data for name, data in group.items()}
    return found


def everything(folder: Path) -> Iterator[tuple[str, bytes]]:
    """(where, decoded content) of every file: Parquet columns, tar members, whatever else as it is."""
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        data = path.read_bytes()
        yield str(path), path.name.encode() + b"\n" + data
        if data[:4] == b"PAR1":
            table = pq.read_table(io.BytesIO(data))
            yield (
                f"{path} metadata",
                json.dumps({str(k): str(v) for k, v in (table.schema.metadata or {}).items()}).encode(),
            )
            for name in table.column_names:
                for row, value in enumerate(table[name].to_pylist()):
                    yield f"{path} {name} {row}", str(value).encode()
        elif tarfile.is_tarfile(path):
            with tarfile.open(path) as tar:
                for info in tar:
                    member = tar.extractfile(info)
                    assert member is not None
                    yield f"{path} {info.name}", info.name.encode() + b"\n" + member.read()


def test_nothing_but_the_tombstone_is_left(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    corpus = tokenized(folder)
    compact(corpus)
    garbage = corpus.fragment("views/orbit8", 1).tar  # type: ignore[union-attr]
    (folder / f"views/orbit8/00001-{'0' * 16}.tar").write_bytes((folder / str(garbage)).read_bytes())
    Spool("a key").put(GONE, Result({"uid": GONE, "finished_at": "2026-01-01"}, {"00.rgba.png": b"its pixels"}))
    Spool("a key").put(uid_of(6), Result({"uid": uid_of(6), "finished_at": "2026-01-01"}, {}))
    before = content(corpus)
    needles = [
        GONE.encode(),
        b"models/5.glb",
        b"asset number 5",
        *(d for n, d in before.items() if f" {GONE}." in n and len(d) > 20),
    ]
    assert all(any(needle in data for _, data in everything(tmp_path)) for needle in needles)
    done = remove(folder, [GONE], "its owner asked")
    assert done.uids == [GONE] and done.shards == {"views/orbit8": [1], "tokens/small": [1]} and done.local == 1
    found = {(where, needle) for where, data in everything(tmp_path) for needle in needles if needle in data}
    (compacted,) = (folder / "compact").glob("assets-*")  # which has the plan's rows, tombstones too
    assert {where for where, _ in found} <= {f"{f}{of}" for f in (folder / PLAN, compacted) for of in ("", " uid 11")}
    assert {needle for _, needle in found} == {GONE.encode()}
    corpus = Corpus.open(folder)
    assert content(corpus) == {name: data for name, data in before.items() if f" {GONE}." not in name}
    (stone,) = corpus.tombstones().to_pylist()
    assert stone["uid"] == GONE and stone["reason"] == "its owner asked" and stone["removed_at"] is not None
    assert [s.shards_stale for s in status(Catalog(corpus)).stages] == [0, 0]
    assert all(s.assets_left == 0 and s.shards_done == 3 for s in status(Catalog(corpus)).stages)
    verified = verify(corpus)
    assert not verified.differences and not verified.garbage
    assert find_asset(corpus, uid_of(6)).read("00.rgba.png") == before[f"views/orbit8 {uid_of(6)}.00.rgba.png"]
    assert (tmp_path / "spool").rglob(f"{uid_of(6)}.tar")
    assert Catalog(corpus).sql("select count(*) from samples").fetchall() == [(10,)]


def test_a_whole_shard_may_go_and_the_others_stay(tmp_path: Path) -> None:
    corpus = tokenized(tmp_path / "c")
    remove(tmp_path / "c", [uid_of(n) for n in (8, 9, 10, 11)], "all of them")
    corpus = Corpus.open(tmp_path / "c")
    assert corpus.shards() == [0, 1] and not verify(corpus).differences
    assert not list((tmp_path / "c").rglob("00002*"))


def test_what_verify_says_of_what_came_back(tmp_path: Path) -> None:
    corpus = tokenized(tmp_path / "c")
    tar = tmp_path / "c" / str(corpus.fragment("tokens/small", 1).tar)  # type: ignore[union-attr]
    fragment = tmp_path / "c" / "tokens/small/00001.parquet"
    unnamed = tmp_path / "c" / str(corpus.fragment("views/orbit8", 1).tar)  # type: ignore[union-attr]
    old = {path: path.read_bytes() for path in (tar, fragment, unnamed)}
    remove(tmp_path / "c", [GONE], "its owner asked")
    for path, data in old.items():
        path.write_bytes(data)
    Spool("a key").put(GONE, Result({"uid": GONE, "finished_at": "2026-01-01"}, {}))
    said = [str(d) for d in verify(Corpus.open(tmp_path / "c")).differences]
    assert f"tokens/small/00001.parquet: has a row of the removed asset {GONE}" in said
    assert any("has members of a removed asset" in line for line in said)
    assert any("is a spooled result of the removed asset" in line for line in said)


@pytest.mark.parametrize(
    "step", ["plan/assets.parquet", "views/orbit8/00001-", "views/orbit8/00001.", "tokens/small/00001."]
)
def test_a_killed_removal_is_finished_by_the_next(tmp_path: Path, step: str) -> None:
    corpus = tokenized(tmp_path / "c")
    before = content(corpus)
    code = (
        "import os, signal, sys\nfrom dataengine.corpus.storage import Store\n"
        "from dataengine.stages.takedown import remove\nreal = Store.put\n"
        "def put(self, name, content):\n    real(self, name, content)\n"
        "    if name.startswith(sys.argv[3]): os.kill(os.getpid(), signal.SIGKILL)\n"
        "Store.put = put\nremove(sys.argv[1], [sys.argv[2]], 'asked')"
    )
    killed = subprocess.run([sys.executable, "-c", code, corpus.url, GONE, step], check=False)
    assert killed.returncode == -signal.SIGKILL
    if step != PLAN:  # until corpus.yaml is back there is no corpus
        assert any("removal was not finished" in str(d) for d in verify(Corpus.open(tmp_path / "c")).differences)
    done = remove(tmp_path / "c", [], "")
    corpus = Corpus.open(tmp_path / "c")
    assert done.uids == [GONE] and not verify(corpus).differences
    assert content(corpus) == {name: data for name, data in before.items() if f" {GONE}." not in name}
    assert all(s.assets_left == 0 for s in status(Catalog(corpus)).stages)


def test_in_a_bucket(s3_url: str, tmp_path: Path) -> None:
    corpus = tokenized(s3_url, tmp=tmp_path)
    before = content(corpus)
    remove(s3_url, [GONE], "its owner asked")
    corpus = Corpus.open(s3_url)
    assert content(corpus) == {name: data for name, data in before.items() if f" {GONE}." not in name}
    found = verify(corpus)
    assert not found.differences and not found.garbage


def test_it_never_comes_back_by_planning_again_and_copies_go_too(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    for n in (1, 2, 3):
        (models / f"m{n}.glb").write_bytes(asset_files.glb(n))
    (models / "copy.glb").write_bytes(asset_files.glb(2))
    corpus = dataengine.plan(tmp_path / "c", [f"local:{models}"])
    uid, kept = Catalog(corpus).sql("select uid, uri from assets where uri like '%/copy.glb'").fetchall()[0]
    done = remove(tmp_path / "c", [uid], "asked")
    assert kept.endswith("copy.glb") and done.copies == [str(models / "m2.glb")]
    result = CliRunner().invoke(build(), ["plan", corpus.url, "--source", f"local:{models}"])
    assert result.exit_code == 0, result.output
    assert "2 models of the sources were removed from this corpus and stay out of it" in result.output
    rows = Catalog(tmp_path / "c").sql("select status, uid = $$" + uid + "$$ from assets order by 1").fetchall()
    assert rows == [("planned", False), ("planned", False), ("removed", True)]
    with pytest.raises(UsageError, match="was removed on .* already \\(asked\\)"):
        remove(tmp_path / "c", [uid], "again")


def test_downloads_are_forgotten(hub: Any, cache: Path) -> None:
    from dataengine.download.http import downloads_in
    from dataengine.download.wanted import Wanted

    downloads = downloads_in(cache)
    hub.files["/a.glb"] = asset_files.glb(1)
    hub.files["/b.glb"] = asset_files.glb(2)
    paths = [downloads.get(Wanted(f"{hub.url}/{name}.glb", ".glb")) for name in ("a", "b")]
    assert downloads.cache.forget(f"{hub.url}/a.glb") == 2
    assert [p.exists() for p in paths] == [False, True]
    assert downloads.cache.find(f"{hub.url}/a.glb") is None


def test_its_download_goes_with_it(hub: Any, cache: Path, tmp_path: Path) -> None:
    from dataengine.corpus.config import RenderConfig
    from dataengine.stages.fetch import prefetch
    from dataengine.stages.plan import plan_corpus
    from tests.sources.test_objaverse import publish

    uids = publish(hub, 3)
    plan_corpus(tmp_path / "c", sources=["objaverse"], render=RenderConfig(), cache=cache)
    prefetch(Corpus.open(tmp_path / "c"), [0], cache=cache)
    kept = {path.read_bytes() for path in (cache / "downloads" / "blobs").rglob("*.glb")}
    assert kept == {asset_files.glb(n) for n in (1, 2, 3)}
    done = remove(tmp_path / "c", [uids[1]], "asked", cache=cache)
    assert done.local == 2  # the file, and what the URL was seen to be
    kept = {path.read_bytes() for path in (cache / "downloads" / "blobs").rglob("*.glb")}
    assert kept == {asset_files.glb(n) for n in (1, 3)}


def test_published_folders(tmp_path: Path) -> None:
    folder = tmp_path / "published"
    (folder / "objects" / GONE).mkdir(parents=True)
    (folder / "objects" / GONE / "000.png").write_bytes(b"pixels")
    (folder / "objects" / uid_of(6)).mkdir()
    (folder / "list.json").write_text(
        json.dumps({"train": [GONE, uid_of(6)], GONE: 1, "rows": [{"uid": GONE, "n": 1}]})
    )
    (folder / "list.csv").write_text(f'uid,text\n{GONE},"two\nlines"\n{uid_of(6)},"also\ntwo"\n')
    (folder / "rows.jsonl").write_text(f'{{"uid": "{GONE}"}}\n{{"uid": "{uid_of(6)}"}}\n')
    (folder / "odd.bin").write_bytes(b"\0" + GONE.encode())
    pq.write_table(pa.table({"uid": [GONE, uid_of(6)], "n": [1, 2]}), folder / "rows.parquet")
    corpus = tokenized(tmp_path / "c")
    tar = Path(corpus.tars("views/orbit8")[1])
    (folder / "00001.tar").write_bytes(tar.read_bytes())
    with tarfile.open(tar) as whole:
        wanted = {i.name: whole.extractfile(i).read() for i in whole if not i.name.startswith(GONE)}  # type: ignore[union-attr]
    done = clean_folder(folder, {GONE})
    assert done.left == [folder / "odd.bin"]
    with tarfile.open(folder / "00001.tar") as now:
        assert {i.name: now.extractfile(i).read() for i in now} == wanted  # type: ignore[union-attr]
    assert json.loads((folder / "list.json").read_text()) == {"train": [uid_of(6)], "rows": []}
    assert (folder / "list.csv").read_text() == f'uid,text\n{uid_of(6)},"also\ntwo"\n'
    assert pq.read_table(folder / "rows.parquet").to_pylist() == [{"uid": uid_of(6), "n": 2}]
    assert [p.name for p in (folder / "objects").iterdir()] == [uid_of(6)]
    assert not clean_folder(folder, {GONE}).changed


def test_the_command_asks_and_tells_runs(tmp_path: Path) -> None:
    corpus = tokenized(tmp_path / "c")
    state = {"stage": "i2mv", "corpus": corpus.url, "tokenizer": "small", "where": None}
    from dataengine.training.checkpoints import RunState
    from dataengine.training.model.config import preset

    model = preset("nano", bits=18, grid=(4, 4), text_vocabulary=10, text_length=4)
    checkpoint = tmp_path / "run" / "i2mv" / "checkpoints" / "00000001"
    checkpoint.mkdir(parents=True)
    run = RunState(1, 0, 0, model, {"name": "small"}, "", [], state)
    (checkpoint / "state.json").write_text(json.dumps({**vars(run), "model": model.as_dict()}))
    command = ["remove", corpus.url, GONE]
    assert "say why with --reason" in CliRunner().invoke(build(), command).output
    refused = CliRunner().invoke(build(), [*command, "--reason", "asked"], input="n\n")
    assert refused.exit_code == 1 and Corpus.open(tmp_path / "c").tombstones().num_rows == 0
    result = CliRunner().invoke(build(), [*command, "--reason", "asked", "--yes"])
    assert result.exit_code == 0, result.output
    assert "1 asset removed; 2 shards written again" in result.output
    assert f"{tmp_path / 'run'} learned from i2mv" in result.output
    wrong = CliRunner().invoke(build(), ["remove", corpus.url, GONE[:-1] + "x", "--reason", "y", "--yes"])
    assert wrong.exit_code == 2 and f"the nearest is {GONE}" in wrong.output
    where = CliRunner().invoke(build(), ["remove", corpus.url, "--where", "licence = 'none'", "--reason", "y", "--yes"])
    assert where.exit_code == 2 and "selects no asset" in where.output
