import errno
import os
from pathlib import Path
from typing import Any

import pytest

from dataengine.corpus.config import Limits
from dataengine.errors import DataengineError, UsageError
from dataengine.model_files.paths import from_text
from dataengine.sources import local
from dataengine.sources.local import find_local
from tests import asset_files as files

LIMITS = Limits()


def rows(folder: Path) -> list[dict[str, Any]]:
    return find_local(str(folder), LIMITS).assets.to_pylist()


def by_path(folder: Path) -> dict[str, dict[str, Any]]:
    return {r["path"]: r for r in rows(folder)}


def test_every_format_in_any_case_and_depth_is_found(tmp_path: Path) -> None:
    names = ["a.GLB", "b/c.gltf", "b/d.obj", "e.Fbx", "f.dae", "g.STL", "h.ply", "i.usd", "j.usda", "k.usdc", "l.usdz"]
    names += ["m.blend", "x/y/z/n.glb"]
    for i, name in enumerate(names):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"not a model %d" % i)
    for name in ("readme.txt", "glb", ".hidden.glb", ".git/o.glb"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"no")
    found = rows(tmp_path)
    assert [r["path"] for r in found] == sorted(names)
    assert {r["format"] for r in found} == {"gltf", "obj", "fbx", "dae", "stl", "ply", "usd", "blend"}


def test_names_that_shells_and_parsers_trip_over(tmp_path: Path) -> None:
    names = [
        "-rf.glb",
        "new\nline.glb",
        "quote'\".glb",
        "🦆 ا.glb",
        "file:x.glb",
        "tab\t.glb",
        os.fsdecode(b"\xff\xfe.glb"),
    ]
    for i, name in enumerate(names):
        (tmp_path / name).write_bytes(files.glb(i + 1))
    found = rows(tmp_path)
    assert sorted(os.fsencode(from_text(r["uri"])) for r in found) == sorted(os.fsencode(tmp_path / n) for n in names)
    for row in found:
        assert "\n" not in row["uri"] and row["uri"].encode("utf-8")
        assert row["sha256"] is not None


