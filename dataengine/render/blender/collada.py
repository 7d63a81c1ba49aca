"""COLLADA as Blender's importer wants it.

It opens the path of an image as it is written, and drops the image if that fails. An effect that names an image where
the format wants a sampler (older exporters do) costs the whole scene.
"""

import re
from pathlib import Path
from urllib.parse import quote, unquote
from xml.sax.saxutils import escape, unescape

from .references import Files

_IMAGE = re.compile(rb"<(?:\w+:)?image\b.*?</(?:\w+:)?image\s*>", re.DOTALL)
_FROM = re.compile(rb"(<((?:\w+:)?(?:init_from|ref))\b[^>]*>)([^<]*)(</\2\s*>)")
_ID = re.compile(rb"<(?:\w+:)?image\b[^>]*?\bid=[\"']([^\"']*)[\"']")
_EFFECT = re.compile(rb"<(?:\w+:)?effect\b.*?</(?:\w+:)?effect\s*>", re.DOTALL)
_SID = re.compile(rb"<(?:\w+:)?newparam\b[^>]*?\bsid=[\"']([^\"']*)[\"']")
_TEXTURE = re.compile(
    rb"(<((?:\w+:)?)texture\b[^>]*?\btexture=([\"']))([^\"']*)(\3[^>]*?/>|\3[^>]*>.*?</\2texture\s*>)", re.DOTALL
)
_PROFILE = re.compile(rb"<(?:\w+:)?profile_COMMON\b[^>]*>")
_SAMPLER = (
    b'<newparam sid="IMAGE.surface"><surface type="2D"><init_from>IMAGE</init_from></surface></newparam>'
    b'<newparam sid="IMAGE.sampler"><sampler2D><source>IMAGE.surface</source></sampler2D></newparam>'
)
_GREY = b"<%scolor>0.5 0.5 0.5 1</%scolor>"


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

    placed_images = _IMAGE.sub(lambda image: _FROM.sub(placed, image[0]), data)
    sampled = with_samplers(placed_images, missing)
    if sampled == placed_images and all(files.as_written(unquote(name)) for name in written(data)):
        return file, missing
    target = out / "import.dae"
    target.write_bytes(sampled)
    return target, missing


def with_samplers(data: bytes, missing: list[str]) -> bytes:
    """Gives each effect that names an image as its texture a sampler of that image; a texture that is neither becomes
    neutral grey, and is missing (COLLADA 1.4.1, 5-107: `texture` names a sampler2D of the effect)."""
    images = {match[1] for image in _IMAGE.finditer(data) if (match := _ID.match(image[0]))}

    def effect(match: re.Match[bytes]) -> bytes:
        text = match[0]
        known = set(_SID.findall(text))
        made: dict[bytes, bytes] = {}

        def texture(used: re.Match[bytes]) -> bytes:
            prefix, name = used[2], used[4]
            if name in known:
                return used[0]
            if name not in images:
                missing.append(unescape(name.decode("utf-8", "replace")))
                return _GREY % (prefix, prefix)
            made[name] = sampler(prefix, name)
            return used[1] + name + b".sampler" + used[5]

        changed = _TEXTURE.sub(texture, text)
        return _PROFILE.sub(lambda profile: profile[0] + b"".join(made.values()), changed, count=1)

    return _EFFECT.sub(effect, data)


def sampler(prefix: bytes, image: bytes) -> bytes:
    """The parameters of an effect that make `IMAGE.sampler`; `prefix` is the document's, of a namespace."""
    return re.sub(rb"<(/?)", rb"<\1" + prefix, _SAMPLER).replace(b"IMAGE", image)


def written(data: bytes) -> list[str]:
    """The images' paths as they stand."""
    found = [match[3] for image in _IMAGE.finditer(data) for match in _FROM.finditer(image[0])]
    texts = [text.decode("utf-8", "surrogateescape").strip() for text in found]
    return [unescape(text) for text in texts if text]


def path_of(uri: str) -> str:
    """A path from what authors' programs write: a URI, a Windows path, a plain name."""
    name = re.sub(r"^file:(//[^/]*)?", "", uri, flags=re.IGNORECASE)
    return unquote(name).replace("\\", "/")
