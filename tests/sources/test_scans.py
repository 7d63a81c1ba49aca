"""Google Scanned Objects and 3D-FUTURE in small, as published."""

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from aiohttp import web

from dataengine.corpus.config import Limits, RenderConfig
from dataengine.corpus.corpus import Corpus
from dataengine.errors import AssetFailure, DataengineError, ErrorCode
from dataengine.model_files.preflight import preflight
from dataengine.sources import gso
from dataengine.sources.locate import locate, readable_folders
from dataengine.stages.plan import plan_corpus
from tests import asset_files as files
from tests.hub_server import Hub, running

HOME = "/1.0/GoogleResearch/models"
LIMITS = Limits()


def plan(corpus: Path, cache: Path, source: str, **options: Any) -> list[dict[str, Any]]:
    plan_corpus(corpus, sources=[source], render=RenderConfig(), cache=cache, **options)
    return pq.read_table(corpus / "plan/assets.parquet").to_pylist()


def zip_of(folder: Path, prefix: str = "") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as z:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                z.write(file, prefix + file.relative_to(folder).as_posix())
    return buffer.getvalue()


def scan(folder: Path) -> Path:
    """A model as Gazebo keeps it: the MTL names a texture that is in another folder."""
    (folder / "meshes").mkdir(parents=True)
    (folder / "materials/textures").mkdir(parents=True)
    files.obj(folder / "meshes", map_line="map_Kd texture.png")
    (folder / "materials/textures/texture.png").write_bytes(files.png(2, 2))
    (folder / "model.config").write_text("<model/>")
    return folder


class Fuel(Hub):
    """Gazebo's server: two models a page, and a 404 behind the last."""

    def __init__(self) -> None:
        super().__init__()
        self.models: list[dict[str, Any]] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.path != HOME:
            return await super().handle(request)
        page = int(request.query["page"])
        found = self.models[2 * page - 2 : 2 * page]
        return web.json_response(found) if found else web.Response(status=404)


@pytest.fixture
def fuel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fuel]:
    fuel = Fuel()
    names = ["ACE_Coffee_Mug_Kristen_16_oz_cup", "Toy Dog (brown)", "Shoe_3"]
    fuel.models = [
        {
            "name": name,
            "owner": "GoogleResearch",
            "description": f"A {name}",
            "version": 1,
            "filesize": 4000 + n,
            "likes": n,
            "categories": ["Bottles and Cans and Cups"] if n == 0 else None,
            "tags": ["3d_scan"],
            "license_name": "Creative Commons - Attribution",
            "license_url": "http://creativecommons.org/licenses/by/4.0/",
            "upload_date": "2020-08-28T00:00:00Z",
        }
        for n, name in enumerate(names)
    ]
    for n, name in enumerate(names):
        content = zip_of(scan(tmp_path / f"scan{n}"))
        fuel.files[f"{HOME}/{name}/1/{name}.zip"] = content
    with running(fuel):
        monkeypatch.setattr(gso, "FUEL", f"{fuel.url}{HOME}")
        yield fuel


def test_gso_from_its_server(fuel: Fuel, cache: Path, tmp_path: Path) -> None:
    rows = plan(tmp_path / "c", cache, "gso", where="likes < 2 and bytes > 3999")
    assert [r["title"] for r in rows] == ["ACE Coffee Mug Kristen 16 oz cup", "Toy Dog (brown)"]
    first = rows[0]
    assert (first["licence"], first["up"], first["format"]) == ("cc-by-4.0", "Z", "obj")
    assert first["tags"] == ["Bottles and Cans and Cups", "3d_scan"]
    for row in rows:
        found = locate(row).fetch(cache, LIMITS)
        together = [f.relative_to(found.root).as_posix() for f in found.dependencies]
        assert together == ["materials/textures/texture.png", "meshes/model.mtl", "model.config"]
        preflight(found.main, "obj", LIMITS, found.root)
    before = fuel.requests.total()
    locate(first).fetch(cache, LIMITS)
    assert fuel.requests.total() == before
    assert len(plan(tmp_path / "few", cache, "gso", limit=1)) == 1


