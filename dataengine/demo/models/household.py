"""Things of a household: mug, teapot, lamp, chair, goldfish bowl, umbrella, crates."""

import numpy as np

from dataengine.demo.models import textures
from dataengine.demo.models.gltf import Material, Mesh, Node
from dataengine.demo.models.kit import (
    COLOURS,
    METALS,
    WOODS,
    Draw,
    Model,
    a,
    metal,
    paint,
    sentence,
    timber,
)
from dataengine.demo.models.shapes import Shape, ball, box, cylinder, disc, grid, join, lathe, slab, smooth, tube


def mug(draw: Draw) -> Model:
    """A concave body of revolution with a handle."""
    ground = draw.colour("red", but=["white"])
    ink = draw.pick("white", *(c for c in ("yellow", "black", "blue", "cream") if c != ground))
    words, image = draw.pattern("stripes", ground, ink)
    r, h = draw.between(0.034, 0.041, 0.048), draw.between(0.075, 0.095, 0.12)
    flare = draw.between(0.85, 1.0, 1.12)
    wall = 0.0045
    foot = r * 0.92
    top = r * flare
    glaze = Material("pattern", texture=image, roughness=0.3)
    clay = paint("glaze", ground, 0.3)
    inside = paint("inside", "white", 0.3)
    side = lathe(smooth([(foot + 0.002, 0.004), (r, 0.02), (r + (top - r) * 0.6, h * 0.6), (top, h)], 6), 64)
    base = lathe([(0, 0.003), (foot - 0.006, 0.003), (foot - 0.004, 0), (foot, 0.001), (foot + 0.002, 0.004)], 64)
    rim = lathe([(top, h), (top - wall * 0.3, h + 0.0015), (top - wall * 0.8, h + 0.001), (top - wall, h - 0.001)], 64)
    bowl = lathe(
        smooth([(top - wall, h - 0.001), (r - wall, h * 0.5), (r - wall, 0.02), (foot - wall, 0.009), (0, 0.008)], 6),
        64,
    )
    t = np.linspace(-0.5, 0.5, 25) * np.pi
    reach = draw.between(0.02, 0.026, 0.03)
    x = r - 0.003 + reach * np.cos(t) ** 0.7
    path = np.stack([x, 0 * t, h * 0.52 + h * 0.3 * np.sin(t)], -1)
    handle = tube(path, 0.0052, flat=1.25)
    mesh = [(side, glaze), (join(base, handle), clay), (join(rim, bowl), inside)]
    return Model("mug", "Mug", sentence(a(f"{ground} mug {words}")), ("kitchen", "concave"), [Node("mug", mesh)])


def teapot(draw: Draw) -> Model:
    """Several parts, glossy, a metal knob."""
    ground = draw.colour("turquoise")
    ink = draw.pick("cream", *(c for c in ("white", "black", "yellow", "blue") if c != ground))
    words, image = draw.pattern("dots", ground, ink)
    gold = draw.pick("brass", "copper", "steel")
    fat = draw.between(0.9, 1.0, 1.25)
    glaze = Material("glaze", texture=image, roughness=0.22)
    plain = paint("plain glaze", ground, 0.22)
    body = lathe(
        smooth([(0.0, 0.0), (0.05, 0.0), (0.088, 0.035), (0.092, 0.07), (0.062, 0.115), (0.042, 0.125)], 8), 64
    ).scaled(fat, fat, 1)
    foot = lathe([(0.044, -0.006), (0.05, -0.006), (0.054, 0.003)], 48).scaled(fat, fat, 1)
    lid = lathe(smooth([(0.044, 0.124), (0.042, 0.13), (0.022, 0.142), (0.008, 0.146), (0, 0.146)], 6), 48)
    lid = lid.scaled(fat, fat, 1)
    knob = ball(0.011).scaled(1, 1, 0.85).moved(z=0.153)
    spout = smooth([(0.07, 0, 0.04), (0.105, 0, 0.05), (0.125, 0, 0.085), (0.15, 0, 0.115)], 8)
    width = np.interp(np.arange(len(spout)), [0, 10, len(spout) - 1], [0.026, 0.017, 0.009])
    outer = tube(spout * [fat, 1, 1], width, 24, capped=False)
    inner = tube(spout * [fat, 1, 1], width * 0.8, 24, capped=False).flipped()
    t = np.linspace(0.62, -0.62, 25) * np.pi
    loop = np.stack([-0.083 * fat - 0.052 * np.cos(t), 0 * t, 0.072 + 0.043 * np.sin(t)], -1)
    handle = tube(loop, 0.007, flat=1.3)
    mesh = [(body, glaze), (join(foot, outer, inner, handle, lid), plain), (knob, metal(gold, 0.25))]
    caption = f"{a(f'round {ground} teapot')} {words} and {a(gold)} knob on its lid"
    return Model("teapot", "Teapot", sentence(caption), ("kitchen", "glossy"), [Node("teapot", mesh)])


