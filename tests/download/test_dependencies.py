"""Assets of several files from where they are published: GitHub, a list's URLs, a bucket."""

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from dataengine.corpus.config import Limits, RenderConfig
from dataengine.corpus.corpus import Corpus
from dataengine.download import dependencies as module
from dataengine.download.asset_files import AssetFiles
from dataengine.download.cache import Cache
from dataengine.download.dependencies import Bundle, home_of
from dataengine.errors import AssetFailure, DataengineError, ErrorCode, UsageError
from dataengine.model_files.preflight import preflight
from dataengine.sources.bucket import find_bucket, locate_in_bucket
from dataengine.sources.locate import locate
from dataengine.sources.url_lists import GITHUB_RAW
from dataengine.stages.fetch import prefetch
from dataengine.stages.plan import plan_corpus
from tests import asset_files as files
from tests.hub_server import Hub


def plan(corpus: Path, cache: Path, source: str, **options: Any) -> list[dict[str, Any]]:
    plan_corpus(corpus, sources=[source], render=RenderConfig(), cache=cache, **options)
    return pq.read_table(corpus / "plan/assets.parquet").to_pylist()


def listed(hub: Hub, tmp_path: Path, cache: Path, *names: str) -> list[dict[str, Any]]:
    (tmp_path / "list.csv").write_text("\n".join(["url", *(hub.url + n for n in names)]) + "\n")
    return plan(tmp_path / "c", cache, f"csv:{tmp_path / 'list.csv'}")


def publish(hub: Hub, folder: Path, at: str) -> None:
    for file in folder.rglob("*"):
        if file.is_file():
            hub.files[f"{at}/{file.relative_to(folder).as_posix()}"] = file.read_bytes()


def names(found: AssetFiles) -> list[str]:
    return [p.relative_to(found.root).as_posix() for p in found.dependencies]


@pytest.mark.parametrize(
    ("uri", "home", "path"),
    [
        (f"{GITHUB_RAW}/o/r/abc/m/a%20b/x.obj", f"{GITHUB_RAW}/o/r/abc/", "m/a b/x.obj"),
        ("https://host/models/x.gltf", "https://host/models/", "x.gltf"),
        ("s3://bucket/models/x.gltf", "s3://bucket/models/", "x.gltf"),
        ("https://www.thingiverse.com/download:12", None, None),
        ("https://host/x?file=a.obj", None, None),
    ],
)
def test_where_an_asset_is_at_home(uri: str, home: str | None, path: str | None) -> None:
    found = home_of(uri)
    assert (found and found.url, found and found.path) == (home, path)


def test_home_of_a_chained_url() -> None:
    row = {
        "source": "zip://models::s3://b/a.zip",
        "uri": "zip://models/x/y.obj::s3://b/a.zip",
        "format": "obj",
        "uid": "0" * 32,
        "sha256": None,
    }
    bundle = locate_in_bucket(row)
    assert isinstance(bundle, Bundle) and bundle.home.path == "x/y.obj"
    assert bundle.home.address("x/y.mtl") == "zip://models/x/y.mtl::s3://b/a.zip"


def test_what_an_obj_and_a_gltf_refer_to_comes_along_once(hub: Hub, tmp_path: Path, cache: Path) -> None:
    made = tmp_path / "made"
    made.mkdir()
    files.obj(made, "a chair", texture=files.png(2, 2))
    files.gltf(made, "lamp", image="lamp%20map.png")
    (made / "lamp map.png").write_bytes(files.png(2, 2))
    publish(hub, made, "/m")
    rows = listed(hub, tmp_path, cache, "/m/a%20chair.obj", "/m/lamp.gltf")
    corpus = Corpus.open(tmp_path / "c")
    fetched = prefetch(corpus, [0], cache=cache)
    assert (fetched.fetched, fetched.failures) == (2, {})
    before = hub.requests.total()
    for row, wanted in zip(rows, (["a chair.mtl", "a chair.png"], ["lamp map.png", "lamp.bin"]), strict=True):
        found = locate(row).fetch(cache, Limits())
        assert names(found) == wanted
        preflight(found.main, row["format"], Limits(), found.root)
    assert hub.requests.total() == before
    assert max(hub.requests.values()) == 1
    assert fetched.bytes == sum(len(c) for c in hub.files.values())


def test_a_glb_that_names_no_file_stays_where_it_is(hub: Hub, tmp_path: Path, cache: Path) -> None:
    hub.files["/m/x.glb"] = files.glb()
    hub.files["/m/y.glb"] = files.glb(images=[{"uri": "y.png"}])
    hub.files["/m/y.png"] = files.png(2, 2)
    x, y = listed(hub, tmp_path, cache, "/m/x.glb", "/m/y.glb")
    found = locate(x).fetch(cache, Limits())
    assert found.main.parent.parent.name == "blobs"
    assert (found.root, found.dependencies) == (found.main.parent, ())
    assert names(locate(y).fetch(cache, Limits())) == ["y.png"]


