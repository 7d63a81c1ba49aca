import os
from pathlib import Path

import pytest

from dataengine.corpus.config import Limits
from dataengine.errors import AssetFailure, ErrorCode
from dataengine.sources.local import find_local
from dataengine.sources.locate import fetch, root_of
from tests import asset_files as files

LIMITS = Limits()


def code_of(row: dict[str, object], cache: Path) -> ErrorCode | None:
    try:
        fetch(row, cache, LIMITS)
    except AssetFailure as e:
        return e.code
    return None


def test_a_planned_file_is_found_where_it_lies(tmp_path: Path) -> None:
    name = os.fsdecode(b"odd \xff\n.glb")
    (tmp_path / name).write_bytes(files.glb())
    row = find_local(str(tmp_path), LIMITS).assets.to_pylist()[0]
    assert fetch(row, tmp_path / "cache", LIMITS) == tmp_path / name
    assert root_of(row) == tmp_path


@pytest.mark.parametrize("file", ["model.obj", "model.mtl", "model.png"])
def test_a_change_since_the_plan_is_noticed(tmp_path: Path, file: str) -> None:
    files.obj(tmp_path, texture=b"red")
    row = find_local(str(tmp_path), LIMITS).assets.to_pylist()[0]
    original = (tmp_path / file).read_bytes()
    (tmp_path / file).write_bytes(original + b" ")
    assert code_of(row, tmp_path) is ErrorCode.SHA_MISMATCH
    (tmp_path / file).unlink()
    assert code_of(row, tmp_path) is ErrorCode.FETCH_404
    (tmp_path / file).write_bytes(original)
    assert code_of(row, tmp_path) is None


def test_what_was_no_file_when_planned_is_typed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.glb")
    (tmp_path / "gone.glb").symlink_to("nowhere")
    codes = [code_of(row, tmp_path) for row in find_local(str(tmp_path), LIMITS).assets.to_pylist()]
    assert codes == [ErrorCode.UNSAFE_PATH, ErrorCode.FETCH_404]


def test_a_file_over_the_limit_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "big.glb").write_bytes(files.glb())
    limits = Limits(file_bytes=10)
    row = find_local(str(tmp_path), limits).assets.to_pylist()[0]
    with pytest.raises(AssetFailure) as failure:
        fetch(row, tmp_path, limits)
    assert failure.value.code is ErrorCode.TOO_LARGE
