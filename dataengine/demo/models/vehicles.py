"""Vehicles: car, hot-air balloon, rocket."""

import numpy as np
from PIL import ImageDraw

from dataengine.demo.models import textures
from dataengine.demo.models.gltf import Material, Mesh, Node
from dataengine.demo.models.kit import (
    COLOURS,
    Draw,
    Model,
    a,
    metal,
    paint,
    sentence,
)
from dataengine.demo.models.shapes import (
    Floats,
    Shape,
    ball,
    box,
    cylinder,
    disc,
    fan,
    grid,
    join,
    lathe,
    slab,
    smooth,
    tube,
)


def car(draw: Draw) -> Model:
    """A hierarchy of turned nodes; lacquer, rubber, chrome, glass."""
    body_name = draw.colour("orange", but=["brown"])
    roof_name = draw.pick("white", body_name, "black", "cream")
    long = draw.between(0.92, 1.0, 1.15)
    cabin_back = draw.between(-0.1, 0.0, 0.25)
    image = textures.stripes(COLOURS[body_name], COLOURS[body_name], 1)
    for left in (56, 66):  # two lines beside the middle of the hull's top, a quarter of the way around its section
        ImageDraw.Draw(image).rectangle((left, 0, left + 5, 256), textures.rgb(COLOURS[roof_name]))
    lacquer = Material("lacquer", texture=image, roughness=0.2, metallic=0.1)
    top = Material("roof", COLOURS[roof_name], roughness=0.25)
    glass = Material("glass", (0.10, 0.14, 0.18), roughness=0.05)
    rubber, chrome = paint("rubber", "black", 0.9), metal("steel", 0.15)
    # Stations from front (+x) to back: x, half width, bottom, top.
    hull = _loft(
        [
            (1.98, 0.60, 0.42, 0.62),
            (1.92, 0.74, 0.30, 0.76),
            (1.7, 0.82, 0.24, 0.86),
            (1.0, 0.86, 0.22, 0.95),
            (0.0, 0.87, 0.22, 0.97),
            (-1.2, 0.87, 0.22, 0.98),
            (-1.75, 0.83, 0.26, 0.92),
            (-1.93, 0.74, 0.32, 0.82),
            (-1.98, 0.60, 0.42, 0.68),
        ]
    ).scaled(long, 1, 1)
    b = cabin_back
    cabin = _loft(
        [
            (0.98, 0.70, 0.8, 0.93),
            (0.72, 0.72, 0.8, 1.2),
            (0.40, 0.71, 0.8, 1.42),
            (-0.7 - b, 0.71, 0.8, 1.44),
            (-1.12 - b, 0.70, 0.8, 1.24),
            (-1.45 - b / 2, 0.66, 0.8, 0.95),
        ]
    ).scaled(long, 1, 1)
    lid = _loft(
        [(0.42, 0.58, 1.36, 1.43), (0.3, 0.66, 1.36, 1.47), (-0.6 - b, 0.66, 1.36, 1.49), (-0.8 - b, 0.55, 1.33, 1.44)]
    ).scaled(long, 1, 1)
    pillars = []
    for s in (-1, 1):
        for x0, x1 in ((0.95, 0.36), (-0.2, -0.2), (-1.4 - b / 2, -0.74 - b)):
            pillars.append(tube([(x0 * long, s * 0.685, 0.93), (x1 * long, s * 0.645, 1.42)], 0.035, 10))
    bumpers = [box(0.14, 1.5, 0.14, 0.06).moved(s * 1.96 * long, 0, 0.36) for s in (-1, 1)]
    lamps = join(*(ball(0.13, 24).scaled(0.5, 1, 1).moved(1.92 * long, s * 0.55, 0.62) for s in (-1, 1)))
    tails = join(*(box(0.06, 0.26, 0.12, 0.03).moved(-1.95 * long, s * 0.55, 0.68) for s in (-1, 1)))
    handles = join(*(box(0.16, 0.03, 0.04, 0.015).moved(-0.05, s * 0.875, 0.78) for s in (-1, 1)))
    tyre = lathe(smooth([(0.2, -0.11), (0.33, -0.12), (0.36, -0.06), (0.36, 0.06), (0.33, 0.12), (0.2, 0.11)], 5), 48)
    plate = lathe([(0.21, 0.1), (0.19, 0.115), (0.11, 0.085), (0.05, 0.12), (0, 0.125)], 32)
    back = disc(0.21, 32).turned("x", 180).moved(z=-0.1)
    wheel: Mesh = [(tyre.turned("x", -90), rubber), (join(plate, back).turned("x", -90), chrome)]
    wheels: list[Node] = []
    for x in (1.2, -1.22):
        for s in (-1, 1):
            turn = ((0.0, 0.0, 1.0), (0 if s > 0 else 180) + (22 if x > 0 else 0))
            wheels.append(Node(f"wheel {len(wheels)}", wheel, at=(x * long, s * 0.76, 0.36), turn=turn))
    shell = Node(
        "shell",
        [
            (hull, lacquer),
            (cabin, glass),
            (join(lid, *pillars), top),
            (join(*bumpers, handles), chrome),
            (lamps, Material("headlight", (1.0, 0.97, 0.85), glow=(0.5, 0.48, 0.4), roughness=0.1)),
            (tails, Material("tail light", (0.75, 0.05, 0.05), glow=(0.35, 0.02, 0.02), roughness=0.2)),
        ],
    )
    root = Node("car", children=[Node("axles", children=wheels), shell], turn=((0, 0, 1), -65))
    words = "a matching roof" if roof_name == body_name else f"a {roof_name} roof and {roof_name} racing stripes"
    caption = f"{a(f'{body_name} car')} with {words}"
    return Model("car", "Car", sentence(caption), ("vehicle", "hierarchy"), [root])


