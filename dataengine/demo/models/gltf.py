"""Writes a scene as binary glTF 2.0, the same bytes for the same scene.

Source: Khronos glTF 2.0 specification. Scenes here are z-up, front at -y; glTF is y-up, front at +z, so every
(x, y, z) becomes (x, z, -y).
"""

import io
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dataengine.demo.models.shapes import Shape, normals

Colour = tuple[float, float, float]
Axis = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Material:
    """Metallic-roughness material.

    Attributes:
        colour: sRGB, 0…1; multiplies the texture.
        texture: base colour (RGB or RGBA), repeating.
        normal: tangent-space normal map.
        surface: roughness in the green channel, metalness in the blue; multiplies `roughness` and `metallic`.
        glow: emitted sRGB colour.
        alpha: opacity; below 1 the material blends.
        cut: the texture's alpha cuts holes (mask at 0.5).
    """

    name: str
    colour: Colour = (1.0, 1.0, 1.0)
    texture: Image.Image | None = None
    normal: Image.Image | None = None
    surface: Image.Image | None = None
    roughness: float = 0.6
    metallic: float = 0.0
    glow: Colour | None = None
    alpha: float = 1.0
    cut: bool = False
    double_sided: bool = False


Mesh = Sequence[tuple[Shape, Material]]


@dataclass(frozen=True, eq=False)
class Node:
    """A place in the hierarchy. Nodes that share one mesh object share it in the file.

    Attributes:
        at: translation.
        turn: rotation in degrees about an axis.
        spin: axis and seconds of a full turn: an animation.
    """

    name: str
    mesh: Mesh = ()
    children: Sequence["Node"] = ()
    at: Axis = (0.0, 0.0, 0.0)
    turn: tuple[Axis, float] | None = None
    scale: float = 1.0
    spin: tuple[Axis, float] | None = None


def to_glb(roots: Sequence[Node]) -> bytes:
    """The scene as a GLB file."""
    return _Writer().write(roots)


