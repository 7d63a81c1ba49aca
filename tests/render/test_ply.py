"""PLY as scanners and MeshLab write it: colours of faces, texture files in comments."""

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
from tests.render.models import UInt8, pixels, request
from tests.render.test_colours import SEEN, SIDES, middles

CORNERS = [(x, y, z) for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)]
QUADS = {(-1, 0): (0, 1, 3, 2), (1, 0): (4, 6, 7, 5), (0, -1): (0, 4, 5, 1), (0, 1): (2, 3, 7, 6)}


def look(blender: BlenderPool, path: Path) -> tuple[RenderReply, UInt8, ModelInfo]:
    facts = ModelInfo()
    examine(path, "ply", Limits(), path.parent, facts)
    known = [str(d) for d in facts.dependencies]
    reply, rgba, _ = pixels(blender, request(path, views=4, textures=known))
    return reply, rgba, facts


def painted_faces(path: Path, kind: str, mixed: bool) -> None:
    """Four sides of a cube that share their vertices; the first as two triangles where polygons are mixed."""
    faces, colours = [], []
    for side, quad in QUADS.items():
        parts = [quad[:3], (quad[0], quad[2], quad[3])] if mixed and not faces else [quad]
        faces += parts
        colours += [SIDES[side]] * len(parts)
    head = ["ply", f"format {kind} 1.0", "element vertex 8", *(f"property float {c}" for c in "xyz")]
    head += [f"element face {len(faces)}", "property list uchar int vertex_indices"]
    head += [f"property uchar {c}" for c in ("red", "green", "blue")]
    start = "\n".join([*head, "end_header", ""]).encode()
    if kind == "ascii":
        rows = [" ".join(map(str, corner)) for corner in CORNERS]
        rows += [" ".join(map(str, (len(f), *f, *c))) for f, c in zip(faces, colours, strict=True)]
        path.write_bytes(start + "\n".join([*rows, ""]).encode())
        return
    order = "<" if "little" in kind else ">"
    body = np.array(CORNERS, f"{order}f4").tobytes()
    for face, colour in zip(faces, colours, strict=True):
        body += bytes([len(face)]) + np.array(face, f"{order}i4").tobytes() + bytes(colour)
    path.write_bytes(start + body)


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("kind", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_colours_of_faces(blender: BlenderPool, tmp_path: Path, kind: str, mixed: bool) -> None:
    path = tmp_path / "faces.ply"
    painted_faces(path, kind, mixed)
    if not mixed and "big" not in kind:
        read = trimesh.load(path, process=False)
        assert {tuple(c[:3]) for c in read.visual.face_colors.tolist()} == set(SIDES.values())
    reply, rgba, _ = look(blender, path)
    assert middles(rgba) == SEEN
    assert (reply.face_count, reply.complaints) == (8, [])


def textured(path: Path, names: tuple[str, str] | None, comment: str = "comment TextureFile wood.png") -> None:
    """A square that faces -y, with a texture coordinate a vertex, or (None) a corner."""
    points = [(-1, 0, -1), (1, 0, -1), (1, 0, 1), (-1, 0, 1)]
    uv = [(0, 0), (1, 0), (1, 1), (0, 1)]
    head = ["ply", "format ascii 1.0", comment, "element vertex 4", *(f"property float {c}" for c in "xyz")]
    head += [f"property float {name}" for name in names or ()]
    head += ["element face 1", "property list uchar int vertex_indices"]
    head += [] if names else ["property list uchar float texcoord", "property int texnumber"]
    rows = [" ".join(map(str, (*p, *(t if names else ())))) for p, t in zip(points, uv, strict=True)]
    rows.append("4 0 1 2 3" + ("" if names else " 8 " + " ".join(f"{a} {b}" for a, b in uv) + " 1"))
    path.write_text("\n".join([*head, "end_header", *rows, ""]))


def halves(path: Path) -> None:
    """Red on the left, blue on the right."""
    image = Image.new("RGB", (8, 8), (200, 40, 40))
    image.paste((40, 40, 200), (4, 0, 8, 8))
    image.save(path)


@pytest.mark.parametrize("names", [("s", "t"), ("texture_u", "texture_v"), ("u", "v")])
def test_texture_files(blender: BlenderPool, tmp_path: Path, names: tuple[str, str]) -> None:
    halves(tmp_path / "wood.png")
    textured(tmp_path / "t.ply", names)
    if names == ("texture_u", "texture_v"):
        assert trimesh.load(tmp_path / "t.ply", process=False).visual.kind == "texture"
    reply, rgba, facts = look(blender, tmp_path / "t.ply")
    left, right = rgba[0, 16, 12].tolist(), rgba[0, 16, 20].tolist()
    assert left[0] > 2 * left[2] and right[2] > 2 * right[0]
    assert not reply.missing_textures and not reply.complaints
    assert (facts.texture_count, facts.dependencies) == (1, {tmp_path / "wood.png"})


def test_coordinates_of_corners_and_several_textures(blender: BlenderPool, tmp_path: Path) -> None:
    Image.new("RGB", (4, 4), (40, 200, 40)).save(tmp_path / "a.png")
    halves(tmp_path / "My Wood.png")
    textured(tmp_path / "t.ply", None, "comment TextureFile a.png\ncomment TextureFile my wood.png")
    reply, rgba, _ = look(blender, tmp_path / "t.ply")
    left, right = rgba[0, 16, 12].tolist(), rgba[0, 16, 20].tolist()
    assert left[0] > 2 * left[2] and right[2] > 2 * right[0]
    assert not reply.missing_textures and not reply.complaints


def test_a_texture_that_is_not_there_is_named(blender: BlenderPool, tmp_path: Path) -> None:
    textured(tmp_path / "t.ply", ("s", "t"))
    reply, rgba, _ = look(blender, tmp_path / "t.ply")
    assert reply.missing_textures == ["wood.png"] and reply.complaints
    assert np.ptp(rgba[0, 16, 16, :3].astype(int)) < 12