def _loft(stations: list[tuple[float, float, float, float]], round_: float = 4.5) -> Shape:
    """A hull through superellipse sections (x, half width, bottom, top), closed at both ends."""
    s = smooth(stations, 4)
    t = np.linspace(0, 2 * np.pi, 49)
    y = np.sign(np.cos(t)) * np.abs(np.cos(t)) ** (2 / round_)
    z = np.sign(np.sin(t)) * np.abs(np.sin(t)) ** (2 / round_)
    rings = np.stack(
        [
            np.broadcast_to(s[:, :1], (len(s), len(t))),
            s[:, 1:2] * y,
            (s[:, 2:3] + s[:, 3:4]) / 2 + (s[:, 3:4] - s[:, 2:3]) / 2 * z,
        ],
        -1,
    )
    rings[:, -1] = rings[:, 0]
    centres = rings[:, :-1].mean(axis=1, keepdims=True).repeat(len(t), axis=1)
    closed: Floats = np.concatenate([centres[:1], rings, centres[-1:]])
    return grid(closed[::-1])


def balloon(draw: Draw) -> Model:
    """Vertex colours only on the envelope; a basket on ropes beneath."""
    names = draw.pick(
        ("red", "yellow", "blue"),
        ("purple", "pink", "white"),
        ("green", "cream", "orange"),
        ("blue", "white", "red"),
        ("black", "yellow", "turquoise"),
    )
    gores = draw.pick(12, 9, 18)
    tall = draw.between(0.9, 1.0, 1.2)
    profile = smooth([(1.0, 3.0), (2.2, 5.2), (4.4, 8.6), (5.2, 11.6), (4.3, 14.6), (2.2, 16.3), (0, 16.8)], 5)
    profile[:, 0] = profile[:, 0].clip(0)
    pieces = []
    for i in range(gores):
        gore = lathe(profile, 6, turn=360 / gores)
        bulge = 1 + 0.045 * np.sin(np.pi * gore.uv[:, 0])
        gore = Shape(gore.points * np.stack([bulge, bulge, 1 + 0 * bulge], -1), gore.uv, gore.faces)
        light = 0.82 + 0.18 * gore.uv[:, 1:]
        pieces.append(gore.turned("z", 360 * i / gores).painted(np.array(COLOURS[names[i % 3]]) * light))
    envelope = join(*pieces).scaled(1, 1, tall)
    skirt = lathe([(0.8, 2.2), (1.02, 3.0)], 48).painted(COLOURS[names[0]]).scaled(1, 1, tall)
    silk = Material("silk", roughness=0.6, double_sided=True)
    strands = textures.weave(draw.rng, 12)
    wicker = Material(
        "wicker",
        texture=textures.blend((0.30, 0.18, 0.09), (0.75, 0.54, 0.32), strands),
        normal=textures.relief(strands, 1.5),
        roughness=0.9,
        double_sided=True,
    )
    t = np.linspace(0, 2 * np.pi, 65)
    corner = (np.abs(np.cos(t)) ** 5 + np.abs(np.sin(t)) ** 5) ** (-1 / 5)
    ring = np.stack([0.8 * corner * np.cos(t), 0.8 * corner * np.sin(t)], -1)
    ring[-1] = ring[0]
    basket = grid(np.stack([np.pad(ring * k, ((0, 0), (0, 1)), constant_values=z) for k, z in ((0.9, -1.3), (1, 0))]))
    floor = fan(ring[:-1] * 0.9).moved(z=-1.25)
    rim = tube(np.pad(ring, ((0, 0), (0, 1))), 0.08, 12, capped=False)
    ropes = [
        tube([(sx * 0.72, sy * 0.72, 0), (sx * 0.56, sy * 0.56, 2.3 * tall)], 0.035, 6)
        for sx in (-1, 1)
        for sy in (-1, 1)
    ]
    burner = join(
        cylinder(0.2, 0.5, 20).moved(z=1.3), box(1.25, 0.07, 0.07).moved(z=1.3), box(0.07, 1.25, 0.07).moved(z=1.3)
    )
    mesh: Mesh = [
        (join(envelope, skirt), silk),
        (join(basket.tiled(4, 0.8), floor), wicker),
        (rim, Material("leather", (0.36, 0.2, 0.1), roughness=0.7)),
        (join(*ropes), paint("rope", "cream", 0.9)),
        (burner, metal("steel")),
    ]
    caption = f"a hot-air balloon in {names[0]}, {names[1]} and {names[2]} with a wicker basket"
    return Model(
        "balloon", "Hot-air balloon", sentence(caption), ("vehicle", "vertex colours"), [Node("balloon", mesh)]
    )


