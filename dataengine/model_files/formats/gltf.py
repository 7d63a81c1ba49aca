"""glTF 2.0, as JSON or GLB.

Checks what Blender's importer trips over: it decodes any accessor it is told to, walks the node graph by recursion,
and opens any path. Accessors that nothing uses, and extensions that are only used, are none of our business.
"""

import hashlib
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dataengine.corpus.config import Limits
from dataengine.errors import AssetFailure, ErrorCode
from dataengine.model_files.formats.gltf_accessors import AccessorCheck
from dataengine.model_files.formats.gltf_container import open_container
from dataengine.model_files.formats.gltf_document import MESHOPT, Document, data_bytes, data_head, indices, whole
from dataengine.model_files.formats.gltf_positions import check_positions
from dataengine.model_files.formats.images import PixelBudget
from dataengine.model_files.model_info import ModelInfo, malformed, show, too_large, unsupported
from dataengine.model_files.references import References

DEPTH = 800  # Blender's importer recurses once per level; Python stops it at 1000
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
    "KHR_node_visibility",  # render/blender/gltf_text.py hears it
}
# What undoes them, see gltf_document.MESHOPT; KTX2 likewise.
DECODERS = {**dict.fromkeys(MESHOPT, "meshopt"), "KHR_texture_basisu": "opengl_basisu"}


def read(path: Path, references: References, limits: Limits, info: ModelInfo) -> None:
    """Reads a .gltf or .glb. Fills `info`; raises AssetFailure for what Blender cannot or must not read."""
    data, binary = open_container(path)
    document = Document(path, references, limits, data, binary)
    info.material_count = len(document.lists["materials"])
    info.texture_count = len(document.lists["images"])
    info.animation_count = len(document.lists["animations"])
    _count(document, info)
    _find_files(document, info)
    _check_extensions(document)
    _check_sizes(document, info)
    _check_nodes(document)
    AccessorCheck(document).check()
    _check_materials(document)
    _check_images(document)
    check_positions(document)


def _count(document: Document, info: ModelInfo) -> None:
    faces = vertices = 0
    shapes = []
    for primitive in document.primitives():
        attributes = primitive.get("attributes") or {}
        if "POSITION" not in attributes:
            continue
        position = document.item("accessors", attributes["POSITION"])
        corners = own = whole(position.get("count"), "an accessor's count")
        if primitive.get("indices") is not None:
            corners = whole(document.item("accessors", primitive["indices"]).get("count"), "an accessor's count")
        mode = primitive.get("mode", 4)
        vertices += own
        faces += corners // 3 if mode == 4 else max(corners - 2, 0) if mode in (5, 6) else 0
        shapes.append(json.dumps([mode, own, corners, position.get("min"), position.get("max")]))
    info.vertex_count, info.face_count = vertices, faces
    if vertices >= FINGERPRINT_VERTICES:
        info.fingerprint = hashlib.sha256("\n".join(sorted(shapes)).encode()).hexdigest()


def _find_files(document: Document, info: ModelInfo) -> None:
    missing = None
    for index, buffer in enumerate(document.lists["buffers"]):
        uri = buffer.get("uri")
        if uri is None:
            document.buffer_bytes[index] = document.binary[1] if document.binary is not None and index == 0 else 0
        elif not isinstance(uri, str):
            malformed("a buffer's uri is not text")
        elif uri.startswith("data:"):
            document.buffer_bytes[index] = data_bytes(uri)
        else:
            file = document.references.find_uri(uri, document.path.parent)
            if file is None:
                missing = missing or uri
                continue
            document.buffer_bytes[index] = file.stat().st_size
            info.dependencies.add(file)
    for image in document.lists["images"]:
        uri = image.get("uri")
        if isinstance(uri, str) and not uri.startswith("data:"):
            file = document.references.find_image(uri, document.path.parent)  # None: the row names it
            if file is not None:
                info.dependencies.add(file)
    if missing is not None:
        raise AssetFailure(ErrorCode.FETCH_404, f"its buffer {show(missing)} is not there")


