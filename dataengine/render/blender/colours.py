"""Colour that a file carries on its geometry and not in a material: vertex, face and display colours.

Blender's importers keep it as a colour attribute, which nothing reads: the mesh would be rendered in plain grey. glTF
alone says how such colours and materials go together, and its importer builds that; a .blend is as its author left it.
"""

import bpy
import numpy as np

MATERIAL_RULES_OF_ITS_OWN = ("glb", "gltf")
MATT = ("obj", "ply", "dae")  # a material of these that says no more than its colour is imported without gloss
DARKEST_DEFAULT = 0.45  # programs that write a material because they must write one grey between this and white
NEUTRAL = 1e-3  # largest difference between the channels of such a grey
DISPLAY_OPACITY = "displayOpacity"  # USD's


def use(kind: str, complaints: list[str]) -> None:
    """Gives meshes that have a colour attribute a material that reads it, where no material says what colour they are.

    A material says nothing if it is not there, or if its base colour is a light grey that no texture drives. Where
    it says something else, it wins, as in the programs that write such files, and the row says so.
    """
    if kind in MATERIAL_RULES_OF_ITS_OWN:
        return
    made: dict[tuple[str, str], bpy.types.Material] = {}
    ignored: list[str] = []
    for mesh in bpy.data.meshes:
        name = colour_attribute(mesh)
        if not mesh.users or name is None:
            continue
        if not mesh.materials:
            mesh.materials.append(None)
        for index, material in enumerate(mesh.materials):
            if material is None or (kind != "blend" and says_nothing(material)):
                key = (material.name if material else "", name)
                if key not in made:
                    made[key] = reading(material, name, kind in MATT, DISPLAY_OPACITY in mesh.attributes)
                mesh.materials[index] = made[key]
            elif kind != "blend":
                ignored.append(mesh.name)
    if ignored:
        names = ", ".join(sorted(set(ignored))[:3])
        complaints.append(f"{len(set(ignored))} meshes have colours beside their materials; not shown ({names})")


def colour_attribute(mesh: bpy.types.Mesh) -> str | None:
    """The name of the colours that speak for the mesh; None where there are none, or all are white."""
    attributes = mesh.color_attributes
    if not len(attributes) or not len(mesh.polygons):
        return None
    index = attributes.render_color_index
    chosen = attributes.get("displayColor") or attributes[index if 0 <= index < len(attributes) else 0]
    values = np.empty(len(chosen.data) * 4, np.float32)
    chosen.data.foreach_get("color", values)
    if not values.size or (values.reshape(-1, 4)[:, :3] > 1 - NEUTRAL).all():
        return None
    return str(chosen.name)


def says_nothing(material: bpy.types.Material) -> bool:
    """Whether a material is what exporters write for want of one: a light grey, and no texture in it."""
    tree = material.node_tree if material.use_nodes else None
    if tree is None:
        return is_light_grey(material.diffuse_color)
    surfaces = [n for n in tree.nodes if n.type == "BSDF_PRINCIPLED"]
    if len(surfaces) != 1 or any(n.type == "TEX_IMAGE" for n in tree.nodes):
        return False
    colour = surfaces[0].inputs["Base Color"]
    return bool(not colour.is_linked and is_light_grey(colour.default_value))


def is_light_grey(colour: bpy.types.bpy_prop_array) -> bool:
    channels = list(colour)[:3]
    return bool(max(channels) - min(channels) <= NEUTRAL and min(channels) >= DARKEST_DEFAULT)


def reading(material: bpy.types.Material | None, attribute: str, matt: bool, opacity: bool) -> bpy.types.Material:
    """A copy of the material, or a new one as Blender makes them, whose base colour is the attribute."""
    new = bpy.data.materials.new("dataengine.colours") if material is None else material.copy()
    new.use_nodes = True
    tree = new.node_tree
    surface = next(n for n in tree.nodes if n.type == "BSDF_PRINCIPLED")
    if material is None and matt:
        surface.inputs["Specular IOR Level"].default_value = 0.0
    reader = tree.nodes.new("ShaderNodeVertexColor")
    reader.layer_name = attribute
    tree.links.new(reader.outputs["Color"], surface.inputs["Base Color"])
    if opacity:
        share = tree.nodes.new("ShaderNodeAttribute")
        share.attribute_name = DISPLAY_OPACITY
        tree.links.new(share.outputs["Fac"], surface.inputs["Alpha"])
    return new
