"""Channels against what is known in closed form: a sphere and tilted cubes from every rig, and all kinds of nodes."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from dataengine.geometry import arrays
from dataengine.render.blender.protocol import Camera, RenderReply
from dataengine.render.channel_checks import check_channels
from dataengine.render.passes import read_passes
from dataengine.render.pool import BlenderPool, discard
from dataengine.render.recipes import RECIPES
from dataengine.render.rigs import BOUND, Rig, rig
from dataengine.render.views import Views, ViewsHeader, load_views, to_members, views_of
from tests.render import shaders
from tests.render.analytic import Array, rays
from tests.render.models import CUBE, coloured, glb_json, patch_glb, request, textured_quad, write_glb

ALL = ["normal", "albedo", "orm", "id"]
SIZE = 64
RIGS = [rig(n) for n in ("orbit8", "orbit16", "orbit24", "six_views", "sphere12", "hammersley-150")]
RIGS += [r.rig for r in RECIPES.values()]
OUTSIDE = 0.5  # cosine: nearer to the outline, a pixel's samples meet normals that differ


@dataclass(frozen=True)
class Solid:
    """A unit sphere (of radius 1) or cube (of side 2), turned, scaled by `radius` and moved; in the z-up world."""

    kind: str
    centre: tuple[float, float, float]
    radius: float
    turn: tuple[float, float, float]
    colour: tuple[int, int, int]  # linear, 0 to 255
    roughness: float
    metallic: float

    def rotation(self) -> Array:
        return np.asarray(trimesh.transformations.euler_matrix(*self.turn)[:3, :3])


# in the order of their names: ids 1, 2, 3
SOLIDS = (
    Solid("sphere", (-0.6, -0.5, 0.4), 0.9, (0, 0, 0), (200, 40, 10), 0.3, 1.0),
    Solid("cube", (0.8, 0.6, -0.3), 0.6, (0.4, 0.7, 0.2), (20, 160, 90), 0.85, 0.25),
    Solid("cube", (0.7, -0.9, 0.9), 0.35, (-0.5, 0.3, 1.1), (255, 255, 255), 0.0, 0.6),
)


def write_solids(path: Path) -> Path:
    meshes = []
    for solid in SOLIDS:
        if solid.kind == "sphere":
            mesh = trimesh.creation.icosphere(subdivisions=5)
            mesh.vertex_normals = mesh.vertices
        else:
            mesh = trimesh.creation.box(extents=(2, 2, 2))
            mesh.unmerge_vertices()
        points = solid.radius * mesh.vertices @ solid.rotation().T + solid.centre
        normals = mesh.vertex_normals @ solid.rotation().T
        material = trimesh.visual.material.PBRMaterial(
            baseColorFactor=[*solid.colour, 255], metallicFactor=solid.metallic, roughnessFactor=solid.roughness
        )
        meshes.append(
            trimesh.Trimesh(
                y_up(points),
                mesh.faces,
                vertex_normals=y_up(normals),
                process=False,
                visual=trimesh.visual.TextureVisuals(material=material),
            )
        )
    scene = trimesh.Scene()
    for i, mesh in enumerate(meshes):
        scene.add_geometry(mesh, node_name=f"part{i}")
    path.write_bytes(scene.export(file_type="glb", include_normals=True))
    return path


def y_up(points: Array) -> Array:
    return np.stack([points[:, 0], points[:, 2], -points[:, 1]], 1)


@dataclass(frozen=True)
class Cast:
    """What a ray through the middle of each pixel meets: id (0 = nothing), normal, planar depth."""

    ids: Array
    normals: Array
    depth: Array


def cast(camera: Camera, reply: RenderReply) -> Cast:
    origin, direction = rays(camera, SIZE, SIZE)
    nearest, ids, normals = np.full((SIZE, SIZE), np.inf), np.zeros((SIZE, SIZE), int), np.zeros((SIZE, SIZE, 3))
    for number, solid in enumerate(SOLIDS, start=1):
        turn, radius = solid.rotation(), solid.radius * reply.scale
        centre = reply.scale * np.array(solid.centre) + reply.offset
        o, d = (origin - centre) @ turn / radius, direction @ turn / radius
        with np.errstate(divide="ignore", invalid="ignore"):
            if solid.kind == "sphere":
                a, b, c = (d * d).sum(-1), (o * d).sum(-1), (o * o).sum(-1) - 1
                t = (-b - np.sqrt(b * b - a * c)) / a
                local = o + t[..., None] * d
            else:
                near = np.minimum((-1 - o) / d, (1 - o) / d)
                far = np.maximum((-1 - o) / d, (1 - o) / d).min(-1)
                t = np.where(near.max(-1) < far, near.max(-1), np.nan)
                local = -np.sign(d) * (np.arange(3) == near.argmax(-1)[..., None])
            closer = t < nearest
        nearest = np.where(closer, t, nearest)
        ids[closer] = number
        normals[closer] = (local @ turn.T)[closer]
    return Cast(ids, normals, np.where(np.isfinite(nearest), nearest, 0))


def inside(found: Cast, camera: Camera) -> Array:
    """(H, W): pixels whose neighbours are of the same solid and, of a cube, of the same face, not seen too flat."""
    direction = rays(camera, SIZE, SIZE)[1]
    cosine = -(found.normals * direction).sum(-1) / np.linalg.norm(direction, axis=-1)
    same = (found.ids > 0) & (cosine > OUTSIDE)
    for shift in [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)]:
        same &= np.roll(found.ids, shift, (0, 1)) == found.ids
        turned = (np.roll(found.normals, shift, (0, 1)) * found.normals).sum(-1)
        same &= (found.ids == 1) | (turned > 0.999)
    same[[0, -1]] = same[:, [0, -1]] = False
    return same


def srgb(linear: Sequence[float]) -> Array:
    """0 to 255, as a real number."""
    x = np.asarray(linear, float)
    return 255 * np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055)


def channels(
    blender: BlenderPool, path: Path, cameras: Sequence[Camera] | None = None, **changes: object
) -> tuple[Views, Views, RenderReply]:
    """The views as rendered, as they are read from their members, and the reply."""
    wanted = request(path, **{"channels": ALL, **changes})  # type: ignore[arg-type]
    wanted = replace(wanted, cameras=list(cameras)) if cameras else wanted
    reply = blender.render(wanted)
    try:
        views = views_of(read_passes(reply.exr), wanted.cameras, wanted.channels, colour=wanted.colour)
    finally:
        discard(reply)
    header = ViewsHeader("rig", "studio", wanted.normalisation, reply.scale, reply.offset)
    return views, load_views(to_members(views, header)), reply


@pytest.fixture(scope="module")
def solids(
    blender: BlenderPool, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Views, list[int], RenderReply]]:
    """Two views of every rig, one call for each way to normalise: rig → views, its own ones' indices, reply."""
    path = write_solids(tmp_path_factory.mktemp("solids") / "solids.glb")
    found = {}
    for mode in BOUND:
        mine = [r for r in RIGS if r.normalisation == mode]
        cameras = [c for r in mine for c in two_of(r)]
        _, views, reply = channels(blender, path, cameras, size=SIZE, samples=32, normalisation=mode)
        for i, r in enumerate(mine):
            found[r.name] = (views, [2 * i, 2 * i + 1], reply)
    return found


