"""Cameras from intrinsics and poses, and the one render call that shows the asset from all of them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import bpy
from mathutils import Matrix

from . import channels, closed_form, opacity
from .failure import Failure, Unable
from .protocol import Camera, RenderRequest

SENSOR = 36.0  # millimetres; any value gives the same picture
FLIP = Matrix.Diagonal((1.0, -1.0, -1.0, 1.0))  # OpenCV's camera axes to Blender's
# A view's noise depends on its index in the call, so how many views a call renders may depend on nothing but the
# request. Blender keeps all views of a call in memory, about 100 bytes per pixel.
VIEWS_PER_CALL = 16
PIXELS_PER_CALL = 16 * 512 * 512
MOST_BOUNCES = 1024  # Cycles knows no more
FEWEST_SPREAD = 4  # samples: of fewer, one in the middle is the best there is
SEE_THROUGH = 4  # times as many samples where surfaces are partly transparent: what is traced reflects or passes
CENTRES = "centres"
COLOUR = "colour"  # the layer of the look that `NN.rgba.png` shows


def colour(request: RenderRequest, layer: str, seconds: dict[str, float], complaints: list[str]) -> list[str]:
    """Renders all cameras as the scene is lit, a chunk a call; returns the multilayer EXR files (view i is `v<i>`, i
    over the whole rig), and adds the seconds of each call. Raises Failure(CRASH) when Blender wrote no file.

    The layer of the files is called after what they say of the views; `colour` has depth too, and the channels where
    no surface is partly transparent. Where a look may have stopped at its bounces, few and many follow.
    """
    settings(request)
    if request.engine != "CYCLES":
        return passes(request, layer, seconds)
    partial = bool(opacity.partial())
    if layer == COLOUR and not partial:
        channels.add(request.channels, complaints, centres=has_centres(request))
    if not request.colour:
        unlit(max(request.samples, request.look["samples"]) if partial else request.samples)
    if in_closed_form(request):
        if partial and has_centres(request):
            request = replace(request, samples=SEE_THROUGH * request.samples)
        with closed_form.lit(request.look):
            with stratified(request):
                files = passes(request, layer, seconds)
            if has_centres(request) and layer == COLOUR and not partial:
                files += centres(request, seconds)
    else:
        files = passes(request, layer, seconds)
    few = layer == COLOUR and request.colour and request.look["transparent_max_bounces"] < MOST_BOUNCES
    if few and opacity.see_through():
        once()
        files += passes(request, "few", seconds)
        bpy.context.scene.cycles.transparent_max_bounces = MOST_BOUNCES
        files += passes(request, "many", seconds)
    return files


def depth(request: RenderRequest, seconds: dict[str, float], complaints: list[str]) -> list[str]:
    """The same views' layers depth and faint where surfaces are partly transparent (opacity.py), with the channels. It
    makes them opaque: nothing of colour can follow."""
    files: list[str] = []
    if request.engine == "CYCLES" and (alphas := opacity.partial()):
        once()
        bpy.context.scene.cycles.transparent_max_bounces = MOST_BOUNCES
        layers = (("depth", request.look["depth_alpha"]), ("faint", opacity.FAINT))
        opacity.round_to(alphas, layers[0][1])
        if request.channels:
            channels.add(request.channels, complaints)
            unlit(request.samples)
        for name, threshold in layers:
            opacity.round_to(alphas, threshold)
            files += passes(request, name, seconds)
    return files


def in_closed_form(request: RenderRequest) -> bool:
    return request.colour and closed_form.is_meant(request.look, request.engine)


def has_centres(request: RenderRequest) -> bool:
    """Whether depth and ids have a layer of their own: the samples of the colour lie elsewhere."""
    return in_closed_form(request) and request.samples >= FEWEST_SPREAD


@contextmanager
def stratified(request: RenderRequest) -> Iterator[None]:
    """While it lasts, samples are spread evenly over the pixel, and no depth is written; too few stay as they are.

    Cycles puts sample 0, which has the depth, into the pixel's centre instead of where its sequence wants it. Of 4, one
    quarter of the pixel then has none. The next so many of a Sobol sequence have one in each again.
    """
    cycles, layer, samples = bpy.context.scene.cycles, bpy.context.view_layer, request.samples
    if not has_centres(request):
        yield
        return
    first = 1 << (samples - 1).bit_length()
    cycles.use_sample_subset, cycles.sample_offset, cycles.sample_subset_length = True, first, samples
    cycles.samples = 2 * first
    index, layer.use_pass_z, layer.use_pass_object_index = layer.use_pass_object_index, False, False
    try:
        yield
    finally:
        cycles.use_sample_subset, cycles.samples = False, samples
        layer.use_pass_z, layer.use_pass_object_index = True, index


def centres(request: RenderRequest, seconds: dict[str, float]) -> list[str]:
    """The layer of what is read in the pixels' centres: depth, ids, normals of the triangles."""
    scene, layer = bpy.context.scene, bpy.context.view_layer
    world, bounces = scene.world, scene.cycles.max_bounces
    once()
    scene.world, scene.cycles.max_bounces = None, 0
    channels.only_with_depth(request.channels)
    layer.use_pass_combined = False
    files = passes(request, CENTRES, seconds)
    layer.use_pass_combined = True
    scene.world, scene.cycles.max_bounces, scene.cycles.samples = world, bounces, request.samples
    return files


