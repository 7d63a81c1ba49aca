"""Files that are there although the reference does not lead to them as it stands, and files that are not."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from dataengine.corpus.config import Limits
from dataengine.model_files.model_info import ModelInfo
from dataengine.model_files.preflight import examine
from dataengine.render.blender.protocol import RenderReply
from dataengine.render.pool import BlenderPool
from tests.render.models import coloured, glb_json, pixels, request, textured_quad, write_glb
from tests.render.test_alpha import COLLADA, USD
from tests.render.test_blender import QUAD_OBJ

COLOUR = (200, 60, 40)


def look(blender: BlenderPool, path: Path) -> tuple[RenderReply, tuple[int, int, int]]:
    """Preflight, then a picture: the reply and the colour in the middle."""
    facts = ModelInfo()
    kind = path.suffix[1:].replace("usda", "usd")
    examine(path, kind, Limits(), path.parent, facts)
    known = [str(d) for d in facts.dependencies]
    reply, rgba, _ = pixels(blender, request(path, views=1, size=16, format=kind, textures=known))
    r, g, b, _ = (int(c) for c in rgba[0, 8, 8])
    return reply, (r, g, b)


def is_red(colour: tuple[int, int, int]) -> bool:
    return colour[0] > 2 * colour[1]


def write_image(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", (4, 4), COLOUR).save(path)


@pytest.mark.parametrize(
    ("line", "file"),
    [
        ("mtllib model.mtl", "Model.MTL"),
        ("mtllib C:\\Users\\me\\q.mtl", "q.mtl"),
        ("mtllib none.mtl q.mtl", "q.mtl"),
        ('mtllib "my mat.mtl"', "my mat.mtl"),
        ("mtllib materials\\q.mtl", "materials/q.mtl"),
    ],
)
def test_a_library_by_case_path_and_number(blender: BlenderPool, tmp_path: Path, line: str, file: str) -> None:
    """Wavefront OBJ: "mtllib filename1 filename2 ..."."""
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text("newmtl m\nKd 0.8 0.05 0.05\n")
    (tmp_path / "q.obj").write_text(QUAD_OBJ.replace("mtllib q.mtl", line))
    reply, colour = look(blender, tmp_path / "q.obj")
    assert is_red(colour)
    assert reply.missing_textures == (["none.mtl"] if "none" in line else [])
    assert not [c for c in reply.complaints if "neutral" not in c]


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_preambles_and_line_ends(blender: BlenderPool, tmp_path: Path, start: bytes, end: str) -> None:
    """Of the OBJ and of its MTL; the first statement is a vertex, and another time the library."""
    write_image(tmp_path / "t.png")
    (tmp_path / "q.mtl").write_bytes(start + end.join(["newmtl m", "Kd 1 1 1", "map_Kd t.png", ""]).encode())
    library, *lines = QUAD_OBJ.splitlines()
    for name, text in (("a", [library, *lines]), ("b", [lines[0], library, *lines[1:]])):
        (tmp_path / f"{name}.obj").write_bytes(start + end.join([*text, ""]).encode())
        reply, colour = look(blender, tmp_path / f"{name}.obj")
        assert is_red(colour)
        assert (reply.face_count, reply.vertex_count, reply.missing_textures) == (2, 4, [])
        assert reply.scale == pytest.approx(0.5 / np.sqrt(2), rel=1e-4)


def test_keywords_in_another_case(blender: BlenderPool, tmp_path: Path) -> None:
    write_image(tmp_path / "maps/My Wood.png")
    (tmp_path / "q.mtl").write_text("NEWMTL m\nkd 1 1 1\nMAP_KD -o 0 0 0 Maps\\my wood.PNG\n")
    (tmp_path / "q.obj").write_text(QUAD_OBJ)
    reply, colour = look(blender, tmp_path / "q.obj")
    assert is_red(colour) and not reply.missing_textures and not reply.complaints


@pytest.mark.parametrize(
    "name",
    [
        "wood.png",
        "./wood.png",
        "WOOD.PNG",
        "file:///C:/Users/x/My%20Work/wood.png",
        "C:\\x\\wood.png",
        "tex/wood.png",
    ],
)
def test_collada_images(blender: BlenderPool, tmp_path: Path, name: str) -> None:
    write_image(tmp_path / "wood.png")
    (tmp_path / "q.dae").write_text(COLLADA.replace("t.png", name))
    reply, colour = look(blender, tmp_path / "q.dae")
    assert is_red(colour) and not reply.missing_textures


def test_collada_images_that_are_not_there_are_named(blender: BlenderPool, tmp_path: Path) -> None:
    (tmp_path / "q.dae").write_text(COLLADA.replace("t.png", "file:///C:/x/My%20Work/wood.png"))
    reply, colour = look(blender, tmp_path / "q.dae")
    assert reply.missing_textures == ["wood.png"] and not is_red(colour)
    assert any("missing" in c for c in reply.complaints)


@pytest.mark.parametrize("prefix", ["", "c:"])
def test_collada_that_names_an_image_where_a_sampler_belongs(blender: BlenderPool, tmp_path: Path, prefix: str) -> None:
    """COLLADA 1.4.1: the attribute `texture` names a sampler2D; exporters of before have the image's id there."""
    write_image(tmp_path / "t.png")
    direct = re.sub(r"<newparam.*</newparam>\n", "", COLLADA).replace('texture="t"', 'texture="i"')
    direct = re.sub(r"<(/?)(?=\w)", rf"<\1{prefix}", direct).replace(
        "xmlns=", f"xmlns:{prefix[:1]}=" if prefix else "xmlns="
    )
    assert "sampler2D" not in direct
    (tmp_path / "q.dae").write_text(direct)
    reply, colour = look(blender, tmp_path / "q.dae")
    assert is_red(colour) and not reply.missing_textures
    (tmp_path / "q.dae").write_text(direct.replace('texture="i"', 'texture="nothing"'))
    reply, colour = look(blender, tmp_path / "q.dae")
    assert reply.missing_textures == ["nothing"] and not is_red(colour)


