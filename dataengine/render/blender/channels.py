"""Channels of a view beside colour and depth: passes, and outputs of every material, in the same render call.

What an output of a material says is summed over the surfaces that a sample goes through and divided by the samples: all
of it is weighted by opacity, which must be 0 or 1 in the call that it is rendered in (opacity.py).
"""

import bpy

from . import materials
from .graph import scaled
from .surfaces import Surfaces, black

ALBEDO, ORM, NORMAL, GEOMETRIC = "channel_albedo", "channel_orm", "channel_normal", "channel_geometric"
"""Passes: base colour; opacity, roughness and metallic; the shading normal (Cycles' own pass knows that of surfaces
which scatter light, and those of a look in closed form emit it); that of the flat triangle, which only checks need."""
SURFACES = {"MESH", "CURVE", "SURFACE", "FONT", "META", "CURVES", "POINTCLOUD"}
MOST_PARTS = 32767  # Blender's own limit on the index of an object


def add(channels: list[str], complaints: list[str], *, centres: bool = False) -> None:
    """Adds the passes of these channels (normal, albedo, orm, id) to the view layer.

    Args:
        channels: names.
        complaints: gets a line if there are more parts than ids.
        centres: whether what goes with the depth is left to a layer of its own, see `only_with_depth`.
    """
    layer = bpy.context.view_layer
    layer.use_pass_normal = "normal" in channels
    if "id" in channels:
        layer.use_pass_object_index = True
        number_parts(complaints)
    wanted = [
        p for p, c in ((ALBEDO, "albedo"), (ORM, "orm"), (NORMAL, "normal"), (GEOMETRIC, "normal")) if c in channels
    ]
    if not wanted:
        return
    for name in wanted:
        if not (centres and name == GEOMETRIC):
            _write_pass(name)
    materials.complete()
    surfaces = Surfaces()
    for material in bpy.data.materials:
        if material.users and material.use_nodes and material.node_tree:
            write(material, wanted, surfaces)


def only_with_depth(channels: list[str]) -> None:
    """Of the passes of these channels, leaves those that are read where the depth is: ids, and triangles' normals."""
    layer = bpy.context.view_layer
    layer.use_pass_normal = False
    for aov in list(layer.aovs):
        layer.aovs.remove(aov)
    if "normal" in channels:
        _write_pass(GEOMETRIC)
        for material in bpy.data.materials:  # or Cycles keeps where each output was written among the passes before
            material.update_tag()


def _write_pass(name: str) -> None:
    aov = bpy.context.view_layer.aovs.add()
    aov.name, aov.type = name, "COLOR"


def write(material: bpy.types.Material, wanted: list[str], surfaces: Surfaces) -> None:
    tree = material.node_tree
    surface = surfaces.of_material(material) or black(tree)
    sockets = {ALBEDO: surface.albedo, ORM: surface.orm, NORMAL: surface.normal}
    if GEOMETRIC in wanted:
        geometry, split = tree.nodes.new("ShaderNodeNewGeometry"), tree.nodes.new("ShaderNodeSeparateXYZ")
        tree.links.new(surface.orm, split.inputs[0])
        sockets[GEOMETRIC] = scaled(tree, geometry.outputs["True Normal"], split.outputs[0])
    for name in wanted:
        node = tree.nodes.new("ShaderNodeOutputAOV")
        node.aov_name = name
        tree.links.new(sockets[name], node.inputs["Color"])


def number_parts(complaints: list[str]) -> None:
    """Every object that shows gets a number from 1, in the order of their names; the instances of one share it."""
    graph = bpy.context.evaluated_depsgraph_get()
    shown = {i.object.original.name for i in graph.object_instances if i.object.type in SURFACES}
    for number, name in enumerate(sorted(shown), start=1):
        bpy.data.objects[name].pass_index = min(number, MOST_PARTS)
    if len(shown) > MOST_PARTS:
        complaints.append(f"{len(shown)} parts, and {MOST_PARTS} ids: the last parts share one")
