"""Images: are they there, and are they larger than any view can show?"""

import bpy
import numpy as np

from .pictures import cycles_reads, from_memory, from_pillow
from .references import bare_name

MAGENTA_BAND = 0.1  # of red, green and blue alike: a texture's own magenta, also after JPEG
SOURCES = {"FILE", "TILED", "MOVIE", "GENERATED"}


def find(files: list[str], declared: list[str], complaints: list[str]) -> list[str]:
    """Loads every image that materials use; returns the names of those without data, which are cut out, and of those
    that are declared missing: some importers drop what they do not find.

    An image that is not where the model says is taken from `files` by its bare name: paths of the author's disk.

    Blender renders a missing image as magenta. We drop its links instead, so colour sockets fall to a neutral grey.
    """
    missing = []
    named = {bare_name(f): f for f in reversed(files)}
    for image in [image for image in used_images() if image.source != "GENERATED"]:
        width, height = image.size  # decodes
        if not image.has_data and (file := named.get(bare_name(image.filepath))):
            image.filepath = file
            image.reload()
            width, height = image.size
        is_there = image.has_data and width and height
        if not is_there and not from_pillow(image, named.get(bare_name(image.filepath))):
            missing.append(image.name)
    for tree in node_trees():
        for node in [n for n in tree.nodes if n.type == "TEX_IMAGE"]:
            if node.image is None:
                if not declared:  # else it is known by the name that the file gives it
                    missing.append(node.label or node.name)
                cut_out(tree, node)
            elif node.image.name in missing:
                cut_out(tree, node)
    known = {bare_name(name) for name in missing}
    missing += [name for name in declared if bare_name(name) not in known]
    if missing:
        complaints.append(f"{len(missing)} textures are missing; neutral grey stands in for them")
    return sorted(missing)


def shrink(max_texture: int) -> None:
    """Scales every image down to a longest side of max_texture pixels; 0 keeps them.

    Cycles then takes what was scaled from Blender's memory, and is made to take from there what it cannot open.
    """
    for image in used_images():
        width, height = image.size
        longest = max(width, height)
        if max_texture and longest > max_texture:
            image.scale(max(1, width * max_texture // longest), max(1, height * max_texture // longest))
        elif longest and image.source == "FILE" and not cycles_reads(image):
            from_memory(image)


def left_to_cycles() -> list[bpy.types.Image]:
    """The images that Cycles opens itself, so that it may fail to, of those that are not magenta anyhow."""
    own = [i for i in used_images() if i.source != "GENERATED" and i.packed_file is None and not i.is_dirty]
    return [image for image in own if not has_magenta(image)]


def has_magenta(image: bpy.types.Image) -> bool:
    channels = image.channels
    if not image.has_data or channels < 3:
        return False
    pixels = np.empty(len(image.pixels), np.float32)
    image.pixels.foreach_get(pixels)
    red, green, blue = pixels.reshape(-1, channels).T[:3]
    return bool(((np.abs(red - blue) < MAGENTA_BAND) & (green < MAGENTA_BAND) & (red > 0.5)).any())


def restore(max_texture: int) -> bool:
    """Reads the images again that `shrink` has scaled down to `max_texture`; False if that cannot be done for all."""
    scaled = [image for image in used_images() if max_texture and max(image.size) >= max_texture]
    if any(image.source == "GENERATED" for image in scaled):
        return False
    for image in scaled:
        image.reload()
    return True


def used_images() -> list[bpy.types.Image]:
    return [image for image in bpy.data.images if image.source in SOURCES and image.users]


def node_trees() -> list[bpy.types.NodeTree]:
    trees = [m.node_tree for m in bpy.data.materials if m.use_nodes and m.node_tree]
    return trees + [g for g in bpy.data.node_groups if g.type == "SHADER"]


def cut_out(tree: bpy.types.NodeTree, node: bpy.types.Node) -> None:
    for output in node.outputs:
        for link in list(output.links):
            socket = link.to_socket
            tree.links.remove(link)
            if socket.type == "RGBA" and "Normal" not in socket.name and socket.node.type != "NORMAL_MAP":
                dark = "Emission" in socket.name
                socket.default_value = (0.0, 0.0, 0.0, 1.0) if dark else (0.5, 0.5, 0.5, 1.0)
    tree.nodes.remove(node)
