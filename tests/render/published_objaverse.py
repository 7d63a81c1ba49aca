"""The geometry of allenai/objaverse-rendering's script, step by step as published, in a Blender of its own.

    python published_objaverse.py MODEL.glb OUT.npy SIZE

Writes the alpha of every third of its 12 views, (4, SIZE, SIZE) float32. Independent of dataengine on purpose:
normalisation from the objects' bound_box, camera by constraint, lens in millimetres. Light and samples do not matter
to a silhouette.
"""

import math
import os
import sys
import tempfile
from pathlib import Path

import bpy
import numpy as np
from mathutils import Vector

COUNT, DISTANCE = 12, 1.5


def box() -> tuple[Vector, Vector]:
    corners = [
        o.matrix_world @ Vector(corner) for o in bpy.context.scene.objects if o.type == "MESH" for corner in o.bound_box
    ]
    return (
        Vector(min(c[axis] for c in corners) for axis in range(3)),
        Vector(max(c[axis] for c in corners) for axis in range(3)),
    )


def roots() -> list[bpy.types.Object]:
    return [o for o in bpy.context.scene.objects if o.parent is None]


def main(model: str, out: str, size: int) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    bpy.ops.import_scene.gltf(filepath=model, merge_vertices=True)

    low, high = box()
    for root in roots():
        root.scale = root.scale / max(high - low)
    bpy.context.view_layer.update()
    low, high = box()
    for root in roots():
        root.matrix_world.translation -= (low + high) / 2

    lens = bpy.data.cameras.new("Camera")
    lens.lens, lens.sensor_width = 35, 32
    camera = bpy.data.objects.new("Camera", lens)
    target = bpy.data.objects.new("Empty", None)
    for thing in (camera, target):
        scene.collection.objects.link(thing)
    track = camera.constraints.new(type="TRACK_TO")
    track.track_axis, track.up_axis, track.target = "TRACK_NEGATIVE_Z", "UP_Y", target
    scene.camera = camera

    scene.render.engine = "CYCLES"
    scene.cycles.samples, scene.cycles.use_denoising, scene.cycles.max_bounces = 16, False, 0
    scene.cycles.transparent_max_bounces = 8
    scene.render.use_persistent_data = True
    scene.render.film_transparent = True
    scene.render.resolution_x = scene.render.resolution_y = size
    scene.render.image_settings.file_format, scene.render.image_settings.color_mode = "PNG", "RGBA"
    alpha = []
    with tempfile.TemporaryDirectory() as folder:
        for i in range(0, COUNT, 3):
            theta, phi = i / COUNT * math.pi * 2, math.radians(60)
            camera.location = (
                DISTANCE * math.sin(phi) * math.cos(theta),
                DISTANCE * math.sin(phi) * math.sin(theta),
                DISTANCE * math.cos(phi),
            )
            scene.render.filepath = str(Path(folder) / f"{i}.png")
            bpy.ops.render.render(write_still=True)
            image = bpy.data.images.load(scene.render.filepath)
            pixels = np.empty(size * size * 4, np.float32)
            image.pixels.foreach_get(pixels)
            alpha.append(pixels.reshape(size, size, 4)[::-1, :, 3])
    np.save(out, np.stack(alpha))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    os._exit(0)
