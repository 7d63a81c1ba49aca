"""Pictures in formats that Blender opens and Cycles does not, or neither; and pictures that are cut short."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataengine.render.asset import complaints_in
from dataengine.render.pool import BlenderPool
from tests.render.models import pixels, request
from tests.render.test_blender import QUAD_OBJ

COLOUR = (200, 60, 40)


def quad(folder: Path, texture: str) -> Path:
    (folder / "q.obj").write_text(QUAD_OBJ)
    (folder / "q.mtl").write_text(f"newmtl m\nKd 1 1 1\nmap_Kd {texture}\n")
    return folder / "q.obj"


@pytest.mark.parametrize("name", ["t.gif", "t.ppm", "t.jp2", "t.webp", "t.tga", "t.bmp", "t.tif", "t.dds", "t.pcx"])
@pytest.mark.parametrize("size", [4, 128])
def test_every_format_has_the_colour_that_pillow_reads(
    blender: BlenderPool, tmp_path: Path, name: str, size: int
) -> None:
    """`max_texture` is 64 in these requests: the larger one is scaled."""
    image = Image.new("RGB", (size, size), COLOUR)
    try:
        image.save(tmp_path / name)
    except (OSError, KeyError, ValueError) as e:
        pytest.skip(f"Pillow cannot write {name}: {e}")
    image.save(tmp_path / "t.png")
    reply, rgba, _ = pixels(blender, request(quad(tmp_path, name), views=1, size=16))
    _, expected, _ = pixels(blender, request(quad(tmp_path, "t.png"), views=1, size=16))
    with Image.open(tmp_path / name) as read:
        assert np.ptp(np.array([read.convert("RGB").getpixel((1, 1)), COLOUR]), axis=0).max() <= 4
    np.testing.assert_allclose(rgba[0, 8, 8].astype(int), expected[0, 8, 8], atol=4)
    assert not reply.missing_textures


def test_what_no_one_opens_is_named_and_grey(blender: BlenderPool, tmp_path: Path) -> None:
    (tmp_path / "t.gif").write_bytes(b"<html>404</html>")
    reply, rgba, _ = pixels(blender, request(quad(tmp_path, "t.gif"), views=1, size=16))
    assert reply.missing_textures == ["t.gif"]
    assert np.ptp(rgba[0, 8, 8, :3].astype(int)) < 12


def test_a_jpeg_that_is_cut_short_is_complained_of(blender: BlenderPool, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "t.jpg")
    data = (tmp_path / "t.jpg").read_bytes()
    (tmp_path / "t.jpg").write_bytes(data[: len(data) // 2])
    reply = blender.render(request(quad(tmp_path, "t.jpg"), views=1, size=16))
    assert any("JPEG" in line for line in complaints_in(reply.log)) or reply.missing_textures
    (tmp_path / "t.jpg").write_bytes(data)
    reply = blender.render(request(quad(tmp_path, "t.jpg"), views=1, size=16))
    assert not complaints_in(reply.log) and not reply.missing_textures
