"""Run as a program: writes a .blend of squares in a row, each with another way to say what it is made of.

`WHAT` says what each square is made of: scene-linear base colour, roughness, metallic.
"""

import sys
from collections.abc import Callable
from typing import Any

RED, GREEN = (0.8, 0.1, 0.05), (0.1, 0.6, 0.2)
SUM, QUARTER = (0.9, 0.7, 0.25), (0.625, 0.225, 0.0875)  # of both; three parts red, one green
WHAT = {
    "principled": (RED, 0.3, 0.7),
    "in a group": (RED, 0.3, 0.7),
    "in a group in a group": (RED, 0.3, 0.7),
    "given to a group": (QUARTER, 0.3, 0.7),
    "mixed": (QUARTER, 0.35, 0.525),
    "muted mix": (RED, 0.3, 0.7),
    "rerouted": (RED, 0.3, 0.7),
    "added": (SUM, 0.6, 0.5),
    "diffuse": (RED, 1.0, 0.0),
    "glossy": (GREEN, 0.2, 1.0),
    "glass": (GREEN, 0.25, 0.0),
    "subsurface": (RED, 1.0, 0.0),
    "emission": (GREEN, 1.0, 0.0),
    "emission added": (RED, 1.0, 0.0),
    "unlit": (GREEN, 1.0, 0.0),
    "vertex colours": (GREEN, 0.5, 0.0),
    "spec-gloss metal": (GREEN, 0.4, 1.0),
    "spec-gloss matt": (RED, 0.4, 0.0),
    "no nodes": (RED, 1.0, 0.0),
    "half a mix": ((0.6, 0.075, 0.0375), 0.475, 0.525),
    "no material": ((0.8, 0.8, 0.8), 1.0, 0.0),
    "made by a modifier": ((0.8, 0.8, 0.8), 1.0, 0.0),
}


def build(file: str) -> None:
    import bpy

    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True, load_ui=False)
    for place, name in enumerate(WHAT):
        square(bpy, name, place)
    bpy.ops.wm.save_as_mainfile(filepath=file)


def square(bpy: Any, name: str, place: int) -> None:
    """A unit square that faces -y, named so that the order of names is that of the places."""
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata([(0, 0, 0), (1, 0, 0), (1, 0, 1), (0, 0, 1)], [], [(0, 1, 2, 3)])
    thing = bpy.data.objects.new(f"{place:02d} {name}", mesh)
    thing.location.x = 1.2 * place
    bpy.context.scene.collection.objects.link(thing)
    if name == "made by a modifier":
        return cube_of_geometry_nodes(bpy, thing)
    if name == "no material":
        return None
    material = bpy.data.materials.new(name)
    mesh.materials.append(material)
    if name == "no nodes":
        material.diffuse_color = (*RED, 1.0)
        return None
    if name == "vertex colours":
        colours = mesh.color_attributes.new("tint", "FLOAT_COLOR", "POINT")
        for value in colours.data:
            value.color = (*GREEN, 1.0)
    material.use_nodes = True
    tree = material.node_tree
    tree.nodes.clear()
    output = tree.nodes.new("ShaderNodeOutputMaterial")
    tree.links.new(MAKERS[name](bpy, tree), output.inputs["Surface"])
    return None


def cube_of_geometry_nodes(bpy: Any, thing: Any) -> None:
    """No output can be added to the material of what has none."""
    tree = bpy.data.node_groups.new("made", "GeometryNodeTree")
    tree.interface.new_socket("Geometry", in_out="OUTPUT", socket_type="NodeSocketGeometry")
    cube, made = tree.nodes.new("GeometryNodeMeshCube"), tree.nodes.new("NodeGroupOutput")
    tree.links.new(cube.outputs[0], made.inputs[0])
    thing.modifiers.new("made", "NODES").node_group = tree
    thing.location.x += 0.5
    thing.location.z += 0.5


def shader(tree: Any, kind: str, **values: Any) -> Any:
    """A node's shader; spaces of the names of inputs are underscores."""
    node = tree.nodes.new(kind)
    for name, value in values.items():
        node.inputs[name.replace("_", " ")].default_value = (*value, 1.0) if isinstance(value, tuple) else value
    return node.outputs[0]


def principled(tree: Any, **more: Any) -> Any:
    return shader(tree, "ShaderNodeBsdfPrincipled", **{"Base_Color": RED, "Roughness": 0.3, "Metallic": 0.7, **more})


def green(tree: Any) -> Any:
    return principled(tree, Base_Color=GREEN, Roughness=0.5, Metallic=0.0)


def mix(tree: Any, factor: float, first: Any, second: Any) -> Any:
    node = tree.nodes.new("ShaderNodeMixShader")
    node.inputs["Fac"].default_value = factor
    tree.links.new(first, node.inputs[1])
    if second is not None:
        tree.links.new(second, node.inputs[2])
    return node


def add(tree: Any, first: Any, second: Any) -> Any:
    node = tree.nodes.new("ShaderNodeAddShader")
    tree.links.new(first, node.inputs[0])
    tree.links.new(second, node.inputs[1])
    return node.outputs[0]


