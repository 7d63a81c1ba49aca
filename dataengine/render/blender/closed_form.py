"""Light in closed form: what suns and surroundings that nothing occludes leave on matt surfaces and in their gloss.

A sun without size or shadow, and a vertical gradient that reaches every surface, need no sampling. A Lambertian surface
of normal n sends back base colour × E(n) / π, with

    E(n) / π = Σ over suns: strength / π × max(0, n · towards)  +  Σ l = 0, 1, 2: A_l L_l P_l(n_z)

L_l being the gradient's Legendre coefficients, A = 1, 2/3, 1/4 those of the clamped cosine (Ramamoorthi and Hanrahan,
"An Efficient Representation for Irradiance Environment Maps", SIGGRAPH 2001; of a gradient, what follows is less than a
grey level). The gloss of a dielectric adds F × L(r), L(r) the gradient in the mirrored direction r, blurred towards its
share of E(n) / π as the surface gets rough, and leaves 1 - F to what is beneath; F is the directional albedo of GGX
(Karis, "Physically Based Shading on Mobile", 2014). A rough metal's gloss is the same, in its colour. Materials emit
all that. Smooth metal, glass and clearcoats are traced.

All light is grey: one number stands for three.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import bpy
import numpy as np

from . import materials, spec_gloss
from .graph import Socket, link_of, math, normal_of, scaled, source, vector
from .light_group import light_group
from .textures import node_trees

MATT = {"BSDF_DIFFUSE", "SUBSURFACE_SCATTERING", "BSDF_SHEEN", "BSDF_TOON", "BSDF_HAIR", "BSDF_HAIR_PRINCIPLED"}
"""Nodes that are shown as Lambertian surfaces of their Color."""
TRANSLUCENT = "BSDF_TRANSLUCENT"
VOLUMES = {"VOLUME_SCATTER", "PRINCIPLED_VOLUME"}
MIRRORED = 0.02  # of metallic or transmission: above it, what a surface mirrors is traced,
SMOOTH = 0.3  # if its roughness is below this: a rough mirror shows hardly more than the gradient, and much grain
DENSEST = 2.5  # index of refraction (diamond's is 2.4): above it, the gloss is a metal's in disguise
Share: TypeAlias = Socket | float


def is_meant(look: dict[str, Any], engine: str) -> bool:
    return bool(look.get("closed_form")) and engine == "CYCLES"


def leaves_lamps() -> bool:
    """Whether something needs the lamps themselves: smoke."""
    return any(node.type in VOLUMES for tree in node_trees() for node in tree.nodes)


@dataclass
class Changed:
    """What has to be put back."""

    values: list[tuple[Socket, Any]] = field(default_factory=list)
    links: list[tuple[bpy.types.NodeTree, Socket, Socket]] = field(default_factory=list)
    sampling: list[tuple[bpy.types.Material, str]] = field(default_factory=list)

    def put(self, tree: bpy.types.NodeTree, socket: Socket, value: Any) -> None:
        """Gives an input another value, which may be a socket."""
        if link := link_of(socket):
            self.links.append((tree, link.from_socket, socket))
            tree.links.remove(link)
        if isinstance(value, bpy.types.NodeSocket):
            tree.links.new(value, socket)
            return
        old = socket.default_value
        self.values.append((socket, old if isinstance(old, int | float) else tuple(old)))
        socket.default_value = value


@contextmanager
def lit(look: dict[str, Any]) -> Iterator[None]:
    """While it lasts, materials emit what the look's suns and surroundings would leave on them."""
    materials.complete()
    trees = node_trees()
    before = [{node.name for node in tree.nodes} for tree in trees]  # trees of materials all have one name
    group, changed = light_group(look), Changed()
    for material in bpy.data.materials:  # or every face is a lamp to all others
        changed.sampling.append((material, material.cycles.emission_sampling))
        material.cycles.emission_sampling = "NONE"
    for tree in trees:
        for node in list(tree.nodes):
            if node.type == "BSDF_PRINCIPLED":
                principled(tree, node, group, changed)
            elif node.type in MATT or node.type == TRANSLUCENT:
                matt(tree, node, group, changed)
    try:
        yield
    finally:
        for tree, names in zip(trees, before, strict=True):
            for node in [n for n in tree.nodes if n.name not in names]:
                tree.nodes.remove(node)
        for socket, value in changed.values:
            socket.default_value = value
        for tree, start, end in changed.links:
            tree.links.new(start, end)
        for material, sampling in changed.sampling:
            material.cycles.emission_sampling = sampling
        bpy.data.node_groups.remove(group)


