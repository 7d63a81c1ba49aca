"""glTF 2.0, as JSON or GLB. Blender tells the two apart by content, not by name, and so does this.

Checks what Blender's importer trips over: it decodes any accessor it is told to, walks the node graph by recursion,
and opens any path. Accessors that nothing uses, and extensions that are only used, are none of our business.
"""

import base64
import binascii
import hashlib
import json
import struct
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dataengine.corpus.config import Limits
from dataengine.errors import AssetFailure, ErrorCode
from dataengine.model_files.formats.images import PixelBudget
from dataengine.model_files.model_info import ModelInfo, malformed, show, too_large, unsupported
from dataengine.model_files.references import References

JSON_BYTES = 512 << 20  # a .gltf may hold its buffers as base64
JSON_VALUES = 10_000_000
DEPTH = 800  # Blender's importer recurses once a level; Python stops it at 1000
FINGERPRINT_VERTICES = 64  # fewer: any cube is like any other

# io_scene_gltf2 of Blender 4.5: the extensions that a file may require.
SUPPORTED = {
    "KHR_materials_pbrSpecularGlossiness",
    "KHR_lights_punctual",
    "KHR_materials_unlit",
    "KHR_texture_transform",
    "KHR_materials_clearcoat",
    "KHR_mesh_quantization",
    "EXT_mesh_gpu_instancing",
    "KHR_draco_mesh_compression",
    "KHR_materials_variants",
    "KHR_materials_emissive_strength",
    "KHR_materials_transmission",
    "KHR_materials_specular",
    "KHR_materials_sheen",
    "KHR_materials_ior",
    "KHR_animation_pointer",
    "KHR_materials_volume",
    "EXT_texture_webp",
    "KHR_materials_anisotropy",
}
# What the Blender process undoes before it imports (render/blender/compressed.py), where the decoder is installed.
MESHOPT = ("EXT_meshopt_compression", "KHR_meshopt_compression")
DECODERS = {**dict.fromkeys(MESHOPT, "meshopt"), "KHR_texture_basisu": "opengl_basisu"}
_COMPONENT_BYTES = {5120: 1, 5121: 1, 5122: 2, 5123: 2, 5125: 4, 5126: 4}
_COMPONENTS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}


def read(path: Path, references: References, limits: Limits, info: ModelInfo) -> None:
    """Reads a .gltf or .glb. Fills `info`; raises AssetFailure for what Blender cannot or must not read."""
    size = path.stat().st_size
    with path.open("rb") as f:
        head = f.read(20)
        if head[:4] == b"glTF":
            text, binary = _split_glb(f, head, size)
        else:
            if size > JSON_BYTES:
                too_large(f"{size} bytes of JSON (limit {JSON_BYTES})")
            text, binary = head + f.read(), None
        document = Document(path, references, limits, _parse(text), binary)
        del text
        document.read(info)


def _split_glb(f: Any, head: bytes, size: int) -> tuple[bytes, tuple[int, int] | None]:
    """The JSON chunk, and (offset, size) of the binary chunk."""
    if len(head) < 20:
        malformed("GLB shorter than its header")
    version, length, json_size, kind = struct.unpack_from("<III4s", head, 4)
    if version != 2:
        unsupported(f"GLB version {version}; Blender reads 2")
    if length != size:
        malformed(f"GLB says it has {length} bytes and has {size}" + (": it is cut short" if size < length else ""))
    if kind != b"JSON" or 20 + json_size > size:
        malformed("GLB without a whole JSON chunk at its start")
    if json_size > JSON_BYTES:
        too_large(f"{json_size} bytes of JSON (limit {JSON_BYTES})")
    text = f.read(json_size)
    at = 20 + json_size
    header = f.read(8)
    if not header:
        return text, None
    if len(header) < 8:
        malformed("GLB with a chunk header cut short")
    bin_size, kind = struct.unpack("<I4s", header)
    if kind != b"BIN\0":
        return text, None
    if at + 8 + bin_size > size:
        malformed("GLB whose binary chunk is longer than the file")
    return text, (at + 8, bin_size)


