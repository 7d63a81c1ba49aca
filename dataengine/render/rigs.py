"""Rigs: where the cameras stand, how far, and how the object is normalised for them.

A rig's cameras look at the origin of a z-up world in which the object has been normalised. Our own rigs normalise the
bounding sphere to radius 0.5 and stand where that sphere surely fits; published ones are in `recipes.py` and may
clip, as published. Azimuth 0 is on +x, counter-clockwise seen from above. Elevation, distance and field of view may be
drawn from ranges, see `Ranges`.
"""

import difflib
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from dataengine.corpus.ranges import Range
from dataengine.errors import UsageError
from dataengine.render.blender.protocol import Camera
from dataengine.render.chance import Chance

Normalisation = Literal["sphere", "cube", "diagonal"]
Array = npt.NDArray[np.float64]

# Radius about the origin that surely holds the normalised object: a sphere of radius 0.5, a cube of side 1, a bounding
# box whose diagonal is 1.
BOUND: dict[Normalisation, float] = {"sphere": 0.5, "cube": math.sqrt(3) / 2, "diagonal": 0.5}

FILL = 0.95
"""Share of the frame's side that the bounding sphere's outline may take in our own rigs."""

LENS_35_ON_32 = math.degrees(2 * math.atan(16 / 35))
"""49.13°: the field of view of objaverse-rendering, Objaverse-XL, Zero123 and SyncDreamer."""


class Pose(NamedTuple):
    """One camera's place: c2w 4×4 with OpenCV axes, azimuth and elevation in degrees, the rig's word for the view."""

    c2w: Array
    azimuth: float
    elevation: float
    name: str = ""


Layout = Callable[[Chance], Sequence[Pose]]


@dataclass(frozen=True)
class Ranges:
    """What a rig's cameras draw instead of what its layout says; each uniform between the two ends.

    Attributes:
        elevation: degrees above the horizon.
        radius: distance from the origin, in units of the normalised object.
        fov: degrees across the frame. Without a radius the cameras stand where the object fits into the drawn frame.
        per_view: whether each view has draws of its own; otherwise one draw holds for all views of an asset.
    """

    elevation: Range | None = None
    radius: Range | None = None
    fov: Range | None = None
    per_view: bool = False

    def __bool__(self) -> bool:
        return any((self.elevation, self.radius, self.fov))


