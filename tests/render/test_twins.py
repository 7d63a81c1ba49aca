"""Two faces in one place, back to back: the one that faces the camera is seen, whichever comes first in the file."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import trimesh

from dataengine.render.pool import BlenderPool
from tests.render.models import pixels, request

BOX = trimesh.creation.box(extents=(1, 1, 1))


def write(path: Path, first: str, numbers: str = "absolute") -> None:
    """A box that is red outside and black inside, on the same eight vertices."""
    lines = ["mtllib m.mtl", *(f"v {x} {y} {z}" for x, y, z in BOX.vertices.tolist()), "vt 0 0"]
    for face in BOX.faces.tolist():
        sides = {"red": face, "black": face[::-1]}
        for name in (first, "black" if first == "red" else "red"):
            corners = [i - 8 if numbers == "negative" else i + 1 for i in sides[name]]
            lines += [f"usemtl {name}", "f " + " ".join(f"{i}/1" for i in corners)]
    path.write_text("\n".join([*lines, ""]))
    path.with_name("m.mtl").write_text("newmtl red\nKd 0.8 0.05 0.05\nnewmtl black\nKd 0 0 0\n")


@pytest.mark.parametrize("numbers", ["absolute", "negative"])
def test_the_outside_is_seen_from_outside(blender: BlenderPool, tmp_path: Path, numbers: str) -> None:
    pictures = []
    for first in ("red", "black"):
        write(tmp_path / "box.obj", first, numbers)
        reply, rgba, depth = pixels(blender, request(tmp_path / "box.obj", views=3, samples=8))
        assert reply.face_count == 24 and not reply.complaints
        assert all(r > 3 * g for r, g, _, _ in rgba[:, 16, 16].astype(int).tolist())
        pictures.append((rgba.astype(int), depth))
    for (a, x), (b, y) in pairwise(pictures):
        np.testing.assert_allclose(a, b, atol=12)
        np.testing.assert_allclose(x[:, 16, 16], y[:, 16, 16], atol=1e-3)


def test_an_open_box_shows_its_inside(blender: BlenderPool, tmp_path: Path) -> None:
    """Without the faces towards the first camera (-y; +z in the file) the black inside of the far wall is seen."""
    write(tmp_path / "box.obj", "red")
    text = (tmp_path / "box.obj").read_text()
    towards = {tuple(sorted(i + 1 for i in f)) for f, n in zip(BOX.faces, BOX.face_normals, strict=True) if n[2] > 0.9}
    kept = [
        line
        for line in text.splitlines()
        if not (line.startswith("f ") and tuple(sorted(int(t.split("/")[0]) for t in line.split()[1:])) in towards)
    ]
    (tmp_path / "box.obj").write_text("\n".join([*kept, ""]))
    _, rgba, _ = pixels(blender, request(tmp_path / "box.obj", views=2))
    assert rgba[0, 16, 16, :3].max() < 40 and rgba[1, 16, 16, 0] > 100


def test_faces_that_are_dropped_for_nothing_are_counted(blender: BlenderPool, tmp_path: Path) -> None:
    write(tmp_path / "box.obj", "red")
    text = (tmp_path / "box.obj").read_text().replace("usemtl black", "usemtl red")
    (tmp_path / "box.obj").write_text(text)
    reply, rgba, _ = pixels(blender, request(tmp_path / "box.obj", views=1))
    assert reply.face_count == 12 and any(c.startswith("12 of 24 faces were dropped") for c in reply.complaints)
    assert rgba[0, 16, 16, 0] > 100
