"""What of Blender's log is a complaint."""

from dataengine.render.asset import complaints_in


def test_complaints_are_the_lines_of_trouble_each_once() -> None:
    log = "\n".join(
        [
            "12:32:36 | INFO: glTF import finished in 0.05s",
            "12:32:36 | WARNING: more than one skinned mesh",
            "12:32:37 | WARNING: more than one skinned mesh",
            "Warning: cannot read from MTL file 'x.mtl'",
        ]
    )
    assert complaints_in(log) == ["WARNING: more than one skinned mesh", "Warning: cannot read from MTL file 'x.mtl'"]
