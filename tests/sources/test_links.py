"""Folders whose files are links: Hugging Face snapshots, git-annex, DVC. What strangers refer to stays fenced in."""

import hashlib
import os
from pathlib import Path

import pytest
from PIL import Image

from dataengine.corpus.config import Limits
from dataengine.errors import AssetFailure, ErrorCode
from dataengine.model_files.paths import stores_of
from dataengine.model_files.preflight import preflight
from dataengine.render.pool import BlenderPool
from dataengine.sources.local import find_local
from dataengine.sources.locate import locate, readable_folders
from tests import asset_files as files
from tests.render.models import request


def linked(folder: Path, store: Path, name_of: str) -> None:
    """Moves every file of a folder into a store, and leaves links, as the programs do."""
    for file in [f for f in folder.rglob("*") if f.is_file()]:
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        md5 = hashlib.md5(file.read_bytes()).hexdigest()
        target = store / name_of.format(sha256=digest, md5_head=md5[:2], md5_tail=md5[2:], suffix=file.suffix)
        target.parent.mkdir(parents=True, exist_ok=True)
        file.rename(target)
        file.symlink_to(os.path.relpath(target, file.parent))


LAYOUTS = {
    "hugging face": ("models--x/snapshots/abc", "models--x/blobs", "{sha256}"),
    "git-annex": (
        "repo/models",
        "repo/.git/annex/objects",
        "{md5_head}/K/SHA256E--{sha256}{suffix}/SHA256E--{sha256}{suffix}",
    ),
    "dvc": ("project/data", "project/.dvc/cache", "files/md5/{md5_head}/{md5_tail}"),
    "shared dvc": ("project/data", "elsewhere", "files/md5/{md5_head}/{md5_tail}"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_links_into_a_content_store(tmp_path: Path, layout: str) -> None:
    place, store, name = LAYOUTS[layout]
    folder = tmp_path / place
    folder.mkdir(parents=True)
    files.obj(folder, texture=files.png(4, 4))
    linked(folder, tmp_path / store, name)
    found = find_local(str(folder), Limits())
    (row,) = found.assets.to_pylist()
    assert row["sha256"] is not None and row["dependencies"] == ["model.mtl", "model.png"] and not found.notes
    found_files = locate(row).fetch(tmp_path / "cache", Limits())
    preflight(found_files.main, row["format"], Limits(), found_files.root)
    if layout != "shared dvc":
        assert any((tmp_path / store).is_relative_to(s) for s in readable_folders([f"local:{folder}"])), (
            "for the sandbox"
        )


def test_a_snapshot_renders_with_its_textures(tmp_path: Path) -> None:
    place, store, name = LAYOUTS["hugging face"]
    folder = tmp_path / place
    folder.mkdir(parents=True)
    path = files.obj(folder, texture=b"")
    Image.new("RGB", (4, 4)).save(folder / "model.png")
    linked(folder, tmp_path / store, name)
    with BlenderPool(Limits(), readable=[folder, *stores_of(folder)]) as pool:
        known = [str(folder / "model.mtl"), str(folder / "model.png")]
        reply = pool.render(request(path, views=1, size=8, textures=known))
    assert not reply.missing_textures


@pytest.mark.parametrize("target", ["secret.bin", "blobs/{sha}", ".git/annex/objects/x"])
def test_a_reference_to_any_other_link_is_refused(tmp_path: Path, target: str) -> None:
    """A link among the files of a repository is its author's: it may lead nowhere but within."""
    inside = tmp_path / "repo" / "models"
    inside.mkdir(parents=True)
    path = files.gltf(inside)
    outside = tmp_path / "other" / target.format(sha="0" * 64)
    outside.parent.mkdir(parents=True)
    (inside / "model.bin").rename(outside)
    (inside / "model.bin").symlink_to(outside)
    with pytest.raises(AssetFailure) as failure:
        preflight(path, "gltf", Limits(), inside)
    assert failure.value.code == ErrorCode.UNSAFE_PATH
