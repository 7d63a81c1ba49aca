"""Environment maps: reads one to measure it, and lights the scene with one."""

import math
from typing import Any

import bpy
import numpy as np

from .protocol import LIGHT_COLUMNS, LIGHT_ROWS


def measure(path: str) -> dict[str, Any]:
    """The map's radiance, averaged over equal steps of elevation and azimuth, each row weighted by the part of the
    sphere that it covers: rows from the bottom of the picture, scene-linear RGB. Or what is wrong with it."""
    try:
        image = bpy.data.images.load(path)
        width, height = image.size
    except RuntimeError as error:
        return {"error": f"cannot be read: {' '.join(str(error).split())}"}
    if not width or not height:
        return {"error": "cannot be read: it is no picture that Blender knows"}
    if not image.is_float:
        return {"error": "is no environment map: its values are of 8 bits"}
    values = np.empty((height, width, image.channels), np.float32)
    image.pixels.foreach_get(values.ravel())
    bpy.data.images.remove(image)
    if values.shape[2] < 3:
        values = np.repeat(values[..., :1], 3, axis=2)
    rows, columns = min(height, LIGHT_ROWS), min(width, LIGHT_COLUMNS)
    weight = np.cos((np.arange(height) + 0.5) / height * math.pi - math.pi / 2)[:, None, None]
    down, across = ([n * i // parts for i in range(parts)] for n, parts in ((height, rows), (width, columns)))
    lines = np.add.reduceat(values[..., :3], across, axis=1, dtype=np.float64)
    lines /= np.diff([*across, width])[None, :, None]
    radiance = np.add.reduceat(lines * weight, down) / np.add.reduceat(weight, down)
    if not np.isfinite(radiance).all():
        return {"error": "holds infinite values, or values that are no numbers"}
    return {"radiance": radiance.tolist()}


def light(settings: dict[str, Any]) -> None:
    """A world whose light is the map at `path`, times `strength`, turned by `rotation` degrees about z:
    counter-clockwise, seen from above. Unturned, the middle of the picture is +x."""
    scene = bpy.context.scene
    w = scene.world = bpy.data.worlds.new("dataengine.world")
    w.use_nodes = True
    tree = w.node_tree
    background = next(n for n in tree.nodes if n.type == "BACKGROUND")
    background.inputs["Strength"].default_value = settings["strength"]
    coordinates, turned = tree.nodes.new("ShaderNodeTexCoord"), tree.nodes.new("ShaderNodeMapping")
    picture = tree.nodes.new("ShaderNodeTexEnvironment")
    picture.image = bpy.data.images.load(settings["path"], check_existing=True)
    picture.image.colorspace_settings.name = "Linear Rec.709"
    # What is looked up is turned, so the other way round.
    turned.inputs["Rotation"].default_value = (0.0, 0.0, -math.radians(settings["rotation"]))
    tree.links.new(coordinates.outputs["Generated"], turned.inputs["Vector"])
    tree.links.new(turned.outputs["Vector"], picture.inputs["Vector"])
    tree.links.new(picture.outputs["Color"], background.inputs["Color"])
    w.cycles.sampling_method = "AUTOMATIC"
