"""Back to the scene as it was: Blender's undo, which keeps decoded pictures and whatever has not changed.

Of a scene that is rendered several times, each time differently, everything is taken back by it: nodes, lights, worlds,
settings, flags. It costs about 10 ms where an import costs a hundred, and the bytes of what is rendered after it are
those of a fresh import.
"""

import bpy


def keep() -> None:
    """A step to come back to."""
    bpy.ops.ed.undo_push(message="dataengine")


def back(count: int) -> None:
    """To the step that was kept `count` steps ago: 1 is the last."""
    bpy.context.scene.render.use_persistent_data = False  # or Cycles keeps what it knows of the scene as it is
    bpy.ops.ed.undo_push(message="dataengine")
    for _ in range(count):
        bpy.ops.ed.undo()
