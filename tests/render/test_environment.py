"""Environment light: what a map is worth, where its light comes from, and what is said of one that is none."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import trimesh

from dataengine.corpus.config import Hdri, RenderConfig
from dataengine.errors import UsageError
from dataengine.geometry import arrays
from dataengine.render.chance import Chance
from dataengine.render.choice import choose_looks, pin_looks
from dataengine.render.colour import linear_of_srgb
from dataengine.render.drawn import draw_looks
from dataengine.render.environment import WHITE, directions, matt, read_map, strength
from dataengine.render.looks import BLENDERS_HDRIS
from dataengine.render.pool import BlenderPool
from dataengine.render.rigs import rig
from tests.render.exr_file import write_exr
from tests.render.models import coloured, glb_json, patch_glb, pixels, request, write_glb

Array = npt.NDArray[np.float64]
ROWS, COLUMNS = 32, 64


@pytest.fixture(scope="module")
def white_ball(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Albedo 1 and nothing but diffuse: KHR_materials_specular takes the rest away."""
    ball = trimesh.creation.icosphere(subdivisions=5)
    path = write_glb(tmp_path_factory.mktemp("ball") / "ball.glb", coloured(ball, (255, 255, 255)))
    materials = glb_json(path)["materials"]
    materials[0]["extensions"] = {"KHR_materials_specular": {"specularFactor": 0.0}}
    return patch_glb(path, materials=materials, extensionsUsed=["KHR_materials_specular"])


def one_light(azimuth: float, elevation: float, radiance: float = 5000.0) -> Array:
    """A map, from the top left, that is dark but for the pixel in a direction: columns run clockwise from -x."""
    rgb = np.zeros((ROWS, COLUMNS, 3))
    row = int((90 - elevation) / 180 * ROWS)
    column = int((180 - azimuth) % 360 / 360 * COLUMNS)
    rgb[row, column] = radiance
    return rgb


def direction(azimuth: float, elevation: float) -> Array:
    a, e = math.radians(azimuth), math.radians(elevation)
    return np.array([math.cos(e) * math.cos(a), math.cos(e) * math.sin(a), math.sin(e)])


def lit_by(blender: BlenderPool, file: Path, rotation: float) -> dict[str, Any]:
    """The settings of a look that a map lights, turned."""
    with blender.worker() as worker:
        worth = strength(read_map(worker, "env:mine", file))
    hdri = Hdri(look="env:mine", name="mine", sha256="0" * 64, suffix=".exr", strength=worth)
    (drawn,) = draw_looks(choose_looks("env:mine", [hdri]), Chance(), Path())
    return drawn.settings | {"environment": {"path": str(file), "rotation": rotation, "strength": worth}}


def test_light_from_everywhere_makes_a_matt_surface_as_bright_as_itself() -> None:
    radiance = np.full((64, 128, 3), (0.2, 0.4, 0.8))
    np.testing.assert_allclose(matt(radiance), np.broadcast_to([0.2, 0.4, 0.8], (2000, 3)), rtol=2e-3)
    assert strength(radiance) == pytest.approx(WHITE / 0.8, rel=2e-3)


def test_light_from_one_point_is_worth_its_irradiance() -> None:
    """E = L · solid angle on a surface that faces it; on average over all directions a quarter of that."""
    towards, solid_angle = directions(ROWS, COLUMNS)
    assert solid_angle.sum() == pytest.approx(4 * math.pi)
    radiance = np.zeros((ROWS, COLUMNS, 3))
    radiance[20, 5, 0] = 700
    each = matt(radiance)[:, 0]
    assert each.max() == pytest.approx(700 * solid_angle[20, 5] / math.pi, rel=5e-3)
    assert each.mean() == pytest.approx(each.max() / 4, rel=5e-3)
    assert towards[20, 5] @ towards[20, 5] == pytest.approx(1)


@pytest.mark.parametrize("light", [0.3, 40.0])
def test_a_white_ball_under_constant_light(
    blender: BlenderPool, white_ball: Path, tmp_path: Path, light: float
) -> None:
    """Whatever the map's radiance, the exposure makes it WHITE, and a white matt surface is as bright as its sky."""
    settings = lit_by(blender, write_exr(tmp_path / "sky.exr", np.full((16, 32, 3), light)), 0)
    _, rgba, _ = pixels(blender, request(white_ball, views=1, samples=64, look=settings))
    inside = linear_of_srgb()[rgba[rgba[..., 3] == 255][:, :3]]
    assert len(inside) > 300
    assert inside.mean() == pytest.approx(WHITE, abs=0.01)
    assert np.abs(inside - WHITE).max() < 0.08


