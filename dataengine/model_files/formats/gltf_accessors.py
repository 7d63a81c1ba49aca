"""The accessors of a glTF that something uses: Blender's importer decodes any that it is told to."""

from typing import Any

from dataengine.model_files.formats.gltf_document import Document, whole
from dataengine.model_files.model_info import malformed, show, too_large

_COMPONENT_BYTES = {5120: 1, 5121: 1, 5122: 2, 5123: 2, 5125: 4, 5126: 4}
_COMPONENTS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}


class AccessorCheck:
    """Whether accessors stay within their buffer views, and these within their buffers."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._checked: set[int] = set()

    def check(self) -> None:
        """All of them. Raises AssetFailure: MALFORMED or TOO_LARGE."""
        for primitive in self._document.primitives():
            if primitive.get("mode", 4) not in range(7):
                malformed(f"primitive mode {show(str(primitive['mode']), 20)}")
            attributes = primitive.get("attributes") or {}
            extensions = primitive.get("extensions")
            compressed = isinstance(extensions, dict) and "KHR_draco_mesh_compression" in extensions
            for index in attributes.values():
                self._accessor(index, decoded=not compressed)
            if primitive.get("indices") is not None:
                self._accessor(primitive["indices"], decoded=not compressed)
            base = (
                self._document.item("accessors", attributes["POSITION"])["count"] if "POSITION" in attributes else None
            )
            for target in primitive.get("targets") or []:
                if not isinstance(target, dict):
                    malformed("a morph target is not an object")
                for index in target.values():
                    self._accessor(index)
                if "POSITION" in target and self._document.item("accessors", target["POSITION"])["count"] != base:
                    malformed("a morph target has another vertex count than its mesh")
        for skin in self._document.lists["skins"]:
            if skin.get("inverseBindMatrices") is not None:
                self._accessor(skin["inverseBindMatrices"])
        for animation in self._document.lists["animations"]:
            for sampler in animation.get("samplers") or []:
                if isinstance(sampler, dict):
                    self._accessor(sampler.get("input"))
                    self._accessor(sampler.get("output"))

    def _accessor(self, index: Any, *, decoded: bool = True) -> None:
        accessor = self._document.item("accessors", index)
        if index in self._checked:
            return
        self._checked.add(index)
        count = whole(accessor.get("count"), "an accessor's count")
        if count > self._document.limits.elements:
            too_large(f"an accessor declares {count} elements (limit {self._document.limits.elements})")
        component: Any = accessor.get("componentType")
        kind: Any = accessor.get("type")
        typed = isinstance(component, int | float) and isinstance(kind, str)
        if not typed or component not in _COMPONENT_BYTES or kind not in _COMPONENTS:
            malformed(f"accessor {index} has component type {show(str(component), 20)}, type {show(str(kind), 20)}")
        if not decoded:  # Draco: the decoder replaces what the accessor points at
            return
        element = _COMPONENT_BYTES[component] * _COMPONENTS[kind]
        if accessor.get("bufferView") is not None:
            self._range(accessor, accessor.get("byteOffset"), count, element, f"accessor {index}")
        sparse = accessor.get("sparse")
        if sparse is not None:
            self._sparse(sparse, count, element, f"sparse accessor {index}")

    def _sparse(self, sparse: Any, count: int, element: int, what: str) -> None:
        indices, values = (sparse.get(k) if isinstance(sparse, dict) else None for k in ("indices", "values"))
        if not isinstance(indices, dict) or not isinstance(values, dict):
            malformed(f"{what} without indices and values")
        changed = whole(sparse.get("count"), "a sparse count")
        if changed > count or indices.get("componentType") not in _COMPONENT_BYTES:
            malformed(f"{what} changes {changed} of {count} elements")
        index_bytes = _COMPONENT_BYTES[indices["componentType"]]
        self._range(indices, indices.get("byteOffset"), changed, index_bytes, what)
        self._range(values, values.get("byteOffset"), changed, element, what)

    def _range(self, user: dict[str, Any], offset: Any, count: int, element: int, what: str) -> None:
        view = self._document.item("bufferViews", user.get("bufferView"))
        packed = self._document.packed(view)
        if packed is not None:
            self._packed(packed, what)
        stride = whole(view.get("byteStride") or element, "a byteStride")
        start, size = self._document.view_range(view)
        available = min(size, max(self._document.buffer_bytes[view["buffer"]] - start, 0)) if packed is None else size
        needed = whole(offset or 0, "a byteOffset") + (count - 1) * stride + element if count else 0
        if needed > available:
            malformed(f"{what} reads {needed} bytes of a buffer view of {available}")

    def _packed(self, packed: dict[str, Any], what: str) -> None:
        self._document.item("buffers", packed.get("buffer"))
        stride, count = whole(packed.get("byteStride"), "a byteStride"), whole(packed.get("count"), "a count")
        if not 0 < stride <= 256:
            malformed(f"{what} has a byteStride of {stride}")
        if count > self._document.limits.elements:
            too_large(f"{what} unpacks to {count} elements (limit {self._document.limits.elements})")
        start, size = (
            whole(packed.get("byteOffset") or 0, "a byteOffset"),
            whole(packed.get("byteLength"), "a length"),
        )
        if start + size > self._document.buffer_bytes[packed["buffer"]]:
            malformed(f"{what} is packed in {size} bytes that its buffer does not have")