def test_references_stay_at_home(hub: Hub, tmp_path: Path, cache: Path) -> None:
    hub.files["/secret.bin"] = b"x" * 36
    document, _ = files.gltf_document()
    document["buffers"][0]["uri"] = "../../secret.bin"
    hub.files["/a/b/x.gltf"] = json.dumps(document).encode()
    row = listed(hub, tmp_path, cache, "/a/b/x.gltf")[0]
    found = locate(row).fetch(cache, Limits())
    with pytest.raises(AssetFailure) as failure:
        preflight(found.main, "gltf", Limits(), found.root)
    assert failure.value.code is ErrorCode.UNSAFE_PATH
    assert hub.requests["/secret.bin"] == 0


def test_a_repository_may_be_walked_to_its_root_and_no_further(
    hub: Hub, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_GITHUB_RAW", hub.url.removeprefix("http://"))
    made = tmp_path / "made" / "models"
    made.mkdir(parents=True)
    files.obj(made, map_line="map_Kd C:\\work\\..\\textures\\wood.png")
    (made / "model.mtl").write_text("newmtl m\nmap_Kd ../textures/wood.png\nmap_Bump gone.png\n")
    publish(hub, tmp_path / "made", "/owner/repo/c0ffee")
    hub.files["/owner/repo/c0ffee/textures/wood.png"] = files.png(2, 2)
    row = listed(hub, tmp_path, cache, "/owner/repo/c0ffee/models/model.obj")[0]
    assert names(locate(row).fetch(cache, Limits())) == ["models/model.mtl", "textures/wood.png"]
    assert hub.requests["/owner/repo/c0ffee/models/gone.png"] == 1
    locate(row).fetch(cache, Limits())
    assert hub.requests["/owner/repo/c0ffee/models/gone.png"] == 1  # what is not there is not asked for again


def test_a_dependency_that_is_unavailable_now_fails_the_asset(hub: Hub, tmp_path: Path, cache: Path) -> None:
    made = tmp_path / "made"
    made.mkdir()
    files.obj(made, texture=files.png(2, 2))
    publish(hub, made, "/m")
    row = listed(hub, tmp_path, cache, "/m/model.obj")[0]
    hub.faults["/m/model.png"] = ["429"]
    hub.retry_after = "60"
    with pytest.raises(AssetFailure) as failure:
        locate(row).fetch(cache, Limits(wall_seconds=2))
    assert failure.value.code is ErrorCode.FETCH_TIMEOUT
    assert names(locate(row).fetch(cache, Limits())) == ["model.mtl", "model.png"]
    assert hub.requests["/m/model.obj"] == hub.requests["/m/model.mtl"] == 1


def test_a_missing_buffer_is_typed_and_a_big_texture_refused(hub: Hub, tmp_path: Path, cache: Path) -> None:
    made = tmp_path / "made"
    made.mkdir()
    files.gltf(made, "whole", image="big.png")
    (made / "big.png").write_bytes(b"x" * 5000)
    files.gltf(made, "half")
    (made / "half.bin").unlink()
    publish(hub, made, "/m")
    half, whole = sorted(listed(hub, tmp_path, cache, "/m/half.gltf", "/m/whole.gltf"), key=lambda r: r["uri"])
    found = locate(half).fetch(cache, Limits())
    with pytest.raises(AssetFailure) as failure:
        preflight(found.main, "gltf", Limits(), found.root)
    assert failure.value.code is ErrorCode.FETCH_404
    with pytest.raises(AssetFailure) as failure:
        locate(whole).fetch(cache, Limits(file_bytes=4000))
    assert failure.value.code is ErrorCode.TOO_LARGE


def test_bundles_are_trimmed_like_files(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 50_000)
    for i in range(20):
        folder = cache.begin_bundle()
        (folder / "model.obj").write_bytes(bytes(10_000))
        kept = cache.adopt_bundle(f"key {i}", folder)
    first = cache.find_bundle("key 0")
    assert first is not None  # held
    cache.release()
    assert cache.trim() <= 50_000
    assert cache.find_bundle("key 0") is not None or cache.find_bundle("key 19") == kept
    assert not list((tmp_path / "partial").iterdir())
    folder = cache.begin_bundle()
    (folder / "model.obj").write_bytes(b"late")
    assert (cache.adopt_bundle("key 19", folder) / "model.obj").stat().st_size == 10_000
    assert not folder.exists()


def test_a_bucket_is_a_folder_of_models(s3_url: str, tmp_path: Path, cache: Path) -> None:
    import s3fs

    made = tmp_path / "made"
    (made / "sub").mkdir(parents=True)
    files.obj(made / "sub", texture=files.png(2, 2))
    (made / "one.glb").write_bytes(files.glb(2))
    (made / "copy.glb").write_bytes(files.glb(2))
    (made / ".hidden.glb").write_bytes(files.glb(3))
    text = "path,licence,title,author,up\none.glb,CC0,One,Ann,\nsub/model.obj,by,Two,Bob,Z\ngone.glb,,,,\n"
    (made / "assets.csv").write_text(text)
    fs = s3fs.S3FileSystem(use_listings_cache=False)
    url = s3_url.replace("/corpus", "/my models")
    fs.put(str(made), url, recursive=True)
    rows = plan(tmp_path / "c", cache, f"{url}/")
    assert [(r["uri"].removeprefix(url), r["status"], r["licence"]) for r in rows] == [
        ("/copy.glb", "planned", None),
        ("/sub/model.obj", "planned", "cc-by-4.0"),
        ("/one.glb", "duplicate", "cc0-1.0"),
    ]
    glb, obj, _ = rows
    assert (obj["title"], obj["author"], obj["up"], obj["up_source"]) == ("Two", "Bob", "Z", "source")
    assert (glb["bytes"], glb["source"]) == (len(files.glb(2)), url)
    found = locate(obj).fetch(cache, Limits())
    assert names(found) == ["sub/model.mtl", "sub/model.png"]
    preflight(found.main, "obj", Limits(), found.root)
    assert locate(glb).fetch(cache, Limits()).main.read_bytes() == files.glb(2)

    fs.rm(url, recursive=True)  # what is in the cache is not asked for again
    assert locate(obj).fetch(cache, Limits()) == found
    files.obj(made / "sub", texture=files.png(3, 3))
    (made / "sub/model.obj").write_text((made / "sub/model.obj").read_text() + "v 9 9 9\n")
    fs.put(str(made), url, recursive=True)
    with pytest.raises(AssetFailure, match="has changed since it was planned") as failure:
        locate(obj).fetch(tmp_path / "other", Limits())
    assert failure.value.code is ErrorCode.SHA_MISMATCH
    again = plan(tmp_path / "c", cache, url)
    assert again[0]["uid"] == glb["uid"] and again[1]["uid"] != obj["uid"]
    assert locate(again[1]).fetch(cache, Limits()).main.read_bytes() == (made / "sub/model.obj").read_bytes()


@pytest.mark.parametrize("folder", ["", "models"])
def test_an_archive_is_a_folder_too(tmp_path: Path, cache: Path, folder: str) -> None:
    files.obj(tmp_path, texture=files.png(2, 2))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as z:
        for name in ("model.obj", "model.mtl", "model.png"):
            z.write(tmp_path / name, f"{folder}/{name}".lstrip("/"))
    row = plan(tmp_path / "c", cache, f"zip://{folder}::{tmp_path / 'a.zip'}")[0]
    assert names(locate(row).fetch(cache, Limits())) == ["model.mtl", "model.png"]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("s3://no-such-bucket-here/models", "no-such-bucket-here"),
        ("nowhere://x", "cannot open nowhere://x"),
        ("memory://empty-folder", "memory://empty-folder"),
    ],
)
@pytest.mark.usefixtures("s3_server")
def test_a_folder_that_is_none_is_one_line(tmp_path: Path, cache: Path, url: str, words: str) -> None:
    with pytest.raises(DataengineError, match=words) as error:
        plan(tmp_path / "c", cache, url)
    assert "\n" not in str(error.value)


