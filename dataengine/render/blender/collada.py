"""COLLADA whose images Blender would not find: it opens the path that is written, and drops the image if that fails."""

import re
from pathlib import Path
from urllib.parse import quote, unquote
from xml.sax.saxutils import escape, unescape

from .references import Files

_IMAGE = re.compile(rb"<(?:\w+:)?image\b.*?</(?:\w+:)?image\s*>", re.DOTALL)
_FROM = re.compile(rb"(<((?:\w+:)?(?:init_from|ref))\b[^>]*>)([^<]*)(</\2\s*>)")


def readable(file: Path, out: Path, known: list[str]) -> tuple[Path, list[str]]:
    """The file itself, or a copy under `out` whose images are found; and the images that are missing."""
    data = file.read_bytes()
    files = Files(file.parent, known)
    missing: list[str] = []

    def placed(match: re.Match[bytes]) -> bytes:
        said = unescape(match[3].decode("utf-8", "surrogateescape").strip())
        name = path_of(said)
        if not name:
            return match[0]
        found = files.find(name)
        if found is None:
            missing.append(name.rsplit("/", 1)[-1])
            return match[0]
        return match[1] + escape(quote(str(found.resolve()))).encode() + match[4]

    changed = _IMAGE.sub(lambda image: _FROM.sub(placed, image[0]), data)
    if all(files.as_written(unquote(name)) for name in written(data)):
        return file, missing
    target = out / "import.dae"
    target.write_bytes(changed)
    return target, missing


def written(data: bytes) -> list[str]:
    """The images' paths as they stand."""
    found = [match[3] for image in _IMAGE.finditer(data) for match in _FROM.finditer(image[0])]
    texts = [text.decode("utf-8", "surrogateescape").strip() for text in found]
    return [unescape(text) for text in texts if text]


def path_of(uri: str) -> str:
    """A path from what authors' programs write: a URI, a Windows path, a plain name."""
    name = re.sub(r"^file:(//[^/]*)?", "", uri, flags=re.IGNORECASE)
    return unquote(name).replace("\\", "/")