@dataclass(frozen=True)
class Rig:
    """Cameras around the normalised object.

    Attributes:
        name: what the manifest calls it.
        layout: the poses; takes all its chance from what it is given.
        normalisation: 'sphere' (bounding sphere's radius → 0.5), 'cube' (longest side of the box → 1) or 'diagonal'
            (the box's diagonal → 1).
        fov: degrees across the frame; None for orthographic rigs.
        ortho_scale: world units across the frame; None for perspective rigs.
        random: whether the poses depend on the seed, view by view.
        ranges: what is drawn on top of the layout.
    """

    name: str
    layout: Layout
    normalisation: Normalisation = "sphere"
    fov: float | None = None
    ortho_scale: float | None = None
    random: bool = False
    ranges: Ranges = Ranges()

    def cameras(self, resolution: int, seed: int = 0, view_set: str = "") -> list[Camera]:
        """The rig's views for square images.

        Args:
            resolution: pixels per side.
            seed: of rigs that are random, from `asset_seed`; the others ignore it.
            view_set: name of the set that the views are of; draws from ranges, and `random-N`, follow it too.

        Returns:
            One camera a view, in the rig's order. Near and far hold the object's whole bounding sphere, with 1 % to
            spare, so that 16-bit depth between them loses nothing.
        """
        chance = Chance(seed, view_set)
        reach = 1.01 * BOUND[self.normalisation]
        centre = resolution / 2
        cameras = []
        for index, laid_out in enumerate(self.layout(chance)):
            pose, fov = self._drawn(laid_out, index, chance)
            focal = self._focal(resolution, fov)
            distance = float(np.linalg.norm(pose.c2w[:3, 3]))
            cameras.append(
                Camera(
                    c2w=pose.c2w.tolist(),
                    K=[[focal, 0.0, centre], [0.0, focal, centre], [0.0, 0.0, 1.0]],
                    orthographic=self.ortho_scale is not None,
                    near=distance - reach,
                    far=distance + reach,
                    name=pose.name,
                    azimuth=pose.azimuth,
                    elevation=pose.elevation,
                )
            )
        return cameras

    def _focal(self, resolution: int, fov: float | None) -> float:
        if self.ortho_scale is not None:
            return resolution / self.ortho_scale
        assert fov is not None
        return resolution / 2 / math.tan(math.radians(fov) / 2)

    def _drawn(self, pose: Pose, index: int, chance: Chance) -> tuple[Pose, float | None]:
        """The pose and the field of view of a view after the draws from the ranges."""
        if not self.ranges:
            return pose, self.fov

        def draw(what: str, of: Range | None, otherwise: float) -> float:
            return otherwise if of is None else of.at(chance.number(what, index if self.ranges.per_view else None))

        assert self.fov is not None
        fov = draw("fov", self.ranges.fov, self.fov)
        elevation = draw("elevation", self.ranges.elevation, pose.elevation)
        distance = float(np.linalg.norm(pose.c2w[:3, 3]))
        if self.ranges.radius is not None:
            distance = draw("radius", self.ranges.radius, distance)
        elif self.ranges.fov is not None:
            distance = fit_distance(fov, BOUND[self.normalisation])
        return look_at_origin(pose.azimuth, elevation, distance, pose.name), fov

    def with_ranges(self, ranges: Ranges) -> "Rig":
        """This rig, drawing from ranges.

        Raises:
            UsageError: if the rig's cameras are fixed, or a range puts a camera where it cannot be.
        """
        if not ranges:
            return self
        if self.ortho_scale is not None:
            given = next(name for name in ("elevation", "radius", "fov") if getattr(ranges, name))
            raise UsageError(
                f"rig {self.name} takes no {given}: its cameras are fixed; orbits, sphere12, random-N and hammersley-N "
                "take ranges"
            )
        reach = 1.01 * BOUND[self.normalisation]
        if ranges.radius is not None and ranges.radius.low <= reach:
            raise UsageError(f"radius {str(ranges.radius)!r} must be above {reach:g}: the object reaches that far")
        return replace(self, ranges=ranges)


