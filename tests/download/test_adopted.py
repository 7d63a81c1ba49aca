"""Files that the objaverse package has are not fetched again."""

import hashlib
import uuid
from pathlib import Path

import objaverse
import pytest

from dataengine.download.adopted import adopted
from dataengine.download.http import downloads_in
from dataengine.download.hub import file_url
from dataengine.download.wanted import Wanted
from dataengine.errors import AssetFailure
from tests import asset_files
from tests.hub_server import COMMIT, Hub

GLB = asset_files.glb(1)
GLBS = "glbs/000-001/0123.glb"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package's folder."""
    monkeypatch.setattr(objaverse, "BASE_PATH", str(tmp_path / "package"))
    return tmp_path / "package"


def put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def test_objaverse_1(hub: Hub, cache: Path, package: Path) -> None:
    url = file_url("allenai/objaverse", COMMIT, GLBS)
    put(package / "hf-objaverse-v1" / GLBS, GLB)
    path = downloads_in(cache).get(Wanted(url, ".glb"))
    assert path.read_bytes() == GLB and not hub.requests
    assert downloads_in(cache).cache.find(url) == path


def test_what_was_cut_short_or_is_another_file_is_fetched(hub: Hub, cache: Path, package: Path) -> None:
    url = file_url("allenai/objaverse", COMMIT, GLBS)
    path = url.removeprefix(hub.url)
    hub.files[path] = GLB
    put(package / "hf-objaverse-v1" / GLBS, GLB[:-4])
    assert downloads_in(cache).get(Wanted(url, ".glb")).read_bytes() == GLB and hub.requests[path] == 1
    other = asset_files.glb(2)
    put(package / "hf-objaverse-v1" / GLBS, other)
    wanted = Wanted(f"{url}", ".glb", sha256=hashlib.sha256(GLB).hexdigest(), version="2")
    downloads_in(cache).cache.forget(url, wanted.sha256)
    assert downloads_in(cache).get(wanted).read_bytes() == GLB


def test_objaverse_xl(package: Path) -> None:
    sha256 = hashlib.sha256(b"solid").hexdigest()
    page = "https://3d-api.si.edu/content/document/3d_package:x/resources/a.glb"
    thing, raw = (
        "https://www.thingiverse.com/download:77",
        "https://raw.githubusercontent.com/org/repo/abc/models/a%20b.obj",
    )
    put(package / "smithsonian/objects" / f"{uuid.uuid5(uuid.NAMESPACE_DNS, page)}.glb", b"solid")
    put(package / "thingiverse/thing-5-file-77.stl", b"solid")
    put(package / "github/repos/org/repo/models/a b.obj", b"solid")
    found = [adopted(Wanted(url, sha256=sha256)) for url in (page, thing, raw)]
    assert [path and path.read_bytes() for path in found] == [b"solid"] * 3
    assert [adopted(Wanted(url)) for url in (page, thing, raw)] == [None] * 3  # nothing says which file is meant
    put(package / "secret", b"solid")
    for trick in (
        f"{file_url('allenai/objaverse', COMMIT, 'glbs/')}../../secret",
        raw.replace("models", "../../../.."),
    ):
        assert adopted(Wanted(trick, sha256=sha256)) is None


def test_nothing_there(hub: Hub, cache: Path, package: Path) -> None:
    assert not package.exists()
    with pytest.raises(AssetFailure, match="not there|404"):
        downloads_in(cache).get(Wanted(file_url("allenai/objaverse", COMMIT, GLBS), ".glb"))
    assert hub.requests.total() == 1
