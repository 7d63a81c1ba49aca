"""Environment light: looks whose light is an HDRI, Blender's own or one's own file or folder.

`plan` reads each map once, in the Blender that will render with it, names it by the hash of its bytes and fixes its
exposure. The rule: a matt surface of albedo 1 that faces where most light comes from has the radiance `WHITE` in its
brightest channel, so that no matt surface is clipped, whichever way it faces and however the map is turned. That also
bounds it from below: a surface that faces the other way may be dark, but the mean over all directions is a quarter of
the brightest at least (all light from one point), and the brightest itself (light from everywhere).
"""

import difflib
import hashlib
import importlib.util
import math
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dataengine.corpus.config import Hdri, Limits
from dataengine.corpus.output import whole_file
from dataengine.corpus.storage import Store
from dataengine.errors import DataengineError, UsageError
from dataengine.render.blender.protocol import LIGHT_COLUMNS, LIGHT_ROWS
from dataengine.render.died import Died
from dataengine.render.launch import blender_python
from dataengine.render.looks import BLENDERS_HDRIS, SHADOWED, Look, World
from dataengine.render.pool import BlenderPool
from dataengine.render.worker import BlenderWorker

Array = npt.NDArray[np.float64]

FOLDER = "lights"
"""Of a corpus: its environment maps, named by the hash of their bytes."""

SUFFIXES = (".exr", ".hdr")
WHITE = 0.9
_DIRECTIONS = 2000  # in which the brightest is looked for: at most 4° from it, which is 0.3 % of its light


def environment_look(name: str, hdris: Sequence[Hdri]) -> Look:
    """The look of that name (`env`, `env:city`, `env:<name of a file or folder>`), with those of the maps that are its.

    Sampled from the map's own importance map.
    """
    return replace(
        SHADOWED,
        name=name,
        world=World(((0.0, 0.0, 0.0),)),
        hdris=tuple(hdri for hdri in hdris if hdri.look == name),
    )


def pin(places: Mapping[str, str], limits: Limits) -> tuple[tuple[Hdri, ...], dict[str, Path]]:
    """Reads the maps of looks.

    Args:
        places: look → what stands behind its `env:`; empty for all of Blender's own.
        limits: of the Blender that reads them.

    Returns:
        The maps, and where each is: {name in the folder `lights`: path}.

    Raises:
        UsageError: if a map is not there or cannot be read; names the look.
        DataengineError: if Blender does not work here.
    """
    found = {look: _files(look, place) for look, place in places.items()}
    folders = sorted({path.parent.resolve() for paths in found.values() for path in paths})
    hdris: list[Hdri] = []
    files: dict[str, Path] = {}
    with BlenderPool(limits, readable=folders, threads=1) as pool, pool.worker() as blender:
        for look, paths in found.items():
            for path in paths:
                hdri = Hdri(
                    look=look,
                    name=path.stem,
                    sha256=_sha256(look, path),
                    suffix=path.suffix.lower(),
                    strength=strength(read_map(blender, look, path)),
                )
                hdris.append(hdri)
                files[hdri.file] = path
    return tuple(hdris), files


def strength(radiance: Array) -> float:
    """What the radiance of a map is multiplied by; see the module's head.

    Args:
        radiance: (rows, columns, 3), equal steps of elevation from -90° and of azimuth; see `directions`.

    Returns:
        Six digits of it.
    """
    return float(f"{WHITE / matt(radiance).max():.6g}")  # no matter which machine plans


def matt(radiance: Array) -> Array:
    """(_DIRECTIONS, 3): the radiance of matt surfaces of albedo 1 that face all ways: E(n) / π, with the irradiance
    E(n) = ∫ L(ω) max(0, n·ω) dω."""
    towards, solid_angle = directions(*radiance.shape[:2])
    i = np.arange(_DIRECTIONS) + 0.5
    z, azimuth = 1 - 2 * i / _DIRECTIONS, i * math.pi * (1 + math.sqrt(5))  # Fibonacci's lattice on the sphere
    side = np.sqrt(1 - z * z)
    normals = np.stack([side * np.cos(azimuth), side * np.sin(azimuth), z], -1)
    weights = np.maximum(normals @ towards.reshape(-1, 3).T, 0) * solid_angle.ravel()
    return np.asarray(weights @ radiance.reshape(-1, 3) / math.pi)


def directions(rows: int, columns: int) -> tuple[Array, Array]:
    """Where the light of each part of a map comes from, (rows, columns, 3), and from how much of the sphere, in
    steradians, (rows, columns).

    Blender's equirectangular maps: rows from straight down to straight up, the middle column from +x, columns further
    right from further clockwise, seen from above.
    """
    edges = np.radians(np.linspace(-90, 90, rows + 1))
    elevation = (edges[1:] + edges[:-1])[:, None] / 2
    azimuth = np.radians(180 - 360 * (np.arange(columns) + 0.5) / columns)[None]
    x, y = np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth)
    solid_angle = np.broadcast_to(np.diff(np.sin(edges))[:, None] * 2 * math.pi / columns, x.shape)
    return np.stack([x, y, np.broadcast_to(np.sin(elevation), x.shape)], -1), np.asarray(solid_angle)


