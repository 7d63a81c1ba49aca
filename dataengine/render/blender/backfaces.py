"""Faces seen from behind: culled where the material says so, counted where the format cannot say.

Cycles ignores a material's back-face culling. glTF means it: "when doubleSided is false, back-face culling is enabled"
(glTF 2.0, 3.9.6). Toon outlines, rooms and sky domes are built on it: without it they are closed black boxes.
"""

import bpy

from . import materials

PASS = "backfacing"
"""The render pass with the share of a pixel's samples that met the asset's first surface from behind; where such faces
are culled, with how many of them a sample passed, and `BEHIND` with the sum of their planar depths."""
BEHIND = "behind"


def cull(watch: bool) -> None:
    """Makes faces of culling materials transparent to the camera from behind. Other rays still meet them: light that
    is inside glass leaves it through the back of its surface. To `watch` is to write what the camera passes."""
    watch = watch and any(m.use_backface_culling and m.users for m in bpy.data.materials)
    if watch:
        for name in (PASS, BEHIND):
            add_pass(name)
    for material in bpy.data.materials:
        if not material.use_backface_culling or not material.users:
            continue
        output = output_of(material)
        if output is None or not output.inputs["Surface"].is_linked:
            continue
        tree = material.node_tree
        surface = output.inputs["Surface"].links[0].from_socket
        geometry, ray = tree.nodes.new("ShaderNodeNewGeometry"), tree.nodes.new("ShaderNodeLightPath")
        both, mix = tree.nodes.new("ShaderNodeMath"), tree.nodes.new("ShaderNodeMixShader")
        nothing = tree.nodes.new("ShaderNodeBsdfTransparent")
        both.operation = "MULTIPLY"
        tree.links.new(geometry.outputs["Backfacing"], both.inputs[0])
        tree.links.new(ray.outputs["Is Camera Ray"], both.inputs[1])
        tree.links.new(both.outputs["Value"], mix.inputs["Fac"])
        tree.links.new(surface, mix.inputs[1])
        tree.links.new(nothing.outputs["BSDF"], mix.inputs[2])
        tree.links.new(mix.outputs["Shader"], output.inputs["Surface"])
        if not watch:
            continue
        camera, depth = tree.nodes.new("ShaderNodeCameraData"), tree.nodes.new("ShaderNodeMath")
        depth.operation = "MULTIPLY"
        tree.links.new(geometry.outputs["Backfacing"], depth.inputs[0])
        tree.links.new(camera.outputs["View Z Depth"], depth.inputs[1])
        write(tree, PASS, geometry.outputs["Backfacing"])
        write(tree, BEHIND, depth.outputs["Value"])


def add_pass(name: str) -> None:
    aov = bpy.context.view_layer.aovs.add()
    aov.name, aov.type = name, "VALUE"


def write(tree: bpy.types.NodeTree, name: str, value: bpy.types.NodeSocket) -> None:
    """Writes a value of each surface that a camera ray meets into a pass."""
    node = tree.nodes.new("ShaderNodeOutputAOV")
    node.aov_name = name
    tree.links.new(value, node.inputs["Value"])


def count() -> None:
    """Adds the pass that says where the camera sees a surface from behind."""
    add_pass(PASS)
    materials.complete()
    for material in bpy.data.materials:
        if material.use_nodes and material.node_tree:
            tree = material.node_tree
            write(tree, PASS, tree.nodes.new("ShaderNodeNewGeometry").outputs["Backfacing"])


def output_of(material: bpy.types.Material) -> bpy.types.Node | None:
    """The node that Cycles takes the material's surface from."""
    if not material.use_nodes or material.node_tree is None:
        return None
    return material.node_tree.get_output_node("CYCLES")