@pytest.mark.usefixtures("fuel")
def test_gso_in_a_folder(cache: Path, tmp_path: Path) -> None:
    archives, unpacked = tmp_path / "archives", tmp_path / "unpacked"
    archives.mkdir()
    for n in range(2):
        (archives / f"Shoe_{n}.zip").write_bytes(zip_of(tmp_path / f"scan{n}"))
        scan(unpacked / f"Shoe_{n}")
    (unpacked / "Shoe_1/meshes/model.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 1\nf 1 2 3\nmtllib model.mtl\n")
    for folder in (archives, unpacked):
        rows = plan(tmp_path / f"c-{folder.name}", cache, f"gso:{folder}")
        said = [(r["title"], r["licence"], r["up"]) for r in rows]
        assert said == [("Shoe 0", "cc-by-4.0", "Z"), ("Shoe 1", "cc-by-4.0", "Z")]
        found = locate(rows[0]).fetch(cache, LIMITS)
        preflight(found.main, "obj", LIMITS, found.root)
        assert "texture.png" in [f.name for f in found.dependencies]
        assert readable_folders([rows[0]["source"]]) == [folder]
    (archives / "Shoe_0.zip").write_bytes(b"not a zip")
    row = plan(tmp_path / "c-bad", tmp_path / "cache2", f"gso:{archives}")[0]
    with pytest.raises(AssetFailure) as failure:
        locate(row).fetch(tmp_path / "cache2", LIMITS)
    assert failure.value.code is ErrorCode.MALFORMED


def test_a_list_that_is_none_is_one_line(
    hub: Hub, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gso, "FUEL", f"{hub.url}{HOME}")
    with pytest.raises(DataengineError, match="gso: .*404"):
        plan(tmp_path / "c", cache, "gso")
    hub.files[HOME] = b"<html>"
    with pytest.raises(DataengineError, match="cannot be read"):
        plan(tmp_path / "c", cache, "gso")


def furniture(root: Path) -> list[str]:
    ids = [f"{n}" * 8 + "-aaaa-bbbb-cccc-" + f"{n}" * 12 for n in range(2)]
    for n, name in enumerate(ids):
        folder = root / name
        folder.mkdir(parents=True)
        files.obj(folder, "raw_model")
        (folder / "raw_model.obj").write_text(f"mtllib model.mtl\nv {n} 0 0\nv 1 0 0\nv 0 1 0\nusemtl m\nf 1 2 3\n")
        files.obj(folder, "normalized_model")
        (folder / "model.mtl").write_text("newmtl m\nmap_Kd ./texture.png\n")
        (folder / "texture.png").write_bytes(files.png(2, 2))
        (folder / "image.jpg").write_bytes(f"picture {n}".encode())
    info = [
        {"model_id": ids[0], "super-category": "Sofa", "category": "Loveseat Sofa", "style": "Modern", "theme": None}
    ]
    (root / "model_info.json").write_text(json.dumps(info))
    return ids


@pytest.mark.parametrize("packed", [False, True])
def test_3d_future_as_it_is_handed_out(cache: Path, tmp_path: Path, packed: bool) -> None:
    root = tmp_path / "3D-FUTURE-model"
    ids = furniture(root)
    source = root
    if packed:
        source = tmp_path / "3D-FUTURE-model.zip"
        source.write_bytes(zip_of(root, "3D-FUTURE-model/"))
    captions = tmp_path / "3D-FUTURE.csv"
    lines = ["sha256,captions"] + [
        f"{hashlib.sha256(f'picture {n}'.encode()).hexdigest()},A thing {n}" for n in range(2)
    ]
    captions.write_text("\n".join(lines) + "\n")
    rows = plan(
        tmp_path / "c", cache, f"3d-future:{source}", captions=[str(captions)], where="style is distinct from 'x'"
    )
    assert [r["caption"] for r in rows] == ["A thing 0", "A thing 1"]
    assert [r["title"] for r in rows] == ["Loveseat Sofa", None]
    assert rows[0]["tags"] == ["Loveseat Sofa", "Sofa", "Modern"]
    assert {r["licence"] for r in rows} == {"licenseref-3d-future-nc"}
    assert ids[0] in rows[0]["uri"]
    found = locate(rows[1]).fetch(cache, LIMITS)
    preflight(found.main, "obj", LIMITS, found.root)
    assert {"model.mtl", "texture.png"} <= {f.name for f in found.dependencies}
    assert Corpus.open(tmp_path / "c").config.sources[0].spec == f"3d-future:{source}"


def test_3d_future_wrong(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(zip_of(scan(tmp_path / "scan")))
    (tmp_path / "y.zip").write_bytes(b"x")
    for name, words in (
        ("", "downloaded by hand"),
        (str(tmp_path / "none"), "there is no folder"),
        (str(tmp_path / "x.zip"), "has no …/raw_model.obj"),
        (str(tmp_path / "y.zip"), "is no ZIP archive"),
    ):
        with pytest.raises(DataengineError, match=words):
            plan(tmp_path / "c", cache, f"3d-future:{name}")