def test_a_buckets_csv_says_what_belongs_together_and_what_of_it_is_refused() -> None:
    import fsspec

    fs = fsspec.filesystem("memory")
    for i, name in enumerate(("cup", "jug", "hat")):
        fs.pipe_file(f"/grouped/{name}.glb", files.glb(i + 1))
    fs.pipe_file("/grouped/assets.csv", b"path,title,group\ncup.glb,caf\xe9,tea set\njug.glb,,tea set\nhat.glb,,\n")
    found = find_bucket("memory://grouped")
    cup, hat, jug = found.assets["group_id"].to_pylist()
    assert cup == jug != hat
    (note,) = found.notes
    assert note.startswith("assets.csv: the row on line 2 is not in UTF-8")


def test_a_wrong_csv_in_a_bucket_names_the_bucket(tmp_path: Path, cache: Path) -> None:
    import fsspec

    fs = fsspec.filesystem("memory")
    fs.pipe_file("/csv-test/x.glb", files.glb())
    fs.pipe_file("/csv-test/assets.csv", b"file_or_so,licence\nx.glb,by\n")
    with pytest.raises(UsageError, match="memory://csv-test/assets.csv has no column `path`"):
        plan(tmp_path / "c", cache, "memory://csv-test")
    shutil.rmtree(tmp_path / "c", ignore_errors=True)
