"""What is hidden may be the source of what is shown; what is shown is measured and rendered, and nothing else."""

from pathlib import Path

import numpy as np
import pytest

from dataengine.render.blender.protocol import RenderReply
from dataengine.render.pool import BlenderPool
from tests.render.models import Float, UInt8, pixels, request


def box_of(reply: RenderReply) -> float:
    """The radius of the bounding sphere in the file's own units."""
    return reply.radius / reply.scale


def boxes_across(rgba: UInt8, depth: Float) -> list[str]:
    """What stands in the row through the middle, left to right: the strongest channel of each run of pixels."""
    row, solid = rgba[rgba.shape[0] // 2], depth[depth.shape[0] // 2] > 0
    runs, colours = [], []
    for x in np.flatnonzero(solid):
        if not runs or x > runs[-1] + 1:
            colours.append("rgb"[int(row[x + 1, :3].argmax())])
        runs.append(x)
    return colours


def radius(points: int, step: float) -> float:
    """Of unit cubes in a row, from the middle of the first to the middle of the last."""
    return float(np.linalg.norm([(points - 1) * step / 2 + 0.5, 0.5, 0.5]))


@pytest.mark.parametrize("name", ["kit_excluded.blend", "kit_eye.blend"])
def test_instances_of_what_is_not_shown_by_itself(blender: BlenderPool, authored: Path, name: str) -> None:
    """Cubes at 0 (green), 2, 4 and 6 (red): what Blender's dependency graph shows of such a file."""
    reply, rgba, depth = pixels(blender, request(authored / name, views=1, size=64))
    assert boxes_across(rgba[0], depth[0]) == ["g", "r", "r", "r"]
    assert (reply.object_count, box_of(reply)) == (4, pytest.approx(radius(4, 2), rel=1e-4))


def test_an_instance_of_what_is_shown_too_is_moved_once(blender: BlenderPool, authored: Path) -> None:
    reply, rgba, depth = pixels(blender, request(authored / "kit_shown.blend", views=1, size=64))
    assert boxes_across(rgba[0], depth[0]) == ["r", "g", "r", "r", "r"]
    assert box_of(reply) == pytest.approx(radius(5, 2), rel=1e-4)


def test_geometry_nodes_may_scatter_a_hidden_object(blender: BlenderPool, authored: Path) -> None:
    reply, rgba, depth = pixels(blender, request(authored / "scattered.blend", views=1, size=64))
    assert boxes_across(rgba[0], depth[0]) == ["g", "r"]
    assert box_of(reply) == pytest.approx(radius(2, 2), rel=1e-4)


def test_what_is_hidden_in_any_way_is_neither_measured_nor_rendered(blender: BlenderPool, authored: Path) -> None:
    reply, rgba, depth = pixels(blender, request(authored / "hidden.blend", views=1, size=64))
    assert boxes_across(rgba[0], depth[0]) == ["g"]
    assert (reply.object_count, box_of(reply)) == (1, pytest.approx(radius(1, 2), rel=1e-4))


def test_metaballs_are_shown_as_one_mesh(blender: BlenderPool, authored: Path) -> None:
    reply, rgba, _ = pixels(blender, request(authored / "metaballs.blend", views=1))
    assert reply.object_count == 1 and (rgba[..., 3] == 255).mean() > 0.1


@pytest.mark.parametrize("text", ["INSTANCEABLE", "INSTANCER"])
@pytest.mark.parametrize("up", [None, "Z"])
def test_usd_prototypes(blender: BlenderPool, tmp_path: Path, text: str, up: str | None) -> None:
    """Four unit cubes at x = 0, 2, 4, 6, as pxr's UsdGeom.BBoxCache says too, where it is installed."""
    path = tmp_path / "row.usda"
    path.write_text(globals()[text])
    try:
        from pxr import Usd, UsdGeom
    except ImportError:
        pass
    else:
        stage = Usd.Stage.Open(str(path))
        size = (
            UsdGeom.BBoxCache(Usd.TimeCode.Default(), ["default"]).ComputeWorldBound(stage.GetPseudoRoot()).GetRange()
        )
        assert list(size.GetSize()) == [7, 1, 1]
    reply, rgba, depth = pixels(blender, request(path, views=1, size=64, format="usd", up=up))
    assert boxes_across(rgba[0], depth[0]) == ["r"] * 4
    assert reply.object_count == 4
    # Blender applies the stage's metersPerUnit, 0.01 where it says none
    assert box_of(reply) == pytest.approx(0.01 * radius(4, 2), rel=1e-4)


PROTOTYPE = """{
    double size = 1
    color3f[] primvars:displayColor = [(0.8, 0.05, 0.05)]
}
"""
INSTANCEABLE = (
    """#usda 1.0
(
    upAxis = "Y"
)
class Xform "Proto"
{
def Cube "Box"
"""
    + PROTOTYPE
    + "}\n"
    + "".join(
        f"""def Xform "I{x}" (
    instanceable = true
    prepend inherits = </Proto>
)
{{
    double3 xformOp:translate = ({x}, 0, 0)
    uniform token[] xformOpOrder = ["xformOp:translate"]
}}
"""
        for x in (0, 2, 4, 6)
    )
)
INSTANCER = (
    """#usda 1.0
(
    upAxis = "Y"
)
def PointInstancer "P"
{
    rel prototypes = </P/Protos/Box>
    int[] protoIndices = [0, 0, 0, 0]
    point3f[] positions = [(0, 0, 0), (2, 0, 0), (4, 0, 0), (6, 0, 0)]
    def Scope "Protos"
    {
    def Cube "Box"
"""
    + PROTOTYPE
    + "    }\n}\n"
)
