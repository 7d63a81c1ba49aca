"""Tiny models, made on the spot."""

import json
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import trimesh
from PIL import Image

from dataengine.render.blender.protocol import Camera, RenderReply, RenderRequest
from dataengine.render.looks import look
from dataengine.render.pool import BlenderPool, discard
from dataengine.render.rigs import look_at_origin
from dataengine.render.views import read_exr

UInt8 = npt.NDArray[np.uint8]
Float = npt.NDArray[np.float32]

CUBE = trimesh.creation.box(extents=(1.0, 1.0, 1.0))


def write_glb(path: Path, *meshes: trimesh.Trimesh) -> Path:
    """A GLB with a root node a mesh."""
    scene = trimesh.Scene()
    for i, mesh in enumerate(meshes):
        scene.add_geometry(mesh, node_name=f"part{i}")
    path.write_bytes(scene.export(file_type="glb"))
    return path


def coloured(mesh: trimesh.Trimesh, rgb: tuple[int, int, int]) -> trimesh.Trimesh:
    """A copy in one matt colour (sRGB, 0–255)."""
    mesh = mesh.copy()
    material = trimesh.visual.material.PBRMaterial(baseColorFactor=[*rgb, 255], metallicFactor=0.0, roughnessFactor=1.0)
    mesh.visual = trimesh.visual.TextureVisuals(material=material)
    return mesh


def textured_quad(image: Image.Image) -> trimesh.Trimesh:
    """A unit square that stands upright and faces -y once imported."""
    return trimesh.Trimesh(
        vertices=[[-0.5, -0.5, 0], [0.5, -0.5, 0], [0.5, 0.5, 0], [-0.5, 0.5, 0]],
        faces=[[0, 1, 2], [0, 2, 3]],
        visual=trimesh.visual.TextureVisuals(
            uv=np.array([[0, 0], [1, 0], [1, 1], [0, 1]]),
            material=trimesh.visual.material.PBRMaterial(
                baseColorTexture=image, metallicFactor=0.0, roughnessFactor=1.0
            ),
        ),
        process=False,
    )


def patch_glb(path: Path, **changes: Any) -> Path:
    """Sets top-level entries of a GLB's JSON."""
    data = path.read_bytes()
    (size,) = struct.unpack_from("<I", data, 12)
    body = json.dumps(json.loads(data[20 : 20 + size]) | changes).encode()
    body += b" " * (-len(body) % 4)
    rest = data[20 + size :]
    head = struct.pack("<4sIIII", b"glTF", 2, 20 + len(body) + len(rest), len(body), 0x4E4F534A)
    path.write_bytes(head + body + rest)
    return path


def glb_json(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    (size,) = struct.unpack_from("<I", data, 12)
    return dict(json.loads(data[20 : 20 + size]))


def request(path: Path, views: int = 2, size: int = 32, samples: int = 1, **changes: Any) -> RenderRequest:
    """A small render; the first camera stands on -y, in front of what faces the viewer in glTF."""
    distance = 0.5 / math.sin(math.radians(20.0)) / 0.95
    focal = size / 2 / math.tan(math.radians(20.0))
    cameras = [
        Camera(
            look_at_origin(270.0 + 360.0 * i / views, 0.0, distance).c2w.tolist(),
            [[focal, 0.0, size / 2], [0.0, focal, size / 2], [0.0, 0.0, 1.0]],
            False,
            distance - 0.505,
            distance + 0.505,
        )
        for i in range(views)
    ]
    values: dict[str, Any] = {
        "uid": "0123456789abcdef" * 2,
        "path": str(path),
        "format": path.suffix[1:].lower(),
        "up": None,
        "frame": None,
        "width": size,
        "height": size,
        "normalisation": "sphere",
        "look": look("studio").to_json(),
        "samples": samples,
        "engine": "CYCLES",
        "device": "CPU",
        "threads": 2,
        "seed": 7,
        "max_texture": 64,
        "cameras": cameras,
    }
    return RenderRequest(**(values | changes))


def pixels(pool: BlenderPool, wanted: RenderRequest) -> tuple[RenderReply, UInt8, Float]:
    """The reply, straight-alpha sRGB (views, h, w, 4) and depth (views, h, w; 0 = none)."""
    reply = pool.render(wanted)
    views = read_exr(reply.exr, wanted.cameras)
    discard(reply)
    return reply, views.rgba, views.depth
