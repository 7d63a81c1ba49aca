"""glTF's specular-glossiness materials as metallic-roughness, the way the extension's own example converts them.

KHR_materials_pbrSpecularGlossiness, examples/convert-between-workflows (Khronos). Blender's importer makes such a
material a Principled node whose index of refraction is 1000, so that its specular tint is the reflectance at 0°.
"""

import bpy

from .graph import Socket, math, mixed, spread, vector

MIRROR = 100.0  # no material refracts so strongly: the index is there to make the tint count
DIELECTRIC = 0.04  # reflectance of what is no metal
BRIGHTNESS = (0.299, 0.587, 0.114)  # squared channels, under a root
TINY = 1e-6


def is_meant(node: bpy.types.Node) -> bool:
    refraction, metallic = node.inputs["IOR"], node.inputs["Metallic"]
    told = refraction.is_linked or metallic.is_linked or node.inputs["Transmission Weight"].is_linked
    return not told and refraction.default_value > MIRROR and metallic.default_value == 0.0


def as_metallic(tree: bpy.types.NodeTree, diffuse: Socket, specular: Socket) -> tuple[Socket, Socket]:
    """(base colour, metallic) of diffuse and specular colours."""
    split = tree.nodes.new("ShaderNodeSeparateXYZ")
    tree.links.new(specular, split.inputs[0])
    r, g, b = split.outputs
    rest = math(tree, "SUBTRACT", 1.0, math(tree, "MAXIMUM", math(tree, "MAXIMUM", r, g), b))
    shine = brightness(tree, specular)

    # a m² + b m + c = 0 with a = DIELECTRIC, for the share m of metal that reflects as much
    matt = math(tree, "MULTIPLY", math(tree, "MULTIPLY", brightness(tree, diffuse), rest), 1 / (1 - DIELECTRIC))
    linear = math(tree, "SUBTRACT", math(tree, "ADD", matt, shine), 2 * DIELECTRIC)
    constant = math(tree, "SUBTRACT", DIELECTRIC, shine)
    square = math(tree, "MULTIPLY", linear, linear)
    root = math(tree, "SQRT", math(tree, "MAXIMUM", math(tree, "MULTIPLY_ADD", constant, -4 * DIELECTRIC, square), 0.0))
    metallic = math(tree, "DIVIDE", math(tree, "SUBTRACT", root, linear), 2 * DIELECTRIC, clamp=True)
    metallic = math(tree, "MULTIPLY", metallic, math(tree, "GREATER_THAN", shine, DIELECTRIC))

    other = math(tree, "SUBTRACT", 1.0, metallic)
    kept = math(tree, "DIVIDE", rest, math(tree, "MULTIPLY", math(tree, "MAXIMUM", other, TINY), 1 - DIELECTRIC))
    from_diffuse = vector(tree, "MULTIPLY", diffuse, spread(tree, kept))
    unlike_metal = spread(tree, math(tree, "MULTIPLY", other, DIELECTRIC))
    some = spread(tree, math(tree, "MAXIMUM", metallic, TINY))
    from_specular = vector(tree, "DIVIDE", vector(tree, "SUBTRACT", specular, unlike_metal), some)
    colour = mixed(
        tree, math(tree, "MULTIPLY", metallic, metallic), clamped(tree, from_diffuse), clamped(tree, from_specular)
    )
    return colour, metallic


def brightness(tree: bpy.types.NodeTree, colour: Socket) -> Socket:
    return math(tree, "SQRT", vector(tree, "DOT_PRODUCT", vector(tree, "MULTIPLY", colour, colour), BRIGHTNESS))


def clamped(tree: bpy.types.NodeTree, colour: Socket) -> Socket:
    return vector(tree, "MINIMUM", vector(tree, "MAXIMUM", colour, (0.0, 0.0, 0.0)), (1.0, 1.0, 1.0))
