"""Light in closed form: what suns and surroundings that nothing occludes leave on matt surfaces and in their gloss.

A sun without size or shadow, and a vertical gradient that reaches every surface, need no sampling. A Lambertian surface
of normal n sends back base colour × E(n) / π, with

    E(n) / π = Σ over suns: strength / π × max(0, n · towards)  +  Σ l = 0, 1, 2: A_l L_l P_l(n_z)

L_l being the gradient's Legendre coefficients, A = 1, 2/3, 1/4 those of the clamped cosine (Ramamoorthi and Hanrahan,
"An Efficient Representation for Irradiance Environment Maps", SIGGRAPH 2001; of a gradient, what follows is less than a
grey level). The gloss of a dielectric adds F × L(r), L(r) the gradient in the mirrored direction r, blurred towards its
share of E(n) / π as the surface gets rough, and leaves 1 - F to what is beneath; F is the directional albedo of GGX
(Karis, "Physically Based Shading on Mobile", 2014). Materials emit both. Metal, glass and clearcoats are traced.

All light is grey: one number stands for three.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import bpy
import numpy as np
from mathutils import Vector

from . import materials, spec_gloss
from .graph import Socket, link_of, math, normal_of, scaled, source, vector
from .textures import node_trees

MATT = {"BSDF_DIFFUSE", "SUBSURFACE_SCATTERING", "BSDF_SHEEN", "BSDF_TOON", "BSDF_HAIR", "BSDF_HAIR_PRINCIPLED"}
"""Nodes that are shown as Lambertian surfaces of their Color."""
TRANSLUCENT = "BSDF_TRANSLUCENT"
VOLUMES = {"VOLUME_SCATTER", "PRINCIPLED_VOLUME"}
MIRRORED = 0.02  # of metallic or transmission: above it, what a surface mirrors is traced
DENSEST = 2.5  # index of refraction (diamond's is 2.4): above it, the gloss is a metal's in disguise
CLAMPED_COSINE = (1.0, 2 / 3, 1 / 4)
GROUP = "dataengine.closed form"


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
    group, changed = light(look), Changed()
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
    """Its matt part and a dielectric's gloss become emission; what is metal or lets light through stays."""
    inputs = node.inputs
    through = [s for s in (inputs["Metallic"], inputs["Transmission Weight"]) if not is_number(s, 0.0)]
    if any(is_number(s, 1.0) for s in through):
        return
    base, level = source(tree, inputs["Base Color"]), inputs["Specular IOR Level"]
    lights = instance(tree, group, inputs["Normal"])
    tree.links.new(source(tree, inputs["Roughness"]), lights.inputs["Roughness"])
    tree.links.new(reflectance(tree, inputs), lights.inputs["Reflectance"])
    gloss, beneath = lights.outputs["Gloss"], lights.outputs["Matt"]
    for share in through:
        beneath = math(tree, "MULTIPLY", beneath, math(tree, "SUBTRACT", 1.0, source(tree, share)))
    sent = scaled(tree, base, beneath)
    if is_disguised(node):
        changed.put(tree, inputs["Base Color"], (0.0, 0.0, 0.0, 1.0))
    elif through:
        share = [source(tree, s) for s in through]
        mirrors = math(tree, "GREATER_THAN", math(tree, "MAXIMUM", share[0], share[-1]), MIRRORED)
        glossy = math(tree, "MULTIPLY", gloss, math(tree, "SUBTRACT", 1.0, mirrors))
        sent = vector(tree, "ADD", sent, glossy)
        level_there = math(tree, "MULTIPLY", source(tree, level), mirrors)
        changed.put(tree, level, level_there)
        changed.put(tree, inputs["Base Color"], scaled(tree, base, mirrors))
    else:
        sent = vector(tree, "ADD", sent, gloss)
        changed.put(tree, level, 0.0)
        changed.put(tree, inputs["Base Color"], (0.0, 0.0, 0.0, 1.0))
    glow, strength = inputs["Emission Color"], inputs["Emission Strength"]
    if not is_number(strength, 0.0):
        sent = vector(tree, "ADD", sent, scaled(tree, source(tree, glow), source(tree, strength)))
    if (
        not through
        and not is_disguised(node)
        and is_number(inputs["Alpha"], 1.0)
        and is_number(inputs["Coat Weight"], 0.0)
    ):
        instead(tree, node, sent, changed)
        return
    for name in ("Subsurface Weight", "Sheen Weight"):
        if not is_number(inputs[name], 0.0):
            changed.put(tree, inputs[name], 0.0)
    changed.put(tree, glow, sent)
    changed.put(tree, strength, 1.0)