def two_of(one: Rig) -> list[Camera]:
    cameras = one.cameras(SIZE, seed=3)
    return [cameras[0], cameras[2 * len(cameras) // 5]]


@pytest.mark.parametrize("one", RIGS, ids=lambda r: r.name)
def test_channels_are_what_rays_meet(one: Rig, solids: dict) -> None:
    views, own, reply = solids[one.name]
    compared = set()
    for i in own:
        camera, made = views.cameras[i], {name: array[i] for name, array in views.channels.arrays.items()}
        found = cast(camera, reply)
        use = inside(found, camera)
        compared |= set(found.ids[use])
        cosine = np.clip((made["normal"][use] * found.normals[use]).sum(-1), -1, 1)
        assert np.degrees(np.arccos(cosine)).max() < 0.5
        assert (made["id"][use] == found.ids[use]).all()
        for number, solid in enumerate(SOLIDS, start=1):
            of_it = use & (found.ids == number)
            assert np.abs(made["albedo"][of_it] - srgb(np.array(solid.colour) / 255)).max(initial=0) <= 1
            expected = np.array([1, solid.roughness, solid.metallic]) * 255
            assert np.abs(made["orm"][of_it] - expected).max(initial=0) <= 1
        points = arrays.point_map(views.depth[i], camera.K, camera.c2w, orthographic=camera.orthographic)
        origin, direction = rays(camera, SIZE, SIZE)
        met = origin + direction * found.depth[..., None]
        footprint = arrays.footprint(camera.K, found.depth[use], orthographic=camera.orthographic)
        along = np.abs(((points - met)[use] * found.normals[use]).sum(-1))
        assert (along < footprint).all()
        seen = arrays.normals_in_camera(made["normal"][use], camera.c2w)
        towards = direction[use] @ np.array(camera.c2w)[:3, :3]
        assert ((seen * towards).sum(-1) < 0).all()
        np.testing.assert_allclose(
            arrays.normals_in_camera(made["normal"][use], camera.c2w, opengl=True), seen * [1, -1, -1]
        )
    assert compared == {1, 2, 3}


def test_an_id_is_never_a_mean_of_others(solids: dict) -> None:
    """1 and 3 meet in the image, and no pixel between them is 2; ids and depth are in the same pixels."""
    met = 0
    for name, (views, own, reply) in solids.items():
        for i in own:
            ids = views.channels.arrays["id"][i]
            assert set(np.unique(ids)) <= {0, 1, 2, 3}, name
            assert ((ids > 0) == (views.depth[i] > 0)).all()
            true = cast(views.cameras[i], reply).ids
            near = [np.roll(np.roll(true, y, 0), x, 1) for y in (-1, 0, 1) for x in (-1, 0, 1)]
            one_and_three = np.any([n == 1 for n in near], 0) & np.any([n == 3 for n in near], 0)
            one_and_three &= ~np.any([n == 2 for n in near], 0)
            met += int(one_and_three.sum())
            assert not (ids[one_and_three] == 2).any()
    assert met > 20


def test_colour_like_channels_are_means_over_the_object(solids: dict) -> None:
    """Where the picture is covered in part, the background is no part of the mean."""
    views, own, reply = solids["six_views"]
    for i in own:
        alpha, found = views.rgba[i, ..., 3], cast(views.cameras[i], reply)
        alone = [np.isin(np.roll(np.roll(found.ids, y, 0), x, 1), (0, 1)) for y in (-1, 0, 1) for x in (-1, 0, 1)]
        edge = (alpha > 20) & (alpha < 235) & np.all(alone, 0)
        assert edge.sum() > 5
        assert np.abs(views.channels.arrays["albedo"][i][edge] - srgb(np.array(SOLIDS[0].colour) / 255)).max() <= 1
        assert (views.channels.arrays["orm"][i][edge][:, 0] == 255).all()
        assert np.abs(np.linalg.norm(views.channels.arrays["normal"][i][edge], axis=-1) - 1).max() < 1e-3
    for array in views.channels.arrays.values():
        assert not array[views.rgba[..., 3] == 0].any()


@pytest.mark.parametrize("samples", [2, 4], ids=["2", "4, and depth in a layer of its own"])
def test_the_checks_of_the_solids(samples: int, blender: BlenderPool, tmp_path: Path) -> None:
    path = write_solids(tmp_path / "solids.glb")
    views, _, _ = channels(blender, path, rig("orbit8").cameras(SIZE), size=SIZE, samples=samples)
    checks = check_channels(views)
    assert checks.normal_depth_angle is not None and checks.normal_depth_angle < 3
    assert checks.shading_normal_angle is not None and checks.shading_normal_angle < 2
    assert (checks.albedo_clipped, checks.id_disagreement, checks.ids_seen) == (0, 0, 3)


@pytest.mark.parametrize("samples", [3, 4])
def test_colour_and_depth_do_not_change_with_channels(samples: int, blender: BlenderPool, tmp_path: Path) -> None:
    path = write_solids(tmp_path / "solids.glb")
    with_channels, _, _ = channels(blender, path, size=32, samples=samples)
    without, _, _ = channels(blender, path, size=32, samples=samples, channels=[])
    assert with_channels.rgba is not None
    np.testing.assert_array_equal(with_channels.rgba, without.rgba)
    np.testing.assert_array_equal(with_channels.depth, without.depth)
    assert not without.channels.arrays


def test_more_than_255_parts(blender: BlenderPool, tmp_path: Path) -> None:
    """A board of 18 × 18 cubes: the ids of 8 bits would not do."""
    nodes = [{"mesh": 0, "name": f"n{i:03d}", "translation": [2 * (i % 18), 2 * (i // 18), 0]} for i in range(324)]
    path = write_glb(tmp_path / "board.glb", coloured(CUBE, (90, 90, 90)))
    patch_glb(path, nodes=nodes, scenes=[{"nodes": list(range(324))}])
    _, views, _ = channels(blender, path, views=1, size=128, channels=["id"])
    assert set(np.unique(views.channels.arrays["id"])) == set(range(325))


def row_of(count: int, size: int) -> list[Camera]:
    """A camera on -y for a row of unit squares along x, 1.2 apart, normalised to a longest side of 1."""
    (camera,) = (c for c in rig("six_views").cameras(size) if c.name == "front")
    scale = 1 / (1.2 * (count - 1) + 1)
    return [replace(camera, K=[[size * 1.0, 0, size / 2], [0, size * 1.0, size / 2], [0, 0, 1]])] if scale else []


@pytest.fixture(scope="module")
def squares(blender: BlenderPool, tmp_path_factory: pytest.TempPathFactory) -> Views:
    file = tmp_path_factory.mktemp("shaders") / "shaders.blend"
    subprocess.run([sys.executable, shaders.__file__, str(file)], check=True, capture_output=True, timeout=120)
    size = 8 * len(shaders.WHAT)
    _, views, _ = channels(blender, file, row_of(len(shaders.WHAT), size), size=size, normalisation="cube")
    return views


@pytest.mark.parametrize("name", shaders.WHAT)
def test_what_nodes_say(name: str, squares: Views) -> None:
    colour, roughness, metallic = shaders.WHAT[name]
    place, size = list(shaders.WHAT).index(name), squares.depth.shape[1]
    scale = 1 / (1.2 * (len(shaders.WHAT) - 1) + 1)
    column, row = int(size * scale * (1.2 * place + 0.5)), size // 2
    made = {key: array[0, row, column] for key, array in squares.channels.arrays.items()}
    assert made["id"] == place + 1
    assert np.abs(made["albedo"] - srgb(colour)).max() <= 1
    assert np.abs(made["orm"] - np.array([1, roughness, metallic]) * 255).max() <= 1
    np.testing.assert_allclose(made["normal"], [0, -1, 0], atol=1e-3)


def textured(path: Path, material: dict, extension: str) -> Path:
    write_glb(path, coloured(CUBE, (255, 255, 255)))
    materials = glb_json(path)["materials"]
    materials[0] |= material
    return patch_glb(path, materials=materials, extensionsUsed=[extension])


@pytest.mark.parametrize(
    ("extension", "material", "colour", "orm"),
    [
        (
            "KHR_materials_unlit",
            {
                "extensions": {"KHR_materials_unlit": {}},
                "pbrMetallicRoughness": {"baseColorFactor": [0.2, 0.5, 0.7, 1]},
            },
            (0.2, 0.5, 0.7),
            (1, 1, 0),
        ),
        (
            "KHR_materials_pbrSpecularGlossiness",
            {
                "extensions": {
                    "KHR_materials_pbrSpecularGlossiness": {
                        "diffuseFactor": [0, 0, 0, 1],
                        "specularFactor": [0.9, 0.6, 0.3],
                        "glossinessFactor": 0.75,
                    }
                }
            },
            (0.9, 0.6, 0.3),
            (1, 0.25, 1),
        ),
    ],
)
def test_gltf_materials(
    extension: str, material: dict, colour: tuple, orm: tuple, blender: BlenderPool, tmp_path: Path
) -> None:
    path = textured(tmp_path / "cube.glb", material, extension)
    _, views, _ = channels(blender, path, views=1, channels=["albedo", "orm"])
    assert np.abs(views.channels.arrays["albedo"][0, 16, 16] - srgb(colour)).max() <= 1
    assert np.abs(views.channels.arrays["orm"][0, 16, 16] - np.array(orm) * 255).max() <= 1


def pane(alpha: Image.Image, mode: str) -> trimesh.Trimesh:
    """A green square, seen from both sides, of that alpha, before whatever is at the origin."""
    image = Image.merge("RGBA", [Image.new("L", alpha.size, v) for v in (30, 200, 30)] + [alpha])
    mesh = textured_quad(image)
    mesh.visual.material.alphaMode, mesh.visual.material.doubleSided = mode, True  # type: ignore[union-attr]
    mesh.apply_scale(0.9)
    return mesh.apply_translation([0, 0, 0.6])


@pytest.mark.parametrize(("mode", "alpha"), [("MASK", (0, 255)), ("BLEND", (77, 255))])
@pytest.mark.parametrize("colour", [True, False])
def test_channels_are_of_the_surface_that_has_the_depth(
    mode: str, alpha: tuple[int, int], colour: bool, blender: BlenderPool, tmp_path: Path
) -> None:
    """A pane before a red cube, its left half cut out or of alpha 0.3: there all channels are the cube's."""
    half = Image.new("L", (8, 8), alpha[0])
    half.paste(alpha[1], (4, 0, 8, 8))
    path = write_glb(tmp_path / "pane.glb", coloured(CUBE, (200, 30, 30)), pane(half, mode))
    _, views, _ = channels(blender, path, views=1, size=48, samples=4 if colour else 1, colour=colour)
    made = {name: array[0] for name, array in views.channels.arrays.items()}
    assert ((made["id"] > 0) == (views.depth[0] > 0)).all()
    cube, front = (20, 18), (20, 30)
    assert (made["id"][cube], made["id"][front]) == (1, 2)
    assert views.depth[0][cube] > views.depth[0][front] + 0.01
    assert np.abs(made["albedo"][cube] - srgb([200 / 255, 30 / 255, 30 / 255])).max() <= 1
    assert np.abs(made["albedo"][front] - [30, 200, 30]).max() <= 2, "the texture's own sRGB"
    assert (made["orm"][cube] == [255, 255, 0]).all()
    for place in (cube, front):
        np.testing.assert_allclose(made["normal"][place], [0, -1, 0], atol=1e-3)
    assert views.rgba is None or not colour or views.rgba[0][cube][1] > 40, "colour is of both"


def test_without_colour(blender: BlenderPool, tmp_path: Path) -> None:
    path = write_solids(tmp_path / "solids.glb")
    _, lit, _ = channels(blender, path, size=48, samples=1, views=1)
    _, dark, _ = channels(blender, path, size=48, samples=1, views=1, colour=False)
    assert dark.rgba is None and dark.covered.any()
    np.testing.assert_array_equal(dark.depth, lit.depth)
    for name, array in dark.channels.arrays.items():
        np.testing.assert_array_equal(array, lit.channels.arrays[name], err_msg=name)


def test_a_model_inside_out_shows_the_side_that_is_seen(blender: BlenderPool, tmp_path: Path) -> None:
    """Normals are towards the camera, whatever the file says."""
    path = tmp_path / "inside.obj"
    outer = CUBE.copy()
    outer.faces = outer.faces[:, ::-1]
    path.write_text(outer.export(file_type="obj", include_normals=False))
    _, views, _ = channels(blender, path, views=1, channels=["normal"])
    np.testing.assert_allclose(views.channels.arrays["normal"][0, 16, 16], [0, -1, 0], atol=1e-3)
