"""Surfaces that are seen through: as many as there are, from behind where they are one-sided, and with a true depth."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from dataengine.errors import AssetFailure, ErrorCode
from dataengine.render.complaints import complaints_of, magenta, nothing_to_see, speckle
from dataengine.render.looks import LOOKS
from dataengine.render.passes import Passes, read_passes
from dataengine.render.pool import BlenderPool, discard
from dataengine.render.views import Views, views_of
from tests.render.models import CUBE, coloured, pixels, request, textured_quad, write_glb
from tests.render.test_blender import QUAD_OBJ

RED, GREEN = (200, 30, 30), (30, 200, 30)


def box(
    size: float, rgba: tuple[int, ...], sides: int = 1, mode: str = "OPAQUE", inward: bool = False
) -> trimesh.Trimesh:
    mesh = coloured(CUBE.copy().apply_scale(size), RED)
    if inward:
        mesh.faces = mesh.faces[:, ::-1]
    material = mesh.visual.material  # type: ignore[union-attr]
    material.baseColorFactor, material.doubleSided, material.alphaMode = [*rgba, 255][:4], sides == 2, mode
    if mode == "MASK":  # by a texture, as leaves are
        material.alphaCutoff = 0.5
        material.baseColorTexture = Image.new("RGBA", (4, 4), rgba)
        material.baseColorFactor = None
        mesh.visual.uv = np.zeros((len(mesh.vertices), 2))  # type: ignore[union-attr]
    return mesh


def render(blender: BlenderPool, path: Path, look: str = "studio", **changes: object) -> tuple[Views, Passes]:
    wanted = replace(request(path, **changes), look=LOOKS[look].to_json())  # type: ignore[arg-type]
    reply = blender.render(wanted)
    passes = read_passes(reply.exr)
    discard(reply)
    return views_of(passes, wanted.cameras), passes


def middle(views: Views) -> list[int]:
    size = views.rgba.shape[1] // 2
    return [int(c) for c in views.rgba[0, size, size]]


def test_forty_invisible_boxes_hide_nothing(blender: BlenderPool, tmp_path: Path) -> None:
    """MASK below the cutoff is "rendered as fully transparent" (glTF 2.0, 3.9.4): eighty surfaces before and behind."""
    shells = [box(1 + i / 50, (255, 255, 255, 10), sides=2, mode="MASK") for i in range(40)]
    path = write_glb(tmp_path / "shells.glb", box(0.8, RED), *shells)
    views, _ = render(blender, path, views=1)
    r, g, _, a = middle(views)
    assert a == 255 and r > 100 > 70 > g
    alone, _ = render(blender, write_glb(tmp_path / "alone.glb", box(0.8, RED)), views=1)
    seen = (views.rgba[0, ..., 3] > 127).mean()
    assert 0 < seen < (alone.rgba[0, ..., 3] > 127).mean(), "the shells frame, and do not show"
    assert ((views.depth[0] > 0) == (views.rgba[0, ..., 3] > 127)).mean() > 0.99


def test_a_published_look_keeps_its_bounces_and_says_when_they_ran_out(blender: BlenderPool, tmp_path: Path) -> None:
    """Three surfaces is what the published script allows; six box sides lie before the red one."""
    shells = [box(1 + i / 10, (255, 255, 255, 10), sides=2, mode="MASK") for i in range(6)]
    views, passes = render(
        blender, write_glb(tmp_path / "shells.glb", box(0.8, RED), *shells), "objaverse", views=1, samples=2
    )
    assert passes.cut_short() > 0.9
    assert any("objaverse" in line for line in complaints_of(views, passes, "objaverse", 0))
    views, passes = render(
        blender, write_glb(tmp_path / "one.glb", box(0.8, RED), shells[0]), "objaverse", views=1, samples=2
    )
    assert passes.cut_short() == 0
    assert not complaints_of(views, passes, "objaverse", 0)


def test_nested_glass_is_not_black(blender: BlenderPool, tmp_path: Path) -> None:
    """Six glass shells around a red cube: twelve refractions before it."""
    shells = []
    for i in range(6):
        mesh = box(1 + i / 10, (255, 255, 255), sides=2)
        mesh.visual.material.name = f"glass{i}"  # type: ignore[union-attr]
        shells.append(mesh)
    path = write_glb(tmp_path / "glass.glb", box(0.8, RED), *shells)
    from tests.render.models import glb_json, patch_glb

    materials = glb_json(path)["materials"]
    for material in materials:
        if str(material.get("name", "")).startswith("glass"):
            material["extensions"] = {"KHR_materials_transmission": {"transmissionFactor": 1.0}}
            material["pbrMetallicRoughness"] |= {"roughnessFactor": 0.0, "metallicFactor": 0.0}
    patch_glb(path, materials=materials, extensionsUsed=["KHR_materials_transmission"])
    r, g, _, _ = middle(render(blender, path, views=1, samples=64)[0])
    assert r > 40 and r > g


@pytest.mark.parametrize("sides", [1, 2])
def test_a_single_sided_shell_turned_inward_is_seen_through(blender: BlenderPool, tmp_path: Path, sides: int) -> None:
    """glTF 2.0, 3.9.6: "when doubleSided is false, back-face culling is enabled"; true: it is not."""
    path = write_glb(tmp_path / "hull.glb", box(1.0, RED), box(1.1, (0, 0, 0), sides=sides, inward=True))
    views, _ = render(blender, path, views=1, size=48)
    r, g, _, a = middle(views)
    assert a == 255
    assert (r > 100 > 70 > g) == (sides == 1)
    dark = (views.rgba[0, ..., 3] == 255) & (views.rgba[0, ..., 0] < 40)
    assert dark.mean() > 0.01, "the rim, or all of it"


def test_single_sided_faces_that_look_away_are_told_from_a_rim(blender: BlenderPool, tmp_path: Path) -> None:
    """glTF 2.0, 3.9.6 culls backs in most of these; only in the last two is it most of what there is to see."""
    shares = {}
    for name, boxes in {
        "plain": [box(1.0, RED)],
        "rim": [box(1.0, RED), box(1.1, (0, 0, 0), inward=True)],
        "tinted glass": [box(1.0, (200, 50, 50, 77), mode="BLEND")],
        "both sides": [box(1.0, RED, sides=2, inward=True)],
        "inside out": [box(1.0, RED, inward=True)],
        "room": [box(0.2, RED), box(1.0, RED, inward=True)],
    }.items():
        views, passes = render(blender, write_glb(tmp_path / f"{name}.glb", *boxes), views=2, size=48)
        shares[name] = passes.looks_away()
        said = any("single-sided" in line for line in complaints_of(views, passes, "studio", 0))
        assert said == (name in ("inside out", "room")), name
    assert max(shares[name] for name in ("plain", "rim", "tinted glass", "both sides")) < 0.05
    assert min(shares["inside out"], shares["room"]) > 0.8


def test_a_fan_that_looks_down_is_blank_and_says_why() -> None:
    """Seen from above by all cameras: nothing of it shows."""
    plane = {c: np.ones((1, 8, 8), np.float32) for c in "XS"} | {c: np.zeros((1, 8, 8), np.float32) for c in "RGBAZ"}
    said = nothing_to_see(flat_views(np.zeros((8, 8)), np.zeros((8, 8))), Passes({"": plane}))
    assert said == "no pixel of any view is covered; its faces are single-sided and look away"


def test_a_mirrored_node_is_not_inside_out(blender: BlenderPool, tmp_path: Path) -> None:
    """A negative determinant turns the winding around (glTF 2.0, 3.7.4)."""
    from tests.render.models import glb_json, patch_glb

    path = write_glb(tmp_path / "mirrored.glb", box(1.0, RED))
    plain, _ = render(blender, path, views=1)
    nodes = glb_json(path)["nodes"]
    for node in nodes:
        if "mesh" in node:
            node.pop("matrix", None)
            node["scale"] = [-1, 1, 1]
    patch_glb(path, nodes=nodes)
    mirrored, _ = render(blender, path, views=1)
    np.testing.assert_allclose(middle(mirrored), middle(plain), atol=3)
    np.testing.assert_allclose(mirrored.depth[0, 16, 16], plain.depth[0, 16, 16], atol=1e-3)


def test_formats_that_cannot_say_it_are_flagged(blender: BlenderPool, tmp_path: Path) -> None:
    outer = CUBE.copy()
    outer.faces = outer.faces[:, ::-1]
    shares = {}
    for name, shell in (("inside", outer), ("outside", CUBE)):
        path = tmp_path / f"{name}.obj"
        path.write_text(shell.export(file_type="obj", include_normals=False))
        views, passes = render(blender, path, views=2)
        shares[name] = passes.back_faces()
        assert any("back faces" in line for line in complaints_of(views, passes, "studio", 0)) == (name == "inside")
    assert shares["inside"] > 0.9 and shares["outside"] < 0.1


@pytest.mark.parametrize("opacity", [0.498039, 0.2, 0.7])
def test_depth_of_a_see_through_box_is_its_front(blender: BlenderPool, tmp_path: Path, opacity: float) -> None:
    """MTL's d; 0.498039 is ShapeNetSem's. One surface throughout, though front and back together cover the pixel."""
    path = tmp_path / "box.obj"
    path.write_text("mtllib m.mtl\nusemtl m\n" + CUBE.export(file_type="obj", include_normals=False))
    (tmp_path / "m.mtl").write_text(f"newmtl m\nKd 0.8 0.1 0.1\nd {opacity}\n")
    views, _ = render(blender, path, views=1, size=48, samples=64)
    covered = views.rgba[0, ..., 3] > 128
    if opacity == 0.2:  # 1 - 0.8^2 = 0.36 of a pixel: none
        assert not views.depth.any()
        return
    inside = covered[1:-1, 1:-1] & covered[:-2, 1:-1] & covered[2:, 1:-1] & covered[1:-1, :-2] & covered[1:-1, 2:]
    z = views.depth[0, 1:-1, 1:-1][inside]
    scale = 0.5 / np.linalg.norm([0.5, 0.5, 0.5])
    distance = float(np.linalg.norm([row[3] for row in views.cameras[0].c2w[:3]]))
    assert z == pytest.approx(distance - scale / 2, abs=1e-3)


def test_what_is_traced_and_seen_through_is_drawn_with_more_samples(blender: BlenderPool, tmp_path: Path) -> None:
    """A sample of smooth metal of alpha 0.5 is mirrored or goes through: 1 - 0.5² of them meet one of the two sides."""
    metal = box(1.0, (30, 200, 30, 128), 2, "BLEND")
    metal.visual.material.roughnessFactor, metal.visual.material.metallicFactor = 0.1, 1.0  # type: ignore[union-attr]
    views, _ = render(blender, write_glb(tmp_path / "metal.glb", metal), views=1, samples=4, size=64)
    assert views.rgba is not None
    alpha = views.rgba[0, 20:44, 20:44, 3] / 255
    assert float(alpha.mean()) == pytest.approx(1 - (127 / 255) ** 2, abs=0.01)
    assert float(alpha.std()) < 0.035  # 0.05 with four, 0.025 with the sixteen that they become


def test_depth_is_of_the_first_surface_that_is_dense_enough(blender: BlenderPool, tmp_path: Path) -> None:
    """A pane of alpha 0.3 before a red cube."""
    glass = box(1.0, (200, 220, 255, 77), sides=2, mode="BLEND")
    views, _ = render(blender, write_glb(tmp_path / "two.glb", box(0.5, RED), glass), views=1, size=48, samples=16)
    scale, distance = 0.5 / np.linalg.norm([0.5] * 3), np.linalg.norm([r[3] for r in views.cameras[0].c2w[:3]])
    assert views.depth[0, 24, 24] == pytest.approx(distance - 0.25 * scale, abs=1e-3)
    assert max(speckle(views)) == 0


def test_a_textured_cut_out_has_depth_where_it_is_solid(blender: BlenderPool, tmp_path: Path) -> None:
    image = Image.fromarray(
        np.dstack([np.full((64, 64, 3), 120), np.tile(np.arange(64) * 4, (64, 1))]).astype(np.uint8)
    )
    mesh = textured_quad(image)
    mesh.visual.material.alphaMode, mesh.visual.material.doubleSided = "BLEND", True  # type: ignore[union-attr]
    views, _ = render(blender, write_glb(tmp_path / "fade.glb", mesh), views=1, size=64, samples=64)
    row = views.depth[0, 32] > 0
    edges = np.flatnonzero(np.diff(row.astype(int)))
    assert len(edges) == 2, "from the middle of the fade to the solid edge, in one piece"


def flat_views(alpha: np.ndarray, depth: np.ndarray) -> Views:
    rgba = np.dstack([np.full((*alpha.shape, 3), 90, np.uint8), alpha.astype(np.uint8)])
    return Views([], rgba[None], depth[None].astype(np.float32))


def test_speckle_is_told_from_leaves_and_holes() -> None:
    random = np.random.default_rng(0)
    solid = np.full((64, 64), 255)
    dice = flat_views(solid, random.random((64, 64)) < 0.43)  # as a surface of alpha 0.498 had it
    assert speckle(dice)[0] > 0.2
    with pytest.raises(AssetFailure) as failure:
        complaints_of(dice, Passes({"": {"A": np.ones((1, 64, 64), np.float32)}}), "studio", 0)
    assert failure.value.code == ErrorCode.BAD_DEPTH
    half = np.ones((64, 64))
    half[:, 32:] = 0  # an opaque thing behind half of a pane
    assert speckle(flat_views(solid, half))[0] == 0
    leaves = np.where(random.random((64, 64)) < 0.5, 255, 0)
    assert speckle(flat_views(leaves, leaves > 0))[0] == 0


PLAIN = Passes({"": {}})


def test_what_counts_as_nothing_to_see() -> None:
    alpha, depth = np.zeros((32, 32)), np.ones((32, 32))
    assert nothing_to_see(flat_views(alpha, depth), PLAIN) == "no pixel of any view is covered"
    alpha[:2, :2] = 255
    assert "4 pixels" in (nothing_to_see(flat_views(alpha, depth), PLAIN) or "")
    alpha[:] = 100
    assert "0 pixels" in (nothing_to_see(flat_views(alpha, depth), PLAIN) or "")
    alpha[:] = 255
    assert nothing_to_see(flat_views(alpha, 0 * depth), PLAIN) == "no view has any depth"
    assert nothing_to_see(flat_views(alpha, depth), PLAIN) is None


def test_a_speck_is_said_to_be_one() -> None:
    alpha = np.zeros((64, 64))
    alpha[:4, :4] = 255
    views = flat_views(alpha, alpha)
    passes = Passes({"": {"A": (alpha / 255)[None].astype(np.float32)}})
    assert nothing_to_see(views, PLAIN) is None
    assert complaints_of(views, passes, "studio", 0) == ["no view shows it on more than 0.39% of its pixels"]
    alpha[:8, :8] = 255
    assert not complaints_of(flat_views(alpha, alpha), passes, "studio", 0)


def test_see_through_surfaces_are_not_counted_twice(blender: BlenderPool, tmp_path: Path) -> None:
    path = tmp_path / "box.obj"
    path.write_text("mtllib m.mtl\nusemtl m\n" + CUBE.export(file_type="obj", include_normals=False))
    (tmp_path / "m.mtl").write_text("newmtl m\nKd 0.8 0.1 0.1\nd 0.4\n")
    _, passes = render(blender, path, views=2, samples=8)
    share = passes.back_faces()
    assert share is not None and share < 0.1


def test_blenders_magenta_is_noticed_and_a_magenta_toy_is_not() -> None:
    views = flat_views(np.full((8, 8), 255), np.ones((8, 8)))
    views.rgba[..., :3] = (177, 0, 177)
    assert magenta(views) == 1.0
    views.rgba[..., :3] = (186, 36, 186)  # with a gloss
    assert magenta(views) == 1.0
    views.rgba[..., :3] = (200, 20, 180)
    assert magenta(views) == 0.0


@pytest.mark.parametrize(
    ("colour", "packed", "unsure"),
    [((200, 60, 40), False, 1), ((255, 0, 255), False, 0), ((200, 60, 40), True, 0)],
    ids=["a file", "a file that is magenta itself", "in the model"],
)
def test_magenta_is_laid_to_images_that_cycles_may_have_failed_to_open(
    blender: BlenderPool, tmp_path: Path, colour: tuple[int, int, int], packed: bool, unsure: int
) -> None:
    image = Image.new("RGB", (4, 4), colour)
    if packed:
        path = write_glb(tmp_path / "q.glb", textured_quad(image))
    else:
        path = tmp_path / "q.obj"
        path.write_text(QUAD_OBJ)
        (tmp_path / "q.mtl").write_text("newmtl m\nKd 1 1 1\nmap_Kd t.png\n")
        image.save(tmp_path / "t.png")
    reply, _, _ = pixels(blender, request(path, views=1, size=8))
    assert reply.unsure_images == unsure


def test_lit_magenta_of_a_missing_image(blender: BlenderPool, tmp_path: Path) -> None:
    path = write_glb(tmp_path / "cube.glb", coloured(CUBE, (255, 0, 255)))
    _, rgba, _ = pixels(blender, request(path, views=1))
    assert magenta(Views([], rgba, rgba[..., 0].astype(np.float32))) > 0.5
