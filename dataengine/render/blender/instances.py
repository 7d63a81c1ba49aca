"""What of a file is shown, gathered into one collection that one empty instances, moves and scales.

A thing that is hidden may still be the source of things that are not: USD's prototypes, a collection of kit parts that
is excluded from the view layer, the object that Geometry Nodes scatter. So nothing is hidden for being a source: what
shows by itself goes into the collection, what does not stays outside, and Blender's dependency graph finds the rest.
The file's own objects are not touched: an instance of something that is also shown would else be moved twice.
"""

import bpy
from mathutils import Matrix

UNLIT = {"LIGHT", "LIGHT_PROBE", "SPEAKER", "CAMERA"}
LAMPS = {"POINT", "SUN", "SPOT", "AREA"}
MAX_SUBDIVISION = 3


def gather(turn: Matrix) -> bpy.types.Object:
    """Leaves one empty in the scene, at `turn`, that shows everything the file shows.

    Lights and cameras that the file brought neither light nor frame. What the viewport evaluates (and we measure) and
    what the renderer evaluates are made the same: what is hidden in either is hidden in both.
    """
    quiet_lamps()
    level_flags()
    scene = bpy.context.scene
    bpy.context.view_layer.update()
    shown = [thing for thing in scene.objects if thing.visible_get() and thing.type not in UNLIT]
    shown = [thing for thing in shown if not is_invisible(thing)] or shown
    shown = [as_mesh(thing) if thing.type == "META" else thing for thing in shown]
    asset = bpy.data.collections.new("dataengine.asset")
    for thing in shown:
        if thing is not None:
            asset.objects.link(thing)
    for thing in list(scene.collection.objects):
        scene.collection.objects.unlink(thing)
    for collection in list(scene.collection.children):
        scene.collection.children.unlink(collection)
    empty = bpy.data.objects.new("dataengine.normalise", None)
    empty.instance_type, empty.instance_collection = "COLLECTION", asset
    empty.matrix_world = turn
    scene.collection.objects.link(empty)
    bpy.context.view_layer.update()
    return empty


def is_invisible(thing: bpy.types.Object) -> bool:
    """Whether every material of a mesh has the alpha 0 all over, as collision boxes have: it must not frame either."""
    if thing.type != "MESH" or not thing.material_slots:
        return False
    return all(slot.material is not None and is_empty(slot.material) for slot in thing.material_slots)


def is_empty(material: bpy.types.Material) -> bool:
    tree = material.node_tree if material.use_nodes else None
    output = tree.get_output_node("CYCLES") if tree else None
    if output is None or not output.inputs["Surface"].is_linked or output.inputs["Volume"].is_linked:
        return False
    surface = output.inputs["Surface"].links[0].from_node
    if surface.type != "BSDF_PRINCIPLED" or surface.inputs["Emission Strength"].is_linked:
        return False
    alpha = surface.inputs["Alpha"]
    return not alpha.is_linked and alpha.default_value <= 0.0


def quiet_lamps() -> None:
    for lamp in bpy.data.lights:
        lamp.animation_data_clear()
        if lamp.type in LAMPS:  # Collada brings a kind that has no energy
            lamp.energy = 0.0


def level_flags() -> None:
    for collection in bpy.data.collections:
        collection.hide_viewport = collection.hide_render = collection.hide_viewport or collection.hide_render
    for thing in bpy.data.objects:
        hidden = thing.hide_viewport or thing.hide_render or thing.type in UNLIT
        thing.hide_viewport = thing.hide_render = hidden
        shown = thing.show_instancer_for_viewport and thing.show_instancer_for_render
        thing.show_instancer_for_viewport = thing.show_instancer_for_render = shown
        for modifier in thing.modifiers:
            modifier.show_render = modifier.show_viewport
            if modifier.type == "SUBSURF":
                modifier.levels = modifier.render_levels = min(modifier.render_levels, MAX_SUBDIVISION)


def as_mesh(ball: bpy.types.Object) -> bpy.types.Object | None:
    """A family of metaballs as the one mesh that it shows as: Blender draws none in instances."""
    graph = bpy.context.evaluated_depsgraph_get()
    mesh = bpy.data.meshes.new_from_object(ball.evaluated_get(graph), depsgraph=graph)
    if mesh is None or not len(mesh.polygons):
        return None
    thing = bpy.data.objects.new(f"{ball.name}.mesh", mesh)
    thing.matrix_world = ball.matrix_world
    return thing


def shown_objects(empty: bpy.types.Object) -> list[bpy.types.Object]:
    return list(empty.instance_collection.objects)
