"""Which files are the same model: in several formats, for either hand, in other colours, or with the same geometry.

Splits follow the group, so a missed pair may put one model on both sides of train and test, while a wrong pair costs
nothing but a little balance. Names are therefore read generously.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence

_FORMATS = ("gltf", "glb", "obj", "fbx", "dae", "stl", "ply", "usda", "usdc", "usdz", "usd", "blend")
_FORMAT_WORDS = {*_FORMATS, "collada", "binary", "embedded", "draco", "ascii"}
_SUFFIX = re.compile(rf"^(\w+?)(?:{'|'.join(_FORMATS)})$")
_GENERIC = {"model", "mesh", "scene", "object", "raw_model", "textured", "untitled", "model_normalized"}
_HANDS = {"left", "right", "none"}  # `none`: for either hand, as WebXR's controllers have it
VARIANTS = {
    *_HANDS,
    *("white", "whites", "black", "red", "green", "blue", "yellow", "brown", "grey", "gray", "pink", "orange"),
    *("purple", "beige"),
}
"""Words of a name that tell variants of one model apart."""


def group_ids(
    paths: Sequence[str], fingerprints: Sequence[str | None], named: Sequence[str | None] | None = None
) -> list[str]:
    """A group id (32 hex digits) for each file.

    Args:
        paths: relative to the source, with forward slashes.
        fingerprints: of the geometry, see `model_info.ModelInfo`.
        named: the group that the files' owner names, if any; None: of no file.

    Joined are: `chair.glb` and `chair.obj` of one folder; `glb/chair.glb` and `obj/chair.obj`; `kk_chest.glb` and
    `kkobj_chest/chest.obj`; `chair.glb` and `chair/model.obj`; `glove/left.glb` and `glove/right.glb`; `mug_red.glb`
    and `mug_blue.glb`; equal fingerprints, whatever their names; what the owner says belongs together.
    """
    stems = defaultdict(set)
    names = []
    for path in paths:
        folder, _, file = path.rpartition("/")
        stem = _plain(file.rpartition(".")[0]) or file.lower()
        stems[folder].add(stem)
        names.append((folder, stem))
    keys = [_key(folder, stem, alone=len(stems[folder]) == 1) for folder, stem in names]

    groups = Groups(keys)
    groups.join(zip(keys, fingerprints, strict=True))
    groups.join(zip(keys, named or [None] * len(keys), strict=True))
    return groups.ids()


class Groups:
    """Sets of keys that grow together: `join` merges those that share a mark.

    Args:
        keys: one a file, in their order; equal keys are one group from the start.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = keys
        self._leader: dict[str, str] = {}

    def join(self, marked: Iterable[tuple[str, Hashable | None]]) -> None:
        """Merges the keys whose marks are equal; those without a mark (None) stay alone."""
        first: dict[Hashable, str] = {}
        for key, mark in marked:
            if mark is not None:
                a, b = self._find(key), self._find(first.setdefault(mark, key))
                self._leader[max(a, b)] = min(a, b)

    def ids(self) -> list[str]:
        """A group id (32 hex digits) for each key: a hash of the smallest key of its group."""
        return [hashlib.sha256(self._find(k).encode("utf-8", "surrogateescape")).hexdigest()[:32] for k in self._keys]

    def _find(self, key: str) -> str:
        leader = self._leader
        while leader.get(key, key) != key:
            leader[key] = leader.get(leader[key], leader[key])
            key = leader[key]
        return key


def _key(folder: str, stem: str, *, alone: bool) -> str:
    parents = [p for p in (_plain(part) for part in folder.split("/") if part) if p]
    words = stem.split("_")
    kept = [w for w in words if w not in VARIANTS]
    if not kept and parents and _HANDS.issuperset(words):
        return "/".join(parents)
    stem = "_".join(kept) or stem
    if alone and parents and (stem in _GENERIC or f"_{parents[-1]}".endswith(f"_{stem}")):
        return "/".join(parents)
    return "/".join([*parents, stem])


def _plain(name: str) -> str:
    """A name without case, punctuation and words for formats: KKobj_Chest-Gold → kk_chest_gold."""
    words = [w for w in re.split(r"[\W_]+", name.lower()) if w]
    kept = [w for w in words if w not in _FORMAT_WORDS]
    kept = [m[1] if (m := _SUFFIX.match(w)) else w for w in kept]
    return "_".join(kept)
