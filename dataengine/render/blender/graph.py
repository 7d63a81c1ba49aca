"""Nodes that compute beside a shader's own: constants, mixes, sums."""

from typing import Any, TypeAlias

import bpy

Socket: TypeAlias = bpy.types.NodeSocket


def link_of(socket: Socket) -> bpy.types.NodeLink | None:
    """The link that an input takes its value from, if any does."""
    return next((link for link in socket.links if link.is_valid and not link.is_muted), None)


def source(tree: bpy.types.NodeTree, given: Socket | float) -> Socket:
    """An output that has a number, or the value of an input: what is linked to it, or what stands in it."""
    if isinstance(given, bpy.types.NodeSocket):
        if link := link_of(given):
            return link.from_socket
        given = given.default_value
    if isinstance(given, int | float):
        node = tree.nodes.new("ShaderNodeValue")
        node.outputs[0].default_value = given
    else:
        node = tree.nodes.new("ShaderNodeRGB")
        node.outputs[0].default_value = (*tuple(given)[:3], 1.0)
    return node.outputs[0]


def new(tree: bpy.types.NodeTree, kind: str, operation: str) -> bpy.types.Node:
    node = tree.nodes.new(kind)
    node.operation = operation
    return node


def math(tree: bpy.types.NodeTree, operation: str, *values: Socket | float, clamp: bool = False) -> Socket:
    node = new(tree, "ShaderNodeMath", operation)
    node.use_clamp = clamp
    put(tree, node, values)
    return node.outputs[0]


def vector(tree: bpy.types.NodeTree, operation: str, *values: Any) -> Socket:
    """Of vectors or colours; the result is a number where the operation's is."""
    node = new(tree, "ShaderNodeVectorMath", operation)
    put(tree, node, values)
    return node.outputs["Value" if operation == "DOT_PRODUCT" else "Vector"]


def put(tree: bpy.types.NodeTree, node: bpy.types.Node, values: tuple[Any, ...]) -> None:
    for socket, value in zip(node.inputs, values, strict=False):
        if isinstance(value, bpy.types.NodeSocket):
            tree.links.new(value, socket)
        else:
            socket.default_value = value


def combined(tree: bpy.types.NodeTree, x: Socket, y: Socket, z: Socket) -> Socket:
    node = tree.nodes.new("ShaderNodeCombineXYZ")
    put(tree, node, (x, y, z))
    return node.outputs[0]


def mixed(tree: bpy.types.NodeTree, factor: Socket, first: Socket, second: Socket) -> Socket:
    """first × (1 - factor) + second × factor, the factor cut to 0 … 1, as a Mix Shader does."""
    node = tree.nodes.new("ShaderNodeMixRGB")
    put(tree, node, (factor, first, second))
    return node.outputs[0]


def blended(tree: bpy.types.NodeTree, factor: Socket, first: Socket, second: Socket) -> Socket:
    """The same for vectors, whose numbers may be negative."""
    node = tree.nodes.new("ShaderNodeMix")
    node.data_type, node.factor_mode, node.clamp_factor = "VECTOR", "UNIFORM", True
    for name, value in (("Factor_Float", factor), ("A_Vector", first), ("B_Vector", second)):
        tree.links.new(value, next(s for s in node.inputs if s.identifier == name))
    return next(s for s in node.outputs if s.identifier == "Result_Vector")


def normal_of(tree: bpy.types.NodeTree, entry: Socket | None) -> Socket:
    """What is linked to a node's Normal, else the smooth normal of the side that is seen."""
    if entry is not None and (link := link_of(entry)):
        return link.from_socket
    return tree.nodes.new("ShaderNodeNewGeometry").outputs["Normal"]


def scaled(tree: bpy.types.NodeTree, value: Socket, factor: Socket) -> Socket:
    node = new(tree, "ShaderNodeVectorMath", "SCALE")
    tree.links.new(value, node.inputs[0])
    tree.links.new(factor, node.inputs["Scale"])
    return node.outputs[0]


def spread(tree: bpy.types.NodeTree, value: Socket) -> Socket:
    """A number as a vector of three."""
    node = tree.nodes.new("ShaderNodeCombineXYZ")
    for socket in node.inputs:
        tree.links.new(value, socket)
    return node.outputs[0]
