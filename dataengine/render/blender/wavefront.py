"""OBJ and MTL that Blender would misread, as copies that it reads.

Its parser knows no byte-order mark (the first statement is lost), no line ends of CR alone and no keywords in another
case; a `mtllib` that names several files, a Windows path or a file whose name differs in case leads nowhere.
"""

import mmap
import os
import re
from collections.abc import Iterator
from pathlib import Path

from .references import BOM, Files, lines_of

BLOCK = 8 << 20
LOOKED_AT = 1 << 20  # bytes in which a line must end
_LIBRARY = re.compile(rb"(?:\A(?:\xef\xbb\xbf)?|(?<=[\r\n]))[ \t]*mtllib[ \t]+([^\r\n]*)")
_KEYWORDS = (
    *("newmtl", "illum", "Ns", "Ni", "Ka", "Kd", "Ks", "Ke", "Tf", "Tr", "d", "Pr", "Pm", "Ps", "Pc", "Pcr"),
    *("aniso", "anisor", "bump", "map_Bump", "map_Ka", "map_Kd", "map_Ks", "map_Ke", "map_Ns", "map_d", "map_Pr"),
    *("map_Pm", "map_Ps", "map_refl", "refl", "norm", "disp", "decal"),
)
_SPELLING = {word.lower(): word for word in _KEYWORDS}
_AS_BLENDER_READS = {*_KEYWORDS, "map_bump", "map_Disp", "map_disp"}
_STATEMENT = re.compile(r"^([ \t]*)(\S+)([ \t]*)(.*?)[ \t\r]*$")
_OPTION = re.compile(
    r"-(?:(?:o|s|t)(?:\s+[-+.\deE]+){1,3}|mm(?:\s+[-+.\deE]+){1,2}"
    r"|(?:blendu|blendv|cc|clamp|imfchan|texres|type|bm|boost)\s+\S+)\s+",
    re.IGNORECASE,
)
_MAPS = {"bump", "refl", "norm", "disp", "decal"}


def readable(file: Path, out: Path, known: list[str]) -> tuple[Path, list[str]]:
    """The file itself, or a copy under `out` that Blender reads as it is meant; and the libraries that are missing."""
    if not file.stat().st_size:
        return file, []
    with file.open("rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as text:
        start = text[:LOOKED_AT]
        named = list(_LIBRARY.finditer(text))
        carriage = b"\r" in start and b"\n" not in start
        files = Files(file.parent, known)
        libraries, missing = libraries_of([m[1] for m in named], files)
        as_they_are = all(files.as_written(os.fsdecode(m[1].strip())) for m in named)
        if (
            as_they_are
            and not carriage
            and not start.startswith(BOM)
            and all(is_plain(one, known) for one in libraries)
        ):
            return file, missing
        default = file.with_suffix(".mtl")
        if default.is_file() and default not in libraries:
            libraries.append(default)
        target = out / "import.obj"
        with target.open("wb") as copy:
            copy.write(b"mtllib import.mtl\n")
            for piece in pieces(text, [m.span() for m in named]):
                copy.write(piece.replace(b"\r", b"\n") if carriage else piece)
    target.with_suffix(".mtl").write_bytes(b"\n".join(plain(library, known, out) for library in libraries))
    return target, missing


def libraries_of(lines: list[bytes], files: Files) -> tuple[list[Path], list[str]]:
    """The MTL files that `mtllib` lines name, and the names that lead nowhere. "a b.mtl" may be one name or two."""
    found: dict[Path, None] = {}
    missing = []
    for raw in lines:
        line = os.fsdecode(raw).strip()
        whole = files.find(line)
        for name in [line] if whole else line.split():
            path = files.find(name)
            if path is None:
                missing.append(name)
            else:
                found[path] = None
    return list(found), list(dict.fromkeys(missing))


def pieces(text: mmap.mmap, without: list[tuple[int, int]]) -> Iterator[bytes]:
    """All of the text but for the spans given and a byte-order mark."""
    at = len(BOM) if text[:3] == BOM else 0
    for start, end in [*without, (len(text), len(text))]:
        while at < start:
            yield text[at : min(at + BLOCK, start)]
            at = min(at + BLOCK, start)
        at = max(at, end)


def is_plain(library: Path, known: list[str]) -> bool:
    """Whether Blender reads all of an MTL as it stands."""
    data = library.read_bytes()
    if lines_of(data) != data:
        return False
    files = Files(library.parent, known)
    for _, word, _, rest in statements(data):
        if word not in _AS_BLENDER_READS and word.lower() in _SPELLING:
            return False
        name = map_of(word, rest)
        if name and not files.as_written(name) and files.find(name):
            return False
    return True


def plain(library: Path, known: list[str], out: Path) -> bytes:
    """An MTL for `out`, with keywords as the specification spells them and maps by the paths that lead to them."""
    files = Files(library.parent, known)
    lines = []
    for indent, word, gap, rest in statements(lines_of(library.read_bytes())):
        word = word if word in _AS_BLENDER_READS else _SPELLING.get(word.lower(), word)
        name = map_of(word, rest)
        found = files.find(name) if name else None
        if found is not None:  # Blender puts the MTL's folder before any path, an absolute one too
            rest = rest[: len(rest) - len(name)] + os.path.relpath(found, out)
        lines.append(f"{indent}{word}{gap}{rest}")
    return os.fsencode("\n".join(lines) + "\n")


def statements(data: bytes) -> Iterator[tuple[str, str, str, str]]:
    """Indent, keyword, gap and rest of each line that is not empty."""
    for line in os.fsdecode(data).split("\n"):
        if match := _STATEMENT.match(line):
            yield match[1], match[2], match[3], match[4]


def map_of(word: str, rest: str) -> str:
    """The file that a map statement names after its options; empty for other statements."""
    if not (word.lower().startswith("map_") or word.lower() in _MAPS):
        return ""
    at = 0
    while option := _OPTION.match(rest, at):
        at = option.end()
    return rest[at:]
