"""Alpha of images: what no material asks for changes nothing, and what a material asks for is found.

Cycles multiplies an image's colour by its alpha when it loads it, and divides again only where the node's Alpha output
is used. Where it is not, an alpha channel that holds something else (gloss, a mask, zeros) would darken the colour.
"""

import bpy
import numpy as np

from .textures import node_trees

CUT, CLEAR_CUT = 0.05, 0.8  # shares of a picture's texels: of either kind, and of both together; masks are softer
WITHOUT_ALPHA = {8, 24, 96}  # bits a pixel: grey, RGB, float RGB


def settle() -> None:
    """Not for a .blend: there, what Blender shows is what its author saw."""
    for tree in node_trees():
        for node in [n for n in tree.nodes if n.type == "TEX_IMAGE" and n.image is not None]:
            colour, alpha = node.outputs["Color"], node.outputs["Alpha"]
            if colour.is_linked and not alpha.is_linked:
                keep_colour_whole(node.image)
            elif alpha.is_linked and not colour.is_linked:
                read_opacity_of_grey(tree, node)


def unused_cutouts() -> list[str]:
    """What to say of images that are cut out of their background by an alpha that no material asks for: leaves on
    opaque cards, as MTL's `map_Kd` means them (opacity is `d` and `map_d`), and hardly as their author saw them."""
    nodes = [n for tree in node_trees() for n in tree.nodes if n.type == "TEX_IMAGE" and n.image]
    asked = {n.image.filepath or n.image.name for n in nodes if n.outputs["Alpha"].is_linked}
    images = {n.image.name: n.image for n in nodes if (n.image.filepath or n.image.name) not in asked}
    return [
        f"{name} is cut out by an alpha that its material does not ask for: it shows whole"
        for name, image in sorted(images.items())
        if is_cutout(image)
    ]


def is_cutout(image: bpy.types.Image) -> bool:
    if not image.has_data or image.channels != 4 or image.depth in WITHOUT_ALPHA:
        return False
    pixels = np.empty(len(image.pixels), np.float32)
    image.pixels.foreach_get(pixels)
    clear, solid = (pixels[3::4] < 0.1).mean(), (pixels[3::4] > 0.9).mean()
    return bool(min(clear, solid) > CUT and clear + solid > CLEAR_CUT)


def keep_colour_whole(image: bpy.types.Image) -> None:
    if image.alpha_mode == "STRAIGHT":
        image.alpha_mode = "CHANNEL_PACKED"


def read_opacity_of_grey(tree: bpy.types.NodeTree, node: bpy.types.Node) -> None:
    """An opacity map without an alpha channel holds the opacity as grey: map_d is a scalar texture (MTL). Importers
    link the Alpha that such an image has not, which is 1 all over."""
    if node.image.has_data and node.image.depth in WITHOUT_ALPHA:
        node.image.colorspace_settings.name = "Non-Color"
        for link in list(node.outputs["Alpha"].links):
            tree.links.new(node.outputs["Color"], link.to_socket)
