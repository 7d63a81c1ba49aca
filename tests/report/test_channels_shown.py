"""Channels as pictures: what is there is drawn in its own colour, what is not shows the checkerboard."""

import numpy as np
import pytest

from dataengine.report import draw
from dataengine.report.sheet import depth_picture, shown

THERE = np.zeros((32, 32), bool)
THERE[8:24, 8:24] = True
GROUND = {(236, 236, 236), (250, 250, 250)}


def colours(picture: np.ndarray, where: np.ndarray) -> set[tuple[int, ...]]:
    return {tuple(p) for p in picture[where].tolist()}


@pytest.mark.parametrize("value", [0, 255], ids=["black", "white"])
def test_albedo_is_drawn_where_the_object_is(value: int) -> None:
    albedo = np.zeros((32, 32, 3), np.uint8)
    albedo[THERE] = value
    picture = np.asarray(shown("albedo", albedo, THERE))
    assert colours(picture, THERE) == {(value,) * 3}
    assert colours(picture, ~THERE) == GROUND


def test_the_others_say_themselves_where_they_are() -> None:
    everywhere = np.ones_like(THERE)
    normal = np.where(THERE[..., None], np.float32([0, 0, 1]), 0)
    orm = np.where(THERE[..., None], np.uint8([255, 0, 0]), 0).astype(np.uint8)
    for name, view, colour in (("normal", normal, (128, 128, 255)), ("orm", orm, (255, 0, 0))):
        picture = np.asarray(shown(name, view, everywhere))
        assert colours(picture, THERE) == {colour} and colours(picture, ~THERE) == GROUND
    ids = np.asarray(shown("id", THERE.astype(np.uint16) * 7, everywhere))
    assert len(colours(ids, THERE)) == 1 and colours(ids, ~THERE) == GROUND


def test_near_is_bright() -> None:
    depth = np.where(THERE, np.float32(1), 0)
    depth[:, 16:] *= 2
    picture = np.asarray(depth_picture(depth, 1, 2))
    near, far = (draw.colour_map(np.float32([x]))[0].tolist() for x in (1, 0))
    assert picture[12, 12].tolist() == near and picture[12, 20].tolist() == far
    assert sum(near) > sum(far) and colours(picture, ~THERE) == GROUND
