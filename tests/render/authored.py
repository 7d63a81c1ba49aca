"""Run as a program: writes .blend and .fbx files, which nothing but Blender writes, into the folder that is named."""

import sys
from pathlib import Path
from typing import Any

import bpy

FACES = [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (0, 1, 1), (1, 0, 1)]


def new_file() -> None:
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True, load_ui=False)


def cube(name: str, colour: tuple[float, float, float] | None = None, where: float = 0.0) -> Any:
    """A cube of side 1 at x = where, matt, not linked to any collection."""
    corners = [(x, y, z) for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)]
    faces = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata(corners, [], faces)
    if colour is not None:
        material = bpy.data.materials.new(name)
        material.use_nodes = True
        surface = material.node_tree.nodes["Principled BSDF"]
        surface.inputs["Base Color"].default_value = (*colour, 1.0)
        surface.inputs["Roughness"].default_value = 1.0
        mesh.materials.append(material)
    thing = bpy.data.objects.new(name, mesh)
    thing.location.x = where
    return thing


def instance_of(collection: Any, where: float) -> None:
    thing = bpy.data.objects.new("instance", None)
    thing.instance_type, thing.instance_collection = "COLLECTION", collection
    thing.location.x = where
    bpy.context.scene.collection.objects.link(thing)


def kit(folder: Path, name: str, hide: str) -> None:
    """A green cube at 0 and red instances at 2, 4 and 6 of a part whose own collection is not shown, or is."""
    new_file()
    scene = bpy.context.scene
    scene.collection.objects.link(cube("base", (0.05, 0.8, 0.05)))
    library = bpy.data.collections.new("Library")
    scene.collection.children.link(library)
    part = cube("part", (0.8, 0.05, 0.05))
    library.objects.link(part)
    layer = bpy.context.view_layer.layer_collection.children["Library"]
    if hide == "exclude":
        layer.exclude = True
    elif hide == "eye":
        part.hide_set(True)
    else:
        part.location.x = -2.0
        library.instance_offset = (-2.0, 0.0, 0.0)
    for where in (2, 4, 6):
        instance_of(library, where)
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / name))


def scattered(folder: Path) -> None:
    """A green cube at 0; Geometry Nodes put a hidden red one at 2."""
    new_file()
    scene = bpy.context.scene
    base, source = cube("base", (0.05, 0.8, 0.05)), cube("source", (0.8, 0.05, 0.05))
    for thing in (base, source):
        scene.collection.objects.link(thing)
    source.hide_render = source.hide_viewport = True
    tree = bpy.data.node_groups.new("scatter", "GeometryNodeTree")
    tree.interface.new_socket("Geometry", in_out="INPUT", socket_type="NodeSocketGeometry")
    tree.interface.new_socket("Geometry", in_out="OUTPUT", socket_type="NodeSocketGeometry")
    given, made = tree.nodes.new("NodeGroupInput"), tree.nodes.new("NodeGroupOutput")
    info = tree.nodes.new("GeometryNodeObjectInfo")
    info.inputs["Object"].default_value, info.inputs["As Instance"].default_value = source, True
    move, join = tree.nodes.new("GeometryNodeTransform"), tree.nodes.new("GeometryNodeJoinGeometry")
    move.inputs["Translation"].default_value = (2.0, 0.0, 0.0)
    tree.links.new(info.outputs["Geometry"], move.inputs["Geometry"])
    tree.links.new(move.outputs["Geometry"], join.inputs["Geometry"])
    tree.links.new(given.outputs[0], join.inputs["Geometry"])
    tree.links.new(join.outputs["Geometry"], made.inputs[0])
    base.modifiers.new("scatter", "NODES").node_group = tree
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "scattered.blend"))


def hidden(folder: Path) -> None:
    """A green cube at 0, and red ones that are hidden in six ways."""
    new_file()
    scene = bpy.context.scene
    scene.collection.objects.link(cube("base", (0.05, 0.8, 0.05)))
    for number, way in enumerate(("eye", "viewport", "render", "collection", "rendered collection", "layer"), 2):
        thing = cube(way, (0.8, 0.05, 0.05), where=2.0 * number)
        if "collection" in way or way == "layer":
            collection = bpy.data.collections.new(way)
            scene.collection.children.link(collection)
            collection.objects.link(thing)
            collection.hide_viewport, collection.hide_render = way == "collection", way == "rendered collection"
            bpy.context.view_layer.layer_collection.children[way].hide_viewport = way == "layer"
            continue
        scene.collection.objects.link(thing)
        thing.hide_viewport, thing.hide_render = way == "viewport", way == "render"
        thing.hide_set(way == "eye")
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "hidden.blend"))


def metaballs(folder: Path) -> None:
    new_file()
    data = bpy.data.metaballs.new("ball")
    for x in (0.0, 1.0):
        data.elements.new().co = (x, 0.0, 0.0)
    bpy.context.scene.collection.objects.link(bpy.data.objects.new("ball", data))
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "metaballs.blend"))


def coloured_fbx(folder: Path, name: str, colour: tuple[float, float, float] | None) -> None:
    """A cube with a vertex colour a face, and a material of that colour or none."""
    new_file()
    thing = cube("cube", colour)
    layer = thing.data.color_attributes.new("Colours", "BYTE_COLOR", "CORNER")
    for polygon in thing.data.polygons:
        for corner in polygon.loop_indices:
            layer.data[corner].color = (*FACES[polygon.index], 1.0)
    bpy.context.scene.collection.objects.link(thing)
    bpy.ops.export_scene.fbx(filepath=str(folder / name), colors_type="SRGB")


def spiked_fbx(folder: Path) -> None:
    """A cube of which one corner is no number."""
    new_file()
    thing = cube("cube")
    thing.data.vertices[0].co.x = float("nan")
    bpy.context.scene.collection.objects.link(thing)
    bpy.ops.export_scene.fbx(filepath=str(folder / "spiked.fbx"))


def main(folder: Path) -> None:
    kit(folder, "kit_excluded.blend", "exclude")
    kit(folder, "kit_eye.blend", "eye")
    kit(folder, "kit_shown.blend", "not")
    scattered(folder)
    hidden(folder)
    metaballs(folder)
    spiked_fbx(folder)
    coloured_fbx(folder, "colours.fbx", None)
    coloured_fbx(folder, "colours_grey.fbx", (0.8, 0.8, 0.8))
    coloured_fbx(folder, "colours_red.fbx", (0.8, 0.05, 0.05))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