@pytest.mark.parametrize(("azimuth", "elevation", "rotation"), [(20, 40, 0), (20, 40, 75), (-100, -25, 200)])
def test_light_comes_from_where_the_map_has_it(
    blender: BlenderPool, white_ball: Path, tmp_path: Path, azimuth: float, elevation: float, rotation: float
) -> None:
    """Lambert's law backwards: the lit pixels' brightness is albedo / π · E · (n · ω), a linear equation for ω."""
    settings = lit_by(blender, write_exr(tmp_path / "sun.exr", one_light(azimuth, elevation)), rotation)
    wanted = request(white_ball, size=48, samples=16, look=settings)
    wanted = replace(wanted, cameras=rig("hammersley-6").cameras(48, seed=3))
    _, rgba, depth = pixels(blender, wanted)
    normals, light = [], []
    for camera, colour, z in zip(wanted.cameras, rgba, depth, strict=True):
        v, u = np.nonzero((z > 0) & (colour[..., 3] == 255) & (colour[..., 1] > 60))
        points = arrays.unproject(camera.K, u, v, z[v, u], orthographic=False, centre=0.5)
        normals.append(arrays.to_world(points, camera.c2w) / 0.5)
        light.append(linear_of_srgb()[colour[v, u, 1]])
    found, *_ = np.linalg.lstsq(np.concatenate(normals), np.concatenate(light), rcond=None)
    row, column = int((90 - elevation) / 180 * ROWS), int((180 - azimuth) % 360 / 360 * COLUMNS)
    centre = direction(180 - 360 * (column + 0.5) / COLUMNS + rotation, 90 - 180 * (row + 0.5) / ROWS)
    angle = math.degrees(math.acos(found @ centre / np.linalg.norm(found)))
    assert angle < 2
    assert np.linalg.norm(found) == pytest.approx(WHITE, rel=0.03)


def test_blenders_own_maps() -> None:
    config, files = pin_looks(RenderConfig(look="env"))
    assert [hdri.name for hdri in config.hdris] == list(BLENDERS_HDRIS)
    assert len({hdri.sha256 for hdri in config.hdris}) == len(files) == 8
    chosen = choose_looks("env", config.hdris)
    drawn = [draw_looks(chosen, Chance(seed, "x"), Path("lights"))[0] for seed in range(200)]
    assert {look.name for look in drawn} == {f"env:{name}" for name in BLENDERS_HDRIS}
    assert all(0 <= look.told["rotation"] < 360 for look in drawn)
    assert len({look.told["rotation"] for look in drawn}) == 200
    one = drawn[0]
    assert one.settings["environment"]["path"] == f"lights/{one.told['hdri']['sha256']}.exr"


def test_a_folder_of_maps_is_pinned_by_content(tmp_path: Path) -> None:
    folder = tmp_path / "sky"
    folder.mkdir()
    for name, light in (("b.exr", 1), ("a.EXR", 2)):
        write_exr(folder / name, np.full((4, 8, 3), light))
    (folder / "readme.txt").write_text("not a map")
    config, files = pin_looks(RenderConfig(look=f"env:{folder}"))
    assert [(h.look, h.name, h.suffix) for h in config.hdris] == [("env:sky", "a", ".exr"), ("env:sky", "b", ".exr")]
    assert config.hdris[0].strength == pytest.approx(config.hdris[1].strength / 2, rel=1e-4)
    assert {path.name for path in files.values()} == {"a.EXR", "b.exr"}


def test_maps_that_are_none(blender: BlenderPool, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.exr").write_text("not a picture")
    (tmp_path / "photo.png").write_bytes(b"")
    whole = write_exr(tmp_path / "whole.exr", np.ones((4, 8, 3))).read_bytes()
    (tmp_path / "cut.exr").write_bytes(whole[: len(whole) // 3])
    write_exr(tmp_path / "black.exr", np.zeros((4, 8, 3)))
    write_exr(tmp_path / "nan.exr", np.full((4, 8, 3), np.nan))
    write_exr(tmp_path / "negative.exr", np.full((4, 8, 3), -1.0))
    for place, said in (
        ("text.exr", "cannot be read"),
        ("cut.exr", "cannot be read"),
        ("black.exr", "is black"),
        ("nan.exr", "values that are no numbers"),
        ("negative.exr", "negative light"),
    ):
        with pytest.raises(UsageError) as error, blender.worker() as worker:
            read_map(worker, "env:mine", tmp_path / place)
        assert said in str(error.value) and str(error.value).startswith(f"look env:mine: {tmp_path / place} ")
        assert "\n" not in str(error.value)
    for place, said in (
        ("empty", "holds no .exr or .hdr file"),
        ("photo.png", "must be an .exr or .hdr file"),
        ("gone.exr", "there is no file or folder"),
        ("text.exr", "cannot be read"),
    ):
        with pytest.raises(UsageError) as error:
            pin_looks(RenderConfig(look=f"studio+env:{tmp_path / place}"))
        assert said in str(error.value) and str(tmp_path / place) in str(error.value)
        assert str(error.value).startswith(f"look env:{Path(place).stem}: ")
    with pytest.raises(UsageError, match="did you mean env:city"):
        pin_looks(RenderConfig(look="env:citty"))
