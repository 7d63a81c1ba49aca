"""Shards are plain WebDataset, deterministic, and readable by range."""

import hashlib
import tarfile
from pathlib import Path

import pytest
import webdataset
from hypothesis import given
from hypothesis import strategies as st

from dataengine.corpus.shards import read_member, read_members, write_shard
from dataengine.corpus.storage import Store
from dataengine.errors import DataengineError

EXTENSION = st.from_regex(r"[a-z0-9]{1,8}(\.[a-z]{1,4})?", fullmatch=True)
GROUPS = st.dictionaries(
    st.from_regex(r"[0-9a-f]{32}", fullmatch=True),
    st.dictionaries(EXTENSION, st.binary(max_size=1500), min_size=1, max_size=4),
    min_size=1,
    max_size=5,
)


@given(GROUPS)
def test_members_come_back_by_range_and_through_tarfile(groups: dict[str, dict[str, bytes]]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        written = write_shard(Path(folder) / "a.tar", groups.items())
        again = write_shard(Path(folder) / "b.tar", groups.items())
        assert written.sha256 == again.sha256 == hashlib.sha256(written.path.read_bytes()).hexdigest()
        with (Path(folder) / "c.tar").open("wb") as f:
            settings = {"user": "", "group": "", "mode": 0o444, "mtime": 0, "encoder": False}
            with webdataset.TarWriter(f, **settings) as theirs:
                for uid, files in groups.items():
                    theirs.write({"__key__": uid, **files})
        assert (Path(folder) / "c.tar").read_bytes() == written.path.read_bytes()
        store = Store(folder)
        with tarfile.open(written.path) as tar:
            assert {i.mtime for i in tar} == {0}
            by_name = {i.name: f.read() for i in tar if (f := tar.extractfile(i))}
        for uid, files in groups.items():
            assert {m.name for m in written.members[uid]} == set(files)
            for m in written.members[uid]:
                assert read_member(store, "a.tar", m.as_row()) == files[m.name] == by_name[f"{uid}.{m.name}"]


def test_members_that_are_near_come_in_one_request(tmp_path: Path) -> None:
    files = {"00.rgba.png": b"first", "01.empty": b"", "02.big.png": bytes(200_000), "03.rgba.png": b"last"}
    written = write_shard(tmp_path / "s.tar", [("a" * 32, files)])
    members = {m.name: m.as_row() for m in written.members["a" * 32]}
    requests: list[int] = []

    class Counted(Store):
        def read_range(self, name: str, offset: int, size: int) -> bytes:
            requests.append(size)
            return super().read_range(name, offset, size)

    store = Counted(tmp_path)
    wanted = ["03.rgba.png", "01.empty", "00.rgba.png"]  # in an order of the caller's
    assert read_members(store, "s.tar", [members[n] for n in wanted]) == [files[n] for n in wanted]
    assert len(requests) == 2 and sum(requests) < 4096  # what is large and not wanted is not read
    requests.clear()
    assert read_members(store, "s.tar", list(members.values())) == list(files.values())
    assert len(requests) == 1
    assert read_members(store, "s.tar", []) == []
    changed = [members["00.rgba.png"], {**members["03.rgba.png"], "sha256": "0" * 64}]
    with pytest.raises(DataengineError, match=r"03\.rgba\.png at byte .* has changed"):
        read_members(store, "s.tar", changed)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # webdataset leaves the file open
def test_webdataset_reads_a_shard_unchanged(tmp_path: Path) -> None:
    groups = {f"{i:032x}": {"00.rgba.png": bytes([i] * 10), "txt": b"a chair"} for i in range(3)}
    written = write_shard(tmp_path / "s.tar", groups.items())
    samples = list(webdataset.WebDataset(str(written.path), shardshuffle=False, empty_check=False))
    assert [s["__key__"] for s in samples] == list(groups)
    assert [s["00.rgba.png"] for s in samples] == [g["00.rgba.png"] for g in groups.values()]


def test_a_changed_or_missing_tar_is_named(tmp_path: Path) -> None:
    written = write_shard(tmp_path / "s.tar", [("a" * 32, {"txt": b"hello"})])
    member = written.members["a" * 32][0].as_row()
    data = bytearray(written.path.read_bytes())
    data[int(member["offset"])] ^= 1
    written.path.write_bytes(bytes(data))
    with pytest.raises(DataengineError, match="txt at byte .* has changed"):
        read_member(Store(tmp_path), "s.tar", member)
    with pytest.raises(DataengineError, match="gone.tar is named by the manifest but is not there"):
        read_member(Store(tmp_path), "gone.tar", member)
    with pytest.raises(DataengineError, match="ends before byte"):
        read_member(Store(tmp_path), "s.tar", {**member, "offset": len(data)})


def test_a_uid_that_would_break_grouping_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="neither dots nor slashes"):
        write_shard(tmp_path / "s.tar", [("a.b", {"txt": b""})])