def _files(look: str, place: str) -> list[Path]:
    if place in ("", *BLENDERS_HDRIS):
        folder = _blenders_folder()
        paths = [folder / f"{name}.exr" for name in ([place] if place else BLENDERS_HDRIS)]
        missing = [path for path in paths if not path.is_file()]
        if missing:
            raise UsageError(f"look {look}: this Blender has no {missing[0].name} in {folder}")
        return paths
    path = Path(place).expanduser()
    if path.is_dir():
        inside = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())
        if not inside:
            raise UsageError(f"look {look}: the folder {place} holds no .exr or .hdr file")
        return inside
    if not path.is_file():
        near = difflib.get_close_matches(place, BLENDERS_HDRIS, n=1)
        hint = f"did you mean env:{near[0]}?" if near else f"Blender's own maps are {', '.join(BLENDERS_HDRIS)}"
        raise UsageError(f"look {look}: there is no file or folder {place}; {hint}")
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"look {look}: {place} is no environment map: it must be an .exr or .hdr file")
    return [path]


def _blenders_folder() -> Path:
    python = blender_python()
    if python == sys.executable:
        spec = importlib.util.find_spec("bpy")
        origin = spec.origin if spec else None
    else:
        program = "import importlib.util as u; print(u.find_spec('bpy').origin)"
        done = subprocess.run([python, "-c", program], capture_output=True, text=True, check=False)
        origin = done.stdout.strip() or None
    found = sorted(Path(origin).parent.glob("*/datafiles/studiolights/world")) if origin else []
    if not found:
        raise DataengineError(f"{python} has no Blender with environment maps of its own: name a file, env:FILE.exr")
    return found[-1]


def _sha256(look: str, path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UsageError(f"look {look}: {path} cannot be read: {error.strerror}") from error


def read_map(blender: BlenderWorker, look: str, path: Path) -> Array:
    """(rows, columns, 3): the radiance that Blender reads in a file, averaged over LIGHT_ROWS × LIGHT_COLUMNS parts of
    the sphere or fewer; see `directions`.

    Raises:
        UsageError: if it is no environment map; names the look and the file.
    """
    try:
        answer = blender.ask("light", path=str(path.resolve()))
    except Died as died:
        raise UsageError(f"look {look}: {path} cannot be read: {died.message}") from died
    if error := answer.get("error"):
        raise UsageError(f"look {look}: {path} {str(error)[:200]}")
    try:
        radiance = np.asarray(answer["radiance"], np.float64)
    except (KeyError, ValueError, TypeError) as error:
        raise UsageError(f"look {look}: {path} cannot be read: Blender gave no picture of it") from error
    if radiance.ndim != 3 or radiance.shape[2] != 3 or radiance.size > LIGHT_ROWS * LIGHT_COLUMNS * 3:
        raise UsageError(f"look {look}: {path} cannot be read: Blender gave no picture of it")
    if not np.isfinite(radiance).all():
        raise UsageError(f"look {look}: {path} holds infinite values, or values that are no numbers")
    if radiance.min() < 0:
        raise UsageError(f"look {look}: {path} holds negative light")
    if matt(radiance).max() <= 0:
        raise UsageError(f"look {look}: {path} is black")
    return radiance


def put_lights(store: Store, files: Mapping[str, Path]) -> None:
    """Copies maps into the corpus. Raises DataengineError if that cannot be written."""
    for name, path in files.items():
        if not store.exists(f"{FOLDER}/{name}"):
            store.put(f"{FOLDER}/{name}", path)


def bring_lights(store: Store, hdris: Sequence[Hdri], folder: Path) -> None:
    """Makes sure that a corpus's maps are in a folder of this machine.

    Raises:
        DataengineError: if the corpus has lost one, or holds other bytes under its name.
        UsageError: if the folder cannot be written.
    """
    for hdri in hdris:
        path = folder / hdri.file
        if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == hdri.sha256:
            continue
        name = f"{FOLDER}/{hdri.file}"
        try:
            content = store.read(name)
        except FileNotFoundError as error:
            raise DataengineError(
                f"{store.url_of(name)} is gone, the map of the look {hdri.look}: plan again"
            ) from error
        if hashlib.sha256(content).hexdigest() != hdri.sha256:
            raise DataengineError(f"{store.url_of(name)} is damaged: delete it, and plan again")
        folder.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as file:
            file.write(content)
