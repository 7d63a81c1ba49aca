"""Surfaces that are neither opaque nor invisible, and a depth that does not depend on dice.

Cycles draws at random, a sample at a time, whether a ray stops at such a surface or goes through, and its depth pass
keeps what the first sample met: front, back and nothing, like salt and pepper. So the depth of assets that have such
surfaces is rendered once more, from a scene in which every surface is opaque or is not there.
"""

import bpy

from .textures import node_trees

FAINT = 0.05
"""Alpha of the faintest surface that has a depth where no denser one lies on the ray."""
THRESHOLD = "dataengine.opaque above"
COMPARISONS = {"LESS_THAN", "GREATER_THAN", "COMPARE", "SIGN", "ROUND", "FLOOR", "CEIL"}
KEEP_BINARY = {"SUBTRACT", "MULTIPLY", "MINIMUM", "MAXIMUM", "ABSOLUTE", "POWER"}
YES_OR_NO = {"LIGHT_PATH", "NEW_GEOMETRY"}  # of their outputs, those that opacity is made of
Alpha = tuple[bpy.types.NodeTree, bpy.types.NodeSocket, bool]


def partial() -> list[Alpha]:
    """The sockets that make surfaces partly transparent: (tree, socket, whether 1 stands for transparent)."""
    found: list[Alpha] = []
    for tree in node_trees():
        for node in tree.nodes:
            if node.type == "BSDF_PRINCIPLED" and not is_binary(node.inputs["Alpha"]):
                found.append((tree, node.inputs["Alpha"], False))
            elif node.type == "MIX_SHADER" and not is_binary(node.inputs["Fac"]):
                see_through = [comes_from(socket, "BSDF_TRANSPARENT") for socket in node.inputs[1:3]]
                if any(see_through):
                    found.append((tree, node.inputs["Fac"], see_through[1]))
    return found


def see_through() -> bool:
    """Whether any ray may pass a surface that it meets."""
    for tree in node_trees():
        for node in tree.nodes:
            if node.type == "BSDF_TRANSPARENT":
                return True
            if node.type == "BSDF_PRINCIPLED":
                alpha = node.inputs["Alpha"]
                if alpha.is_linked or alpha.default_value < 1.0:
                    return True
    return False


def is_binary(socket: bpy.types.NodeSocket) -> bool:
    """Whether a value is 0 or 1 everywhere, as far as its nodes say."""
    if not socket.is_linked:
        return not 0.0 < float(socket.default_value) < 1.0
    link = socket.links[0]
    node = link.from_node
    if node.type in YES_OR_NO:
        return str(link.from_socket.name).startswith(("Backfacing", "Is "))
    if node.type == "MATH":
        used = node.inputs[: 1 if node.operation == "ABSOLUTE" else 2]
        return node.operation in COMPARISONS or (node.operation in KEEP_BINARY and all(map(is_binary, used)))
    if node.type == "TEX_IMAGE" and link.from_socket.name == "Alpha" and node.image is not None:
        return bool(node.image.alpha_mode == "NONE")
    return False


def comes_from(socket: bpy.types.NodeSocket, kind: str) -> bool:
    return bool(socket.is_linked and socket.links[0].from_node.type == kind)


def round_to(alphas: list[Alpha], threshold: float) -> None:
    """Makes surfaces opaque where their alpha is above the threshold, and not there elsewhere. May be called again."""
    for tree, socket, one_is_transparent in alphas:
        limit = 1.0 - threshold if one_is_transparent else threshold
        if not socket.is_linked:
            value = tree.nodes.new("ShaderNodeValue")
            value.outputs[0].default_value = socket.default_value
            tree.links.new(value.outputs[0], socket)
        before = socket.links[0].from_node
        if before.label != THRESHOLD:
            source = socket.links[0].from_socket
            before = tree.nodes.new("ShaderNodeMath")
            before.operation, before.label = "GREATER_THAN", THRESHOLD
            tree.links.new(source, before.inputs[0])
            tree.links.new(before.outputs[0], socket)
        before.inputs[1].default_value = limit