def principled(tree: bpy.types.NodeTree, node: bpy.types.Node, group: bpy.types.NodeTree, changed: Changed) -> None:
    """Its matt part and its gloss become emission; smooth metal and what lets light through stay."""
    inputs = node.inputs
    metal, clear = number(inputs["Metallic"]), number(inputs["Transmission Weight"])
    disguised = is_disguised(node)
    traced = share_traced(tree, inputs, disguised)
    if clear == 1.0 or (metal == 1.0 and traced == 1.0):
        return
    base, level = source(tree, inputs["Base Color"]), inputs["Specular IOR Level"]
    reflected = reflectance(tree, inputs)
    lights = instance(tree, group, inputs["Normal"])
    tree.links.new(source(tree, inputs["Roughness"]), lights.inputs["Roughness"])
    tree.links.new(reflected, lights.inputs["Reflectance"])
    tint = source(tree, inputs["Specular Tint"])
    tree.links.new(scaled(tree, tint, reflected) if disguised else base, lights.inputs["Colour"])

    other = 0.0 if metal == 1.0 else rest(tree, inputs["Metallic"])
    beneath = product(tree, lights.outputs["Matt"], other, rest(tree, inputs["Transmission Weight"]))
    sent = times(tree, base, beneath)
    shown = math(tree, "SUBTRACT", 1.0, traced) if isinstance(traced, bpy.types.NodeSocket) else 1.0 - traced
    if disguised:
        glossy = [(lights.outputs["Metal"], shown)]
    else:
        share = metal if metal is not None else source(tree, inputs["Metallic"])
        glossy = [
            (lights.outputs["Metal"], product(tree, share, shown)),
            (lights.outputs["Gloss"], product(tree, other, shown)),
        ]
    for what, share in glossy:
        sent = plus(tree, sent, times(tree, what, share))

    glow, strength = inputs["Emission Color"], inputs["Emission Strength"]
    if number(strength) != 0.0:
        sent = plus(tree, sent, scaled(tree, source(tree, glow), source(tree, strength)))
    if sent is None:
        return
    if traced == 0.0 and number(inputs["Alpha"]) == 1.0 and number(inputs["Coat Weight"]) == 0.0:
        instead(tree, node, sent, changed)
        return
    if traced == 0.0 or disguised:
        changed.put(tree, inputs["Base Color"], (0.0, 0.0, 0.0, 1.0))
    elif traced != 1.0:
        changed.put(tree, inputs["Base Color"], scaled(tree, base, traced))
    for socket in (level, inputs["Metallic"]):
        kept = product(tree, source(tree, socket), traced)
        changed.put(tree, socket, kept)
    for name in ("Subsurface Weight", "Sheen Weight"):
        changed.put(tree, inputs[name], 0.0)
    changed.put(tree, glow, sent)
    changed.put(tree, strength, 1.0)


def share_traced(tree: bpy.types.NodeTree, inputs: Any, disguised: bool) -> Share:
    """1 where what a surface mirrors, or lets through, is traced: smooth metal, glass; 0 elsewhere."""
    smooth = test(tree, "LESS_THAN", inputs["Roughness"], SMOOTH)
    metal = 1.0 if disguised else test(tree, "GREATER_THAN", inputs["Metallic"], MIRRORED)
    metal = product(tree, smooth, metal)
    clear = test(tree, "GREATER_THAN", inputs["Transmission Weight"], MIRRORED)
    if metal in (0.0, 1.0) and clear in (0.0, 1.0):
        return max(metal, clear)
    return math(tree, "MAXIMUM", metal, clear)


def test(tree: bpy.types.NodeTree, operation: str, socket: Socket, limit: float) -> Share:
    """1 or 0; a number where the input's is known."""
    value = number(socket)
    if value is None:
        return math(tree, operation, source(tree, socket), limit)
    return float(value > limit if operation == "GREATER_THAN" else value < limit)


def rest(tree: bpy.types.NodeTree, socket: Socket) -> Share:
    """1 less an input."""
    value = number(socket)
    return math(tree, "SUBTRACT", 1.0, source(tree, socket)) if value is None else 1.0 - value


