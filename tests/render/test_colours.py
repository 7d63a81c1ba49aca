"""Colour that the geometry carries is seen, in every format that can carry it."""

from pathlib import Path

import numpy as np
import pytest
import trimesh

from dataengine.render.pool import BlenderPool
from tests.render.models import UInt8, pixels, request, write_glb

RED, GREEN, BLUE, YELLOW, CYAN, MAGENTA = (
    *((255, 0, 0), (0, 255, 0), (0, 0, 255)),
    *((255, 255, 0), (0, 255, 255), (255, 0, 255)),
)
SIDES = {(0, -1): RED, (1, 0): GREEN, (0, 1): BLUE, (-1, 0): YELLOW}
"""Which colour the cube's sides have: by their normal (x, y) in the z-up world; the top is cyan, the bottom magenta."""
VIEWS = ((0, -1), (1, 0), (0, 1), (-1, 0))  # where the four cameras of `request` stand, in order


def six_colours(z_up: bool = True) -> trimesh.Trimesh:
    """A cube with four vertices of its own, in one colour, a side."""
    box = trimesh.creation.box(extents=(1, 1, 1))
    vertices, faces, colours = [], [], []
    for facet, normal in zip(box.facets, box.facets_normal, strict=True):
        colour = SIDES.get((round(normal[0]), round(normal[1])), CYAN if normal[2] > 0 else MAGENTA)
        for face in facet:
            faces.append(range(len(vertices), len(vertices) + 3))
            vertices += box.vertices[box.faces[face]].tolist()
            colours += [colour] * 3
    points = np.array(vertices)
    if not z_up:  # as a y-up file holds what is imported as (x, -z, y)
        points = points[:, [0, 2, 1]] * (1, 1, -1)
    return trimesh.Trimesh(points, np.array(faces), vertex_colors=colours, process=False)


def middles(rgba: UInt8) -> list[list[bool]]:
    """Which channels are bright in the middle of each view."""
    size = rgba.shape[1] // 2
    return [[bool(c > 90) for c in view[size, size, :3]] for view in rgba]


SEEN = [[c > 0 for c in SIDES[side]] for side in VIEWS]


