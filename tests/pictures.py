"""Tars of pictures with captions, as img2dataset writes them."""

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def picture(seed: int, width: int = 48, height: int = 40) -> Image.Image:
    """Waves of three colours."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / width * random.uniform(3, 9) + c) * np.cos(y / height * random.uniform(3, 9)) for c in range(3)]
    return Image.fromarray(((np.stack(waves, -1) + 1) * 127).astype(np.uint8))


def encoded(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def write_tar(path: Path, files: Sequence[tuple[str, bytes]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def triples(first: int, count: int) -> list[tuple[str, bytes]]:
    """`KEY.jpg`, `KEY.json`, `KEY.txt` of some pictures."""
    files = []
    for n in range(first, first + count):
        files += [(f"{n:09d}.jpg", encoded(picture(n))), (f"{n:09d}.json", b"{}")]
        files += [(f"{n:09d}.txt", f"waves of number {n}".encode())]
    return files
