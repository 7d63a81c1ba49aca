"""What is found in tars and folders of pictures, and what becomes of one picture."""

import base64
import hashlib
import io
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from PIL import Image

from dataengine.corpus.config import Limits
from dataengine.errors import AssetFailure, UsageError
from dataengine.sources.picture_pixels import prepare
from dataengine.sources.pictures import find_pictures, read_picture
from tests.pictures import encoded, picture, triples, write_tar


def prepared(content: bytes, side: int = 16, most: int = 10_000) -> Any:
    made = prepare(base64.b64encode(content).decode(), side, most)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(made["png"]))))


def test_a_tar_is_read_once_and_then_by_range(tmp_path: Path) -> None:
    files = triples(0, 3)
    write_tar(tmp_path / "00000.tar", files)
    write_tar(tmp_path / "00001.tar", [*triples(3, 2), ("lonely.txt", b"nobody"), ("a.gif", b"GIF89a")])
    found = find_pictures(str(tmp_path))
    rows = found.assets.to_pylist()
    assert [r["caption"] for r in rows] == [f"waves of number {n}" for n in range(5)]
    assert [r["sha256"] for r in rows[:3]] == [hashlib.sha256(c).hexdigest() for n, c in files if n.endswith(".jpg")]
    assert rows[0]["uid"] == rows[0]["sha256"][:32] and rows[0]["format"] == "jpg"
    assert [read_picture(r["uri"], Limits()) for r in rows] == [encoded(picture(n)) for n in range(5)]
    assert found.notes == (
        "1 captions have no picture (such as lonely.txt)",
        "1 files of other kinds are left out (1 .gif)",
    )
    pattern = find_pictures(f"{tmp_path}/*1.tar")
    assert pattern.assets["caption"].to_pylist() == ["waves of number 3", "waves of number 4"]
    alone = find_pictures(str(tmp_path / "00001.tar"))
    assert alone.assets["uri"].to_pylist() == pattern.assets["uri"].to_pylist()
    assert (found.spec, alone.spec) == (f"images:{tmp_path}", f"images:{tmp_path}/00001.tar")