def write(path: Path) -> Path:
    """The six-coloured cube in the path's format."""
    match path.suffix:
        case ".ply":
            path.write_bytes(six_colours().export(file_type="ply"))
            read = trimesh.load(path, process=False).visual.vertex_colors[:, :3]
            assert {tuple(c) for c in read.tolist()} == {RED, GREEN, BLUE, YELLOW, CYAN, MAGENTA}
        case ".obj":
            path.write_text(six_colours(z_up=False).export(file_type="obj", include_color=True))
        case ".usda":
            mesh = six_colours()
            points = ", ".join(str(tuple(v)) for v in mesh.vertices.tolist())
            colours = ", ".join(str(tuple(c // 255 for c in rgba[:3])) for rgba in mesh.visual.vertex_colors.tolist())
            counts, corners = ", ".join(["3"] * len(mesh.faces)), ", ".join(map(str, range(len(mesh.vertices))))
            path.write_text(USD.format(faces=counts, corners=corners, points=points, colours=colours))
        case ".dae":
            mesh = six_colours()
            numbers = " ".join(f"{n:g}" for n in mesh.vertices.ravel())
            colours = " ".join(str(c // 255) for c in mesh.visual.vertex_colors[:, :3].ravel())
            n = len(mesh.vertices)
            corners = " ".join(f"{i} {i}" for i in range(n))
            path.write_text(
                COLLADA.format(n=n, n3=3 * n, points=numbers, colours=colours, faces=n // 3, corners=corners)
            )
    return path


@pytest.mark.parametrize("suffix", ["ply", "obj", "usda", "dae"])
def test_vertex_colours_are_seen(blender: BlenderPool, tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"cube.{suffix}")
    reply, rgba, _ = pixels(blender, request(path, views=4, format=suffix.replace("usda", "usd")))
    assert middles(rgba) == SEEN
    assert not reply.complaints


@pytest.mark.parametrize("name", ["colours.fbx", "colours_grey.fbx"])
def test_fbx_without_a_material_or_with_an_exporters_grey_one(blender: BlenderPool, authored: Path, name: str) -> None:
    """Blender's own faces of the cube, in authored.py: -x red, +x green, -y blue, +y yellow."""
    _, rgba, _ = pixels(blender, request(authored / name, views=4))
    assert middles(rgba) == [[False, False, True], [False, True, False], [True, True, False], [True, False, False]]


def test_a_material_that_says_a_colour_wins_and_the_row_says_so(blender: BlenderPool, authored: Path) -> None:
    reply, rgba, _ = pixels(blender, request(authored / "colours_red.fbx", views=4))
    assert middles(rgba) == [[True, False, False]] * 4
    assert any("not shown" in c for c in reply.complaints)


def test_white_colours_leave_a_material_alone(blender: BlenderPool, tmp_path: Path) -> None:
    mesh = six_colours(z_up=False)
    mesh.visual.vertex_colors[:] = 255
    text = mesh.export(file_type="obj", include_color=True)
    (tmp_path / "white.obj").write_text("mtllib m.mtl\nusemtl m\n" + text)
    (tmp_path / "m.mtl").write_text("newmtl m\nKd 0.8 0.05 0.05\n")
    reply, rgba, _ = pixels(blender, request(tmp_path / "white.obj", views=4))
    assert middles(rgba) == [[True, False, False]] * 4
    assert not reply.complaints


@pytest.mark.parametrize("suffix", ["usda", "obj"])
def test_the_same_brightness_as_a_material_of_that_colour(blender: BlenderPool, tmp_path: Path, suffix: str) -> None:
    """An OBJ's vertex colours are sRGB, its Kd is linear as it stands; USD's display and diffuse colours are linear."""
    path = write(tmp_path / f"cube.{suffix}")
    linear = (0.8, 0.05, 0.05)
    if suffix == "usda":
        path.write_text(path.read_text().replace("(1, 0, 0)", str(linear)))
        same = tmp_path / "material.usda"
        same.write_text(path.read_text().replace("primvars:displayColor", "primvars:other") + USD_MATERIAL)
        bound = "rel material:binding = </mat>\n    int[] faceVertexCounts"
        same.write_text(same.read_text().replace("int[] faceVertexCounts", bound))
    else:
        srgb = " ".join(f"{1.055 * c ** (1 / 2.4) - 0.055:.6f}" for c in linear)
        lines = [" ".join(line.split()[:4]) for line in path.read_text().splitlines()]
        path.write_text("\n".join(f"{line} {srgb}" if line.startswith("v ") else line for line in lines))
        same = tmp_path / "material.obj"
        same.write_text("mtllib m.mtl\nusemtl m\n" + "\n".join(lines))
        (tmp_path / "m.mtl").write_text("newmtl m\nKd 0.8 0.05 0.05\n")
    kind = "usd" if suffix == "usda" else "obj"
    _, carried, _ = pixels(blender, request(path, views=1, format=kind))
    _, material, _ = pixels(blender, request(same, views=1, format=kind))
    np.testing.assert_allclose(carried[0, 16, 16].astype(int), material[0, 16, 16], atol=3)


def test_gltf_keeps_its_own_rule(blender: BlenderPool, tmp_path: Path) -> None:
    """COLOR_0 multiplies the material's colour (glTF 2.0, 3.9.2)."""
    _, rgba, _ = pixels(blender, request(write_glb(tmp_path / "cube.glb", six_colours(z_up=False)), views=4))
    assert middles(rgba) == SEEN


USD = """#usda 1.0
(
    upAxis = "Z"
)
def Mesh "cube"
{{
    int[] faceVertexCounts = [{faces}]
    int[] faceVertexIndices = [{corners}]
    point3f[] points = [{points}]
    uniform token subdivisionScheme = "none"
    color3f[] primvars:displayColor = [{colours}] (
        interpolation = "vertex"
    )
}}
"""
USD_MATERIAL = """def Material "mat"
{
    token outputs:surface.connect = </mat/s.outputs:surface>
    def Shader "s"
    {
        uniform token info:id = "UsdPreviewSurface"
        color3f inputs:diffuseColor = (0.8, 0.05, 0.05)
        token outputs:surface
    }
}
"""
COLLADA = """<?xml version="1.0"?><COLLADA xmlns="http://www.collada.org/2005/11/COLLADASchema" version="1.4.1">
<asset><up_axis>Z_UP</up_axis></asset><library_geometries><geometry id="g"><mesh>
<source id="p"><float_array id="a" count="{n3}">{points}</float_array><technique_common>
<accessor source="#a" count="{n}" stride="3"><param name="X" type="float"/><param name="Y" type="float"/>
<param name="Z" type="float"/></accessor></technique_common></source>
<source id="c"><float_array id="b" count="{n3}">{colours}</float_array><technique_common>
<accessor source="#b" count="{n}" stride="3"><param name="R" type="float"/><param name="G" type="float"/>
<param name="B" type="float"/></accessor></technique_common></source>
<vertices id="v"><input semantic="POSITION" source="#p"/></vertices>
<triangles count="{faces}"><input semantic="VERTEX" source="#v" offset="0"/>
<input semantic="COLOR" source="#c" offset="1"/><p>{corners}</p></triangles></mesh></geometry>
</library_geometries><library_visual_scenes><visual_scene id="s"><node id="n"><instance_geometry url="#g"/></node>
</visual_scene></library_visual_scenes><scene><instance_visual_scene url="#s"/></scene></COLLADA>"""