@pytest.mark.parametrize("name", ["tex/wood.png", "Tex/WOOD.png", "C:/x/wood.png", ".\\\\tex\\\\wood.png"])
def test_usd_textures(blender: BlenderPool, tmp_path: Path, name: str) -> None:
    write_image(tmp_path / "tex/wood.png")
    (tmp_path / "q.usda").write_text(USD.replace("t.png", name))
    reply, colour = look(blender, tmp_path / "q.usda")
    assert is_red(colour) and not reply.missing_textures


def test_usd_textures_that_are_not_there_are_named(blender: BlenderPool, tmp_path: Path) -> None:
    (tmp_path / "q.usda").write_text(USD.replace("t.png", "./tex/wood.png"))
    reply, colour = look(blender, tmp_path / "q.usda")
    assert reply.missing_textures == ["wood.png"] and not is_red(colour)


def quad_gltf(folder: Path, uri: str, **changes: object) -> Path:
    """A .gltf beside its buffer, with one image by its URI."""
    glb = write_glb(folder / "q.glb", textured_quad(Image.new("RGB", (4, 4), COLOUR)))
    tree, data = glb_json(glb), glb.read_bytes()
    (folder / "q 1.bin").write_bytes(data[-tree["buffers"][0]["byteLength"] :])
    tree["buffers"][0]["uri"] = "q%201.bin"
    tree["images"] = [{"uri": uri}]
    path = folder / "q.gltf"
    path.write_text(json.dumps(tree | changes))
    glb.unlink()
    return path


@pytest.mark.parametrize("uri", ["C:/Users/someone/wood.png", "/home/me/wood.png", "Textures/WOOD.png", "wood%2Epng"])
def test_gltf_images(blender: BlenderPool, tmp_path: Path, uri: str) -> None:
    write_image(tmp_path / "wood.png")
    reply, colour = look(blender, quad_gltf(tmp_path, uri))
    assert is_red(colour) and not reply.missing_textures and not reply.complaints