def lamp(draw: Draw) -> Model:
    """Metal, a thin double-sided shade, a glowing bulb."""
    metal_name = draw.pick(*METALS)
    shade_name = draw.colour("cream", but=["black", "grey"])
    tall = draw.between(0.85, 1.0, 1.3)
    cone = draw.between(0.45, 0.62, 0.9)
    stand = lathe(
        smooth(
            [
                (0.095, 0),
                (0.1, 0.012),
                (0.06, 0.03),
                (0.018, 0.06),
                (0.028, 0.12),
                (0.034, 0.17),
                (0.014, 0.23),
                (0.01, 0.3),
            ],
            8,
        ),
        48,
    ).scaled(1, 1, tall)
    foot = cylinder(0.1, 0.006, 48).moved(z=-0.004)
    cloth = Material(
        "shade",
        texture=textures.blend(
            textures.shade(COLOURS[shade_name], 0.8),
            COLOURS[shade_name],
            textures.weave(draw.rng, 24),
        ),
        glow=textures.shade(COLOURS[shade_name], 0.35),
        roughness=0.9,
        double_sided=True,
    )
    low, high = 0.27 * tall, 0.45 * tall
    shade = lathe([(0.16, low), (0.16 * cone, high)], 64).tiled(6, 1.5)
    hoops = [
        tube(np.stack([r * np.cos(t), r * np.sin(t), 0 * t + z], -1), 0.0025, 8, capped=False)
        for r, z in ((0.16, low), (0.16 * cone, high))
        for t in [np.linspace(0, 2 * np.pi, 65)]
    ]
    bulb = Material("bulb", (1.0, 0.95, 0.8), glow=(1.0, 0.9, 0.65))
    mesh = [
        (join(stand, foot, *hoops), metal(metal_name)),
        (shade, cloth),
        (ball(0.032).moved(z=0.34 * tall), bulb),
    ]
    caption = f"{a(metal_name)} table lamp with {a(f'{shade_name} fabric shade')}"
    return Model("lamp", "Table lamp", sentence(caption), ("furniture", "metal", "thin"), [Node("lamp", mesh)])


def chair(draw: Draw) -> Model:
    """Thin parts with gaps between them."""
    wood_name = draw.pick(*WOODS)
    ground = draw.colour("blue", but=["white", "cream"])
    words, image = draw.pattern("checks", ground, "white")
    back_height = draw.between(0.38, 0.46, 0.65)
    width = draw.between(0.38, 0.44, 0.52)
    slats = draw.count(2, 3, 5)
    number = {2: "two", 3: "three", 4: "four", 5: "five"}[slats]
    oak = timber(wood_name, draw.rng)
    parts: list[Shape] = [box(width, 0.42, 0.035, 0.012).moved(z=0.45)]
    x, y = width / 2 - 0.035, 0.175
    for sx in (-1, 1):
        parts.append(tube([(sx * (x + 0.02), -y - 0.02, 0), (sx * x, -y, 0.44)], [0.014, 0.021]))
        rear = smooth(
            [
                (sx * (x + 0.02), y + 0.04, 0),
                (sx * x, y, 0.44),
                (sx * x, y + 0.02, 0.6),
                (sx * x, y + 0.09, 0.45 + back_height),
            ]
        )
        parts.append(tube(rear, np.linspace(0.016, 0.015, len(rear))))
        parts.append(tube([(sx * (x + 0.01), -y - 0.01, 0.2), (sx * (x + 0.01), y + 0.02, 0.2)], 0.009, 10))
    parts.append(tube([(-x - 0.01, 0, 0.2), (x + 0.01, 0, 0.2)], 0.009, 10))
    for i in range(slats):
        z = 0.45 + back_height * (0.4 + 0.53 * i / (slats - 1))
        bend = np.linspace(-1, 1, 13)
        lean = np.interp(z, [0.6, 0.45 + back_height], [y + 0.02, y + 0.09])
        path = np.stack([bend * x, lean + 0.025 * (1 - bend**2), 0 * bend + z], -1)
        parts.append(tube(path, 0.5 * back_height * 0.53 / slats, 16, flat=0.22))
    cushion = box(width - 0.05, 0.37, 0.05, 0.024, 5).moved(z=0.487)
    cloth = Material("cushion", texture=image, roughness=0.95)
    mesh = [(join(*parts), oak), (cushion, cloth)]
    caption = f"{a(f'{wood_name} chair')} with {number} slats and {a(f'{ground} cushion')} {words}"
    return Model("chair", "Chair", sentence(caption), ("furniture", "thin"), [Node("chair", mesh)])


