"""What a material's nodes say of its surface: base colour, roughness, metallic, normal and how opaque it is.

A shader cannot be read, only what goes into it. So beside the shader's graph a second one is built that follows it from
the output: through groups and mixes, by the same factors, to the nodes that scatter light. Values are weighted
by opacity, so that what is not there adds nothing, and mixing them is linear.
"""

from dataclasses import dataclass

import bpy

from . import spec_gloss
from .graph import Socket, blended, combined, link_of, mixed, new, normal_of, scaled, source

MATT, METAL, NOT_METAL = 1.0, 1.0, 0.0
ROUGH = {"BSDF_PRINCIPLED", "BSDF_GLOSSY", "BSDF_GLASS", "BSDF_REFRACTION", "BSDF_METALLIC", "BSDF_HAIR_PRINCIPLED"}
"""Nodes whose Roughness is that of microfacets; that of a diffuse node means something else."""
METALS = {"BSDF_GLOSSY", "BSDF_METALLIC"}
NOTHING = {"BSDF_TRANSPARENT", "HOLDOUT", "BSDF_RAY_PORTAL"}
LAMPS = {"EMISSION", "BACKGROUND"}
ALBEDO, ORM, NORMAL = TOLD = "dataengine.albedo", "dataengine.orm", "dataengine.normal"


@dataclass(frozen=True)
class Surface:
    """Sockets of one tree.

    Attributes:
        albedo: base colour × opacity, scene-linear.
        orm: (opacity, roughness × opacity, metallic × opacity).
        normal: shading normal × opacity, in the world.
        glows: whether it scatters nothing: added to another surface, it does not change what that is made of.
    """

    albedo: Socket
    orm: Socket
    normal: Socket
    glows: bool = False


class Surfaces:
    """The surfaces of one asset's materials. Groups are entered once, whoever uses them."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, str, str], Surface] = {}
        self._exported: set[tuple[str, str]] = set()
        self._glowing: set[tuple[str, str]] = set()
        self._passed_in: dict[str, set[str]] = {}

    def of_material(self, material: bpy.types.Material) -> Surface | None:
        """The surface that Cycles shows; None for a material without one, which is black."""
        output = material.node_tree.get_output_node("CYCLES")
        return self._into(material.node_tree, output.inputs["Surface"]) if output else None

    def _into(self, tree: bpy.types.NodeTree, socket: Socket) -> Surface | None:
        """Of the shader that is linked to an input."""
        link = link_of(socket)
        return self._of(tree, link.from_node, link.from_socket) if link else None

    def _of(self, tree: bpy.types.NodeTree, node: bpy.types.Node, socket: Socket) -> Surface | None:
        key = (tree.as_pointer(), node.name, socket.identifier)
        if key not in self._known:
            found = self._read(tree, node, socket)
            if found is None:
                return None
            self._known[key] = found
        return self._known[key]

    def _read(self, tree: bpy.types.NodeTree, node: bpy.types.Node, socket: Socket) -> Surface | None:
        if node.mute or node.type == "REROUTE":
            through = [link.from_socket for link in node.internal_links if link.to_socket == socket]
            entry = through[0] if through else node.inputs[0] if node.type == "REROUTE" else None
            return self._into(tree, entry) if entry is not None else None
        if node.type == "MIX_SHADER":
            return self._mix(tree, node)
        if node.type == "ADD_SHADER":
            return self._add(tree, node)
        if node.type == "GROUP":
            return self._group(tree, node, socket)
        if node.type == "GROUP_INPUT":
            return self._passed(tree, node, socket)
        if node.type in NOTHING:
            return nothing(tree)
        return leaf(tree, node)

    def _mix(self, tree: bpy.types.NodeTree, node: bpy.types.Node) -> Surface:
        first, second = (self._into(tree, s) or black(tree) for s in node.inputs[1:3])
        factor = source(tree, node.inputs["Fac"])
        albedo = mixed(tree, factor, first.albedo, second.albedo)
        orm = mixed(tree, factor, first.orm, second.orm)
        normal = blended(tree, factor, first.normal, second.normal)
        return Surface(albedo, orm, normal, first.glows and second.glows)

    def _add(self, tree: bpy.types.NodeTree, node: bpy.types.Node) -> Surface | None:
        """Colours add up, as light does; roughness and metallic are the mean."""
        found = [self._into(tree, s) for s in node.inputs[:2]]
        first, second = (s or nothing(tree) for s in found)
        if None in found or first.glows != second.glows:
            return next((s for s in found if s is not None and not s.glows), first if found[0] else found[1])
        total = new(tree, "ShaderNodeVectorMath", "ADD")
        tree.links.new(first.albedo, total.inputs[0])
        tree.links.new(second.albedo, total.inputs[1])
        half = source(tree, 0.5)
        normal = blended(tree, half, first.normal, second.normal)
        return Surface(total.outputs[0], mixed(tree, half, first.orm, second.orm), normal, first.glows)

    def _group(self, tree: bpy.types.NodeTree, node: bpy.types.Node, socket: Socket) -> Surface | None:
        inner = node.node_tree
        if inner is None:
            return None
        key = (inner.name, socket.identifier)
        if key not in self._exported:
            self._export(inner, socket.identifier)
        for identifier in self._passed_in.get(inner.name, ()):
            given = self._into(tree, by_identifier(node.inputs, identifier)) or black(tree)
            for what, value in told(given):
                tree.links.new(value, named(node.inputs, f"{what} {identifier}"))
        albedo, orm, normal = (named(node.outputs, f"{what} {socket.identifier}") for what in TOLD)
        return Surface(albedo, orm, normal, key in self._glowing)

    def _export(self, inner: bpy.types.NodeTree, identifier: str) -> None:
        """Makes what a group's shader output is of two more outputs of the group."""
        self._exported.add((inner.name, identifier))
        outputs = [n for n in inner.nodes if n.type == "GROUP_OUTPUT" and n.is_active_output]
        surface = self._into(inner, by_identifier(outputs[0].inputs, identifier)) if outputs else None
        surface = surface or black(inner)
        if surface.glows:
            self._glowing.add((inner.name, identifier))
        end = outputs[0] if outputs else inner.nodes.new("NodeGroupOutput")
        for what, value in told(surface):
            inner.interface.new_socket(f"{what} {identifier}", in_out="OUTPUT", socket_type="NodeSocketVector")
            inner.links.new(value, named(end.inputs, f"{what} {identifier}"))

    def _passed(self, inner: bpy.types.NodeTree, node: bpy.types.Node, socket: Socket) -> Surface:
        """Of a shader that a group is given: two more inputs of the group, which `_group` links."""
        passed = self._passed_in.setdefault(inner.name, set())
        names = [f"{what} {socket.identifier}" for what in TOLD]
        if socket.identifier not in passed:
            passed.add(socket.identifier)
            for name in names:
                inner.interface.new_socket(name, in_out="INPUT", socket_type="NodeSocketVector")
        return Surface(*(named(node.outputs, name) for name in names))