class _Writer:
    def __init__(self) -> None:
        self.blob = bytearray()
        self.json: dict[str, Any] = {
            "asset": {"version": "2.0", "generator": "dataengine"},
            "scene": 0,
            "scenes": [{"nodes": []}],
        }
        self.seen: dict[int, tuple[object, int]] = {}  # by identity; the object is kept so that its id stays its own

    def write(self, roots: Sequence[Node]) -> bytes:
        self.json["scenes"][0]["nodes"] = [self.node(n) for n in roots]
        self.json["buffers"] = [{"byteLength": len(self.blob)}]
        text = json.dumps(self.json, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 4)
        blob = bytes(self.blob) + b"\0" * (-len(self.blob) % 4)
        total = 12 + 8 + len(text) + 8 + len(blob)
        head = struct.pack("<4sII", b"glTF", 2, total)
        return head + struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(blob), b"BIN\0") + blob

    def add(self, kind: str, entry: dict[str, Any]) -> int:
        entries: list[dict[str, Any]] = self.json.setdefault(kind, [])
        entries.append(entry)
        return len(entries) - 1

    def node(self, node: Node) -> int:
        entry: dict[str, Any] = {"name": node.name}
        if node.mesh:
            entry["mesh"] = self.mesh(node.mesh, node.name)
        if any(node.at):
            entry["translation"] = _y_up(np.array(node.at)).tolist()
        if node.turn is not None:
            entry["rotation"] = _quaternion(*node.turn)
        if node.scale != 1.0:
            entry["scale"] = [node.scale] * 3
        if node.children:
            entry["children"] = [self.node(c) for c in node.children]
        index = self.add("nodes", entry)
        if node.spin is not None:
            self.animation(index, *node.spin)
        return index

    def animation(self, node: int, axis: Axis, seconds: float) -> None:
        steps = np.linspace(0, 1, 5)  # quarter turns: a linear blend of quaternions must stay below half a turn
        turns = np.array([_quaternion(axis, 360 * s) for s in steps], np.float32)
        times = self.accessor((steps * seconds).astype(np.float32), "SCALAR", bounds=True)
        sampler = {"input": times, "output": self.accessor(turns, "VEC4")}
        channel = {"sampler": 0, "target": {"node": node, "path": "rotation"}}
        self.add("animations", {"name": "spin", "samplers": [sampler], "channels": [channel]})

    def mesh(self, mesh: Mesh, name: str) -> int:
        if id(mesh) not in self.seen:
            index = self.add("meshes", {"name": name, "primitives": [self.primitive(s, m) for s, m in mesh]})
            self.seen[id(mesh)] = mesh, index
        return self.seen[id(mesh)][1]

    def primitive(self, shape: Shape, material: Material) -> dict[str, Any]:
        shape, normal = normals(shape)
        attributes = {
            "POSITION": self.accessor(_y_up(shape.points).astype(np.float32), "VEC3", 34962, bounds=True),
            "NORMAL": self.accessor(_y_up(normal).astype(np.float32), "VEC3", 34962),
        }
        if material.texture is not None or material.normal is not None:
            uv = np.stack([shape.uv[:, 0], 1 - shape.uv[:, 1]], -1)
            attributes["TEXCOORD_0"] = self.accessor(uv.astype(np.float32), "VEC2", 34962)
        if shape.colours is not None:
            rgba = np.pad(to_linear(shape.colours), ((0, 0), (0, 1)), constant_values=1.0)
            attributes["COLOR_0"] = self.accessor(np.round(rgba * 65535).astype(np.uint16), "VEC4", 34962)
        index_type = np.uint16 if len(shape.points) < 65535 else np.uint32
        indices = self.accessor(shape.faces.ravel().astype(index_type), "SCALAR", 34963)
        return {"attributes": attributes, "indices": indices, "material": self.material(material)}

    def material(self, m: Material) -> int:
        if id(m) in self.seen:
            return self.seen[id(m)][1]
        pbr: dict[str, Any] = {
            "baseColorFactor": [*to_linear(np.array(m.colour)).tolist(), m.alpha],
            "roughnessFactor": m.roughness,
            "metallicFactor": m.metallic,
        }
        entry: dict[str, Any] = {"name": m.name, "pbrMetallicRoughness": pbr}
        if m.texture is not None:
            pbr["baseColorTexture"] = self.texture(m.texture)
        if m.surface is not None:
            pbr["metallicRoughnessTexture"] = self.texture(m.surface)
        if m.normal is not None:
            entry["normalTexture"] = self.texture(m.normal, lossless=True)
        if m.glow is not None:
            entry["emissiveFactor"] = to_linear(np.array(m.glow)).tolist()
        if m.alpha < 1:
            entry["alphaMode"] = "BLEND"
        elif m.cut:
            entry |= {"alphaMode": "MASK", "alphaCutoff": 0.5}
        if m.double_sided:
            entry["doubleSided"] = True
        index = self.add("materials", entry)
        self.seen[id(m)] = m, index
        return index

    def texture(self, image: Image.Image, lossless: bool = False) -> dict[str, int]:
        if id(image) not in self.seen:
            buffer = io.BytesIO()
            if lossless or image.mode == "RGBA":
                image.save(buffer, "PNG")
            else:
                image.convert("RGB").save(buffer, "JPEG", quality=90, subsampling=0)
            mime = "image/png" if lossless or image.mode == "RGBA" else "image/jpeg"
            source = self.add("images", {"mimeType": mime, "bufferView": self.view(buffer.getvalue())})
            sampler = 0 if "samplers" in self.json else self.add("samplers", {"wrapS": 10497, "wrapT": 10497})
            self.seen[id(image)] = image, self.add("textures", {"source": source, "sampler": sampler})
        return {"index": self.seen[id(image)][1]}

    def view(self, data: bytes, target: int | None = None) -> int:
        self.blob += b"\0" * (-len(self.blob) % 4)
        entry = {"buffer": 0, "byteOffset": len(self.blob), "byteLength": len(data)}
        self.blob += data
        return self.add("bufferViews", entry | ({} if target is None else {"target": target}))

    def accessor(self, array: NDArray[Any], kind: str, target: int | None = None, bounds: bool = False) -> int:
        component = {"f4": 5126, "u2": 5123, "u4": 5125}[array.dtype.str[1:]]
        entry: dict[str, Any] = {
            "bufferView": self.view(array.tobytes(), target),
            "componentType": component,
            "count": len(array),
            "type": kind,
        }
        if array.dtype == np.uint16 and kind != "SCALAR":
            entry["normalized"] = True
        if bounds:
            columns = array.reshape(len(array), -1)
            entry |= {"min": columns.min(axis=0).tolist(), "max": columns.max(axis=0).tolist()}
        return self.add("accessors", entry)


def to_linear(srgb: NDArray[Any]) -> NDArray[np.float64]:
    """sRGB 0…1 to linear light (IEC 61966-2-1)."""
    c = np.asarray(srgb, float)
    return np.asarray(np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4))


def _y_up(v: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack([v[..., 0], v[..., 2], -v[..., 1]], -1)


def _quaternion(axis: Axis, degrees: float) -> list[float]:
    half = np.radians(degrees) / 2
    unit = np.array(axis) / np.linalg.norm(axis)
    return [*(np.sin(half) * _y_up(unit)).tolist(), float(np.cos(half))]
