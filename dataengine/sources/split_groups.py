"""Which files are the same model: in several formats, under sibling names, or with the same geometry.

Splits follow the group, so a missed pair may put one model on both sides of train and test, while a wrong pair costs
nothing but a little balance. Names are therefore read generously.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Sequence

_FORMATS = ("gltf", "glb", "obj", "fbx", "dae", "stl", "ply", "usda", "usdc", "usdz", "usd", "blend")
_FORMAT_WORDS = {*_FORMATS, "collada", "binary", "embedded", "draco", "ascii"}
_SUFFIX = re.compile(rf"^(\w+?)(?:{'|'.join(_FORMATS)})$")
_GENERIC = {"model", "mesh", "scene", "object", "raw_model", "textured", "untitled", "model_normalized"}


def group_ids(paths: Sequence[str], fingerprints: Sequence[str | None]) -> list[str]:
    """A group id (32 hex digits) for each file.

    Args:
        paths: relative to the source, with forward slashes.
        fingerprints: of the geometry, see `model_info.ModelInfo`.

    Joined are: `chair.glb` and `chair.obj` of one folder; `glb/chair.glb` and `obj/chair.obj`; `kk_chest.glb` and
    `kkobj_chest/chest.obj`; `chair.glb` and `chair/model.obj`; equal fingerprints, whatever their names.
    """
    stems = defaultdict(set)
    names = []
    for path in paths:
        folder, _, file = path.rpartition("/")
        stem = _plain(file.rpartition(".")[0]) or file.lower()
        stems[folder].add(stem)
        names.append((folder, stem))
    keys = [_key(folder, stem, alone=len(stems[folder]) == 1) for folder, stem in names]

    leader: dict[str, str] = {}

    def find(key: str) -> str:
        while leader.get(key, key) != key:
            leader[key] = leader.get(leader[key], leader[key])
            key = leader[key]
        return key

    first: dict[str, str] = {}
    for key, fingerprint in zip(keys, fingerprints, strict=True):
        if fingerprint is not None:
            a, b = find(key), find(first.setdefault(fingerprint, key))
            leader[max(a, b)] = min(a, b)
    return [hashlib.sha256(find(k).encode("utf-8", "surrogateescape")).hexdigest()[:32] for k in keys]


def _key(folder: str, stem: str, *, alone: bool) -> str:
    parents = [p for p in (_plain(part) for part in folder.split("/") if part) if p]
    if alone and parents and (stem in _GENERIC or f"_{parents[-1]}".endswith(f"_{stem}")):
        return "/".join(parents)
    return "/".join([*parents, stem])


def _plain(name: str) -> str:
    """A name without case, punctuation and words for formats: KKobj_Chest-Gold → kk_chest_gold."""
    words = [w for w in re.split(r"[\W_]+", name.lower()) if w]
    kept = [w for w in words if w not in _FORMAT_WORDS]
    kept = [m[1] if (m := _SUFFIX.match(w)) else w for w in kept]
    return "_".join(kept)