def _check_extensions(document: Document) -> None:
    required, used = (document.data.get(k) or [] for k in ("extensionsRequired", "extensionsUsed"))
    if not isinstance(required, list) or not isinstance(used, list):
        malformed("extensionsRequired is not a list")
    for name in required:
        if name in DECODERS and find_spec(DECODERS[name]) is None:
            unsupported(f"requires {name}: pip install 'dataengine[compressed]' adds its decoder")
        if name not in SUPPORTED and name not in DECODERS:
            unsupported(f"requires the extension {show(str(name))}, which Blender lacks")
        if name not in used:
            malformed(f"requires the extension {show(str(name))} without listing it in extensionsUsed")


def _check_sizes(document: Document, info: ModelInfo) -> None:
    limits = document.limits
    objects = max(len(document.lists["nodes"]), len(document.lists["meshes"]))
    if objects > limits.objects:
        too_large(f"{objects} objects (limit {limits.objects})")
    if len(document.lists["materials"]) > limits.materials:
        too_large(f"{len(document.lists['materials'])} materials (limit {limits.materials})")
    for kind, count in (("vertices", info.vertex_count), ("faces", info.face_count)):
        if (count or 0) > limits.elements:
            too_large(f"declares {count} {kind} (limit {limits.elements})")


def _check_nodes(document: Document) -> None:
    """A forest, no deeper than the importer can follow, whose references exist."""
    nodes = document.lists["nodes"]
    parent: dict[int, int] = {}
    for index, node in enumerate(nodes):
        for child in indices(node.get("children"), "a node's children"):
            document.item("nodes", child)
            if child in parent:
                malformed(f"node {child} has two parents")
            parent[child] = index
        if node.get("mesh") is not None:
            document.item("meshes", node["mesh"])
        if node.get("skin") is not None:
            document.item("skins", node["skin"])
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
    for scene in document.lists["scenes"]:
        for node_index in indices(scene.get("nodes"), "a scene's nodes"):
            document.item("nodes", node_index)
    if document.data.get("scene") is not None:
        document.item("scenes", document.data["scene"])
    for skin in document.lists["skins"]:
        for joint in indices(skin.get("joints"), "a skin's joints"):
            document.item("nodes", joint)


def _check_materials(document: Document) -> None:
    for primitive in document.primitives():
        if primitive.get("material") is not None:
            document.item("materials", primitive["material"])
    for texture in document.lists["textures"]:
        if texture.get("source") is not None:
            document.item("images", texture["source"])
    pending: list[Any] = list(document.lists["materials"])
    while pending:  # any ...Texture: {"index": n}, in the core and in extensions
        value = pending.pop()
        if isinstance(value, list):
            pending.extend(value)
        elif isinstance(value, dict):
            for key, inner in value.items():
                if key.endswith("Texture") and isinstance(inner, dict):
                    document.item("textures", inner.get("index"))
                if key != "extras":
                    pending.append(inner)


def _check_images(document: Document) -> None:
    pixels = PixelBudget(document.limits)
    for number, image in enumerate(document.lists["images"]):
        uri = image.get("uri")
        name = str(image.get("name") or number)
        if isinstance(uri, str) and uri.startswith("data:"):
            head = data_head(uri)
            pixels.add(name, lambda at, size, head=head: head[at : at + size])  # type: ignore[misc]
        elif isinstance(uri, str):
            file = document.references.find_image(uri, document.path.parent)
            if file is not None:
                pixels.add_file(file)
        elif image.get("bufferView") is not None:
            _add_view(document, pixels, name, document.item("bufferViews", image["bufferView"]))


def _add_view(document: Document, pixels: PixelBudget, name: str, view: dict[str, Any]) -> None:
    start, length = document.view_range(view)
    uri = document.lists["buffers"][view["buffer"]].get("uri")
    if isinstance(uri, str) and uri.startswith("data:"):
        return  # a picture inside base64 inside JSON: as small as its file, and the child has its own limits
    file = document.path if uri is None else document.references.find_uri(str(uri), document.path.parent)
    if file is None or (uri is None and document.binary is None):
        return
    base = start + (document.binary[0] if uri is None and document.binary is not None else 0)
    with file.open("rb") as f:

        def read(at: int, size: int) -> bytes:
            f.seek(base + at)
            return f.read(min(size, max(length - at, 0)))

        pixels.add(name, read)
