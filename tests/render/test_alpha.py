"""Alpha that a material does not ask for changes nothing; alpha that it asks for counts."""

from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from dataengine.render.pool import BlenderPool
from tests.render.models import UInt8, pixels, request
from tests.render.test_blender import QUAD_OBJ

COLOUR = (200, 60, 40)


def with_alpha(path: Path, alpha: int | None, size: int = 4, palette: bool = False) -> None:
    """An image of one colour: without alpha, with one alpha all over, or a palette image with a tRNS chunk."""
    if palette:
        image = Image.new("P", (size, size), 0)
        image.putpalette([*COLOUR, 0, 0, 0])
        image.save(path, transparency=0)
        return
    image = Image.new("RGB", (size, size), COLOUR)
    if alpha is not None:
        image.putalpha(alpha)
    image.save(path)


def quad(blender: BlenderPool, folder: Path, mtl: str = "map_Kd t.png", samples: int = 1) -> UInt8:
    (folder / "q.obj").write_text(QUAD_OBJ)
    (folder / "q.mtl").write_text(f"newmtl m\nKd 1 1 1\n{mtl}\n")
    return pixels(blender, request(folder / "q.obj", views=1, size=16, samples=samples))[1][0, 8, 8]


@pytest.mark.parametrize(("alpha", "palette", "size"), [(0, False, 4), (60, False, 4), (0, True, 4), (0, False, 512)])
def test_map_kd_is_its_colour_whatever_its_alpha(
    blender: BlenderPool, tmp_path: Path, alpha: int, palette: bool, size: int
) -> None:
    """MTL: map_Kd is colour; opacity is d and map_d. Of the larger image only a scaled copy is rendered."""
    with_alpha(tmp_path / "t.png", None, size)
    expected = quad(blender, tmp_path)
    with_alpha(tmp_path / "t.png", alpha, size, palette)
    np.testing.assert_allclose(quad(blender, tmp_path).astype(int), expected, atol=2)


@pytest.mark.parametrize(("mtl", "said"), [("map_Kd t.png", True), ("map_Kd t.png\nmap_d t.png", False)])
def test_a_cutout_that_nobody_asks_for_is_named(blender: BlenderPool, tmp_path: Path, mtl: str, said: bool) -> None:
    """Leaves on a card: MTL shows the card whole, their author may not have."""
    with_alpha(tmp_path / "t.png", 255, 8)
    image = np.asarray(Image.open(tmp_path / "t.png")).copy()
    image[:4, :, 3] = 0
    Image.fromarray(image).save(tmp_path / "t.png")
    (tmp_path / "q.obj").write_text(QUAD_OBJ)
    (tmp_path / "q.mtl").write_text(f"newmtl m\nKd 1 1 1\n{mtl}\n")
    reply, _, _ = pixels(blender, request(tmp_path / "q.obj", views=1, size=8))
    assert any("t.png is cut out" in c for c in reply.complaints) == said
    with_alpha(tmp_path / "t.png", 60, 8)
    reply, _, _ = pixels(blender, request(tmp_path / "q.obj", views=1, size=8))
    assert not any("cut out" in c for c in reply.complaints)


def test_an_alpha_that_is_asked_for_counts(blender: BlenderPool, tmp_path: Path) -> None:
    with_alpha(tmp_path / "t.png", None)
    Image.new("L", (4, 4), 128).save(tmp_path / "d.png")
    assert 120 < quad(blender, tmp_path, "map_Kd t.png\nmap_d d.png", samples=64)[3] < 136, "map_d is a scalar"


def test_collada_and_usd(blender: BlenderPool, tmp_path: Path) -> None:
    seen = {}
    for name, alpha in (("rgb", None), ("rgba", 0)):
        folder = tmp_path / name
        folder.mkdir()
        with_alpha(folder / "t.png", alpha)
        (folder / "q.dae").write_text(COLLADA)
        (folder / "q.usda").write_text(USD)
        for file, kind in (("q.dae", "dae"), ("q.usda", "usd")):
            _, rgba, _ = pixels(blender, request(folder / file, views=1, size=16, format=kind))
            seen[kind, name] = rgba[0, 8, 8].astype(int)
    for kind in ("dae", "usd"):
        r, g, _, _ = seen[kind, "rgb"]
        assert r > 2 * g
        np.testing.assert_allclose(seen[kind, "rgba"], seen[kind, "rgb"], atol=2)


