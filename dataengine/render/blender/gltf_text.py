"""glTF whose text says what Blender does not hear: hidden nodes, images by another path, a byte-order mark."""

import json
import struct
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from .compressed import BASIS, MESHOPT, json_of
from .references import BOM, Files

VISIBILITY = "KHR_node_visibility"
SPEC_GLOSS = "KHR_materials_pbrSpecularGlossiness"
# io_scene_gltf2 of Blender 4.5, and what we undo ourselves.
HEARD = {
    *(SPEC_GLOSS, "KHR_lights_punctual", "KHR_materials_unlit", "KHR_texture_transform"),
    *("KHR_materials_clearcoat", "KHR_mesh_quantization", "EXT_mesh_gpu_instancing", "KHR_draco_mesh_compression"),
    *("KHR_materials_variants", "KHR_materials_emissive_strength", "KHR_materials_transmission"),
    *("KHR_materials_specular", "KHR_materials_sheen", "KHR_materials_ior", "KHR_animation_pointer"),
    *("KHR_materials_volume", "EXT_texture_webp", "KHR_materials_anisotropy", VISIBILITY, BASIS, *MESHOPT),
}
SHOWS_NOTHING = {  # names, data and behaviour: nothing of it is in a picture
    *("KHR_xmp", "KHR_xmp_json_ld", "KHR_interactivity", "KHR_node_selectability", "KHR_node_hoverability"),
    *("KHR_audio_emitter", "KHR_physics_rigid_bodies", "KHR_implicit_shapes", "EXT_mesh_features"),
    *("EXT_structural_metadata", "EXT_instance_features", "EXT_feature_metadata", "CESIUM_primitive_outline"),
    *("MSFT_lod", "MSFT_packing_normalRoughnessMetallic", "MSFT_packing_occlusionRoughnessMetallic"),
    *("EXT_lights_image_based", "OMI_physics_body", "OMI_physics_shape", "OMI_collider", "VRMC_springBone"),
    *("VRMC_node_constraint", "VRMC_vrm_animation", "FB_geometry_metadata", "GOOGLE_backgrounds"),
}


def readable(file: Path, out: Path, known: list[str], complaints: list[str]) -> tuple[Path, list[str]]:
    """The file itself, or a copy under `out` that Blender reads as it is meant; and images that are missing from the
    copy. What Blender cannot show is complained of.

    A file whose text is broken is left to the importer, which says so.
    """
    try:
        text = json_of(file)
        data = json.loads(text.removeprefix(BOM))
        if not isinstance(data, dict):
            return file, []
        complain(data, complaints)
        files = Files(file.parent, known)
        changed = hide(data) | place(data, files) | text.startswith(BOM)
        missing = let_go(data, files) if SPEC_GLOSS in (data.get("extensionsUsed") or []) else []
    except (OSError, struct.error, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        return file, []
    return (written(file, len(text), data, out) if changed or missing else file), missing


def complain(data: dict[str, Any], complaints: list[str]) -> None:
    unheard = sorted({str(name) for name in data.get("extensionsUsed") or []} - HEARD - SHOWS_NOTHING)
    if unheard:
        complaints.append(f"uses {', '.join(unheard)}, which Blender does not read: the picture may differ")


def hide(data: dict[str, Any]) -> bool:
    """Takes the meshes out of nodes that KHR_node_visibility hides, and of all below them."""
    nodes = data.get("nodes") or []
    pending = [
        i for i, n in enumerate(nodes) if ((n.get("extensions") or {}).get(VISIBILITY) or {}).get("visible") is False
    ]
    for key in ("extensionsUsed", "extensionsRequired"):
        if VISIBILITY in (data.get(key) or []):
            data[key] = [name for name in data[key] if name != VISIBILITY]
            if not data[key]:
                del data[key]
    seen: set[int] = set()
    while pending:
        index = pending.pop()
        if index not in seen:
            seen.add(index)
            for key in ("mesh", "skin", "weights"):
                nodes[index].pop(key, None)
            pending += nodes[index].get("children") or []
    return bool(seen)


def place(data: dict[str, Any], files: Files) -> bool:
    """Points images at files that are there, where their URI leads nowhere. Never outside: an absolute path is its
    author's, and only its name is looked for."""
    changed = False
    for image in data.get("images") or []:
        uri = image.get("uri")
        if not isinstance(uri, str) or uri.startswith("data:"):
            continue
        name = unquote(uri)
        absolute = name.startswith(("/", "\\")) or name[1:2] == ":"
        if not absolute and files.as_written(name):
            continue
        found = files.find(name)
        if found is not None or absolute:
            image["uri"] = quote(str(found.resolve()) if found else name.replace("\\", "/").rsplit("/", 1)[-1])
            changed = True
    return changed


def let_go(data: dict[str, Any], files: Files) -> list[str]:
    """Takes textures whose image is not there out of the materials; returns the images' names. The importer packs the
    images of such materials, and fails the whole file for one that is missing."""
    uris = {i: image.get("uri") for i, image in enumerate(data.get("images") or [])}
    lost = {
        i: unquote(u) for i, u in uris.items() if u and not u.startswith("data:") and not files.as_written(unquote(u))
    }
    gone = {i for i, texture in enumerate(data.get("textures") or []) if texture.get("source") in lost}
    pending: list[Any] = list(data.get("materials") or [])
    while gone and pending:
        value = pending.pop()
        if isinstance(value, dict):
            for key in [k for k, v in value.items() if k.endswith("Texture") and v.get("index") in gone]:
                del value[key]
            pending += value.values()
        elif isinstance(value, list):
            pending += value
    return [name.rsplit("/", 1)[-1] for name in lost.values()] if gone else []


def written(file: Path, text_bytes: int, data: dict[str, Any], out: Path) -> Path:
    """A copy with other JSON, of the same kind as the file. Buffers of a .gltf stay where they are."""
    with file.open("rb") as f:
        is_glb = f.read(4) == b"glTF"
        for buffer in data.get("buffers") or []:
            uri = buffer.get("uri")
            if isinstance(uri, str) and not uri.startswith("data:"):
                buffer["uri"] = quote(str((file.parent / unquote(uri)).resolve()))
        for image in data.get("images") or []:
            uri = image.get("uri")
            if isinstance(uri, str) and not uri.startswith("data:") and not uri.startswith("/"):
                image["uri"] = quote(str((file.parent / unquote(uri)).resolve()))
        body = json.dumps(data).encode()
        target = out / f"import.{'glb' if is_glb else 'gltf'}"
        with target.open("wb") as copy:
            if not is_glb:
                copy.write(body)
                return target
            body += b" " * (-len(body) % 4)
            f.seek(20 + text_bytes)
            rest = file.stat().st_size - f.tell()
            copy.write(struct.pack("<4sIIII", b"glTF", 2, 20 + len(body) + rest, len(body), 0x4E4F534A) + body)
            while block := f.read(8 << 20):
                copy.write(block)
    return target