def group(bpy: Any, tree: Any, inside: Callable[[Any], Any]) -> Any:
    """A group node whose shader is what `inside` makes; its input `Tint` is red."""
    inner = bpy.data.node_groups.new("group", "ShaderNodeTree")
    inner.interface.new_socket("Tint", in_out="INPUT", socket_type="NodeSocketColor")
    inner.interface.new_socket("Shader", in_out="OUTPUT", socket_type="NodeSocketShader")
    output = inner.nodes.new("NodeGroupOutput")
    inner.links.new(inside(inner), output.inputs[0])
    node = tree.nodes.new("ShaderNodeGroup")
    node.node_tree = inner
    node.inputs["Tint"].default_value = (*RED, 1.0)
    return node.outputs[0]


def tinted(inner: Any) -> Any:
    made, entry = principled(inner, Base_Color=(0.0, 0.0, 0.0)), inner.nodes.new("NodeGroupInput")
    inner.links.new(entry.outputs["Tint"], made.node.inputs["Base Color"])
    return made


def given_to_a_group(bpy: Any, tree: Any) -> Any:
    inner = bpy.data.node_groups.new("mixes", "ShaderNodeTree")
    inner.interface.new_socket("A", in_out="INPUT", socket_type="NodeSocketShader")
    inner.interface.new_socket("Shader", in_out="OUTPUT", socket_type="NodeSocketShader")
    entry, output = inner.nodes.new("NodeGroupInput"), inner.nodes.new("NodeGroupOutput")
    mixed = mix(inner, 0.25, entry.outputs[0], principled(inner, Base_Color=GREEN))
    inner.links.new(mixed.outputs[0], output.inputs[0])
    node = tree.nodes.new("ShaderNodeGroup")
    node.node_tree = inner
    tree.links.new(principled(tree), node.inputs[0])
    return node.outputs[0]


def muted(tree: Any) -> Any:
    node = mix(tree, 0.25, principled(tree), green(tree))
    node.mute = True
    return node.outputs[0]


def rerouted(tree: Any) -> Any:
    node = tree.nodes.new("NodeReroute")
    tree.links.new(principled(tree), node.inputs[0])
    return node.outputs[0]


def unlit(tree: Any) -> Any:
    """As Blender's importer builds KHR_materials_unlit."""
    nothing, light = shader(tree, "ShaderNodeBsdfTransparent"), shader(tree, "ShaderNodeEmission", Color=GREEN)
    node, ray = mix(tree, 0.5, nothing, light), tree.nodes.new("ShaderNodeLightPath")
    tree.links.new(ray.outputs["Is Camera Ray"], node.inputs["Fac"])
    return node.outputs[0]


def vertex_colours(tree: Any) -> Any:
    made, colours = green(tree), tree.nodes.new("ShaderNodeVertexColor")
    colours.layer_name = "tint"
    tree.links.new(colours.outputs["Color"], made.node.inputs["Base Color"])
    return made


def diffuse(tree: Any) -> Any:
    return shader(tree, "ShaderNodeBsdfDiffuse", Color=RED, Roughness=0.1)


def glossy(tree: Any) -> Any:
    return shader(tree, "ShaderNodeBsdfAnisotropic", Color=GREEN, Roughness=0.2)


def emission(tree: Any) -> Any:
    return shader(tree, "ShaderNodeEmission", Color=GREEN, Strength=3.0)


def spec_gloss(tree: Any, colour: Any, specular: Any) -> Any:
    return principled(tree, Base_Color=colour, Specular_Tint=specular, IOR=1000.0, Metallic=0.0, Roughness=0.4)


MAKERS: dict[str, Callable[[Any, Any], Any]] = {
    "principled": lambda bpy, tree: principled(tree),
    "in a group": lambda bpy, tree: group(bpy, tree, tinted),
    "in a group in a group": lambda bpy, tree: group(bpy, tree, lambda inner: group(bpy, inner, tinted)),
    "given to a group": given_to_a_group,
    "mixed": lambda bpy, tree: mix(tree, 0.25, principled(tree), green(tree)).outputs[0],
    "half a mix": lambda bpy, tree: mix(tree, 0.25, principled(tree), None).outputs[0],
    "muted mix": lambda bpy, tree: muted(tree),
    "rerouted": lambda bpy, tree: rerouted(tree),
    "added": lambda bpy, tree: add(tree, diffuse(tree), glossy(tree)),
    "diffuse": lambda bpy, tree: diffuse(tree),
    "glossy": lambda bpy, tree: glossy(tree),
    "glass": lambda bpy, tree: shader(tree, "ShaderNodeBsdfGlass", Color=GREEN, Roughness=0.25),
    "subsurface": lambda bpy, tree: shader(tree, "ShaderNodeSubsurfaceScattering", Color=RED),
    "emission": lambda bpy, tree: emission(tree),
    "emission added": lambda bpy, tree: add(tree, emission(tree), diffuse(tree)),
    "unlit": lambda bpy, tree: unlit(tree),
    "vertex colours": lambda bpy, tree: vertex_colours(tree),
    "spec-gloss metal": lambda bpy, tree: spec_gloss(tree, (0.0, 0.0, 0.0), GREEN),
    "spec-gloss matt": lambda bpy, tree: spec_gloss(tree, RED, (0.04, 0.04, 0.04)),
}

if __name__ == "__main__":
    build(sys.argv[1])
