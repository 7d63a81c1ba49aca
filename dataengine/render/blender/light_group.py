"""A look's suns and gradient as one group of nodes; closed_form.py has the formulas, and the materials that use it."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import bpy
import numpy as np
from mathutils import Vector

from .graph import Socket, math, scaled, spread, vector

CLAMPED_COSINE = (1.0, 2 / 3, 1 / 4)
GROUP = "dataengine.closed form"


def light_group(look: dict[str, Any]) -> bpy.types.NodeTree:
    """Of a surface's Normal and Roughness, its Reflectance at 0° and that of a metal, its Colour, the group makes

    All = E(n) / π; Matt, what is left of it under the gloss; Gloss; and Metal, the gloss of a metal."""
    tree = bpy.data.node_groups.new(GROUP, "ShaderNodeTree")
    numbers = {"INPUT": ("Roughness", "Reflectance"), "OUTPUT": ("All", "Matt", "Gloss")}
    vectors = {"INPUT": ("Normal", "Colour"), "OUTPUT": ("Metal",)}
    for kind, sockets in (("NodeSocketFloat", numbers), ("NodeSocketVector", vectors)):
        for side, names in sockets.items():
            for name in names:
                tree.interface.new_socket(name, in_out=side, socket_type=kind)
    start, end = tree.nodes.new("NodeGroupInput"), tree.nodes.new("NodeGroupOutput")
    normal, roughness = start.outputs["Normal"], start.outputs["Roughness"]
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
    fit = Reflection.of(tree, roughness, facing)
    gloss = fit.of_dielectric(tree, start.outputs["Reflectance"])
    metal = fit.of_metal(tree, start.outputs["Colour"])

    tree.links.new(everything, end.inputs["All"])
    tree.links.new(math(tree, "MULTIPLY", everything, math(tree, "SUBTRACT", 1.0, gloss)), end.inputs["Matt"])
    tree.links.new(math(tree, "MULTIPLY", mirrored, gloss), end.inputs["Gloss"])
    tree.links.new(scaled(tree, metal, mirrored), end.inputs["Metal"])
    return tree


@dataclass(frozen=True)
class Reflection:
    """Karis's fit of the directional albedo, F = F_0 (p - 1.04 a) + 1.04 a + q: `p` and `q` of the roughness, `a` of
    that and the cosine to the eye. What depends on the roughness alone, Cycles computes once where that is a number."""

    p: Socket
    q: Socket
    a: Socket

    @classmethod
    def of(cls, tree: bpy.types.NodeTree, roughness: Socket, facing: Socket) -> "Reflection":
        x = math(tree, "SUBTRACT", 1.0, roughness)
        y = math(tree, "MULTIPLY_ADD", roughness, -0.0275, 0.0425)
        edge = math(tree, "POWER", 2.0**-9.28, facing)
        a = math(tree, "MULTIPLY_ADD", math(tree, "MINIMUM", math(tree, "MULTIPLY", x, x), edge), x, y)
        p = math(tree, "MULTIPLY_ADD", roughness, -0.572, 1.04)
        return cls(p, math(tree, "MULTIPLY_ADD", roughness, 0.022, -0.04), a)

    def of_dielectric(self, tree: bpy.types.NodeTree, reflected: Socket) -> Socket:
        """0 where the reflectance at 0° is."""
        there = math(tree, "GREATER_THAN", reflected, 0.0)
        rest = math(tree, "MULTIPLY", there, math(tree, "MULTIPLY_ADD", reflected, self.p, self.q))
        share = math(tree, "MULTIPLY", there, math(tree, "MULTIPLY_ADD", reflected, -1.04, 1.04))
        return math(tree, "MULTIPLY_ADD", self.a, share, rest, clamp=True)

    def of_metal(self, tree: bpy.types.NodeTree, colour: Socket) -> Socket:
        """Of each colour, with the light that leaves a rough metal only after more than one reflection: times
        1 + F_0 (1 / F(F_0 = 1) - 1) (Guy and Agopian, "Physically Based Rendering in Filament", 4.7.2)."""
        slope = math(tree, "MULTIPLY_ADD", self.a, -1.04, self.p)
        start = math(tree, "MULTIPLY_ADD", self.a, 1.04, self.q)
        whole = math(tree, "ADD", slope, start)
        more = math(tree, "SUBTRACT", math(tree, "DIVIDE", 1.0, whole), 1.0)
        once = vector(tree, "MULTIPLY_ADD", colour, spread(tree, slope), spread(tree, start))
        return vector(tree, "MULTIPLY", once, vector(tree, "MULTIPLY_ADD", colour, spread(tree, more), (1.0, 1.0, 1.0)))


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