def test_what_is_no_regular_file_becomes_a_row_and_nothing_hangs(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.glb")
    (tmp_path / "folder.glb").mkdir()
    (tmp_path / "loop.glb").symlink_to("loop.glb")
    (tmp_path / "dangling.obj").symlink_to("nowhere")
    (tmp_path / "device.stl").symlink_to("/dev/zero")
    (tmp_path / "around").symlink_to(tmp_path)
    (tmp_path / "good.glb").write_bytes(files.glb())
    found = find_local(str(tmp_path), LIMITS)
    table = {r["path"]: r["sha256"] for r in found.assets.to_pylist()}
    assert {p for p, sha in table.items() if sha is None} == set(table) - {"good.glb"}
    assert len(table) == 6
    assert len({r["uid"] for r in found.assets.to_pylist()}) == 6
    assert found.notes == ("around is a link to a folder and was not followed",)


def test_uid_follows_every_byte_of_the_asset_and_nothing_else(tmp_path: Path) -> None:
    uids = {}
    for name, texture in (("a", b"red"), ("b", b"blue"), ("c", b"red")):
        (tmp_path / name).mkdir()
        files.obj(tmp_path / name, texture=texture)
    for row in rows(tmp_path):
        uids[row["path"][0]] = row["uid"]
        assert row["dependencies"] == ["model.mtl", "model.png"]
        assert len(row["uid"]) == 32 and int(row["uid"], 16) >= 0
    assert uids["a"] == uids["c"] != uids["b"]


def test_a_glb_called_gltf_is_the_same_asset(tmp_path: Path) -> None:
    for name in ("a.glb", "b.gltf", "c.obj"):
        (tmp_path / name).write_bytes(files.glb())
    found = by_path(tmp_path)
    assert found["a.glb"]["uid"] == found["b.gltf"]["uid"] != found["c.obj"]["uid"]
    assert found["b.gltf"]["format"] == "glb"


def test_facts_that_the_file_declares(tmp_path: Path) -> None:
    (tmp_path / "a.glb").write_bytes(files.glb(7, materials=[{}, {}], images=[{"uri": "x.png"}], animations=[{}]))
    (tmp_path / "bad.glb").write_bytes(b"glTF rubbish")
    found = by_path(tmp_path)
    row = found["a.glb"]
    counts = [row[f"{c}_count"] for c in ("face", "vertex", "material", "texture", "animation")]
    assert counts == [7, 21, 2, 1, 1]
    assert found["bad.glb"]["face_count"] is None


def test_dependencies_outside_the_source_are_neither_read_nor_listed(tmp_path: Path) -> None:
    inside = tmp_path / "models"
    inside.mkdir()
    (tmp_path / "secret.bin").write_bytes(b"x" * 36)
    files.gltf(inside, buffer_uri="../secret.bin")
    row = rows(inside)[0]
    assert row["dependencies"] == []
    assert row["bytes"] == (inside / "model.gltf").stat().st_size


def test_a_folder_may_say_more_of_its_models(tmp_path: Path) -> None:
    for i, name in enumerate(("a.glb", "b.glb", "c.glb")):
        (tmp_path / name).write_bytes(files.glb(i + 1))
    (tmp_path / "assets.csv").write_text(
        "\ufeffPath,License,Author,title,url,Tags,up,extra\n./a.glb,CC BY 4.0,Ann,A chair,https://x/1,chair; wood,z,\n"
        "b.glb,,,,,,,\ngone.glb,MIT,,,,,,\n"
    )
    found = find_local(str(tmp_path), LIMITS)
    a, b, c = found.assets.to_pylist()
    assert (a["licence"], a["author"], a["title"], a["page_url"]) == ("cc-by-4.0", "Ann", "A chair", "https://x/1")
    assert (a["tags"], a["up"], a["up_source"]) == (["chair", "wood"], "Z", "source")
    assert (b["licence"], c["licence"], c["up"], c["up_source"]) == (None, None, None, "format")
    assert found.notes == ("assets.csv also names 1 files that are no models here",)


def test_a_folder_may_say_which_models_belong_together(tmp_path: Path) -> None:
    for i, name in enumerate(("cup.glb", "jug.glb", "hat.glb")):
        (tmp_path / name).write_bytes(files.glb(i + 1))
    (tmp_path / "assets.csv").write_text("path,group\ncup.glb,tea set\njug.glb,tea set\nhat.glb,\n")
    groups = {name: row["group_id"] for name, row in by_path(tmp_path).items()}
    assert groups["cup.glb"] == groups["jug.glb"] != groups["hat.glb"]


@pytest.mark.parametrize(
    ("text", "words"), [("licence\nmit\n", "no column `path`"), ("path,up\na.glb,X\n", "line 2: up")]
)
def test_a_wrong_csv_is_one_clear_line(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "a.glb").write_bytes(files.glb())
    (tmp_path / "licences.csv").write_text(text)
    with pytest.raises(UsageError, match=words):
        rows(tmp_path)


def test_folders_without_models_are_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x.txt").touch()
    for name, words in (
        ("none", "no folder"),
        ("empty", "is empty"),
        ("other", "no models"),
        ("other/x.txt", "is a file"),
    ):
        with pytest.raises(UsageError, match=words) as error:
            rows(tmp_path / name)
        assert "\n" not in str(error.value)


def test_the_same_folder_gives_the_same_table(tmp_path: Path) -> None:
    for i in range(20):
        (tmp_path / f"m{i}.glb").write_bytes(files.glb(i + 1))
    assert find_local(str(tmp_path), LIMITS).assets.equals(find_local(str(tmp_path), LIMITS).assets)


def test_hostile_files_are_rows_beside_good_ones(tmp_path: Path) -> None:
    """Each of these ended the plan of the whole folder."""
    document = {"accessors": [{"componentType": 5126, "type": ["VEC3"], "count": 3}]}
    (tmp_path / "unhashable.glb").write_bytes(files.glb(**document))
    (tmp_path / "overflow.glb").write_bytes(
        files.glb(accessors=[{"bufferView": 0, "componentType": 5126, "type": "VEC3", "count": 3 << 63}])
    )
    (tmp_path / "float.glb").write_bytes(
        files.glb(meshes=[{"primitives": [{"attributes": {"POSITION": 0}, "extensions": 1.5}]}])
    )
    (tmp_path / "good.glb").write_bytes(files.glb(2))
    found = by_path(tmp_path)
    assert len(found) == 4
    assert found["good.glb"]["vertex_count"] == 6


def test_a_disk_that_fails_stops_the_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.glb").write_bytes(files.glb())

    def fails(path: Path) -> str:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    monkeypatch.setattr(local, "file_sha256", fails)
    with pytest.raises(DataengineError, match="a.glb: Input/output error"):
        rows(tmp_path)
