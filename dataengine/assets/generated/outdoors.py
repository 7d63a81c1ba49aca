"""Things of the outdoors: tree, house, snowman, car, mushroom, balloon, windmill, rocket, ladybird."""

import numpy as np
from PIL import ImageDraw

from dataengine.assets.generated import textures
from dataengine.assets.generated.gltf import Material, Mesh, Node
from dataengine.assets.generated.kit import (
    COLOURS,
    Draw,
    Model,
    a,
    metal,
    paint,
    sentence,
    timber,
)
from dataengine.assets.generated.shapes import (
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


def tree(draw: Draw) -> Model:
    """Bark with relief, a crown of cards whose alpha is cut."""
    kind, leaf = draw.pick(
        ("leafy green tree", (0.30, 0.52, 0.20)),
        ("cherry tree in pink blossom", (0.95, 0.66, 0.74)),
        ("maple in orange autumn leaves", (0.88, 0.42, 0.12)),
        ("birch with yellow leaves", (0.92, 0.78, 0.25)),
        ("dark green oak", (0.16, 0.36, 0.16)),
    )
    fruit = draw.pick("red", "", "", "yellow")
    tall = draw.between(0.85, 1.0, 1.3)
    wide = draw.between(0.8, 1.0, 1.2)
    ridges = textures.bark(draw.rng)
    bark = Material(
        "bark",
        texture=textures.blend((0.24, 0.16, 0.11), (0.52, 0.40, 0.30), ridges),
        normal=textures.relief(ridges, 1.5),
        roughness=0.95,
    )
    trunk = smooth([(0, 0, 0), (0.05, 0.02, 0.8 * tall), (-0.04, 0.05, 1.6 * tall), (0.02, 0, 2.4 * tall)], 6)
    wood = [tube(trunk, np.linspace(0.2, 0.07, len(trunk)) + 0.1 * np.exp(-np.arange(len(trunk))), 20).tiled(3, 4)]
    centre = np.array([0, 0, 2.6 * tall])
    clusters = [centre + [0, 0, 0.4]]
    for i in range(7):
        angle = 2 * np.pi * (i + draw.rng.uniform(-0.2, 0.2)) / 7
        end = centre + [0.85 * wide * np.cos(angle), 0.85 * wide * np.sin(angle), draw.rng.uniform(-0.45, 0.35)]
        start = trunk[10 + i % 5]
        path = smooth([start, (start + end) / 2 - [0, 0, 0.12], end], 5)
        wood.append(tube(path, np.linspace(0.06, 0.015, len(path)), 10).tiled(2, 2))
        clusters.append(end)
    cards = []
    square = grid([[(-0.5, 0, -0.5), (0.5, 0, -0.5)], [(-0.5, 0, 0.5), (0.5, 0, 0.5)]])
    for cluster in clusters:
        for _ in range(12):
            away = draw.rng.standard_normal(3)
            spot = cluster + 0.42 * away / np.linalg.norm(away) * draw.rng.uniform(0.2, 1) * [wide, wide, 0.8]
            tilt, spin = draw.rng.uniform(-60, 60), draw.rng.uniform(0, 360)
            cards.append(square.scaled(draw.rng.uniform(0.75, 1.05)).turned("x", tilt).turned("z", spin).moved(*spot))
    leaves = Material("leaves", texture=textures.leaves(leaf, draw.rng), roughness=0.8, cut=True, double_sided=True)
    mesh: list[tuple[Shape, Material]] = [(join(*wood), bark), (join(*cards), leaves)]
    words = kind
    if fruit:
        around = draw.rng.standard_normal((22, 3))
        around /= np.linalg.norm(around, axis=1, keepdims=True)
        spots = centre + [0, 0, 0.05] + around * [1.08 * wide, 1.08 * wide, 0.66]
        mesh.append((join(*(ball(0.075, 14).moved(*p) for p in spots)), paint("fruit", fruit, 0.4)))
        words = f"{kind} with {fruit} fruit"
    return Model("tree", "Tree", sentence(a(words)), ("plant", "alpha-cut"), [Node("tree", mesh)])


def house(draw: Draw) -> Model:
    """Walls with normal maps, a tiled roof, windows, a door."""
    wall_name, wall_colours = draw.pick(
        ("red brick", ((0.52, 0.20, 0.14), (0.70, 0.34, 0.24))),
        ("yellow brick", ((0.72, 0.58, 0.34), (0.86, 0.74, 0.48))),
        ("grey stone", ((0.42, 0.43, 0.44), (0.64, 0.64, 0.62))),
    )
    roof_name = draw.pick("grey", "brown", "blue", "green", "red")
    door_name = draw.pick("green", "blue", "red", "yellow", "white", "purple")
    length, depth, tall = draw.between(5.5, 7.0, 9.0), draw.between(4.5, 5.0, 6.0), draw.between(2.8, 3.2, 5.2)
    rise = draw.between(1.6, 2.4, 3.4)
    height, tone = textures.bricks(12, 6, draw.rng)
    image = textures.blend(*wall_colours, tone)
    mortar = textures.blend((0.72, 0.70, 0.66), (0.78, 0.76, 0.72), tone)
    mask = textures.blend((0, 0, 0), (1, 1, 1), height).convert("L")
    mortar.paste(image, mask=mask)
    bricks = Material("wall", texture=mortar, normal=textures.relief(height, 1.0), roughness=0.9)
    x, y = length / 2, depth / 2
    front = grid([[(-x, -y, 0), (x, -y, 0)], [(-x, -y, tall), (x, -y, tall)]]).tiled(length / 1.8, tall / 1.8)
    gable = _upright([(-y, 0), (y, 0), (y, tall), (0, tall + rise), (-y, tall)], 1.8).turned("z", 90).moved(x=x)
    walls = join(front, front.turned("z", 180), gable, gable.turned("z", 180))
    scales = textures.tiles(8, 8, draw.rng)
    slates = Material(
        "roof",
        texture=textures.blend(textures.shade(COLOURS[roof_name], 0.2), COLOURS[roof_name], scales),
        normal=textures.relief(scales, 0.8),
        roughness=0.8,
    )
    run, over = np.hypot(y, rise), 0.35
    slope = np.degrees(np.arctan2(rise, y))
    plate = box(length + 2 * over, run + over + 0.08, 0.14, 0.03).tiled(length / 2, run / 2)
    roof = []
    for turn in (0, 180):
        half = plate.moved(y=-(run + over) / 2, z=0.07).turned("x", slope).moved(z=tall + rise)
        roof.append(half.turned("z", turn))
    chimney_x = x * 0.5
    stack = box(0.7, 0.7, rise + 0.9).tiled(0.4, 1.2).moved(chimney_x, 0.25 * y, tall + rise * 0.5 + 0.55)
    cap = box(0.85, 0.85, 0.14, 0.03).moved(chimney_x, 0.25 * y, tall + rise + 1.0)
    glass = Material("glass", (0.25, 0.35, 0.45), roughness=0.08, metallic=0.3)
    frames, panes = [], []
    spots = [(s * x * 0.58, -y, 0.0) for s in (-1, 1)] + [(s * x * 0.58, y, 180.0) for s in (-1, 0, 1)]
    for wx, wy, turn in spots:
        window, pane = _window(1.1, 1.3)
        frames.append(window.turned("z", turn).moved(wx, wy, tall * 0.55))
        panes.append(pane.turned("z", turn).moved(wx, wy, tall * 0.55))
    for s in (-1, 1):
        window, pane = _window(1.0, 1.2)
        frames.append(window.turned("z", s * 90).moved(s * x, 0, tall * 0.62))
        panes.append(pane.turned("z", s * 90).moved(s * x, 0, tall * 0.62))
    door = box(1.1, 0.12, 2.1, 0.03).moved(0, -y, 1.05)
    jamb = join(*(box(0.12, 0.2, 2.2, 0.03).moved(s * 0.6, -y, 1.1) for s in (-1, 1)))
    lintel = box(1.4, 0.22, 0.16, 0.03).moved(0, -y, 2.25)
    steps = join(box(1.7, 0.9, 0.15, 0.03).moved(0, -y - 0.4, 0.075), cap)
    knob = ball(0.06, 14).moved(0.4, -y - 0.1, 1.05)
    mesh: Mesh = [
        (join(walls, stack), bricks),
        (join(*roof), slates),
        (join(*frames, jamb, lintel), paint("frames", "white", 0.6)),
        (join(*panes), glass),
        (door, paint("door", door_name, 0.5)),
        (steps, Material("stone", (0.6, 0.59, 0.56), roughness=0.9)),
        (knob, metal("brass")),
    ]
    caption = f"a {wall_name} house with {a(f'{roof_name} tiled roof')}, a chimney and {a(f'{door_name} door')}"
    return Model("house", "House", sentence(caption), ("building", "pbr"), [Node("house", mesh)])


def _upright(outline: list[tuple[float, float]], unit: float) -> Shape:
    """A flat outline standing in the xz plane, facing -y, the texture once every `unit`."""
    flat = fan(outline)
    return Shape(flat.points, flat.points[:, :2] / unit, flat.faces).turned("x", 90)


def _window(width: float, height: float) -> tuple[Shape, Shape]:
    """(frame, pane) about the origin in the xz plane, facing -y."""
    bar = 0.09
    frame = [box(bar, 0.14, height, 0.02).moved(x=s * width / 2) for s in (-1, 0, 1)]
    frame += [box(width + bar, 0.14, bar, 0.02).moved(z=s * height / 2) for s in (-1, 0, 1)]
    frame.append(box(width + 0.3, 0.3, 0.08, 0.02).moved(y=-0.05, z=-height / 2 - 0.06))
    return join(*frame), box(width, 0.05, height)


def snowman(draw: Draw) -> Model:
    """Every part a root node of its own."""
    scarf_name = draw.colour("red", but=["white", "cream"])
    ink = draw.pick("white", "yellow", "black") if scarf_name not in ("yellow", "black") else "white"
    hat_name = draw.pick("black", "brown", "blue", "purple", "green")
    words, image = draw.pattern("stripes", scarf_name, ink)
    fat = draw.between(0.9, 1.0, 1.15)
    drift = textures.noise(draw.rng)
    snow = Material(
        "snow",
        texture=textures.blend((0.84, 0.88, 0.94), (0.97, 0.98, 0.99), drift),
        normal=textures.relief(drift, 1.0),
        roughness=0.75,
    )
    coal, felt = paint("coal", "black", 0.9), paint("felt", textures.shade(COLOURS[hat_name], 0.8), 0.9)
    snowball: Mesh = [(ball(1.0, 48).tiled(3, 2), snow)]
    wool = Material("scarf", texture=image.rotate(90), roughness=0.95)
    t = np.linspace(0, 2 * np.pi, 49)
    ring = np.stack([0.26 * np.cos(t), 0.26 * np.sin(t), 1.255 + 0.02 * np.sin(t * 3)], -1)
    tail = smooth([(0.14, -0.24, 1.25), (0.17, -0.36, 1.13), (0.19, -0.42, 0.98), (0.2, -0.445, 0.82)], 6)
    scarf = join(tube(ring, 0.07, capped=False).tiled(1, 3), tube(tail, 0.065, flat=0.4).tiled(1, 1))
    hat = join(
        lathe([(0, 0), (0.36, 0), (0.375, 0.012), (0.36, 0.025), (0.22, 0.03), (0.235, 0.38), (0.225, 0.4), (0, 0.4)])
    )
    band = lathe([(0.225, 0.03), (0.232, 0.11)])
    carrot = cylinder(0.05, 0.34, 24, top=0.004).turned("x", 97).moved(0, -0.25, 1.52)
    eyes = join(*(ball(0.035, 16).moved(s * 0.1, -0.262, 1.61) for s in (-1, 1)))
    smile = [
        ball(0.02, 12).moved(0.15 * np.sin(b), -0.272 + 0.03 * abs(b), 1.48 - 0.1 * np.cos(b) + 0.01)
        for b in np.linspace(-0.95, 0.95, 6)
    ]
    buttons = [ball(0.04, 16).moved(0, -0.395 + dy, z) for z, dy in ((1.12, 0.045), (0.96, -0.02), (0.8, 0.0))]
    arms = []
    for s in (-1, 1):
        arm = smooth([(s * 0.33, 0, 1.02), (s * 0.62, -0.04, 1.12), (s * 0.92, -0.06, 1.3)], 5)
        arms.append(tube(arm, np.linspace(0.028, 0.014, len(arm)), 8))
        for finger in ((0.14, 0.02, 0.05), (0.05, -0.02, 0.15), (0.12, -0.06, -0.03)):
            tip = arm[-1] + np.array(finger) * [s, 1, 1]
            arms.append(tube([arm[-1], tip], [0.012, 0.006], 6))
    twig = timber("walnut", draw.rng)
    roots = [
        Node("bottom", snowball, at=(0, 0, 0.42), scale=0.52 * fat),
        Node("middle", snowball, at=(0, 0, 0.95), scale=0.395),
        Node("head", snowball, at=(0, 0, 1.53), scale=0.285),
        Node("hat", [(hat, felt), (band, wool)], at=(0, 0.03, 1.72), turn=((1, 0.4, 0), -9)),
        Node("nose", [(carrot, paint("carrot", "orange", 0.7))]),
        Node("coal", [(join(eyes, *smile, *buttons), coal)]),
        Node("scarf", [(scarf, wool)]),
        Node("arms", [(join(*arms), twig)]),
    ]
    caption = f"a snowman with a carrot nose, {a(f'{hat_name} hat')} and {a(f'{scarf_name} scarf')} {words}"
    return Model("snowman", "Snowman", sentence(caption), ("winter", "several roots"), roots)


def car(draw: Draw) -> Model:
    """A hierarchy of turned nodes; lacquer, rubber, chrome, glass."""
    body_name = draw.colour("orange", but=["brown"])
    roof_name = draw.pick("white", body_name, "black", "cream")
    long = draw.between(0.92, 1.0, 1.15)
    cabin_back = draw.between(-0.1, 0.0, 0.25)
    lacquer = Material("lacquer", COLOURS[body_name], roughness=0.2, metallic=0.1)
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
        [(0.98, 0.70, 0.8, 0.93), (0.72, 0.72, 0.8, 1.2), (0.40, 0.71, 0.8, 1.42), (-0.7 - b, 0.71, 0.8, 1.44)]
        + [(-1.12 - b, 0.70, 0.8, 1.24), (-1.45 - b / 2, 0.66, 0.8, 0.95)]
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
    wheels = []
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
    words = "a matching roof" if roof_name == body_name else f"a {roof_name} roof"
    caption = f"{a(f'{body_name} car')} with {words}, dark windows and chrome bumpers"
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


def mushroom(draw: Draw) -> Model:
    """Two of them on a mossy mound, dotted caps over gills."""
    cap_name = draw.colour("red", but=["white", "cream"])
    ink = draw.pick("white", "cream", "yellow" if cap_name != "yellow" else "brown")
    wide = draw.between(0.8, 1.0, 1.3)
    dotted = Material("cap", texture=textures.dots(COLOURS[cap_name], COLOURS[ink], 9, 6, 0.3), roughness=0.35)
    gills = Material("gills", texture=textures.stripes((0.92, 0.86, 0.75), (0.72, 0.63, 0.5), 24, True), roughness=0.9)
    fibre = textures.noise(draw.rng, (1.0, 8.0))
    flesh = Material("stem", texture=textures.blend((0.80, 0.76, 0.68), (0.96, 0.94, 0.88), fibre), roughness=0.9)
    frill = Material("frill", (0.86, 0.82, 0.74), roughness=0.9, double_sided=True)
    moss_height = textures.noise(draw.rng, power=1.1)
    moss = Material(
        "moss",
        texture=textures.blend((0.13, 0.25, 0.08), (0.45, 0.58, 0.20), moss_height),
        normal=textures.relief(moss_height, 3.0),
        roughness=1.0,
    )
    cap = lathe(
        smooth([(0.05, 0.0), (0.052, 0.008), (0.047, 0.024), (0.03, 0.041), (0.012, 0.048), (0, 0.049)], 7), 56
    ).scaled(wide, wide, 1)
    under = lathe(smooth([(0.0, 0.012), (0.02, 0.01), (0.05, 0.0)], 6), 56).scaled(wide, wide, 1).flipped()
    stem = lathe(smooth([(0.0, -0.01), (0.02, -0.008), (0.0165, 0.02), (0.012, 0.06), (0.0125, 0.088)], 6), 40)
    skirt = lathe(smooth([(0.022, 0.052), (0.02, 0.058), (0.0125, 0.066)], 5), 40)
    mesh: Mesh = [
        (cap.moved(z=0.078), dotted),
        (under.moved(z=0.078), gills),
        (stem, flesh),
        (skirt, frill),
    ]
    mound = lathe(smooth([(0.085, -0.012), (0.08, -0.002), (0.05, 0.008), (0, 0.012)], 6), 56).tiled(3, 1)
    ground = join(mound, disc(0.085).turned("x", 180).moved(z=-0.012))
    roots = [
        Node(
            "mound",
            [(ground, moss)],
            children=[
                Node("large", mesh, at=(0.012, 0.01, 0.008), turn=((1, 0, 0), draw.between(-8, 5, 8))),
                Node(
                    "small", mesh, at=(-0.045, -0.03, 0.004), turn=((1, 1, 0), -14), scale=draw.between(0.4, 0.5, 0.7)
                ),
            ],
        )
    ]
    caption = f"two {cap_name} mushrooms with {ink} dots on a mossy mound"
    return Model("mushroom", "Mushrooms", sentence(caption), ("plant", "pbr"), roots)


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


def windmill(draw: Draw) -> Model:
    """Animated: the sails turn about their axle."""
    wall_name = draw.pick("white", "cream", "yellow", "grey")
    cap_name = draw.colour("brown", but=[wall_name])
    blades = draw.pick(4, 3, 5, 6)
    tall = draw.between(0.85, 1.0, 1.25)
    plaster = textures.noise(draw.rng, power=0.9)
    wall = Material(
        "plaster",
        texture=textures.blend(textures.shade(COLOURS[wall_name], 0.8), COLOURS[wall_name], plaster),
        normal=textures.relief(plaster, 1.0),
        roughness=0.95,
    )
    boards = textures.planks(8, draw.rng)
    roof = Material(
        "shingle",
        texture=textures.blend(textures.shade(COLOURS[cap_name], 0.35), COLOURS[cap_name], boards),
        roughness=0.8,
    )
    tower = lathe([(2.1, 0), (1.3, 6.0 * tall)], 48).tiled(3, 3)
    base = lathe([(2.35, 0), (2.3, 0.5), (2.1, 0.55)], 48)
    gallery = lathe([(1.75, 2.2 * tall), (2.5, 2.4 * tall), (2.5, 2.55 * tall), (1.7, 2.55 * tall)], 48)
    cap = (
        lathe(smooth([(1.45, 0), (1.5, 0.15), (1.2, 0.8), (0.6, 1.4), (0, 1.7)], 6), 48).tiled(3, 1).moved(z=6.0 * tall)
    )
    door = box(0.8, 0.3, 1.5, 0.04).moved(0, -2.05, 0.85)
    windows = [box(0.5, 0.3, 0.7, 0.03).moved(0, -2.1 + 0.133 * z / tall, z) for z in (3.5 * tall, 5.0 * tall)]
    sails: list[Shape] = []
    cloth: list[Shape] = []
    for i in range(blades):
        turn = 360 * i / blades + 45
        spar = box(0.14, 0.14, 4.4, 0.02).moved(z=2.2)
        bars = [box(0.95, 0.06, 0.07).moved(x=0.4, z=1.1 + 0.4 * k) for k in range(9)]
        edge = box(0.06, 0.06, 3.3).moved(x=0.85, z=2.7)
        sails += [p.turned("y", turn) for p in (spar, edge, *bars)]
        cloth.append(box(0.72, 0.03, 3.15).moved(x=0.48, y=0.06, z=2.7).turned("y", turn))
    hub = cylinder(0.24, 1.2, 24).turned("x", 90).moved(y=0.7)
    rotor = Node(
        "sails",
        [(join(*sails, hub), timber("walnut", draw.rng)), (join(*cloth), paint("cloth", "cream", 0.95))],
        at=(0, -2.05, 6.5 * tall),
        spin=((0, 1, 0), 8.0),
    )
    body: Mesh = [
        (join(tower, base), wall),
        (join(cap, gallery), roof),
        (join(door, *windows), paint("door", "blue", 0.6)),
    ]
    number = {3: "three", 4: "four", 5: "five", 6: "six"}[blades]
    caption = f"a {wall_name} windmill with {a(f'{cap_name} cap')} and {number} sails"
    return Model("windmill", "Windmill", sentence(caption), ("building", "animated"), [Node("windmill", body, [rotor])])


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


def ladybird(draw: Draw) -> Model:
    """Tiny: seven thousandths of a unit, in metres its true size."""
    shell_name = draw.pick("red", "orange", "yellow", "pink", "blue")
    spots = draw.pick(7, 5, 9, 11)
    n = 512
    image = textures.blend(COLOURS[shell_name], COLOURS[shell_name], np.zeros((n, n)))
    pen = ImageDraw.Draw(image)
    black = textures.rgb(COLOURS["black"])
    places = [(0.5, 0.26)] + [
        (0.5 + s * x, y) for x, y in ((0.2, 0.4), (0.27, 0.62), (0.14, 0.8), (0.33, 0.5), (0.1, 0.56)) for s in (-1, 1)
    ]
    for x, y in places[:spots]:
        pen.ellipse(((x - 0.07) * n, (y - 0.07) * n, (x + 0.07) * n, (y + 0.07) * n), black)
    pen.rectangle((0.494 * n, 0, 0.506 * n, n), black)
    t = np.linspace(0, np.pi / 2, 15)
    dome = lathe(np.stack([np.cos(t), 0.78 * np.sin(t)], -1), 56).scaled(1, 1.22, 1)
    flat = dome.points[:, :2] / [1.0, 1.22]
    dome = Shape(dome.points, flat * [0.5, 0.5] + 0.5, dome.faces)  # the picture seen from above
    shell = Material("shell", texture=image, roughness=0.2)
    dark = paint("chitin", "black", 0.4)
    belly = lathe([(0, -0.12), (0.85, -0.1), (1.0, 0.0)], 40).scaled(1, 1.22, 1)
    head = ball(0.46, 32).scaled(1, 0.8, 0.75).moved(0, -1.28, 0.16)
    collar = ball(0.66, 32).scaled(1, 0.5, 0.6).moved(0, -1.06, 0.18)
    eyes = join(*(ball(0.13, 16).moved(s * 0.3, -1.5, 0.3) for s in (-1, 1)))
    limbs = []
    for s in (-1, 1):
        for y in (-0.65, 0.05, 0.7):
            out = y * 0.45
            path = smooth([(s * 0.7, y, 0), (s * 1.2, y + out, 0.06), (s * 1.45, y + 1.5 * out, -0.3)], 5)
            limbs.append(tube(path, 0.065, 8))
        feeler = smooth([(s * 0.16, -1.55, 0.32), (s * 0.3, -1.85, 0.5), (s * 0.45, -2.0, 0.5)], 5)
        limbs.append(tube(feeler, np.linspace(0.04, 0.06, len(feeler)), 8))
    leaf_t = np.linspace(-1, 1, 25)
    half = 1.75 * (1 - leaf_t**2) ** 0.7 * (1 - 0.25 * leaf_t)
    across = np.linspace(-1, 1, 13)
    sheet = np.stack(
        [
            half[:, None] * across,
            np.broadcast_to(3.6 * leaf_t[:, None], (25, 13)),
            -0.36 + 0.35 * (half[:, None] * across / 1.75) ** 2 - 0.25 * leaf_t[:, None] ** 2,
        ],
        -1,
    )
    veins = textures.zigzag((0.25, 0.52, 0.18), (0.33, 0.62, 0.24), 1, 9)
    ImageDraw.Draw(veins).rectangle((125, 0, 131, 256), (150, 190, 100))
    leaf = Material("leaf", texture=veins, roughness=0.6, double_sided=True)
    bug: Mesh = [
        (dome, shell),
        (join(belly, head, collar, *limbs), dark),
        (eyes, paint("eyes", "white", 0.3)),
        (grid(sheet), leaf),
    ]
    small = [(shape.scaled(0.001), material) for shape, material in bug]
    caption = f"{a(f'{shell_name} ladybird')} with black spots on a green leaf"
    return Model("ladybird", "Ladybird", sentence(caption), ("animal", "tiny"), [Node("ladybird", small)])