def product(tree: bpy.types.NodeTree, *shares: Share) -> Share:
    """Of numbers and sockets; a number where it is known."""
    known = [share for share in shares if isinstance(share, int | float)]
    total = float(np.prod(known)) if known else 1.0
    sockets = [share for share in shares if not isinstance(share, int | float)]
    if total == 0.0 or not sockets:
        return total
    found = sockets[0]
    for more in (*sockets[1:], *([total] if total != 1.0 else [])):
        found = math(tree, "MULTIPLY", found, more)
    return found


def times(tree: bpy.types.NodeTree, what: Socket, share: Share) -> Socket | None:
    """None where it is nothing."""
    if isinstance(share, int | float):
        return None if share == 0.0 else what if share == 1.0 else scaled(tree, what, source(tree, share))
    return scaled(tree, what, share)


def plus(tree: bpy.types.NodeTree, first: Socket | None, second: Socket | None) -> Socket | None:
    return first or second if first is None or second is None else vector(tree, "ADD", first, second)


def matt(tree: bpy.types.NodeTree, node: bpy.types.Node, group: bpy.types.NodeTree, changed: Changed) -> None:
    """An emission takes the place of a node that scatters light all around."""
    if "Color" not in node.inputs:
        return
    lights = instance(tree, group, node.inputs.get("Normal"), behind=node.type == TRANSLUCENT)
    lights.inputs["Roughness"].default_value = 1.0
    instead(tree, node, scaled(tree, source(tree, node.inputs["Color"]), lights.outputs["All"]), changed)


def instead(tree: bpy.types.NodeTree, node: bpy.types.Node, sent: Socket, changed: Changed) -> None:
    """An emission of what is sent out takes a shader's place."""
    emission = tree.nodes.new("ShaderNodeEmission")
    tree.links.new(sent, emission.inputs["Color"])
    for link in list(node.outputs[0].links):
        end = link.to_socket
        changed.links.append((tree, link.from_socket, end))
        tree.links.new(emission.outputs[0], end)


def instance(
    tree: bpy.types.NodeTree, group: bpy.types.NodeTree, normal: Socket | None, behind: bool = False
) -> bpy.types.Node:
    """The group, at a surface's shading normal, or at its opposite."""
    node = tree.nodes.new("ShaderNodeGroup")
    node.node_tree = group
    along = normal_of(tree, normal)
    tree.links.new(vector(tree, "MULTIPLY", along, (-1.0, -1.0, -1.0)) if behind else along, node.inputs["Normal"])
    return node


def reflectance(tree: bpy.types.NodeTree, inputs: Any) -> Socket:
    """At 0°, of what is no metal: ((n - 1) / (n + 1))² × 2 level, and the brightest of the tint's three colours."""
    n = source(tree, inputs["IOR"])
    ratio = math(tree, "DIVIDE", math(tree, "SUBTRACT", n, 1.0), math(tree, "ADD", n, 1.0))
    doubled = math(tree, "MULTIPLY", source(tree, inputs["Specular IOR Level"]), 2.0)
    found = math(tree, "MULTIPLY", math(tree, "MULTIPLY", ratio, ratio), doubled)
    tint = inputs["Specular Tint"]
    if link_of(tint) is None:
        return math(tree, "MULTIPLY", found, max(tint.default_value[:3]), clamp=True)
    split = tree.nodes.new("ShaderNodeSeparateXYZ")
    tree.links.new(source(tree, tint), split.inputs[0])
    r, g, b = split.outputs
    return math(tree, "MULTIPLY", found, math(tree, "MAXIMUM", math(tree, "MAXIMUM", r, g), b), clamp=True)


def is_disguised(node: bpy.types.Node) -> bool:
    """Whether the gloss may be a metal's, which has to be traced: specular-glossiness, tints, high indices."""
    tint, n = node.inputs["Specular Tint"], node.inputs["IOR"]
    tinted = link_of(tint) is not None or max(tint.default_value[:3]) - min(tint.default_value[:3]) > MIRRORED
    dense = link_of(n) is not None or n.default_value > DENSEST
    return tinted or dense or spec_gloss.is_meant(node)


def number(socket: Socket) -> float | None:
    """What stands in an input; None where something is linked to it."""
    return None if link_of(socket) else float(socket.default_value)
