"""How people render a model today: the steps of allenai/objaverse-rendering's script, in a Blender of its own.

    python benchmarks/todays_procedure.py MODEL.glb OUT_DIR [--views 12] [--size 512] [--samples 32] [--plain]

One process per asset, one render call and one RGBA PNG per view, denoised by OIDN with its accurate prefilter, no
persistent data, no depth. Independent of dataengine on purpose: normalisation from the objects' bound_box, camera by
constraint, lens in millimetres. Its two differences from the script: the view transform is Standard, so that pixels
can be compared, and Cycles runs on one CPU thread, since one process per core is what fills a machine. `--plain` leaves
the denoiser out (the tests compare silhouettes only).
"""

import argparse
import math
import os
from pathlib import Path

import bpy
from mathutils import Vector

DISTANCE = 1.5


def load(model: Path) -> None:
    if model.suffix in (".glb", ".gltf"):
        bpy.ops.import_scene.gltf(filepath=str(model), merge_vertices=True)
    elif model.suffix == ".fbx":
        bpy.ops.import_scene.fbx(filepath=str(model))
    else:
        bpy.ops.wm.obj_import(filepath=str(model))


def box() -> tuple[Vector, Vector]:
    corners = [
        o.matrix_world @ Vector(corner) for o in bpy.context.scene.objects if o.type == "MESH" for corner in o.bound_box
    ]
    return (
        Vector(min(c[axis] for c in corners) for axis in range(3)),
        Vector(max(c[axis] for c in corners) for axis in range(3)),
    )


def normalise() -> None:
    """Each root for itself: right for models of one root, and the published fault for others."""
    roots = [o for o in bpy.context.scene.objects if o.parent is None]
    low, high = box()
    for root in roots:
        root.scale = root.scale / max(high - low)
    bpy.context.view_layer.update()
    low, high = box()
    for root in roots:
        root.matrix_world.translation -= (low + high) / 2


def light() -> None:
    world = bpy.data.worlds.new("World")
    world.use_nodes = True
    world.node_tree.nodes["Background"].inputs["Color"].default_value = (0.050876, 0.050876, 0.050876, 1.0)
    bpy.context.scene.world = world
    lamp = bpy.data.lights.new("Area", "AREA")
    lamp.energy = 30_000
    lamp.size = 1.0  # as bpy.ops.object.light_add makes it; bpy.data.lights.new alone gives 0.25
    thing = bpy.data.objects.new("Area", lamp)
    thing.location[2] = 0.5
    thing.scale = (100, 100, 100)
    bpy.context.scene.collection.objects.link(thing)


def camera() -> bpy.types.Object:
    scene = bpy.context.scene
    data = bpy.data.cameras.new("Camera")
    data.lens, data.sensor_width = 35, 32
    thing, target = bpy.data.objects.new("Camera", data), bpy.data.objects.new("Empty", None)
    for each in (thing, target):
        scene.collection.objects.link(each)
    track = thing.constraints.new(type="TRACK_TO")
    track.track_axis, track.up_axis, track.target = "TRACK_NEGATIVE_Z", "UP_Y", target
    scene.camera = thing
    return thing


def settings(size: int, samples: int, denoise: bool) -> None:
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.render.image_settings.file_format, scene.render.image_settings.color_mode = "PNG", "RGBA"
    scene.render.resolution_x = scene.render.resolution_y = size
    scene.render.film_transparent = True
    scene.view_settings.view_transform = "Standard"
    cycles = scene.cycles
    cycles.device = "CPU"
    cycles.samples = samples
    cycles.diffuse_bounces = cycles.glossy_bounces = 1
    cycles.transparent_max_bounces = cycles.transmission_bounces = 3
    cycles.filter_width = 0.01
    cycles.use_denoising = denoise
    if denoise:
        cycles.denoiser = "OPENIMAGEDENOISE"
        cycles.denoising_prefilter, cycles.denoising_quality = "ACCURATE", "HIGH"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--views", type=int, default=12)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--plain", action="store_true")
    args = parser.parse_args()

    bpy.ops.wm.read_factory_settings(use_empty=True)
    load(args.model)
    normalise()
    light()
    settings(args.size, args.samples, not args.plain)
    cam = camera()
    for i in range(args.views):
        theta, phi = i / args.views * math.pi * 2, math.radians(60)
        cam.location = (
            DISTANCE * math.sin(phi) * math.cos(theta),
            DISTANCE * math.sin(phi) * math.sin(theta),
            DISTANCE * math.cos(phi),
        )
        bpy.context.scene.render.filepath = str(args.out / f"{i:03d}.png")
        bpy.ops.render.render(write_still=True)


if __name__ == "__main__":
    main()
    os._exit(0)
