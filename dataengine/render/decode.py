"""Our shards outside: what a WebDataset reader makes of a sample, without loss. Public as `dataengine.decode`.

The decoders that come with readers do not fit: webdataset's "pil" drops alpha and turns 16-bit depth into 0 and 255.
"""

import io
import json
from collections.abc import Callable, Mapping
from typing import Any, overload

import numpy as np
import numpy.typing as npt
from PIL import Image

from dataengine.render import png16
from dataengine.render.channels import normal_from_png


@overload
def decode(sample: Mapping[str, Any]) -> dict[str, Any]: ...
@overload
def decode(sample: str, data: bytes) -> Any: ...


def decode(sample: Mapping[str, Any] | str, data: bytes | None = None) -> Any:
    """Decodes a sample of a views or tokens shard: `wds.WebDataset(urls).map(dataengine.decode)`.

    Args:
        sample: member → bytes, as the webdataset library gives it; or → PIL image, text and dict, as Hugging Face's
            `load_dataset("webdataset")` does. Members are named as in docs/formats.md; others stay as they are.
        data: of one member, `sample` then being its name: this is how webdataset calls the functions that are given
            to `.decode(dataengine.decode)`.

    Returns:
        The sample with the same keys:

        - `NN.rgba.png`, and `NN.<look>.rgba.png` of further looks: (H, W, 4) uint8, sRGB, straight alpha;
        - `NN.depth.png`: (H, W) float32, planar z in units of the normalised object, 0 = none. A member on its own
          stays (H, W) uint16, as stored: near and far are in `cameras.json`;
        - `NN.normal.png`: (H, W, 3) float32 of length 1, in the world (z up); 0 = none. What Hugging Face has opened
          has 8 bits left: off by 0.4° at most;
        - `NN.albedo.png`: (H, W, 3) uint8, base colour, sRGB; `NN.orm.png`: (H, W, 3) uint8, 255, roughness, metallic;
        - `NN.id.png`: (H, W) uint16, number of the object, 0 = none;
        - `cameras.json`: dict; `txt`: str; `*.npy`: array.

    Raises:
        ValueError: if a member is not what its name says.
    """
    if isinstance(sample, str):
        return _member(sample, data)
    decoded = {name: _member(name, value) for name, value in sample.items()}
    cameras = decoded.get("cameras.json")
    if isinstance(cameras, dict):
        for name in [n for n in decoded if n.endswith(".depth.png")]:
            view = cameras["views"][int(name.split(".")[0])]
            decoded[name] = _in_units(decoded[name], view["near"], view["far"])
    return decoded


def _in_units(stored: npt.NDArray[np.uint16], near: float, far: float) -> npt.NDArray[np.float32]:
    depth = np.float32(near) + (stored.astype(np.float32) - 1) * np.float32((far - near) / 65534)
    return np.where(stored > 0, depth, np.float32(0))


def _member(name: str, value: Any) -> Any:
    reader = next((read for suffix, read in _READERS.items() if name.endswith(suffix)), None)
    return value if reader is None or value is None else reader(value)


def _picture(value: Any) -> npt.NDArray[Any]:
    if isinstance(value, bytes):
        with Image.open(io.BytesIO(value)) as image:
            return np.array(image)  # a copy, because Pillow's own may not be written to, of which torch warns
    return np.asarray(value)


def _grey(value: Any) -> npt.NDArray[np.uint16]:
    return _picture(value).astype(np.uint16)


def _normal(value: Any) -> npt.NDArray[np.float32]:
    return normal_from_png(png16.decode(value) if isinstance(value, bytes) else np.asarray(value))


def _json(value: Any) -> Any:
    return json.loads(value) if isinstance(value, bytes | str) else value


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _array(value: Any) -> npt.NDArray[Any]:
    return np.asarray(np.load(io.BytesIO(value), allow_pickle=False) if isinstance(value, bytes) else value)


_READERS: dict[str, Callable[[Any], Any]] = {
    ".rgba.png": _picture,
    ".depth.png": _grey,
    ".normal.png": _normal,
    ".albedo.png": _picture,
    ".orm.png": _picture,
    ".id.png": _grey,
    "cameras.json": _json,
    ".npy": _array,
    "txt": _text,
}
