"""Whatever is lost, changed or strange in a corpus is told, and garbage is told from loss."""

import os
import tarfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from dataengine.corpus import schema
from dataengine.corpus.corpus import Corpus
from dataengine.corpus.fragments import write_fragment
from dataengine.corpus.verify import verify
from tests.synthetic import commit_tokens, commit_views, make_corpus, uid_of


def tar_of(corpus: Corpus, shard: int = 0) -> Path:
    fragment = corpus.fragment("views/orbit8", shard)
    assert fragment is not None
    path = corpus.store.local_path(str(fragment.tar))
    assert path is not None
    path.chmod(0o644)
    return path


def age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_a_good_corpus_has_no_differences(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, 9, tokens=[0, 1])
    found = verify(corpus)
    assert (found.differences, found.garbage) == ([], [])
    assert found.fragments == 5
    assert found.members == 7 * 6 + 7 * 2 + 5  # of 7 assets: six files; tokens and cameras; captions of five
    assert found.bytes == sum(p.stat().st_size for p in tmp_path.rglob("*.tar"))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[700] ^= 1
    path.write_bytes(bytes(data))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:4000])


def cut_between_members(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:2560])


def add(path: Path) -> None:
    with tarfile.open(path, "a") as tar:
        tar.addfile(tarfile.TarInfo("stray.txt"))


def fill_with_noise(path: Path) -> None:
    path.write_bytes(b"no tar at all" * 1000)


def change_header(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[265] = ord("x")  # the owner's name, which no reader looks at; the header's checksum does
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (flip, "00.depth.png has changed"),
        (truncate, "is damaged near byte"),
        (cut_between_members, "is missing"),
        (add, "stray.txt is not in the manifest"),
        (fill_with_noise, "is missing"),
        (change_header, "whole file's hash"),
        (Path.unlink, "but is not there"),
    ],
)
def test_damage_is_found(tmp_path: Path, damage: Callable[[Path], None], words: str) -> None:
    corpus = make_corpus(tmp_path, 8)
    tar = tar_of(corpus, 1)
    damage(tar)
    found = verify(corpus)
    assert any(words in d.what for d in found.differences)
    assert {d.file for d in found.differences} == {f"views/orbit8/{tar.name}"}


def test_a_fragment_that_was_changed(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, 4)
    path = tmp_path / "views/orbit8/00000.parquet"
    table = pq.read_table(path)
    status = table["status"].to_pylist()
    pq.write_table(table.set_column(table.schema.get_field_index("error"), "error", [status]), path)
    (difference,) = verify(corpus).differences
    assert str(difference) == "views/orbit8/00000.parquet: its rows are not those that were written"


def test_rubbish_for_a_fragment(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, 8)
    (tmp_path / "views/orbit8/00000.parquet").write_bytes(b"rubbish")
    found = verify(corpus)
    assert "is not a fragment" in found.differences[0].what
    assert found.fragments == 1


def test_rows_that_are_not_the_plans(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, 4)
    old = corpus.fragment("views/orbit8", 0)
    assert old is not None
    write_fragment(
        corpus.store,
        "views/orbit8",
        0,
        schema=schema.VIEWS,
        input=old.input,
        tar=old.tar,
        tar_sha256=old.tar_sha256,
        settings={},
        rows=old.table.to_pylist()[:-1],
    )
    whats = [d.what for d in verify(corpus).differences]
    assert any("not the plan's: 3 instead of 4" in what for what in whats)


def test_garbage_is_pruned_and_half_written_files_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = make_corpus(tmp_path, 8, tokens=[0])
    replaced = tar_of(corpus)
    commit_views(corpus, 0, salt="retry")
    half = tmp_path / "views/orbit8/.00001.parquet.x.tmp"
    half.write_bytes(b"half")
    stray = tmp_path / "tokens/small/00001-0123456789abcdef.tar"
    stray.write_bytes(b"")
    names = [f"views/orbit8/{half.name}", f"views/orbit8/{replaced.name}", f"tokens/small/{stray.name}"]
    found = verify(corpus)
    assert (found.differences, found.garbage, found.pruned) == ([], names, [])
    assert replaced.exists()

    monkeypatch.setattr("dataengine.corpus.prune.SETTLED", timedelta(0))
    assert verify(corpus, prune=True).pruned == names[1:]
    age(half, 3600)
    assert verify(corpus, prune=True).pruned == names[:1]
    assert verify(corpus).garbage == []
    assert tar_of(corpus).exists()


def test_a_tar_that_is_committed_while_prune_waits_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = make_corpus(tmp_path, 4)
    new = commit_views(make_corpus(tmp_path / "same", 4), 0, salt="retry")
    (tmp_path / "views/orbit8" / Path(str(new.tar)).name).write_bytes((tmp_path / "same" / str(new.tar)).read_bytes())
    monkeypatch.setattr("dataengine.corpus.prune.time.sleep", lambda _: commit_views(corpus, 0, salt="retry"))
    found = verify(corpus, prune=True)
    assert (found.garbage, found.pruned) == ([new.tar], [])


def test_stages_can_be_chosen(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, 4, tokens=[0])
    tar_of(corpus).unlink()
    assert verify(corpus, stages=["tokens/small"]).differences == []


def test_in_a_bucket(s3_url: str, tmp_path: Path) -> None:
    corpus = make_corpus(s3_url, 4, tmp=tmp_path)
    fragment = commit_tokens(corpus, 0, tmp=tmp_path)
    assert verify(corpus).differences == []
    data = bytearray(corpus.store.read(str(fragment.tar)))
    data[512] ^= 1
    corpus.store.put(str(fragment.tar), bytes(data))
    found = verify(corpus, prune=True)
    assert {d.file for d in found.differences} == {fragment.tar}
    assert any(uid_of(0) in d.what and "has changed" in d.what for d in found.differences)
