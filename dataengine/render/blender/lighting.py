"""Applies a look (plain data, see render/looks.py) to the scene: engine settings, world, lights."""

from typing import Any

import bpy
from mathutils import Vector

from . import closed_form, environment
from .devices import check_eevee, use_device
from .protocol import RenderRequest

OURS = "dataengine.light"


def apply(request: RenderRequest) -> None:
    """Lights the scene as the look says; what an earlier look has lit it with is gone."""
    look = request.look
    settings(request)
    remove_lights()
    if not look["occlusion"]:
        for thing in bpy.data.objects:
            thing.visible_diffuse = False
    if "environment" in look:
        environment.light(look["environment"])
    else:
        world(look["world"])
    if closed_form.is_meant(look, request.engine):
        bpy.context.scene.world.cycles_visibility.diffuse = False
        if not closed_form.leaves_lamps():
            return
    for light in look["lights"]:
        add_light(light)


def settings(request: RenderRequest) -> None:
    """What the look says of the engine: samples, filter, bounces."""
    look = request.look
    scene = bpy.context.scene
    scene.render.engine = request.engine
    scene.render.film_transparent = True
    scene.view_settings.view_transform = "Standard"
    bpy.context.view_layer.pass_alpha_threshold = look["depth_alpha"]
    if request.engine == "CYCLES":
        cycles(request)
    else:
        check_eevee()
        scene.eevee.taa_render_samples = request.samples


def cycles(request: RenderRequest) -> None:
    look, scene = request.look, bpy.context.scene
    c = scene.cycles
    use_device(request.device)
    c.samples = request.samples
    c.seed = request.seed
    c.use_adaptive_sampling = look["adaptive_threshold"] > 0
    c.adaptive_threshold = look["adaptive_threshold"]
    c.use_denoising = look["denoiser"] != "none"
    if c.use_denoising:
        c.denoiser = "OPENIMAGEDENOISE"
        c.denoising_quality = {"fast": "FAST", "accurate": "HIGH"}[look["denoiser"]]
        c.denoising_prefilter = {"fast": "FAST", "accurate": "ACCURATE"}[look["denoiser"]]
        c.denoising_input_passes = "RGB_ALBEDO_NORMAL"
        c.denoising_use_gpu = False
    c.pixel_filter_type = look["filter"]
    c.filter_width = look["filter_width"]
    for name in ("max_bounces", "diffuse_bounces", "glossy_bounces", "transmission_bounces", "transparent_max_bounces"):
        setattr(c, name, look[name])
    c.volume_bounces = 0
    c.sample_clamp_direct = look["clamp_direct"]
    c.sample_clamp_indirect = look["clamp_indirect"]
    c.caustics_reflective = c.caustics_refractive = look["caustics"]
    c.use_light_tree = look["light_tree"]
    c.light_sampling_threshold = 0.0
    c.blur_glossy = look["blur_glossy"]
    c.use_auto_tile = False


def world(settings: dict[str, Any]) -> None:
    """One colour, or a vertical gradient below → horizon → above; scene-linear RGB times strength."""
    scene = bpy.context.scene
    w = scene.world = bpy.data.worlds.new("dataengine.world")
    w.use_nodes = True
    tree = w.node_tree
    background = next(n for n in tree.nodes if n.type == "BACKGROUND")
    background.inputs["Strength"].default_value = settings["strength"]
    colours = settings["colours"]
    if len(colours) == 1:
        background.inputs["Color"].default_value = (*colours[0], 1.0)
    else:
        gradient(tree, background, colours)
    for ray in ("diffuse", "glossy", "transmission"):
        setattr(w.cycles_visibility, ray, ray in settings["rays"])
    w.cycles.sampling_method = settings["sampling"]


def gradient(tree: bpy.types.NodeTree, background: bpy.types.Node, colours: list[list[float]]) -> None:
    """Colours evenly spaced over the height of the direction, from straight down to straight up."""
    coordinates = tree.nodes.new("ShaderNodeTexCoord")
    split = tree.nodes.new("ShaderNodeSeparateXYZ")
    rescale = tree.nodes.new("ShaderNodeMapRange")
    ramp = tree.nodes.new("ShaderNodeValToRGB")
    rescale.inputs["From Min"].default_value, rescale.inputs["From Max"].default_value = -1.0, 1.0
    elements = ramp.color_ramp.elements
    while len(elements) < len(colours):
        elements.new(0.5)
    for i in range(len(colours)):
        elements[i].position = i / (len(colours) - 1)
    for i, colour in enumerate(colours):
        elements[i].color = (*colour, 1.0)
    tree.links.new(coordinates.outputs["Generated"], split.inputs[0])
    tree.links.new(split.outputs["Z"], rescale.inputs["Value"])
    tree.links.new(rescale.outputs["Result"], ramp.inputs["Fac"])
    tree.links.new(ramp.outputs["Color"], background.inputs["Color"])


def remove_lights() -> None:
    """Those of an earlier look; a world is replaced."""
    for data in [light for light in bpy.data.lights if light.get(OURS)]:
        bpy.data.lights.remove(data)  # and its object


def add_light(settings: dict[str, Any]) -> None:
    """One lamp. `towards` is the direction the light travels; energy in Blender's unit (W, or W/m² for SUN)."""
    data = bpy.data.lights.new("dataengine.light", settings["kind"])
    data[OURS] = True
    data.energy = settings["energy"]
    data.color = settings["colour"]
    data.use_shadow = settings["shadow"]
    if settings["kind"] == "SUN":
        data.angle = settings["angle"]
    elif settings["kind"] == "AREA":
        data.size = settings["size"]
    else:
        data.shadow_soft_size = settings["size"]
    data.cycles.use_multiple_importance_sampling = settings["mis"]
    lamp = bpy.data.objects.new("dataengine.light", data)
    lamp.location = settings["position"]
    lamp.rotation_mode = "QUATERNION"
    lamp.rotation_quaternion = Vector(settings["towards"]).to_track_quat("-Z", "Y")
    lamp.scale = settings["scale"]
    for ray in ("diffuse", "glossy"):
        setattr(lamp, f"visible_{ray}", ray in settings["rays"])
    bpy.context.scene.collection.objects.link(lamp)
