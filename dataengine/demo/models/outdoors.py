"""Things of the outdoors: tree, house, snowman, mushroom, windmill, ladybird."""

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
    timber,
)
from dataengine.demo.models.shapes import (
    Shape,
    ball,
    box,
    cylinder,
    disc,
    fan,
    grid,
    join,
    lathe,
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
    clusters = [centre + np.array([0, 0, 0.4])]
    for i in range(7):
        angle = 2 * np.pi * (i + draw.rng.uniform(-0.2, 0.2)) / 7
        end = centre + np.array(
            [0.85 * wide * np.cos(angle), 0.85 * wide * np.sin(angle), draw.rng.uniform(-0.45, 0.35)]
        )
        start = trunk[10 + i % 5]
        path = smooth([start, (start + end) / 2 - [0, 0, 0.12], end], 5)
        wood.append(tube(path, np.linspace(0.06, 0.015, len(path)), 10).tiled(2, 2))
        clusters.append(end)
    cards = []
    square = grid(np.array([[(-0.5, 0, -0.5), (0.5, 0, -0.5)], [(-0.5, 0, 0.5), (0.5, 0, 0.5)]]))
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
    front = grid(np.array([[(-x, -y, 0), (x, -y, 0)], [(-x, -y, tall), (x, -y, tall)]])).tiled(length / 1.8, tall / 1.8)
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
    for wx, wy, facing in spots:
        window, pane = _window(1.1, 1.3)
        frames.append(window.turned("z", facing).moved(wx, wy, tall * 0.55))
        panes.append(pane.turned("z", facing).moved(wx, wy, tall * 0.55))
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
