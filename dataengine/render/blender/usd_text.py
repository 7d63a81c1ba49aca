"""USD text whose textures Blender would not find: it opens the path that is written, and leaves the node empty."""

import re
from pathlib import Path

from .references import Files

TEXT_BYTES = 256 << 20
_ASSET = re.compile(r"@@@(.+?)@@@|@([^@\n]*)@", re.DOTALL)
_PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".exr", ".hdr", ".tga", ".bmp", ".tif", ".tiff", ".gif", ".dds")


def readable(file: Path, out: Path, known: list[str]) -> tuple[Path, list[str]]:
    """The file itself, or a copy under `out` whose textures are found; and the textures that are missing.

    Crates and packages are left as they are, and so are the layers that a text refers to.
    """
    with file.open("rb") as f:
        if f.read(5) != b"#usda" or file.stat().st_size > TEXT_BYTES:
            return file, []
    text = file.read_bytes().decode("utf-8", "surrogateescape")
    files = Files(file.parent, known)
    missing: list[str] = []
    moved = False

    def placed(match: re.Match[str]) -> str:
        nonlocal moved
        name = match[1] or match[2] or ""
        is_picture = name.lower().endswith(_PICTURES)
        if not name or files.as_written(name):
            return f"@{(file.parent / name).resolve()}@" if name else match[0]
        found = files.find(name) if is_picture else None
        if found is not None:
            moved = True
            return f"@{found.resolve()}@"
        if is_picture and "<" not in name:  # <UDIM> stands for several
            missing.append(name.replace("\\", "/").rsplit("/", 1)[-1])
        return match[0]

    changed = _ASSET.sub(placed, text)
    if not moved:
        return file, missing
    target = out / "import.usda"
    target.write_bytes(changed.encode("utf-8", "surrogateescape"))
    return target, missing