def rig(name: str) -> Rig:
    """One of our own rigs: orbit8, orbit16, orbit24, six_views, ten_views, sphere12, random-N, hammersley-N (N views).

    Raises:
        UsageError: if there is none of that name; names the known ones.
    """
    if name in _RIGS:
        return _RIGS[name]
    match = re.fullmatch(r"(hammersley|random)-([1-9]\d{0,3})", name)
    if match:
        layout = hammersley if match[1] == "hammersley" else sphere
        return Rig(name, layout(int(match[2]), fit_distance(40)), fov=40, random=True)
    near = difflib.get_close_matches(name, [*_RIGS, "random-6", "hammersley-150"], n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    known = ", ".join(RIG_NAMES)
    raise UsageError(f"there is no rig {name!r}{hint} (known: {known}; N from 1 to 9999)")


def fit_distance(fov: float, radius: float = 0.5) -> float:
    """Distance at which the outline of a sphere around the origin takes FILL of a frame that is `fov` degrees wide."""
    return radius / math.sin(math.atan(FILL * math.tan(math.radians(fov) / 2)))


def look_at_origin(azimuth: float, elevation: float, distance: float, name: str = "") -> Pose:
    """A camera on a sphere around the origin that looks at it, +z up in the image. Well defined at the poles too.

    Args:
        azimuth, elevation: degrees.
        distance: from the origin.
    """
    a, e = math.radians(azimuth), math.radians(elevation)
    outward = np.array([math.cos(e) * math.cos(a), math.cos(e) * math.sin(a), math.sin(e)])
    right = np.array([-math.sin(a), math.cos(a), 0.0])
    c2w = np.eye(4)
    c2w[:3, 0] = right
    c2w[:3, 1] = np.cross(-outward, right)
    c2w[:3, 2] = -outward
    c2w[:3, 3] = distance * outward
    return Pose(c2w, azimuth % 360, elevation, name)


def orbit(count: int, elevation: float, distance: float) -> Layout:
    """`count` azimuths, evenly over the full turn, from 0, at one elevation in degrees."""
    poses = [look_at_origin(360 * i / count, elevation, distance) for i in range(count)]
    return lambda _: poses


def horizon(azimuths: dict[str, float], distance: float) -> Layout:
    """Named views at elevation 0."""
    poses = [look_at_origin(azimuth, 0.0, distance, name) for name, azimuth in azimuths.items()]
    return lambda _: poses


def all_around(azimuths: dict[str, float], distance: float) -> Layout:
    """Named horizontal cameras, then one straight above and one straight below, both with the front at -y.

    Seen from above the front is at the picture's lower edge, from below at its upper one.
    """
    poles = [look_at_origin(270.0, 90.0, distance, "top"), look_at_origin(270.0, -90.0, distance, "bottom")]
    level = horizon(azimuths, distance)
    return lambda chance: [*level(chance), *poles]


def shell(count: int, nearest: float, furthest: float) -> Layout:
    """Random directions over the whole sphere, random distances, as in Zero123 and Objaverse-XL.

    Their direction is a uniform point of a cube, normalised: a little denser towards the cube's corners than a uniform
    one. Kept, since the distribution of the views is what makes data replace theirs. (Their bounds on z are those of
    the shell and reject nothing.)
    """

    def layout(chance: Chance) -> list[Pose]:
        poses = []
        dice = chance.generator()
        for _ in range(count):
            x, y, z = (2 * dice.random() - 1 for _ in range(3))
            distance = nearest + (furthest - nearest) * dice.random()
            poses.append(
                look_at_origin(math.degrees(math.atan2(y, x)), math.degrees(math.atan2(z, math.hypot(x, y))), distance)
            )
        return poses

    return layout


def sphere(count: int, distance: float) -> Layout:
    """Independent directions, uniform over the sphere: z and the azimuth are uniform (Archimedes)."""

    def layout(chance: Chance) -> list[Pose]:
        poses = []
        for view in range(count):
            z = 2 * chance.number("z", view) - 1
            poses.append(look_at_origin(360 * chance.number("azimuth", view), math.degrees(math.asin(z)), distance))
        return poses

    return layout


def hammersley(count: int, distance: float) -> Layout:
    """TRELLIS' sequence: low-discrepancy over the sphere, denser at the horizon, shifted by a random offset."""

    def layout(chance: Chance) -> list[Pose]:
        dice = chance.generator()
        shift_u, shift_v = dice.random(), dice.random()
        poses = []
        for i in range(count):
            u = (i + shift_u) / count
            u = 2 * u if u < 0.25 else 2 / 3 * u + 1 / 3
            elevation = math.acos(max(-1.0, 1 - 2 * u)) - math.pi / 2
            azimuth = 2 * math.pi * (_radical_inverse_2(i) + shift_v)
            poses.append(look_at_origin(math.degrees(azimuth), math.degrees(elevation), distance))
        return poses

    return layout


def _radical_inverse_2(n: int) -> float:
    """The binary digits of n mirrored at the point: 1, 2, 3 … → 0.5, 0.25, 0.75 …"""
    return int(f"{n:b}"[::-1], 2) / (1 << n.bit_length()) if n else 0.0


# Wonder3D's front is a camera on -y, where Blender's importers put a glTF's front.
SIX_VIEWS = {"front": 270.0, "front_right": 315.0, "right": 0.0, "back": 90.0, "left": 180.0, "front_left": 225.0}
TEN_VIEWS = {**SIX_VIEWS, "back_right": 45.0, "back_left": 135.0}  # and from above and below

G_OBJAVERSE_FOV = math.degrees(2 * math.atan(512 / 1422.222))  # fx 1422.222 at 1024 pixels

_RIGS = {
    r.name: r
    for r in (
        Rig("orbit8", orbit(8, 30, fit_distance(LENS_35_ON_32)), fov=LENS_35_ON_32),
        Rig("orbit16", orbit(16, 30, fit_distance(LENS_35_ON_32)), fov=LENS_35_ON_32),
        Rig("orbit24", orbit(24, 15, fit_distance(G_OBJAVERSE_FOV)), fov=G_OBJAVERSE_FOV),
        Rig("six_views", horizon(SIX_VIEWS, 2.0), ortho_scale=1 / FILL),
        Rig("ten_views", all_around(TEN_VIEWS, 2.0), ortho_scale=1 / FILL),
        Rig("sphere12", shell(12, 1.5, 2.2), fov=LENS_35_ON_32, random=True),
    )
}

RIG_NAMES = (*_RIGS, "random-N", "hammersley-N")
"""What `rig` knows; N is a number of views."""