def test_gltf_opaque_ignores_alpha(blender: BlenderPool, tmp_path: Path) -> None:
    """glTF 2.0, 3.9.4: OPAQUE, the default: the alpha value is ignored."""
    from tests.render.models import textured_quad, write_glb

    image = Image.new("RGBA", (4, 4), (*COLOUR, 0))
    mesh: trimesh.Trimesh = textured_quad(image)
    mesh.visual.material.alphaMode = "OPAQUE"
    _, rgba, _ = pixels(blender, request(write_glb(tmp_path / "q.glb", mesh), views=1, size=16))
    r, g, _, a = rgba[0, 8, 8].tolist()
    assert a == 255 and r > 2 * g


COLLADA = """<?xml version="1.0"?><COLLADA xmlns="http://www.collada.org/2005/11/COLLADASchema" version="1.4.1">
<asset><up_axis>Z_UP</up_axis></asset>
<library_images><image id="i"><init_from>t.png</init_from></image></library_images>
<library_effects><effect id="e"><profile_COMMON>
<newparam sid="s"><surface type="2D"><init_from>i</init_from></surface></newparam>
<newparam sid="t"><sampler2D><source>s</source></sampler2D></newparam>
<technique sid="x"><lambert><diffuse><texture texture="t" texcoord="UV"/></diffuse></lambert></technique>
</profile_COMMON></effect></library_effects>
<library_materials><material id="m"><instance_effect url="#e"/></material></library_materials>
<library_geometries><geometry id="g"><mesh>
<source id="p"><float_array id="a" count="12">-1 0 -1 1 0 -1 1 0 1 -1 0 1</float_array><technique_common>
<accessor source="#a" count="4" stride="3"><param name="X" type="float"/><param name="Y" type="float"/>
<param name="Z" type="float"/></accessor></technique_common></source>
<source id="u"><float_array id="b" count="8">0 0 1 0 1 1 0 1</float_array><technique_common>
<accessor source="#b" count="4" stride="2"><param name="S" type="float"/><param name="T" type="float"/></accessor>
</technique_common></source>
<vertices id="v"><input semantic="POSITION" source="#p"/></vertices>
<triangles count="2" material="M"><input semantic="VERTEX" source="#v" offset="0"/>
<input semantic="TEXCOORD" source="#u" offset="1" set="0"/><p>0 0 1 1 2 2 0 0 2 2 3 3</p></triangles></mesh></geometry>
</library_geometries><library_visual_scenes><visual_scene id="s"><node id="n"><instance_geometry url="#g">
<bind_material><technique_common><instance_material symbol="M" target="#m">
<bind_vertex_input semantic="UV" input_semantic="TEXCOORD" input_set="0"/></instance_material></technique_common>
</bind_material></instance_geometry></node>
</visual_scene></library_visual_scenes><scene><instance_visual_scene url="#s"/></scene></COLLADA>"""
USD = """#usda 1.0
(
    upAxis = "Z"
)
def Mesh "m" (
    prepend apiSchemas = ["MaterialBindingAPI"]
)
{
    int[] faceVertexCounts = [4]
    int[] faceVertexIndices = [0, 1, 2, 3]
    point3f[] points = [(-1, 0, -1), (1, 0, -1), (1, 0, 1), (-1, 0, 1)]
    texCoord2f[] primvars:st = [(0, 0), (1, 0), (1, 1), (0, 1)] (
        interpolation = "vertex"
    )
    rel material:binding = </mat>
}
def Material "mat"
{
    token outputs:surface.connect = </mat/s.outputs:surface>
    def Shader "s"
    {
        uniform token info:id = "UsdPreviewSurface"
        color3f inputs:diffuseColor.connect = </mat/t.outputs:rgb>
        token outputs:surface
    }
    def Shader "t"
    {
        uniform token info:id = "UsdUVTexture"
        asset inputs:file = @t.png@
        float2 inputs:st.connect = </mat/r.outputs:result>
        float3 outputs:rgb
    }
    def Shader "r"
    {
        uniform token info:id = "UsdPrimvarReader_float2"
        string inputs:varname = "st"
        float2 outputs:result
    }
}
"""