def _parse(text: bytes) -> dict[str, Any]:
    if text.count(b",") > JSON_VALUES:
        too_large(f"over {JSON_VALUES} values in the JSON")

    def constant(name: str) -> None:
        malformed(f"JSON contains {name}")

    try:
        data = json.loads(text.decode("utf-8"), parse_constant=constant)
    except UnicodeDecodeError:
        malformed("neither GLB nor UTF-8 JSON")
    except RecursionError:
        malformed("JSON nested too deeply")
    except ValueError as e:
        malformed(f"not JSON: {e}")
    asset = data.get("asset") if isinstance(data, dict) else None
    if not isinstance(asset, dict) or "version" not in asset:
        malformed("not glTF: no asset.version")
    if asset["version"] != "2.0":
        unsupported(f"glTF {show(str(asset['version']), 10)}; Blender reads 2.0")
    return dict(data)


class Document:
    """The parsed JSON and where its bytes are."""

    def __init__(
        self, path: Path, references: References, limits: Limits, data: dict[str, Any], binary: tuple[int, int] | None
    ) -> None:
        self.path, self.references, self.limits, self.data, self.binary = path, references, limits, data, binary
        names = ("scenes", "nodes", "meshes", "skins", "animations", "materials", "textures", "images")
        self.lists = {name: self._list(name) for name in (*names, "accessors", "bufferViews", "buffers")}
        self.checked: set[int] = set()  # accessors
        self.buffer_bytes: dict[int, int] = {}

    def read(self, info: ModelInfo) -> None:
        info.material_count = len(self.lists["materials"])
        info.texture_count = len(self.lists["images"])
        info.animation_count = len(self.lists["animations"])
        self.count(info)
        self.find_files(info)
        self.check_extensions()
        self.check_sizes(info)
        self.check_nodes()
        self.check_accessors()
        self.check_materials()
        self.check_images()

    def _list(self, name: str) -> list[dict[str, Any]]:
        items = self.data.get(name) or []
        if not isinstance(items, list) or not all(isinstance(i, dict) for i in items):
            malformed(f"{name} is not a list of objects")
        return items

    def item(self, name: str, index: Any) -> dict[str, Any]:
        items = self.lists[name]
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < len(items):
            malformed(f"refers to {name}[{show(str(index), 20)}] of {len(items)}")
        return items[index]

    def primitives(self) -> Iterator[dict[str, Any]]:
        for mesh in self.lists["meshes"]:
            items = mesh.get("primitives") or []
            if not isinstance(items, list):
                malformed("primitives is not a list")
            for primitive in items:
                if not isinstance(primitive, dict) or not isinstance(primitive.get("attributes") or {}, dict):
                    malformed("a mesh primitive is not an object with attributes")
                yield primitive

    def count(self, info: ModelInfo) -> None:
        faces = vertices = 0
        shapes = []
        for primitive in self.primitives():
            attributes = primitive.get("attributes") or {}
            if "POSITION" not in attributes:
                continue
            position = self.item("accessors", attributes["POSITION"])
            corners = own = _whole(position.get("count"), "an accessor's count")
            if primitive.get("indices") is not None:
                corners = _whole(self.item("accessors", primitive["indices"]).get("count"), "an accessor's count")
            mode = primitive.get("mode", 4)
            vertices += own
            faces += corners // 3 if mode == 4 else max(corners - 2, 0) if mode in (5, 6) else 0
            shapes.append(json.dumps([mode, own, corners, position.get("min"), position.get("max")]))
        info.vertex_count, info.face_count = vertices, faces
        if vertices >= FINGERPRINT_VERTICES:
            info.fingerprint = hashlib.sha256("\n".join(sorted(shapes)).encode()).hexdigest()

    def find_files(self, info: ModelInfo) -> None:
        missing = None
        for index, buffer in enumerate(self.lists["buffers"]):
            uri = buffer.get("uri")
            if uri is None:
                self.buffer_bytes[index] = self.binary[1] if self.binary is not None and index == 0 else 0
            elif not isinstance(uri, str):
                malformed("a buffer's uri is not text")
            elif uri.startswith("data:"):
                self.buffer_bytes[index] = _data_bytes(uri)
            else:
                file = self.references.find_uri(uri, self.path.parent)
                if file is None:
                    missing = missing or uri
                    continue
                self.buffer_bytes[index] = file.stat().st_size
                info.dependencies.add(file)
        for image in self.lists["images"]:
            uri = image.get("uri")
            if isinstance(uri, str) and not uri.startswith("data:"):
                file = self.references.find_uri(uri, self.path.parent)  # None: Blender names it in its complaint
                if file is not None:
                    info.dependencies.add(file)
        if missing is not None:
            raise AssetFailure(ErrorCode.FETCH_404, f"its buffer {show(missing)} is not there")

    def check_extensions(self) -> None:
        required, used = (self.data.get(k) or [] for k in ("extensionsRequired", "extensionsUsed"))
        if not isinstance(required, list) or not isinstance(used, list):
            malformed("extensionsRequired is not a list")
        for name in required:
            if name in DECODERS and find_spec(DECODERS[name]) is None:
                unsupported(f"requires {name}: pip install 'dataengine[compressed]' adds its decoder")
            if name not in SUPPORTED and name not in DECODERS:
                unsupported(f"requires the extension {show(str(name))}, which Blender lacks")
            if name not in used:
                malformed(f"requires the extension {show(str(name))} without listing it in extensionsUsed")

    def check_sizes(self, info: ModelInfo) -> None:
        limits = self.limits
        objects = max(len(self.lists["nodes"]), len(self.lists["meshes"]))
        if objects > limits.objects:
            too_large(f"{objects} objects (limit {limits.objects})")
        if len(self.lists["materials"]) > limits.materials:
            too_large(f"{len(self.lists['materials'])} materials (limit {limits.materials})")
        for kind, count in (("vertices", info.vertex_count), ("faces", info.face_count)):
            if (count or 0) > limits.elements:
                too_large(f"declares {count} {kind} (limit {limits.elements})")

    def check_nodes(self) -> None:
        """A forest, no deeper than the importer can follow, whose references exist."""
        nodes = self.lists["nodes"]
        parent: dict[int, int] = {}
        for index, node in enumerate(nodes):
            for child in _indices(node.get("children"), "a node's children"):
                self.item("nodes", child)
                if child in parent:
                    malformed(f"node {child} has two parents")
                parent[child] = index
            if node.get("mesh") is not None:
                self.item("meshes", node["mesh"])
            if node.get("skin") is not None:
                self.item("skins", node["skin"])
        depth = {i: 1 for i in range(len(nodes)) if i not in parent}
        frontier = list(depth)
        while frontier:
            index = frontier.pop()
            for child in nodes[index].get("children") or []:
                depth[child] = depth[index] + 1
                frontier.append(child)
        if len(depth) < len(nodes):
            malformed("the node graph has a cycle")
        if depth and max(depth.values()) > DEPTH:
            malformed(f"nodes nested {max(depth.values())} deep (Blender's importer stops near 1000)")
        for scene in self.lists["scenes"]:
            for node_index in _indices(scene.get("nodes"), "a scene's nodes"):
                self.item("nodes", node_index)
        if self.data.get("scene") is not None:
            self.item("scenes", self.data["scene"])
        for skin in self.lists["skins"]:
            for joint in _indices(skin.get("joints"), "a skin's joints"):
                self.item("nodes", joint)

    def check_accessors(self) -> None:
        for primitive in self.primitives():
            if primitive.get("mode", 4) not in range(7):
                malformed(f"primitive mode {show(str(primitive['mode']), 20)}")
            attributes = primitive.get("attributes") or {}
            compressed = "KHR_draco_mesh_compression" in (primitive.get("extensions") or {})
            for index in attributes.values():
                self.check_accessor(index, decoded=not compressed)
            if primitive.get("indices") is not None:
                self.check_accessor(primitive["indices"], decoded=not compressed)
            base = self.item("accessors", attributes["POSITION"])["count"] if "POSITION" in attributes else None
            for target in primitive.get("targets") or []:
                if not isinstance(target, dict):
                    malformed("a morph target is not an object")
                for index in target.values():
                    self.check_accessor(index)
                if "POSITION" in target and self.item("accessors", target["POSITION"])["count"] != base:
                    malformed("a morph target has another vertex count than its mesh")
        for skin in self.lists["skins"]:
            if skin.get("inverseBindMatrices") is not None:
                self.check_accessor(skin["inverseBindMatrices"])
        for animation in self.lists["animations"]:
            for sampler in animation.get("samplers") or []:
                if isinstance(sampler, dict):
                    self.check_accessor(sampler.get("input"))
                    self.check_accessor(sampler.get("output"))

    def check_accessor(self, index: Any, *, decoded: bool = True) -> None:
        accessor = self.item("accessors", index)
        if index in self.checked:
            return
        self.checked.add(index)
        count = _whole(accessor.get("count"), "an accessor's count")
        if count > self.limits.elements:
            too_large(f"an accessor declares {count} elements (limit {self.limits.elements})")
        component, kind = accessor.get("componentType"), accessor.get("type")
        if component not in _COMPONENT_BYTES or kind not in _COMPONENTS:
            malformed(f"accessor {index} has component type {show(str(component), 20)}, type {show(str(kind), 20)}")
        if not decoded:  # Draco: the decoder replaces what the accessor points at
            return
        element = _COMPONENT_BYTES[component] * _COMPONENTS[kind]
        if accessor.get("bufferView") is not None:
            self.check_range(accessor, accessor.get("byteOffset"), count, element, f"accessor {index}")
        sparse = accessor.get("sparse")
        if sparse is not None:
            self.check_sparse(sparse, count, element, f"sparse accessor {index}")

    def check_sparse(self, sparse: Any, count: int, element: int, what: str) -> None:
        indices, values = (sparse.get(k) if isinstance(sparse, dict) else None for k in ("indices", "values"))
        if not isinstance(indices, dict) or not isinstance(values, dict):
            malformed(f"{what} without indices and values")
        changed = _whole(sparse.get("count"), "a sparse count")
        if changed > count or indices.get("componentType") not in _COMPONENT_BYTES:
            malformed(f"{what} changes {changed} of {count} elements")
        index_bytes = _COMPONENT_BYTES[indices["componentType"]]
        self.check_range(indices, indices.get("byteOffset"), changed, index_bytes, what)
        self.check_range(values, values.get("byteOffset"), changed, element, what)

    def check_range(self, user: dict[str, Any], offset: Any, count: int, element: int, what: str) -> None:
        view = self.item("bufferViews", user.get("bufferView"))
        packed = self.packed(view)
        if packed is not None:
            self.check_packed(packed, what)
        stride = _whole(view.get("byteStride") or element, "a byteStride")
        start, size = self.view_range(view)
        available = min(size, max(self.buffer_bytes[view["buffer"]] - start, 0)) if packed is None else size
        needed = _whole(offset or 0, "a byteOffset") + (count - 1) * stride + element if count else 0
        if needed > available:
            malformed(f"{what} reads {needed} bytes of a buffer view of {available}")

    def packed(self, view: dict[str, Any]) -> dict[str, Any] | None:
        """How a buffer view is compressed, if it is: its own range is then what comes out."""
        extensions = view.get("extensions")
        found = [extensions[n] for n in MESHOPT if n in extensions] if isinstance(extensions, dict) else []
        return found[0] if found and isinstance(found[0], dict) else None

    def check_packed(self, packed: dict[str, Any], what: str) -> None:
        self.item("buffers", packed.get("buffer"))
        stride, count = _whole(packed.get("byteStride"), "a byteStride"), _whole(packed.get("count"), "a count")
        if not 0 < stride <= 256:
            malformed(f"{what} has a byteStride of {stride}")
        if count > self.limits.elements:
            too_large(f"{what} unpacks to {count} elements (limit {self.limits.elements})")
        start, size = (
            _whole(packed.get("byteOffset") or 0, "a byteOffset"),
            _whole(packed.get("byteLength"), "a length"),
        )
        if start + size > self.buffer_bytes[packed["buffer"]]:
            malformed(f"{what} is packed in {size} bytes that its buffer does not have")

    def view_range(self, view: dict[str, Any]) -> tuple[int, int]:
        self.item("buffers", view.get("buffer"))
        return _whole(view.get("byteOffset") or 0, "a byteOffset"), _whole(view.get("byteLength"), "a byteLength")

    def check_materials(self) -> None:
        for primitive in self.primitives():
            if primitive.get("material") is not None:
                self.item("materials", primitive["material"])
        for texture in self.lists["textures"]:
            if texture.get("source") is not None:
                self.item("images", texture["source"])
        pending: list[Any] = list(self.lists["materials"])
        while pending:  # any ...Texture: {"index": n}, in the core and in extensions
            value = pending.pop()
            if isinstance(value, list):
                pending.extend(value)
            elif isinstance(value, dict):
                for key, inner in value.items():
                    if key.endswith("Texture") and isinstance(inner, dict):
                        self.item("textures", inner.get("index"))
                    if key != "extras":
                        pending.append(inner)

    def check_images(self) -> None:
        pixels = PixelBudget(self.limits)
        for number, image in enumerate(self.lists["images"]):
            uri = image.get("uri")
            name = str(image.get("name") or number)
            if isinstance(uri, str) and uri.startswith("data:"):
                head = _data_head(uri)
                pixels.add(name, lambda at, size, head=head: head[at : at + size])  # type: ignore[misc]
            elif isinstance(uri, str):
                file = self.references.find_uri(uri, self.path.parent)
                if file is not None:
                    pixels.add_file(file)
            elif image.get("bufferView") is not None:
                self.add_view(pixels, name, self.item("bufferViews", image["bufferView"]))

    def add_view(self, pixels: PixelBudget, name: str, view: dict[str, Any]) -> None:
        start, length = self.view_range(view)
        uri = self.lists["buffers"][view["buffer"]].get("uri")
        if isinstance(uri, str) and uri.startswith("data:"):
            return  # a picture inside base64 inside JSON: as small as its file, and the child has its own limits
        file = self.path if uri is None else self.references.find_uri(str(uri), self.path.parent)
        if file is None or (uri is None and self.binary is None):
            return
        base = start + (self.binary[0] if uri is None and self.binary is not None else 0)
        with file.open("rb") as f:

            def read(at: int, size: int) -> bytes:
                f.seek(base + at)
                return f.read(min(size, max(length - at, 0)))

            pixels.add(name, read)


def _whole(value: Any, what: str) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        malformed(f"{what} is {show(str(value), 20)}")
    return int(value)


def _indices(value: Any, what: str) -> list[int]:
    if value is None:
        return []
    if not isinstance(value, list):
        malformed(f"{what} is not a list")
    return value


def _data_bytes(uri: str) -> int:
    _, _, payload = uri.partition(";base64,")
    return (len(payload) - payload.count("=", max(len(payload) - 2, 0))) * 3 // 4


def _data_head(uri: str) -> bytes:
    """The first MiB of a data URI; enough for any image header."""
    _, _, payload = uri[: 3 << 20].partition(";base64,")
    try:
        return base64.b64decode(payload[: 1 << 20])
    except binascii.Error:
        return b""
