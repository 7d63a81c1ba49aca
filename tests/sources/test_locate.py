import os
import zipfile
from pathlib import Path
from typing import Any

import fsspec
import pytest

from dataengine.corpus.config import Limits
from dataengine.download import archives
from dataengine.download.archives import Member, zipped
from dataengine.download.asset_files import AssetFiles, Remote
from dataengine.download.dependencies import Bundle
from dataengine.download.http import downloads_in
from dataengine.download.wanted import Wanted
from dataengine.errors import AssetFailure, ErrorCode, UsageError
from dataengine.sources.local import find_local
from dataengine.sources.local_file import ListedFile, LocalFile
from dataengine.sources.locate import locate
from tests import asset_files as files

LIMITS = Limits()


def code_of(row: dict[str, object], cache: Path) -> ErrorCode | None:
    try:
        locate(row).fetch(cache, LIMITS)
    except AssetFailure as e:
        return e.code
    return None


ROW = {"uid": "0" * 32, "format": "obj", "sha256": None, "dependencies": [], "up": None}
HUB = "https://huggingface.co/datasets/x/resolve/main/"


@pytest.mark.parametrize(
    ("source", "uri", "format", "kind"),
    [
        ("local:/m", "/m/a.obj", "obj", LocalFile),
        ("gso:/m", "/m/a/meshes/model.obj", "obj", LocalFile),
        ("gso:/m", "zip://meshes/model.obj::/m/a.zip", "obj", Member),
        ("gso", "zip://meshes/model.obj::https://fuel/a.zip", "obj", Member),
        ("3d-future:/m.zip", "zip://a/raw_model.obj::/m.zip", "obj", Member),
        ("csv:/m/list.csv", "/m/a.obj", "obj", ListedFile),
        ("csv:/m/list.csv", "https://host/a.obj", "obj", Bundle),
        ("csv:/m/list.csv", "https://host/a.stl", "stl", Remote),
        ("csv:/m/list.csv", "https://www.thingiverse.com/download:1", "obj", Remote),
        ("csv:/m/list.csv", "zip://a.obj::https://host/a.zip", "obj", Member),
        ("objaverse-xl:github", "https://raw.githubusercontent.com/o/r/c/a.gltf", "gltf", Bundle),
        ("objaverse", f"{HUB}glbs/000-000/a.glb", "glb", Remote),
        ("hssd", f"{HUB}objects/a.glb", "glb", Remote),
        ("abo", f"{HUB}a.glb", "glb", Remote),
        ("s3://bucket/m", "s3://bucket/m/a.obj", "obj", Bundle),
        ("s3://bucket/m", "s3://bucket/m/a.ply", "ply", Remote),
        ("zip://m::s3://bucket/m.zip", "zip://m/a.obj::s3://bucket/m.zip", "obj", Bundle),
    ],
)
def test_what_a_row_stands_for_is_decided_by_its_source(source: str, uri: str, format: str, kind: type) -> None:
    assert type(locate({**ROW, "source": source, "uri": uri, "format": format})) is kind


def test_a_source_that_this_version_does_not_know_is_one_line() -> None:
    with pytest.raises(UsageError, match="unknown source 'elsewhere:x'; use local:DIR"):
        locate({**ROW, "source": "elsewhere:x", "uri": "/m/a.obj"})


def test_unpacking_leaves_the_downloads_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.obj(tmp_path, texture=files.png(2, 2))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(tmp_path / "model.obj", "model.obj")
    row = {**ROW, "source": "gso:/m", "uri": zipped(tmp_path / "a.zip", "model.obj")}
    downloads = downloads_in(tmp_path / "cache")
    extract = archives.extract

    def extract_beside_a_download(*args: Any) -> Path:
        # The loop answers while this runs: were this the loop's own thread, it would wait for itself for ever.
        fsspec.filesystem("memory").pipe_file("/beside/x.glb", b"model")
        assert downloads.get(Wanted("memory://beside/x.glb", seconds=5)).read_bytes() == b"model"
        return extract(*args)

    monkeypatch.setattr(archives, "extract", extract_beside_a_download)
    assert locate(row).fetch(tmp_path / "cache", LIMITS).main.read_bytes() == (tmp_path / "model.obj").read_bytes()


def test_a_planned_file_is_found_where_it_lies(tmp_path: Path) -> None:
    name = os.fsdecode(b"odd \xff\n.glb")
    (tmp_path / name).write_bytes(files.glb())
    row = find_local(str(tmp_path), LIMITS).assets.to_pylist()[0]
    assert locate(row).fetch(tmp_path / "cache", LIMITS) == AssetFiles(tmp_path / name, tmp_path)


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
        locate(row).fetch(tmp_path, limits)
    assert failure.value.code is ErrorCode.TOO_LARGE