def matt(tree: bpy.types.NodeTree, node: bpy.types.Node, group: bpy.types.NodeTree, changed: Changed) -> None:
    """An emission takes the place of a node that scatters light all around."""
    if "Color" not in node.inputs:
        return
    lights = instance(tree, group, node.inputs.get("Normal"), behind=node.type == TRANSLUCENT)
    lights.inputs["Roughness"].default_value, lights.inputs["Reflectance"].default_value = 1.0, 0.0
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


def is_number(socket: Socket, value: float) -> bool:
    return link_of(socket) is None and float(socket.default_value) == value


def light(look: dict[str, Any]) -> bpy.types.NodeTree:
    """A group: of normal, roughness and reflectance it makes All = E(n) / π, Matt = (1 - F) × that, and Gloss."""
    tree = bpy.data.node_groups.new(GROUP, "ShaderNodeTree")
    for name, kind in (
        ("Normal", "NodeSocketVector"),
        ("Roughness", "NodeSocketFloat"),
        ("Reflectance", "NodeSocketFloat"),
    ):
        tree.interface.new_socket(name, in_out="INPUT", socket_type=kind)
    for name in ("All", "Matt", "Gloss"):
        tree.interface.new_socket(name, in_out="OUTPUT", socket_type="NodeSocketFloat")
    start, end = tree.nodes.new("NodeGroupInput"), tree.nodes.new("NodeGroupOutput")
    normal, roughness, reflected = (start.outputs[name] for name in ("Normal", "Roughness", "Reflectance"))
    eye = tree.nodes.new("ShaderNodeNewGeometry").outputs["Incoming"]
    facing = vector(tree, "DOT_PRODUCT", normal, eye)

    gradient, upright = Gradient.of(look["world"]), height(tree, normal)
    around = gradient.irradiance(tree, upright)
    everything = around
    for towards, strength in suns(look["lights"]):
        cosine = math(tree, "MAXIMUM", vector(tree, "DOT_PRODUCT", normal, towards), 0.0)
        everything = math(tree, "MULTIPLY_ADD", cosine, strength, everything)

    down = math(tree, "MULTIPLY", height(tree, eye), -1.0)
    z = math(tree, "MULTIPLY_ADD", math(tree, "MULTIPLY", facing, upright), 2.0, down)
    mirrored = gradient.radiance(tree, z)
    blur = math(tree, "MULTIPLY", roughness, roughness)
    mirrored = math(tree, "MULTIPLY_ADD", blur, math(tree, "SUBTRACT", around, mirrored), mirrored)
    albedo = directional_albedo(tree, reflected, roughness, facing)

    tree.links.new(everything, end.inputs["All"])
    tree.links.new(math(tree, "MULTIPLY", everything, math(tree, "SUBTRACT", 1.0, albedo)), end.inputs["Matt"])
    tree.links.new(math(tree, "MULTIPLY", mirrored, albedo), end.inputs["Gloss"])
    return tree


