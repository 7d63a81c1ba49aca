"""Models in ZIP archives that somebody made to break things: each costs its own row."""

import io
import os
import random
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

from dataengine.corpus.config import Limits
from dataengine.download.archives import extract, extract_here
from dataengine.errors import AssetFailure, DataengineError, ErrorCode
from tests import asset_files as files

LIMITS = Limits(file_bytes=1 << 20)


def archive(folder: Path, *members: tuple[str, bytes], kind: int = zipfile.ZIP_DEFLATED) -> Path:
    path = folder / "models.zip"
    with zipfile.ZipFile(path, "w", kind) as z:
        for name, content in (("m/model.glb", files.glb()), *members):
            z.writestr(zipfile.ZipInfo(name), content, kind)
    return path


def unpacked(folder: Path, path: Path, member: str = "m/model.glb") -> Path:
    place = folder / "cache"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    return extract(path, member, place, LIMITS)


def test_a_good_one(tmp_path: Path) -> None:
    path = archive(tmp_path, ("m/t/u.png", b"x"), ("other/v.png", b"y"))
    main = unpacked(tmp_path, path)
    assert main.read_bytes() == files.glb()
    assert (main.parent / "t" / "u.png").read_bytes() == b"x"
    assert not (main.parent / "other").exists()


def cut_deflate(folder: Path) -> Path:
    path = archive(folder, ("m/u.png", os.urandom(1000)))
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as z:
        info = z.getinfo("m/u.png")
    start = info.header_offset + 30 + len("m/u.png")
    data[start : start + 20] = b"\xff" * 20
    path.write_bytes(data)
    return path


BROKEN = {
    "file and folder": lambda f: archive(f, ("m/t", b"x"), ("m/t/u.png", b"y")),
    "long name": lambda f: archive(f, ("m/" + "n" * 300, b"x")),
    "dot": lambda f: archive(f, ("m/.", b"x")),
    "broken deflate": cut_deflate,
    "deep": lambda f: archive(f, ("m/" + "d/" * 1500 + "x", b"x")),
    "no archive": lambda f: _write(f, b"PK\x03\x04 is all"),
    "cut": lambda f: _write(f, archive(f).read_bytes()[:-30]),
}


def _write(folder: Path, content: bytes) -> Path:
    path = folder / "broken.zip"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("make", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_one_is_malformed(tmp_path: Path, make: Any) -> None:
    path = make(tmp_path)
    with pytest.raises(AssetFailure) as failure:
        unpacked(tmp_path, path)
    assert failure.value.code is ErrorCode.MALFORMED


def test_a_bomb_is_too_large(tmp_path: Path) -> None:
    with pytest.raises(AssetFailure) as failure:
        unpacked(tmp_path, archive(tmp_path, ("m/zeros", bytes(4 << 20))))
    assert failure.value.code is ErrorCode.TOO_LARGE


def test_nothing_is_written_outside(tmp_path: Path) -> None:
    path = archive(tmp_path, ("m/../../../up.txt", b"x"), ("m//abs.txt", b"x"))
    main = unpacked(tmp_path, path)
    assert not list(tmp_path.rglob("up.txt"))
    assert main.is_file()


def test_a_cache_that_cannot_be_written_ends_the_run(tmp_path: Path) -> None:
    """Not the archive's fault: the folder that it is unpacked to has gone."""
    path = archive(tmp_path)
    with pytest.raises(DataengineError, match="nowhere") as error:
        extract_here(str(path), "m/", "/proc/nowhere", 1 << 20)
    assert not isinstance(error.value, AssetFailure)


@pytest.mark.parametrize("seed", range(40))
def test_any_damage_ends_in_a_row_or_a_model(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    good = io.BytesIO(archive(tmp_path, ("m/u.png", bytes(300))).read_bytes()).getvalue()
    data = bytearray(good)
    for _ in range(dice.choice((1, 2, 8))):
        data[dice.randrange(len(data))] = dice.randrange(256)
    path = _write(tmp_path, bytes(data))
    try:
        assert unpacked(tmp_path, path).is_file()
    except AssetFailure as failure:
        assert failure.code in (ErrorCode.MALFORMED, ErrorCode.FETCH_404, ErrorCode.TOO_LARGE)
