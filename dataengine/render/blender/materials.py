"""Materials that can be written to: every surface gets one, with nodes, and is shown as it was without."""

import bpy


def complete() -> None:
    """Gives what has no material, and materials without nodes, the nodes that Cycles shows them with. Idempotent."""
    plain: bpy.types.Material | None = None
    for data in (*bpy.data.meshes, *bpy.data.curves):
        if data.users and not data.materials:
            data.materials.append(None)
        for index, material in enumerate(data.materials):
            if material is None:
                plain = plain or diffuse(bpy.data.materials.new("dataengine.plain"), (0.8, 0.8, 0.8))
                data.materials[index] = plain
    for thing in bpy.data.objects:
        for slot in thing.material_slots:
            if slot.link == "OBJECT" and slot.material is None:
                plain = plain or diffuse(bpy.data.materials.new("dataengine.plain"), (0.8, 0.8, 0.8))
                slot.material = plain
    for material in bpy.data.materials:
        if not material.use_nodes and not material.is_grease_pencil:
            diffuse(material, tuple(material.diffuse_color)[:3])


def diffuse(material: bpy.types.Material, colour: tuple[float, ...]) -> bpy.types.Material:
    """Makes a material what Cycles takes for one without nodes; without any it takes 0.8."""
    material.use_nodes = True
    tree = material.node_tree
    tree.nodes.clear()
    surface, output = tree.nodes.new("ShaderNodeBsdfDiffuse"), tree.nodes.new("ShaderNodeOutputMaterial")
    surface.inputs["Color"].default_value = (*colour, 1.0)
    tree.links.new(surface.outputs["BSDF"], output.inputs["Surface"])
    return material