def directional_albedo(tree: bpy.types.NodeTree, reflected: Socket, roughness: Socket, facing: Socket) -> Socket:
    """Karis's fit F = F_0 (1.04 - 0.572 r - 1.04 a) + 1.04 a - 0.04 + 0.022 r, of roughness r and an a of r and the
    cosine to the eye. Sorted by what changes over a surface, so that Cycles computes the rest once. 0 where F_0 is."""
    there = math(tree, "GREATER_THAN", reflected, 0.0)
    x = math(tree, "SUBTRACT", 1.0, roughness)
    y = math(tree, "MULTIPLY_ADD", roughness, -0.0275, 0.0425)
    of_first = math(tree, "MULTIPLY_ADD", roughness, -0.572, 1.04)
    of_second = math(tree, "MULTIPLY_ADD", roughness, 0.022, -0.04)
    rest = math(tree, "MULTIPLY", there, math(tree, "MULTIPLY_ADD", reflected, of_first, of_second))
    share = math(tree, "MULTIPLY", there, math(tree, "MULTIPLY_ADD", reflected, -1.04, 1.04))
    edge = math(tree, "POWER", 2.0**-9.28, facing)
    a = math(tree, "MULTIPLY_ADD", math(tree, "MINIMUM", math(tree, "MULTIPLY", x, x), edge), x, y)
    return math(tree, "MULTIPLY_ADD", a, share, rest, clamp=True)


def suns(lamps: list[dict[str, Any]]) -> list[tuple[tuple[float, ...], float]]:
    """The direction to each, and its strength / π."""
    for lamp in lamps:
        if lamp["kind"] != "SUN" or lamp["shadow"] or lamp["angle"] or len({*lamp["colour"]}) > 1:
            raise ValueError("only white suns without size or shadow have a closed form")
    towards = [-Vector(lamp["towards"]).normalized() for lamp in lamps]
    return [(tuple(d), lamp["energy"] * lamp["colour"][0] / np.pi) for d, lamp in zip(towards, lamps, strict=True)]


@dataclass(frozen=True)
class Gradient:
    """Grey surroundings: radiances at even steps of the direction's height, from straight down to straight up."""

    radiances: tuple[float, ...]

    @classmethod
    def of(cls, world: dict[str, Any]) -> "Gradient":
        if any(len({*colour}) > 1 for colour in world["colours"]):
            raise ValueError("only grey surroundings have a closed form")
        found = [colour[0] * world["strength"] for colour in world["colours"]]
        return cls(tuple(found if len(found) > 1 else found * 2))

    def radiance(self, tree: bpy.types.NodeTree, z: Socket) -> Socket:
        """L(z), piecewise linear: a line, and at each step between a kink, half of its |z - step|."""
        steps = np.linspace(-1, 1, len(self.radiances))
        slopes = np.diff(self.radiances) / np.diff(steps)
        kinks = np.diff(slopes) / 2
        middle = (self.radiances[0] + self.radiances[-1]) / 2 - float(kinks.sum())
        total = math(tree, "MULTIPLY_ADD", z, float(slopes[0] + slopes[-1]) / 2, middle)
        for step, kink in zip(steps[1:-1], kinks, strict=True):
            away = math(tree, "ABSOLUTE", math(tree, "SUBTRACT", z, float(step)) if step else z)
            total = math(tree, "MULTIPLY_ADD", away, float(kink), total)
        return total

    def irradiance(self, tree: bpy.types.NodeTree, z: Socket) -> Socket:
        """E(z) / π by its first three Legendre coefficients, as a polynomial of z."""
        constant, linear, square = (float(a * b) for a, b in zip(CLAMPED_COSINE, self.bands(), strict=True))
        inner = math(tree, "MULTIPLY_ADD", z, 1.5 * square, linear)
        return math(tree, "MULTIPLY_ADD", z, inner, constant - square / 2)

    def bands(self) -> list[float]:
        """(2 l + 1) / 2 × ∫ L(z) P_l(z) dz over -1 … 1, exact: between two steps the integrand is a cubic."""
        steps = np.linspace(-1, 1, len(self.radiances))
        found = [0.0, 0.0, 0.0]
        for low, high in pairwise(steps):
            z = (low + high) / 2 + (high - low) / 2 * np.array([-1.0, 1.0]) / 3**0.5  # Gauss's two points
            there = np.interp(z, steps, self.radiances) * (high - low) / 2
            for order, shape in enumerate((np.ones(2), z, 1.5 * z**2 - 0.5)):
                found[order] += float((2 * order + 1) / 2 * (there * shape).sum())
        return found


def height(tree: bpy.types.NodeTree, direction: Socket) -> Socket:
    split = tree.nodes.new("ShaderNodeSeparateXYZ")
    tree.links.new(direction, split.inputs[0])
    return split.outputs["Z"]
