"""What `pip install dataengine` leaves out: packages of rendering, training and clusters, and how each is had."""

EXTRAS = {
    **dict.fromkeys(("bpy", "OpenEXR", "objaverse"), "render"),
    **dict.fromkeys(("torch", "tokenizers", "safetensors", "tensorboard", "webdataset"), "train"),
    "ray": "cluster",
}
"""Module → the extra of pyproject.toml that brings it."""


def how_to_install(missing: ModuleNotFoundError) -> str | None:
    """One line, if what is missing belongs to an extra."""
    module = (missing.name or "").partition(".")[0]
    extra = EXTRAS.get(module)
    return None if extra is None else f"this needs {module}: pip install 'dataengine[{extra}]' (or [all])"
