"""What is said over the pipe between the pool and the Blender process. Plain dataclasses, JSON both ways.

World: z up, right-handed, units of the normalised object. Cameras are OpenCV: x right, y down, z forward.
"""

from dataclasses import asdict, dataclass, field
from typing import Any

Matrix = list[list[float]]

LIGHT_ROWS, LIGHT_COLUMNS = 64, 128  # most parts that an environment map is told in, see environment.measure


@dataclass(frozen=True)
class Camera:
    """One view.

    Attributes:
        c2w: 4×4 camera-to-world, OpenCV axes, in the normalised z-up world.
        K: 3×3 intrinsics in pixels, principal point included. Orthographic: K[0][0] is pixels per world unit.
        orthographic: whether rays are parallel.
        near: depth (planar z) that depth PNGs map to 1.
        far: depth that depth PNGs map to 65535.
        name: the rig's word for the view, e.g. `front`; empty where it has none.
        azimuth: degrees, 0 at +x, counter-clockwise seen from +z.
        elevation: degrees above the horizon.
    """

    c2w: Matrix
    K: Matrix
    orthographic: bool
    near: float
    far: float
    name: str = ""
    azimuth: float = 0.0
    elevation: float = 0.0


@dataclass(frozen=True)
class LoadRequest:
    """One asset to import, for the render requests that follow.

    Attributes:
        uid, path, format, up, textures, out: as in RenderRequest.
        apart: whether faces of an OBJ that lie back to back are kept apart: for looks that cull back faces.
        keep: whether there is more than one request to follow, so that the asset as imported must be kept.
    """

    uid: str
    path: str
    format: str
    up: str | None
    textures: list[str]
    apart: bool
    keep: bool = False
    out: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "LoadRequest":
        return cls(**data)


@dataclass(frozen=True)
class LoadReply:
    """What the Blender process says when an asset is imported, or has failed in a way that Python could see.

    Attributes:
        error, message, cpu_seconds, peak_memory: as in RenderReply.
    """

    error: str = ""
    message: str = ""
    cpu_seconds: float = 0.0
    peak_memory: int = 0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class RenderRequest:
    """One view set of one asset to render in one call.

    Attributes:
        uid: the asset; part of the seed.
        path: absolute path of the main file on local disk.
        format: glb, gltf, obj, fbx, dae, stl, ply, usd or blend: chooses the importer.
        channels: what is drawn beside colour and depth: normal, albedo, orm, id.
        colour: whether colour is wanted; without it nothing is lit.
        textures: files that the asset's textures may be, for those that Blender does not find where the file says.
        up: 'Y' or 'Z' to override the importer's rule, None to keep it.
        frame: animation frame to pose the asset at; None: the first.
        width, height: pixels.
        normalisation: 'sphere' (bounding sphere's radius → 0.5), 'cube' (longest side → 1) or 'diagonal' (→ 1).
        look: name and parameters of the look, see render/looks.py; nothing in it is left to chance. An environment look
            has `environment`: path, rotation and strength of its map.
        samples: Cycles samples per pixel.
        engine: CYCLES or BLENDER_EEVEE_NEXT.
        device: CPU, CUDA, OPTIX, HIP, METAL or ONEAPI.
        threads: render threads.
        seed: of the sampler, 31 bits.
        max_texture: textures are scaled down to this longest side at import; 0 keeps them.
        cameras: the views, all in one render call (chunks that bound memory are a constant of the rig).
        out: folder for the EXR files, on tmpfs; the pool names one of its own.
        more_looks: further looks that the same views are rendered in: as `look`, with their samples. Look i (from 1) is
            the layer `look<i>`, colour alone.
    """

    uid: str
    path: str
    format: str
    up: str | None
    frame: int | None
    width: int
    height: int
    normalisation: str
    look: dict[str, Any]
    samples: int
    engine: str
    device: str
    threads: int
    seed: int
    max_texture: int
    cameras: list[Camera]
    textures: list[str] = field(default_factory=list)
    channels: list[str] = field(default_factory=list)
    colour: bool = True
    out: str = ""
    more_looks: list[dict[str, Any]] = field(default_factory=list)

    def load(self, keep: bool) -> LoadRequest:
        """The import that it needs."""
        apart = self.format == "obj" and bool(self.look["cull_back_faces"])
        return LoadRequest(self.uid, self.path, self.format, self.up, self.textures, apart, keep)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "RenderRequest":
        return cls(**{**data, "cameras": [Camera(**c) for c in data["cameras"]]})


@dataclass(frozen=True)
class RenderReply:
    """What the Blender process says when an asset is done, or has failed in a way that Python could see.

    Attributes:
        error: an ErrorCode's value, or empty.
        message: one line for a person, when error is set.
        exr: names in `out` (from the pool: paths) of the multilayer EXR files, in order of the rig; view i is `v<i>`
            in them (`ViewLayer.Combined.v3.R`, `ViewLayer.Depth.v3.Z`), counted over all files.
        scale, offset: normalised = scale * original + offset, in the z-up world.
        radius: of the bounding sphere about the origin, normalised units.
        face_count, vertex_count: evaluated, visible; faces are triangles.
        unsure_images: that Cycles opens itself, and that are not magenta.
        seconds: wall seconds by phase (import, normalise, sync, render).
        cpu_seconds: of the process, this asset.
        peak_memory: bytes resident, at the highest.
        log: the last lines that Blender printed; the pool adds them.
    """

    error: str = ""
    message: str = ""
    exr: list[str] = field(default_factory=list)
    scale: float = 1.0
    offset: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    radius: float = 0.0
    up: str = "Z"
    face_count: int = 0
    vertex_count: int = 0
    object_count: int = 0
    unsure_images: int = 0
    missing_textures: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    cpu_seconds: float = 0.0
    peak_memory: int = 0
    log: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "RenderReply":
        return cls(**data)