def fishbowl(draw: Draw) -> Model:
    """Transparent glass and water around a fish."""
    ground = draw.colour("orange", but=["white", "grey", "brown"])
    ink = draw.pick("white", "black", "yellow") if ground != "black" and ground != "yellow" else "white"
    tall = draw.between(0.9, 1.0, 1.15)
    profile = smooth([(0, 0), (0.07, 0.0), (0.118, 0.05), (0.13, 0.105), (0.115, 0.16), (0.088, 0.19), (0.095, 0.2)], 8)
    glass = Material("glass", (0.6, 0.82, 0.92), roughness=0.05, alpha=0.14)
    water = Material("water", (0.3, 0.65, 0.85), roughness=0.05, alpha=0.3)
    level = profile[profile[:, 1] < 0.15][-1]
    surface = disc(level[0] * 0.985, 48).moved(z=level[1] * tall)
    gravel = draw.colour("white", but=["black", ground])
    pebbles = [
        ball(s, 10).scaled(1, 0.8, 0.6).turned("z", spin).moved(d * np.cos(t), d * np.sin(t), 0.012 + 0.006 * (i % 2))
        for i, (s, d, t, spin) in enumerate(
            zip(
                draw.rng.uniform(0.008, 0.015, 46),
                0.078 * np.sqrt(draw.rng.uniform(0, 1, 46)),
                draw.rng.uniform(0, 2 * np.pi, 46),
                draw.rng.uniform(0, 360, 46),
                strict=True,
            )
        )
    ]
    weed = [
        tube(
            [(x + 0.006 * np.sin(z * 90 + i), y + 0.006 * np.cos(z * 70 + i), z) for z in np.linspace(0.01, top, 14)],
            np.linspace(0.005, 0.001, 14),
            8,
            flat=0.4,
        )
        for i, (x, y, top) in enumerate([(-0.05, 0.03, 0.12), (-0.06, 0.01, 0.09), (-0.035, 0.045, 0.075)])
    ]
    scales = Material("scales", texture=textures.stripes(COLOURS[ground], COLOURS[ink], 3, share=0.3), roughness=0.35)
    fins = Material("fins", textures.shade(COLOURS[ground], 0.9), roughness=0.5, double_sided=True)
    body = ball(0.03, 32).turned("y", 90).scaled(1.25, 0.55, 0.85)
    tail = slab([(0, 0), (0.034, -0.03), (0.026, 0), (0.034, 0.03)], 0.003).turned("x", 90).moved(x=0.03)
    top_fin = slab([(-0.014, 0.02), (0.018, 0.018), (0.022, 0.04), (0.0, 0.036)], 0.003).turned("x", 90)
    eyes = join(*(ball(0.0055, 14).moved(-0.024, s * 0.0115, 0.006) for s in (-1, 1)))
    pupils = join(*(ball(0.0034, 12).moved(-0.0262, s * 0.0142, 0.0065) for s in (-1, 1)))
    fish = Node(
        "fish",
        [(body, scales), (join(tail, top_fin), fins), (eyes, paint("eye", "white")), (pupils, paint("pupil", "black"))],
        at=(0.012, -0.02, 0.088),
        turn=((0, 0, 1), draw.between(-180, 20, 180)),
        scale=draw.between(0.85, 1.1, 1.25),
    )
    bowl = Node(
        "bowl",
        [
            (lathe(profile * [1, tall], 64), glass),
            (surface, water),
            (join(*pebbles), paint("gravel", gravel, 0.8)),
            (join(*weed), paint("weed", "green", 0.7)),
        ],
        children=[fish],
    )
    caption = f"a glass bowl of water with {a(ground)} and {ink} fish, {gravel} pebbles and green weed"
    return Model("fishbowl", "Goldfish bowl", sentence(caption), ("transparent", "animal"), [bowl])