def unlit(samples: int) -> None:
    """Traces no further than the surfaces that are seen: all that channels, depth and alpha need."""
    scene = bpy.context.scene
    scene.cycles.samples, scene.cycles.max_bounces = samples, 0
    scene.cycles.use_adaptive_sampling = scene.cycles.use_denoising = False
    scene.world = None
    for thing in [thing for thing in bpy.data.objects if thing.type == "LIGHT"]:
        bpy.data.objects.remove(thing)


def once() -> None:
    """One sample: what is read from such a pass is not drawn at random, or is drawn alike in two."""
    cycles = bpy.context.scene.cycles
    cycles.samples, cycles.use_adaptive_sampling, cycles.use_denoising = 1, False, False


def passes(request: RenderRequest, name: str, seconds: dict[str, float]) -> list[str]:
    """Renders all cameras once, into a layer of that name."""
    bpy.context.view_layer.name = name
    per_call = max(1, min(VIEWS_PER_CALL, PIXELS_PER_CALL // (request.width * request.height)))
    files = []
    for first in range(0, len(request.cameras), per_call):
        chunk = request.cameras[first : first + per_call]
        stage(chunk, first, request)
        file = Path(request.out) / f"{request.uid}.{name}.{first:04d}.exr"
        bpy.context.scene.render.filepath = str(file)
        start = time.perf_counter()
        call(request)
        seconds[f"render.{name}.{first}"] = time.perf_counter() - start
        if not file.is_file():
            raise Failure("CRASH", f"Blender rendered but wrote no {file.name}")
        files.append(file.name)
    return files


def call(request: RenderRequest) -> None:
    try:
        bpy.ops.render.render(write_still=True)
    except RuntimeError as error:  # what Cycles reports: out of memory, a kernel that does not load
        said = " ".join(str(error).removeprefix("Error: ").split())
        if "memory" in said.lower():
            raise Failure("OUT_OF_MEMORY", said) from error
        if request.device != "CPU":
            raise Unable(f"rendering on {request.device} failed: {said}") from error
        raise Failure("CRASH", f"the render failed: {said}") from error


def settings(request: RenderRequest) -> None:
    scene = bpy.context.scene
    render = scene.render
    render.engine = request.engine
    render.resolution_x, render.resolution_y, render.resolution_percentage = request.width, request.height, 100
    render.use_persistent_data = True
    render.threads_mode, render.threads = "FIXED", request.threads
    render.use_compositing = render.use_sequencer = False
    render.use_multiview = True
    render.views_format = "MULTIVIEW"
    render.use_file_extension = False
    image = render.image_settings
    image.file_format = "OPEN_EXR_MULTILAYER"
    image.color_depth, image.exr_codec, image.views_format = "32", "NONE", "MULTIVIEW"
    bpy.context.view_layer.use_pass_z = True


def stage(cameras: list[Camera], first: int, request: RenderRequest) -> None:
    """Makes the scene's views exactly these cameras, named `v<first>` and on.

    Blender finds a view's camera by the name of the scene's camera with the suffix swapped, so no object of the
    asset may have such a name.
    """
    scene = bpy.context.scene
    views = scene.render.views
    for old in [o for o in bpy.data.objects if o.name.startswith("cam_v")]:
        if old.get("dataengine.camera"):
            bpy.data.objects.remove(old)
        else:
            old.name = "asset." + old.name
    for view in list(views):
        if view.name in {"left", "right"}:
            view.use = False
        else:
            views.remove(view)
    for index, camera in enumerate(cameras, start=first):
        view = views.new(f"v{index}")
        view.camera_suffix = f"_v{index}"
        placed = place(camera, f"cam_v{index}", request)
        if index == first:
            scene.camera = placed


def place(camera: Camera, name: str, request: RenderRequest) -> bpy.types.Object:
    (fx, skew, cx), (_, fy, cy) = camera.K[0], camera.K[1]
    if abs(fx - fy) > 1e-6 * fx or skew:
        raise ValueError(f"Blender's cameras have square pixels and no skew; K is {camera.K}")
    width, height = request.width, request.height
    data = bpy.data.cameras.new(name)
    data.sensor_fit, data.sensor_width = "HORIZONTAL", SENSOR
    if camera.orthographic:
        data.type = "ORTHO"
        data.ortho_scale = width / fx
    else:
        data.lens = fx * SENSOR / width
    data.shift_x = (width / 2 - cx) / width
    data.shift_y = (cy - height / 2) / width
    data.clip_start, data.clip_end = 1e-3, 1e3
    thing = bpy.data.objects.new(name, data)
    thing["dataengine.camera"] = True
    thing.matrix_world = Matrix(camera.c2w) @ FLIP
    bpy.context.scene.collection.objects.link(thing)
    return thing