def test_a_folder_of_files_beside_each_other(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name, kind in (("deep/a.PNG", "PNG"), ("b.webp", "WEBP"), ("c.jpeg", "JPEG")):
        (tmp_path / name).write_bytes(encoded(picture(1 if kind == "PNG" else 2), kind))
    (tmp_path / "deep/a.txt").write_text("  a picture\n")
    (tmp_path / ".hidden.jpg").write_bytes(b"x")
    rows = find_pictures(str(tmp_path)).assets.to_pylist()
    assert [(Path(r["uri"]).name, r["format"], r["caption"]) for r in rows] == [
        ("b.webp", "webp", None),
        ("c.jpeg", "jpg", None),
        ("a.PNG", "png", "a picture"),
    ]
    assert read_picture(rows[2]["uri"], Limits()) == (tmp_path / "deep/a.PNG").read_bytes()


def test_remote_tars(tmp_path: Path) -> None:
    write_tar(tmp_path / "0.tar", triples(0, 2))
    memory = fsspec.filesystem("memory")
    memory.pipe("/pictures/0.tar", (tmp_path / "0.tar").read_bytes())
    try:
        row = find_pictures("memory://pictures").assets.to_pylist()[1]
        assert row["uri"].endswith("::memory:///pictures/0.tar")
        assert read_picture(row["uri"], Limits()) == encoded(picture(1))
    finally:
        memory.rm("/pictures", recursive=True)


def test_what_is_odd_is_said(tmp_path: Path) -> None:
    twice = [*triples(0, 2), ("000000000.png", encoded(picture(9), "PNG")), ("x.jpg", encoded(picture(7)))]
    tar = write_tar(tmp_path / "odd.tar", twice)
    found = find_pictures(str(tar))
    assert found.assets.num_rows == 3
    assert found.notes == (
        "1 pictures have a key that came before (such as 000000000): the first counts",
        "1 of 3 pictures have no caption",
    )
    data = tar.read_bytes()
    tar.write_bytes(data[: data.index(b"000000001.jpg") + 700])  # within a picture
    cut = find_pictures(str(tar))
    assert cut.assets.num_rows == 1 and "cannot be read to its end" in cut.notes[0]
    tar.write_bytes(data[: data.index(b"000000001.jpg")])  # between two members
    cut = find_pictures(str(tar))
    assert cut.assets.num_rows == 1 and "has no end mark" in cut.notes[0]
    tar.write_bytes(b"no tar at all")
    with pytest.raises(UsageError, match="holds no pictures.*odd.tar cannot be read to its end"):
        find_pictures(str(tar))
    with pytest.raises(UsageError, match="no such file, folder or pattern"):
        find_pictures(str(tmp_path / "nowhere"))


def test_what_is_gone_or_changed(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "0.tar", triples(0, 2))
    uri = find_pictures(str(tar)).assets["uri"][1].as_py()
    with pytest.raises(AssetFailure, match=r"has \d+ bytes \(limit 100\)"):
        read_picture(uri, Limits(file_bytes=100))
    tar.write_bytes(tar.read_bytes()[:2000])
    with pytest.raises(AssetFailure, match="shorter than when it was planned"):
        read_picture(uri, Limits())
    tar.unlink()
    with pytest.raises(AssetFailure, match="is not there"):
        read_picture(uri, Limits())


def test_pixels_are_cropped_and_averaged() -> None:
    image = picture(3, 80, 32)
    middle = np.asarray(image)[:, 24:56].reshape(16, 2, 16, 2, 3).mean((1, 3))
    made = prepared(encoded(image, "PNG"))
    assert made.shape == (16, 16, 4) and (made[..., 3] == 255).all()
    assert np.abs(made[..., :3] - middle).max() <= 1  # Pillow rounds after each of the two axes


def test_pixels_stand_upright_on_white() -> None:
    image = picture(4, 16, 16)
    turned = Image.Exif()
    turned[274] = 6  # shown a quarter to the right
    png = encoded(image, "PNG", exif=turned)
    assert np.array_equal(prepared(png)[..., :3], np.rot90(np.asarray(image), -1))
    clear = image.convert("RGBA")
    clear.putalpha(Image.fromarray(np.where(np.arange(256).reshape(16, 16) < 128, 0, 128).astype(np.uint8)))
    over = prepared(encoded(clear, "PNG"))[..., :3]
    assert (over[:8] == 255).all()
    share = 128 / 255
    assert np.abs(over[8:] - (np.asarray(image)[8:] * share + 255 * (1 - share))).max() <= 1
    grey = Image.fromarray((np.arange(256).reshape(16, 16) * 257).astype(np.uint16))
    assert np.array_equal(prepared(encoded(grey, "PNG"))[..., 0], np.arange(256).reshape(16, 16))
    cmyk = prepared(encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95))
    assert np.abs(cmyk[..., :3].astype(int) - [255, 0, 0]).max() <= 6


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        (b"nothing", "MALFORMED", "not a JPEG, PNG or WebP"),
        (encoded(picture(1))[:500], "MALFORMED", "cannot be decoded: "),
        (encoded(picture(1), "GIF"), "MALFORMED", "not a JPEG, PNG or WebP"),
        (encoded(Image.new("L", (101, 100)), "PNG"), "TOO_LARGE", r"101×100 pixels \(limit 10000\)"),
        (encoded(Image.new("1", (20000, 20000)), "PNG"), "TOO_LARGE", "400000000 pixels"),
        (encoded(picture(1, 40, 15), "PNG"), "UNSUPPORTED", "40×15 pixels are fewer than 16×16"),
    ],
)
def test_a_bad_picture_has_a_type(content: bytes, code: str, said: str) -> None:
    with pytest.raises(AssetFailure, match=said) as caught:
        prepared(content)
    assert caught.value.code == code