def umbrella(draw: Draw) -> Model:
    """An open canopy, one surface thin, seen from both sides."""
    first = draw.colour("yellow")
    second = draw.pick("blue", *(c for c in ("white", "red", "green", "purple", "black") if c != first))
    wood_name = draw.pick(*WOODS)
    ribs = draw.pick(8, 6, 10)
    deep = draw.between(0.3, 0.4, 0.52)
    t = np.linspace(0.02, 1, 17)[:, None]
    u = np.linspace(0, ribs, ribs * 8 + 1)[None, :]
    sag = np.abs(np.sin(np.pi * (u % 1))) * (t**2)
    angle = 2 * np.pi * u / ribs
    r = 0.62 * np.sin(t * 1.35) / np.sin(1.35) * (1 - 0.1 * sag)
    z = 1.0 + deep * (np.cos(t * 1.35) - np.cos(1.35)) / (1 - np.cos(1.35)) + 0.045 * sag * t - deep
    sheet = np.stack([r * np.cos(angle), r * np.sin(angle), z], -1)[::-1]
    canopy = grid(sheet)
    bands = textures.stripes(COLOURS[first], COLOURS[second], 1, upright=True)
    # Half the stripe's width shifted, so that each panel has one colour.
    canopy = Shape(canopy.points, canopy.uv * [ribs / 2, 1] + [0.25, 0], canopy.faces)
    cloth = Material("cloth", texture=bands, roughness=0.85, double_sided=True)
    frame = [tube(sheet[::-1, i * 8] - [0, 0, 0.008], 0.0045, 6) for i in range(ribs)]
    crown = float(z.max())
    shaft = tube([(0, 0, 0.12), (0, 0, crown + 0.05)], 0.009, 14)
    tip = tube([(0, 0, crown), (0, 0, crown + 0.08)], [0.012, 0.003], 14)
    bend = np.linspace(0, np.pi, 17)
    hook = np.concatenate(
        [[[0, 0, 0.2]], np.stack([0.06 - 0.06 * np.cos(bend), 0 * bend, 0.08 - 0.06 * np.sin(bend)], -1)]
    )
    grip = tube(np.concatenate([hook, [[0.12, 0, 0.11]]]), 0.017, 16)
    mesh = [(canopy, cloth), (join(*frame, shaft, tip), metal("steel", 0.35)), (grip, timber(wood_name, draw.rng))]
    caption = f"an open umbrella with {first} and {second} panels and a hooked {wood_name} handle"
    return Model("umbrella", "Umbrella", sentence(caption), ("thin", "double-sided"), [Node("umbrella", mesh)])


def crates(draw: Draw) -> Model:
    """One mesh in several places, with normal and roughness maps."""
    wood_name = draw.pick("pine", "oak", "walnut")
    count = draw.count(2, 4, 5)
    number = {2: "two", 3: "three", 4: "four", 5: "five"}[count]
    tone = WOODS[wood_name]
    height = textures.planks(4, draw.rng)
    boards = Material(
        "boards",
        texture=textures.blend(textures.shade(tone, 0.25), textures.shade(tone, 1.05), height),
        normal=textures.relief(height, 1.2),
        surface=textures.surface(1.0 - 0.35 * height),
        roughness=1.0,
    )
    frame = Material("frame", texture=textures.wood(textures.shade(tone, 0.85), draw.rng), roughness=0.7)
    iron = Material("iron", (0.2, 0.2, 0.22), roughness=0.5, metallic=1.0)
    edge, width = 0.44, 0.12
    beam = box(1.0, width, width, 0.012, 2)
    beams = [
        beam.moved(y=p * edge, z=q * edge).turned(axis, turn)
        for axis, turn in (("z", 0.0), ("z", 90.0), ("y", 90.0))
        for p in (-1, 1)
        for q in (-1, 1)
    ]
    nails = [
        ball(0.02, 10).scaled(1, 1, 0.4).moved(x=p * edge, y=q * edge, z=0.5).turned(axis, turn)
        for axis, turn in (("x", 0.0), ("x", 90.0), ("x", 180.0), ("x", 270.0), ("y", 90.0), ("y", 270.0))
        for p in (-1, 1)
        for q in (-1, 1)
    ]
    mesh: Mesh = [(box(0.9, 0.9, 0.9), boards), (join(*beams), frame), (join(*nails), iron)]
    places = [
        ((-0.56, 0.0, 0.5), 4.0, 1.0),
        ((0.53, 0.1, 0.5), -9.0, 1.0),
        ((-0.1, 0.05, 1.5), 27.0, 1.0),
        ((0.1, -0.95, 0.35), 40.0, 0.7),
        ((-0.1, 0.05, 2.3), 50.0, 0.6),
    ]
    if count == 2:
        places = [places[0], ((-0.5, 0.03, 1.5), 30.0, 1.0)]
    children = [
        Node(f"crate {i + 1}", mesh, at=at, turn=((0, 0, 1), turn + draw.between(-6, 0, 6)), scale=scale)
        for i, (at, turn, scale) in enumerate(places[:count])
    ]
    caption = f"a stack of {number} wooden crates of {wood_name} boards"
    return Model("crates", "Crate stack", sentence(caption), ("instances", "pbr"), [Node("stack", children=children)])
