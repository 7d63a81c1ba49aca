""".blend: its blocks, where it is not compressed; else, that it does not inflate beyond the limits."""

import struct
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from dataengine.corpus.config import Limits
from dataengine.model_files.model_info import ModelInfo, malformed, too_large
from dataengine.model_files.references import References

BLOCKS = 5_000_000
_COMPRESSION = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}


def read(path: Path, _: References, limits: Limits, info: ModelInfo) -> None:
    """Reads a .blend. Fills `info` with what needs no knowledge of Blender's structures; raises AssetFailure."""
    size = path.stat().st_size
    with path.open("rb") as f:
        head = f.read(12)
        codec = next((name for magic, name in _COMPRESSION.items() if head.startswith(magic)), None)
        if codec is not None:
            _check_inflated(path, codec, limits)
        elif not head.startswith(b"BLENDER") or len(head) < 12:
            malformed("no .blend file")
        elif head[7:9] in (b"-v", b"_v"):  # the header until Blender 5; later ones are Blender's to judge
            _check_blocks(f, size, 8 if head[7:8] == b"-" else 4, limits, info)


def _check_blocks(f: BinaryIO, size: int, pointer: int, limits: Limits, info: ModelInfo) -> None:
    header = struct.Struct(f"<4sI{pointer}sII")
    counts: dict[bytes, int] = {}
    at = 12
    for _ in range(BLOCKS):
        f.seek(at)
        data = f.read(header.size)
        if len(data) < 8 or (len(data) < header.size and not data.startswith(b"ENDB")):
            malformed(".blend cut short")
        if data.startswith(b"ENDB"):
            break
        code, length = struct.unpack_from("<4sI", data)
        counts[code] = counts.get(code, 0) + 1
        at += header.size + length
        if at > size:
            malformed(".blend with a block longer than the file")
    else:
        too_large(f"over {BLOCKS} blocks")
    if b"DNA1" not in counts:
        malformed(".blend without its DNA block")
    info.material_count = counts.get(b"MA\0\0", 0)
    info.animation_count = counts.get(b"AC\0\0", 0)
    for what, code, limit in (("objects", b"OB\0\0", limits.objects), ("materials", b"MA\0\0", limits.materials)):
        if counts.get(code, 0) > limit:
            too_large(f"{counts[code]} {what} (limit {limit})")


def _check_inflated(path: Path, codec: str, limits: Limits) -> None:
    total = 0
    try:
        with pa.OSFile(str(path)) as raw, pa.CompressedInputStream(raw, codec) as f:
            while block := f.read(1 << 20):
                if not total and not block.startswith(b"BLENDER"):
                    malformed(f"{codec} data that is no .blend file")
                total += len(block)
                if total > limits.file_bytes:
                    too_large(f"inflates to over {limits.file_bytes} bytes")
    except (OSError, pa.ArrowException) as e:
        malformed(f"does not inflate: {str(e).splitlines()[0]}")
