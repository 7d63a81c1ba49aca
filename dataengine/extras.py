"""What `pip install dataengine` leaves out: packages of rendering, training and clusters, and how each is had."""

EXTRAS = {
    **dict.fromkeys(("bpy", "OpenEXR", "objaverse"), "render"),
    **dict.fromkeys(("torch", "tokenizers", "safetensors", "tensorboard", "webdataset"), "train"),
    **dict.fromkeys(("kornia_rs", "skimage", "scipy"), "train"),
    "ray": "cluster",
    "rerun": "rerun",
}
"""Module → the extra of pyproject.toml that brings it."""
IN_ALL = ("render", "train", "cluster")


def how_to_install(missing: ModuleNotFoundError) -> str | None:
    """One line, if what is missing belongs to an extra."""
    module = (missing.name or "").partition(".")[0]
    extra = EXTRAS.get(module)
    if extra is None:
        return None
    return f"this needs {module}: pip install 'dataengine[{extra}]'" + (" (or [all])" if extra in IN_ALL else "")
