"""Furniture libraries of Sweet Home 3D in small, laid out as Debian's five are."""

import zipfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from dataengine.corpus.config import Limits, RenderConfig
from dataengine.corpus.corpus import Corpus
from dataengine.errors import AssetFailure, ErrorCode, UsageError
from dataengine.manifests.catalog import Catalog
from dataengine.model_files.preflight import preflight
from dataengine.sources.attribution import credits
from dataengine.sources.local import find_local
from dataengine.sources.locate import locate
from dataengine.stages.plan import plan_corpus
from tests import asset_files as files

LIMITS = Limits()
TERMS = """LICENSE

(C) Copyrights 2014-2020 Emmanuel PUYBARET / eTeks and Scopia (http://www.scopia.es)

The sh3f file and its content are under the Creative Commons Attribution 3.0 Unported license:
http://creativecommons.org/licenses/by/3.0/
"""
OWN_TERMS = """Thank you for downloading "A chair" by mahesh
Released under
Creative Commons Zero (Public Domain)
Downloaded from http://www.blendswap.com/blends/view/72801
"""
HEAD = "# © eTeks\nid=SweetHome3D#Test\nname=Test catalog\nversion=1.8\nprovider=www.sweethome3d.com\n"


FACES = "".join(f"f {i} {i + 1} {i + 2}\n" for i in range(1, 39))


def points(height: float) -> str:
    return "".join(f"v {i} {height * i % 11} {i * i % 7}\n" for i in range(40))


def entry(number: int, model: str, **values: str) -> str:
    said = {"name": "Thing", "category": "Miscellaneous", "creator": "Scopia", "model": model, **values}
    return "\n" + "".join(f"{key}#{number}={value}\n" for key, value in said.items())