def leaf(tree: bpy.types.NodeTree, node: bpy.types.Node) -> Surface | None:
    """Of a node that scatters or emits light: light alone is taken for the colour of what sends it out, as glTF's unlit
    materials mean it."""
    inputs = node.inputs
    entry = inputs.get("Base Color") or inputs.get("Color")
    if entry is None:
        return None
    albedo = source(tree, entry)
    roughness = source(tree, inputs["Roughness"] if node.type in ROUGH and "Roughness" in inputs else MATT)
    metallic = source(tree, METAL if node.type in METALS else inputs.get("Metallic") or NOT_METAL)
    if node.type == "BSDF_PRINCIPLED" and spec_gloss.is_meant(node):
        albedo, metallic = spec_gloss.as_metallic(tree, albedo, source(tree, inputs["Specular Tint"]))
    alpha = inputs.get("Alpha") if node.type == "BSDF_PRINCIPLED" else None
    normal = normal_of(tree, inputs.get("Normal"))
    if alpha is None or (link_of(alpha) is None and alpha.default_value >= 1.0):
        return Surface(albedo, combined(tree, source(tree, 1.0), roughness, metallic), normal, node.type in LAMPS)
    opacity = source(tree, alpha)
    orm = combined(tree, source(tree, 1.0), roughness, metallic)
    return Surface(*(scaled(tree, value, opacity) for value in (albedo, orm, normal)))


def told(surface: Surface) -> list[tuple[str, Socket]]:
    return list(zip(TOLD, (surface.albedo, surface.orm, surface.normal), strict=True))


def black(tree: bpy.types.NodeTree) -> Surface:
    """A shader that is not there shows black, and opaque."""
    zero, one = source(tree, 0.0), source(tree, 1.0)
    return Surface(combined(tree, zero, zero, zero), combined(tree, one, one, zero), normal_of(tree, None))


def nothing(tree: bpy.types.NodeTree) -> Surface:
    zero = source(tree, 0.0)
    none = combined(tree, zero, zero, zero)
    return Surface(none, none, none, glows=True)


def by_identifier(sockets: bpy.types.bpy_prop_collection, identifier: str) -> Socket:
    return next(s for s in sockets if s.identifier == identifier)


def named(sockets: bpy.types.bpy_prop_collection, name: str) -> Socket:
    return next(s for s in sockets if s.name == name)