def test_gltf_images_that_are_not_there_are_named(blender: BlenderPool, tmp_path: Path) -> None:
    reply, colour = look(blender, quad_gltf(tmp_path, "D:\\work\\wood.png"))
    assert reply.missing_textures == ["wood.png"] and not is_red(colour)


def test_specular_glossiness_without_its_image(blender: BlenderPool, tmp_path: Path) -> None:
    """The factor is what is left of the colour (KHR_materials_pbrSpecularGlossiness)."""
    texture = {"diffuseFactor": [0.8, 0.05, 0.05, 1], "diffuseTexture": {"index": 0}, "specularFactor": [0, 0, 0]}
    extension = {"KHR_materials_pbrSpecularGlossiness": texture}
    path = quad_gltf(
        tmp_path, "wood.png", materials=[{"extensions": extension, "doubleSided": True}], extensionsUsed=[*extension]
    )
    reply, colour = look(blender, path)
    assert reply.missing_textures == ["wood.png"] and is_red(colour)


def test_gltf_with_a_byte_order_mark(blender: BlenderPool, tmp_path: Path) -> None:
    write_image(tmp_path / "wood.png")
    path = quad_gltf(tmp_path, "wood.png")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert is_red(look(blender, path)[1])


def test_hidden_nodes_and_what_hangs_from_them(blender: BlenderPool, tmp_path: Path) -> None:
    """KHR_node_visibility: a node that is not visible, and all its children, are not rendered."""
    from tests.render.models import CUBE, patch_glb

    red, green = coloured(CUBE.copy().apply_scale(2), COLOUR), coloured(CUBE, (30, 180, 30))
    path = write_glb(tmp_path / "two.glb", red, green)
    tree = glb_json(path)
    names = [node.get("name") for node in tree["nodes"]]
    hidden = {"name": "hidden", "children": [names.index("part0")]}
    hidden["extensions"] = {"KHR_node_visibility": {"visible": False}}
    nodes = [
        {**n, "children": [c if c != names.index("part0") else len(names) for c in n["children"]]}
        if "children" in n
        else n
        for n in tree["nodes"]
    ]
    used = {"extensionsUsed": ["KHR_node_visibility"], "extensionsRequired": ["KHR_node_visibility"]}
    patch_glb(path, nodes=[*nodes, hidden], **used)
    reply, (r, g, _) = look(blender, path)
    assert g > 2 * r and reply.object_count == 1 and not reply.complaints


def test_extensions_that_change_the_picture_are_named(blender: BlenderPool, tmp_path: Path) -> None:
    from tests.render.models import CUBE, patch_glb

    path = write_glb(tmp_path / "cube.glb", coloured(CUBE, COLOUR))
    patch_glb(path, extensionsUsed=["KHR_materials_iridescence", "KHR_xmp_json_ld", "KHR_materials_ior"])
    (complaint,) = look(blender, path)[0].complaints
    assert "KHR_materials_iridescence" in complaint and "xmp" not in complaint and "ior" not in complaint


@pytest.mark.parametrize("case", [str.upper, str.lower, str.title])
def test_text_stl_in_any_case(blender: BlenderPool, tmp_path: Path, case: Callable[[str], str]) -> None:
    text = trimesh.creation.box(extents=(1, 2, 3)).export(file_type="stl_ascii")
    path = tmp_path / "box.stl"
    path.write_bytes(case(text).replace("\n", "\r\n").encode())
    facts = ModelInfo()
    examine(path, "stl", Limits(), tmp_path, facts)
    reply = blender.render(request(path, views=1, size=16))
    assert facts.face_count == reply.face_count == 12
    assert reply.scale == pytest.approx(0.5 / (np.sqrt(1 + 4 + 9) / 2), rel=1e-4)