def library(path: Path, catalogue: str | None, models: dict[str, float], **texts: str) -> Path:
    """A library whose models are strips of triangles, by name in the archive and height."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z:
        if catalogue is not None:
            z.writestr("PluginFurnitureCatalog.properties", catalogue.encode("iso-8859-1"))
        for name, height in models.items():
            folder = name.rpartition("/")[0]
            z.writestr(name, f"mtllib m.mtl\n{points(height)}usemtl m\n{FACES}")
            z.writestr(f"{folder}/m.mtl", "newmtl m\nmap_Kd wood.png\n")
            z.writestr(f"{folder}/wood.png", files.png(2, 2))
        for name, text in texts.items():
            z.writestr(name.replace("__", "/") + ".TXT", text)
    return path


def plan(corpus: Path, cache: Path, source: Path | str, **options: Any) -> list[dict[str, Any]]:
    plan_corpus(corpus, sources=[f"sh3f:{source}"], render=RenderConfig(), cache=cache, **options)
    return sorted(pq.read_table(corpus / "plan/assets.parquet").to_pylist(), key=lambda r: r["uri"])


def test_what_the_catalogue_knows_becomes_rows(tmp_path: Path, cache: Path) -> None:
    catalogue = HEAD + (
        entry(1, "/t/sink/sink.obj", name="Washbasin é", category="Bathroom", tags="Sink, Water", creator="Scopia")
        + entry(2, "/t/suv/suv.obj", name="SUV", category="Vehicles", modelRotation="1 0 0 0 0 1 0 -1 0")
        + entry(4, "/t/chair/chair.obj", name="A chair", category="Living room", creator="Mahesh")
        + entry(5, "/t/tree/tree.obj", name="Oak", category="Exterior", license="CC BY-SA 4.0")
    )
    models = {"t/sink/sink.obj": 1.0, "t/suv/suv.obj": 2.0, "t/chair/chair.obj": 3.0, "t/tree/tree.obj": 4.0}
    path = library(tmp_path / "Test.sh3f", catalogue, models, LICENSE=TERMS, t__chair__BLENDSWAP_LICENSE=OWN_TERMS)
    chair, sink, suv, tree = plan(tmp_path / "c", cache, path)
    assert [r["caption"] for r in (chair, sink, suv, tree)] == [
        "A chair for the living room",
        "Washbasin é for the bathroom",
        "SUV, vehicles",
        "Oak for outdoors",
    ]
    assert (sink["title"], sink["author"], sink["tags"]) == ("Washbasin é", "Scopia", ["Bathroom", "Sink", "Water"])
    licences = [r["licence"] for r in (chair, sink, suv, tree)]
    assert licences == ["cc0-1.0", "cc-by-3.0", "cc-by-3.0", "cc-by-sa-4.0"]
    assert chair["page_url"] == "http://www.blendswap.com/blends/view/72801"
    assert [(r["up"], r["up_source"]) for r in (sink, suv)] == [("Y", "source"), ("Z", "source")]
    assert sink["face_count"] == 38
    text = "\n".join(credits(Catalog(Corpus.open(tmp_path / "c"))))
    assert "## cc-by-3.0 (https://creativecommons.org/licenses/by/3.0/)" in text
    holder = "(C) Copyrights 2014-2020 Emmanuel PUYBARET / eTeks and Scopia (http://www.scopia.es)"
    assert f"“Washbasin é” by Scopia, Test catalog, www.sweethome3d.com, {holder}" in text


def test_a_model_is_the_same_asset_as_its_unpacked_files(tmp_path: Path, cache: Path) -> None:
    path = library(tmp_path / "Test.sh3f", HEAD + entry(1, "/t/sink/sink.obj"), {"t/sink/sink.obj": 1.0})
    with zipfile.ZipFile(path) as z:
        z.extractall(tmp_path / "unpacked")
    (row,) = plan(tmp_path / "c", cache, path)
    (unpacked,) = find_local(str(tmp_path / "unpacked"), LIMITS).assets.to_pylist()
    for column in ("uid", "sha256", "bytes", "dependencies", "face_count", "texture_count"):
        assert row[column] == unpacked[column]
    fetched = locate(row).fetch(cache, LIMITS)
    preflight(fetched.main, "obj", LIMITS, fetched.root)
    assert {f.name for f in fetched.dependencies} == {"m.mtl", "wood.png"}


def test_a_folder_of_libraries_is_one_source_and_its_sizes_are_for_where(tmp_path: Path, cache: Path) -> None:
    for name, width in (("A", "50.0"), ("B", "200")):
        catalogue = HEAD + entry(1, f"/{name}/x{name}/y.obj", width=width, depth="40", height="30.5")
        library(tmp_path / f"{name}.sh3f", catalogue, {f"{name}/x{name}/y.obj": float(width)})
    rows = plan(tmp_path / "c", cache, tmp_path, where="width between 0.49 and 0.51 and height = 0.305")
    assert [r["uri"] for r in rows] == [f"zip://A/xA/y.obj::{tmp_path / 'A.sh3f'}"]
    rows = plan(tmp_path / "d", cache, tmp_path, where="path not like 'A/%'")
    assert [r["uri"] for r in rows] == [f"zip://B/xB/y.obj::{tmp_path / 'B.sh3f'}"]


def test_variants_share_a_group_and_others_do_not(tmp_path: Path, cache: Path) -> None:
    size = {"width": "374.5", "depth": "378.9"}
    catalogue = HEAD + (
        entry(1, "/t/pine/pine.obj", name="Pine", category="Exterior", height="545.7", **size)
        + entry(2, "/t/pineSnow/pineSnow.obj", name="Pine under snow", category="Exterior", height="545.7", **size)
        + entry(3, "/t/armChair1/armChair1.obj", name="Blue armchair")
        + entry(4, "/t/arm_chair_red2/arm_chair_red2.obj", name="Red one")
        + entry(5, "/t/sedan/sedan.obj", name="Sedan 01")
        + entry(6, "/t/limousine/limousine.obj", name="Sedan 02")
        + entry(7, "/t/cat/cat.obj", name="Cat", category="Exterior", height="30", width="10", depth="50")
        + entry(8, "/t/copy/copy.obj", name="Tomcat", category="Kitchen")
        + entry(9, "/t/dog/dog.obj", name="Dog", category="Exterior", height="545.7", width="300", depth="378.9")
    )
    names = ["pine", "pineSnow", "armChair1", "arm_chair_red2", "sedan", "limousine", "cat", "copy", "dog"]
    heights = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 7.0, 9.0]  # the copy has the cat's geometry
    path = library(tmp_path / "T.sh3f", catalogue, {f"t/{n}/{n}.obj": h for n, h in zip(names, heights, strict=True)})
    rows = plan(tmp_path / "c", cache, path)
    groups: dict[str, set[str]] = {}
    for row in rows:
        groups.setdefault(row["group_id"], set()).add(row["uri"].split("/")[3])
    together = [{"pine", "pineSnow"}, {"armChair1", "arm_chair_red2"}, {"sedan", "limousine"}, {"cat", "copy"}, {"dog"}]
    assert sorted(map(sorted, groups.values())) == sorted(map(sorted, together))
    assert all(len({r["split"] for r in rows if r["group_id"] == g}) == 1 for g in groups)


def test_what_is_wrong_with_a_model_is_a_row(tmp_path: Path, cache: Path) -> None:
    catalogue = HEAD + entry(1, "/t/gone/gone.obj") + entry(2, "/t/sink/sink.obj") + entry(3, "/t/old/old.3ds")
    path = library(tmp_path / "T.sh3f", catalogue, {"t/sink/sink.obj": 1.0})
    summary = plan_corpus(tmp_path / "c", sources=[f"sh3f:{path}"], render=RenderConfig(), cache=cache)
    assert summary.notes == ("T.sh3f: 1 models of formats that dataengine does not read (.3ds) were passed over",)
    gone, sink = sorted(pq.read_table(tmp_path / "c/plan/assets.parquet").to_pylist(), key=lambda r: r["uri"])
    with pytest.raises(AssetFailure, match=r"T\.sh3f has no 't/gone/gone\.obj'") as failure:
        locate(gone).fetch(cache, LIMITS)
    assert failure.value.code is ErrorCode.FETCH_404
    assert locate(sink).fetch(cache, LIMITS).main.name == "sink.obj"


def test_a_library_that_was_replaced_since_the_plan_is_not_taken_for_the_old_one(tmp_path: Path, cache: Path) -> None:
    catalogue = HEAD + entry(1, "/t/sink/sink.obj")
    path = library(tmp_path / "T.sh3f", catalogue, {"t/sink/sink.obj": 1.0})
    (row,) = plan(tmp_path / "c", cache, path)
    library(path, catalogue, {"t/sink/sink.obj": 22.0})
    with pytest.raises(AssetFailure, match="has changed since it was planned") as failure:
        locate(row).fetch(cache, LIMITS)
    assert failure.value.code is ErrorCode.SHA_MISMATCH


def test_an_archive_that_cannot_be_unpacked_is_the_models_fault(tmp_path: Path, cache: Path) -> None:
    path = library(tmp_path / "T.sh3f", HEAD + entry(1, "/t/a/a.obj"), {"t/a/a.obj": 1.0})
    with zipfile.ZipFile(path, "a") as z:
        z.writestr("t/a/m.mtl/inside", "a file and a folder of one name")
    (row,) = plan(tmp_path / "c", cache, path)
    with pytest.raises(AssetFailure, match=r"T\.sh3f is no ZIP archive that can be unpacked") as failure:
        locate(row).fetch(cache, LIMITS)
    assert failure.value.code is ErrorCode.MALFORMED


def test_no_library_is_one_clear_line(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.sh3f").write_bytes(b"x")
    library(tmp_path / "zip.sh3f", None, {"t/a/a.obj": 1.0})
    library(tmp_path / "none.sh3f", HEAD, {"t/a/a.obj": 1.0})
    library(tmp_path / "old.sh3f", HEAD + entry(1, "/t/a/a.3ds"), {})
    install = "sudo apt-get install sweethome3d-furniture"
    for name, words in (
        ("", install),
        (str(tmp_path / "missing"), install),
        (str(tmp_path / "empty"), install),
        (str(tmp_path / "text.sh3f"), "is no ZIP archive"),
        (str(tmp_path / "zip.sh3f"), "is no furniture library of Sweet Home 3D"),
        (str(tmp_path / "none.sh3f"), "names no model"),
        (str(tmp_path / "old.sh3f"), "holds no model that dataengine reads"),
    ):
        with pytest.raises(UsageError, match=words) as error:
            plan(tmp_path / "c", cache, name)
        assert "\n" not in str(error.value)