def rocket(draw: Draw) -> Model:
    """Huge: six thousand units high, as if it had been modelled in centimetres."""
    body_name = draw.pick("white", "cream", "grey", "yellow")
    trim_name = draw.colour("red", but=["white", "cream", body_name])
    fins = draw.pick(4, 3, 5)
    fat = draw.between(0.85, 1.0, 1.25)
    image = textures.stripes(COLOURS[body_name], COLOURS[body_name], 1).resize((512, 512))
    pen = ImageDraw.Draw(image)
    trim, seam = textures.rgb(COLOURS[trim_name]), textures.rgb(textures.shade(COLOURS[body_name], 0.75))
    for y in range(0, 512, 64):
        pen.line((0, y, 512, y), seam, 2)
    for x in range(0, 512, 64):
        pen.line((x, 0, x, 512), seam, 2)
    pen.rectangle((0, 395, 512, 450), trim)
    pen.rectangle((0, 120, 512, 140), trim)
    for x in range(0, 512, 64):  # a chequered band, so that a turn shows
        pen.rectangle((x, 300, x + 31, 320), (30, 30, 32))
        pen.rectangle((x + 32, 320, x + 63, 340), (30, 30, 32))
    skin = Material("skin", texture=image, roughness=0.35)
    lacquer = paint("trim", trim_name, 0.3)
    hull = lathe(smooth([(0.5, 0.6), (0.66, 1.4), (0.72, 2.6), (0.66, 3.8), (0.48, 4.7)], 8), 64)
    nose = lathe(smooth([(0.48, 4.7), (0.28, 5.4), (0.1, 5.85), (0.0, 6.0)], 8), 64)
    spike = tube([(0, 0, 5.9), (0, 0, 6.4)], [0.04, 0.01], 12)
    nozzle = lathe(smooth([(0.42, 0.0), (0.3, 0.35), (0.36, 0.62)], 6), 48)
    bell = lathe(smooth([(0.42, 0.0), (0.27, 0.35), (0.0, 0.5)], 6), 48).flipped()
    rings, panes = [], []
    for z, r in ((3.55, 0.17), (2.85, 0.13)):
        t = np.linspace(0, 2 * np.pi, 33)
        hoop = tube(np.stack([r * np.cos(t), 0 * t, r * np.sin(t)], -1), 0.045, 12, capped=False)
        pane = ball(r, 32).scaled(1, 0.3, 1)
        for turn in (0, 180):
            rings.append(hoop.moved(0, -0.69 * fat, z).turned("z", turn))
            panes.append(pane.moved(0, -0.69 * fat, z).turned("z", turn))
    fin = slab([(0.45, 0.75), (0.95, 0.1), (1.3, -0.35), (1.35, 0.35), (1.1, 1.2), (0.62, 1.9)], 0.1).turned("x", 90)
    blades = [fin.scaled(fat if fat > 1 else 1, 1, 1).turned("z", 360 * i / fins + 45) for i in range(fins)]
    mesh: Mesh = [
        (hull.scaled(fat, fat, 1), skin),
        (join(nose.scaled(fat, fat, 1), spike, *blades), lacquer),
        (join(nozzle, bell, *rings), metal("steel", 0.35)),
        (join(*panes), Material("glass", (0.25, 0.5, 0.65), roughness=0.05, metallic=0.2)),
    ]
    number = {3: "three", 4: "four", 5: "five"}[fins]
    caption = f"{a(f'{body_name} rocket')} with {number} {trim_name} fins and round windows"
    return Model("rocket", "Rocket", sentence(caption), ("vehicle", "huge"), [Node("rocket", mesh, scale=1000.0)])
